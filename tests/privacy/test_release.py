"""`gentraffic release`: what the folder holds, how epsilon adds up, and what is not written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from audit_examples import both_places, place, series, traffic

from gentraffic.cli.main import run
from gentraffic.dataset.basemap import basemap_coords
from gentraffic.errors import BadInput
from gentraffic.io.files import read_traffic, write_traffic
from gentraffic.privacy.release import Entry, Ledger, blurred, checklist, read_ledger
from poi.elements import BaseMap

KNOWN, UNSEEN, OTHER = series(24, 0, 7), series(40, 7, 7), series(30, 9, 7)
A, B, _ = both_places()
DRAWN_AT = place(30, 9, 501)


def private(ds: xr.Dataset, epsilon: float, model: str) -> xr.Dataset:
    spent = {"privacy_epsilon": epsilon, "privacy_delta": 1e-4, "privacy_unit": "a cell", "privacy_adjacency": "add"}
    return ds.assign_attrs(spent | {"model_sha256": model})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    copied = OTHER.copy()
    copied[3] = KNOWN[5]
    files = {
        "train": traffic(KNOWN, A.isel(cell=slice(24))), "holdout": traffic(UNSEEN, B),
        "syn": traffic(OTHER, DRAWN_AT), "guilty": traffic(copied, DRAWN_AT),
        "p8": private(traffic(OTHER, DRAWN_AT), 8.0, "a"), "p3": private(traffic(OTHER, DRAWN_AT), 3.0, "b"),
    }  # fmt: skip
    for name, ds in files.items():
        write_traffic(ds, tmp_path / f"{name}.nc")
    return tmp_path


def words(what: str, out: str, *more: str) -> list[str]:
    return ["release", what, "-o", out, "--ledger", "ledger.json", "--source", "ours", *more]


def test_a_release_says_what_protects_whom(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words("p8.nc", "r", "--train", "train.nc", "--holdout", "holdout.nc", "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    names = {str(p.relative_to(here / "r")) for p in (here / "r").rglob("*") if p.is_file()}
    assert names >= {
        "README.md", "CHECKLIST.md", "ledger.json", "audit.json", "audit.html", "traffic.nc", "croissant/croissant.json"
    }  # fmt: skip
    card = (here / "r" / "README.md").read_text()
    for word in ("epsilon 8.000 at delta 0.0001", "Users: not guaranteed", "| exact | ", "found a leak",
                 "30 cells, 168 steps of 60 minutes, ", "## What is known to be wrong", "epsilon does not cover them",
                 "SHA-256 a)", "(epsilon 8.000, delta 0.0001; the unit is a cell, adjacency: add)"):  # fmt: skip
        assert word in card, word
    assert (
        "for a memo: The traffic was drawn from a model that was fitted with differential privacy"
        in told["promise"][-1]
    )
    statement = read_traffic(here / "r" / "traffic.nc").attrs["privacy_statement"]  # also without its folder
    assert f"for a memo: {statement}" == told["promise"][-1]
    audit = json.loads((here / "r" / "audit.json").read_text())
    assert audit["power"]["share_found"]["exact"]["value"] == 1.0
    croissant = json.loads((here / "r" / "croissant" / "croissant.json").read_text())
    assert croissant["@context"]["rai"] == "http://mlcommons.org/croissant/RAI/"
    assert "http://mlcommons.org/croissant/RAI/1.0" in croissant["conformsTo"]
    assert "epsilon 8.000" in croissant["rai:personalSensitiveInformation"][0]
    assert "- [x] fitted with differential privacy" in (here / "r" / "CHECKLIST.md").read_text()
    assert told["ledger"]["epsilon"] == 8.0


def test_epsilon_adds_up_over_releases_of_one_source(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for out, what in (("one", "p8.nc"), ("again", "p8.nc"), ("two", "p3.nc")):
        assert run(words(what, out)) == 0
    ledger = json.loads((here / "ledger.json").read_text())
    assert len(ledger["releases"]) == 3
    assert ledger["epsilon"] == 11.0  # what is drawn from one model is one release
    assert ledger["delta"] == pytest.approx(2e-4)
    assert json.loads((here / "two" / "ledger.json").read_text()) == ledger
    assert "epsilon 11.000" in capsys.readouterr().out
    assert run(words("syn.nc", "bare")) == 0
    assert "no bound" in capsys.readouterr().out
    statement = read_traffic(here / "bare" / "traffic.nc").attrs["privacy_statement"]
    assert "not fitted with differential privacy" in statement
    assert json.loads((here / "ledger.json").read_text())["epsilon"] is None


def test_the_memo_tells_the_sum_of_all_releases(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words("p8.nc", "one")) == 0
    assert "In all: " not in capsys.readouterr().out
    assert run(words("p3.nc", "two")) == 0
    said = "In all: 2 release(s) from 'ours': epsilon 11.000, delta 0.0002 together."
    assert capsys.readouterr().out.strip().endswith(said)
    assert said in (here / "two" / "README.md").read_text()


def test_measured_values_are_not_released(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What `sample --known` keeps of measured cells is real, whatever model drew the others."""
    ds = read_traffic(here / "p8.nc").load().assign_attrs(measured_cells="12 of 30 cells")
    write_traffic(ds, here / "known.nc")
    assert run(words("known.nc", "r")) == 2
    err = capsys.readouterr().err
    assert "known.nc holds measured values (12 of 30 cells)" in err
    assert "without --known" in err
    assert not (here / "r").exists()
    assert not (here / "ledger.json").exists()


def test_a_total_is_told_to_be_covered_by_no_epsilon(here: Path) -> None:
    write_traffic(read_traffic(here / "p8.nc").load().assign_attrs(totals="traffic=5TB/day"), here / "total.nc")
    assert run(words("total.nc", "r", "--quiet")) == 0
    card, checklist = ((here / "r" / page).read_text() for page in ("README.md", "CHECKLIST.md"))
    assert "scaled to traffic=5TB/day: that figure is exact, and no epsilon covers it" in card
    assert "scaled to traffic=5TB/day, and tells it exactly: no epsilon covers a total that was summed" in checklist
    assert run(words("p8.nc", "s", "--quiet")) == 0
    assert "scaled to" not in (here / "s" / "README.md").read_text() + (here / "s" / "CHECKLIST.md").read_text()


def test_a_sum_has_no_bound_where_one_part_has_none() -> None:
    one = Entry("a", "2026-01-01", "d1", "m1", 1.0, 1e-5)
    assert Ledger("s", (one, Entry("b", "2026-01-01", "d2", "m2", 2.0, 1e-5))).spent == (3.0, 2e-5)
    assert Ledger("s", (one, Entry("b", "2026-01-01", "d2", "", None, None))).spent == (None, None)


def test_a_leak_is_not_released_unless_asked_for(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = ["--train", "train.nc", "--holdout", "holdout.nc"]
    assert run(words("guilty.nc", "r", *both)) == 2
    err = capsys.readouterr().err
    assert "nothing was written: A leak was found" in err
    assert err.count("\n") == 1
    assert not (here / "r").exists()
    assert not (here / "ledger.json").exists()
    assert run(words("guilty.nc", "r", *both, "--leak", "--quiet")) == 0
    assert "- [ ] the audit found no leak" in (here / "r" / "CHECKLIST.md").read_text()


@pytest.mark.parametrize("metres", [None, 1000.0])
def test_positions_are_coarsened_or_left_out(metres: float | None, tmp_path: Path) -> None:
    streets = BaseMap(
        np.array([1], dtype=np.int8),
        np.array([2], dtype=np.int32),
        np.array([[9e6, 45e6], [9.1e6, 45e6]], dtype=np.int32),
    )
    ds = traffic(OTHER, DRAWN_AT).assign_coords(basemap_coords(streets))
    drawn = ds["traffic"].values
    found = blurred(ds, metres)
    write_traffic(found, tmp_path / "b.nc")
    back = read_traffic(tmp_path / "b.nc")  # what reads it checks that lon, lat and x, y agree
    assert not [name for name in back.coords if str(name).startswith("map_")]
    order = [int(np.flatnonzero((drawn == row).all(axis=1))[0]) for row in back["traffic"].values]
    assert sorted(order) == list(range(30))
    assert order != list(range(30))  # neither the order nor the ids tell a list of the sites who is who
    assert back["cell_id"].values.tolist() == list(range(1, 31))
    if metres is None:
        assert back.attrs["positions"].startswith("synthetic")
        assert np.hypot(back["lon"] - 9, back["lat"] - 45).min() > 5  # degrees from the real ones
    else:
        assert (back["x"].values % metres == metres / 2).all()
        assert np.abs(back["x"].values - ds["x"].values[order]).max() <= metres / 2
        assert back.attrs["positions"].endswith("ids anew")
        assert len(np.unique(back["x"].values)) < len(np.unique(ds["x"].values))


BAD: dict[str, tuple[list[str], str]] = {
    "half an audit": (words("syn.nc", "r", "--train", "train.nc"), "go together"),
    "two ways": (words("syn.nc", "r", "--coarsen", "9", "--no-positions"), "exclude each other"),
    "exists": (words("syn.nc", "there"), "there exists: a release is written once"),
    "another's ledger": (words("syn.nc", "r", "--ledger", "theirs.json"), "is the ledger of 'theirs'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_use_is_answered_in_one_line(case: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "there").mkdir()
    (here / "theirs.json").write_text(json.dumps({"source": "theirs", "releases": []}))
    command, said = BAD[case]
    assert run(command) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    told: list[Any] = list(here.glob("r*"))
    assert told == []


@pytest.mark.parametrize("epsilon", ['"4"', "NaN", "-1", "1e999", "true", "[4]", "9" * 400])
def test_a_ledger_with_an_epsilon_that_bounds_nothing_is_refused(tmp_path: Path, epsilon: str) -> None:
    entry = {"name": "a", "date": "2026-01-01", "digest": "0", "model": "m", "epsilon": 4.5, "delta": 1e-5}
    text = json.dumps({"source": "ours", "releases": [entry]})
    (tmp_path / "ledger.json").write_text(text)
    assert read_ledger(tmp_path / "ledger.json", "ours").spent == (4.5, 1e-5)
    (tmp_path / "ledger.json").write_text(text.replace("4.5", epsilon))
    with pytest.raises(BadInput, match="not a ledger of releases"):
        read_ledger(tmp_path / "ledger.json", "ours")


def test_the_service_is_named_where_the_real_files_hold_several(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = ["--train", "train.nc", "--holdout", "holdout.nc"]
    for name in ("train", "holdout"):
        ds = read_traffic(here / f"{name}.nc").load()
        write_traffic(ds.assign(calls=ds["traffic"]), here / f"{name}.nc")
    assert run(words("syn.nc", "r", *both)) == 2
    assert "--service" in capsys.readouterr().err
    assert run(words("syn.nc", "r", *both, "--service", "traffic")) == 0


def test_an_audit_that_would_find_nothing_is_not_ticked() -> None:
    entry = Entry("a", "2026-01-01", "d", "m", 1.0, 1e-5, "a cell", "add")
    for share in (0.0, 1.0):
        audit = {"leak_found": False, "power": {"share_found": {"exact": {"value": share}}}}
        page = checklist(entry, Ledger("s", (entry,)), audit, "")
        assert f"- [{'x' if share else ' '}] the audit would have found most exact copies" in page
