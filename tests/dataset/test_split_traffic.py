"""`gentraffic split`: disjoint parts whose union is the file, by cells and by local days, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from traffic_examples import traffic

import gentraffic
from gentraffic.cli.main import run
from gentraffic.dataset.splits import split_like_model, split_traffic
from gentraffic.errors import BadInput, WrongUse
from gentraffic.io.files import read_traffic, write_traffic

REAL = traffic(days=10)


def test_cells_are_in_one_part_and_their_values_are_those_of_the_file() -> None:
    train, test = split_traffic(REAL, test="20%", seed=3)
    ids = [set(part["cell_id"].values.tolist()) for part in (train, test)]
    assert not ids[0] & ids[1]
    assert ids[0] | ids[1] == set(REAL["cell_id"].values.tolist())
    assert len(ids[1]) == round(0.2 * REAL.sizes["cell"])
    at = {cell: row for row, cell in enumerate(REAL["cell_id"].values.tolist())}
    for part in (train, test):
        rows = [at[cell] for cell in part["cell_id"].values.tolist()]
        np.testing.assert_array_equal(part["internet"].values, REAL["internet"].values[rows])
    again, other = split_traffic(REAL, test=0.2, seed=3)[1], split_traffic(REAL, test=0.2, seed=4)[1]
    assert set(again["cell_id"].values.tolist()) == ids[1] != set(other["cell_id"].values.tolist())


def test_the_last_days_are_the_test_and_begin_at_local_midnight() -> None:
    train, test = split_traffic(REAL, test="30%", by="time")
    times = np.concatenate([train["time"].values, test["time"].values])
    np.testing.assert_array_equal(times, REAL["time"].values)
    assert str(test["time"].values[0])[11:16] == "23:00"  # UTC: midnight in Rome, in November


@pytest.mark.parametrize(("test", "by", "word"),
                         [("0%", "cell", "0%"), ("half", "cell", "half"), ("20%", "day", "day"),
                          ("1%", "time", "empty"), ("20%", "location", "location")])  # fmt: skip
def test_what_cannot_be_split_is_refused_in_words(test: str, by: str, word: str) -> None:
    with pytest.raises(WrongUse, match=word):
        split_traffic(REAL.drop_vars("location", errors="ignore"), test=test, by=by)


def test_the_command_writes_both_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, a, b = (str(tmp_path / name) for name in ("t.nc", "a.nc", "b.nc"))
    write_traffic(REAL, file)
    assert run(["split", file, "--test", "20%", "-o", a, "--rest", b]) == 0
    assert read_traffic(a).sizes["cell"] + read_traffic(b).sizes["cell"] == REAL.sizes["cell"]
    assert read_traffic(b).attrs["split"] == "test"
    capsys.readouterr()
    assert run(["split", file, "--test", "20%", "-o", a, "--rest", file]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_cells_that_a_model_held_out_are_the_test() -> None:
    ids = REAL["cell_id"].values[[5, 2, 11]].tolist()
    network = {"network": "here"}
    for known, attrs in (({"here": ids, "there": [1]}, network), ({"only": [str(i) for i in ids]}, {"network": "x"})):
        seen, test = split_like_model(REAL.assign_attrs(attrs), {"held_out_cells": known})
        assert set(test["cell_id"].values.tolist()) == set(ids)
        assert seen.sizes["cell"] == REAL.sizes["cell"] - 3
        at = np.isin(REAL["cell_id"].values, ids)
        np.testing.assert_array_equal(test["internet"].values, REAL["internet"].values[..., at, :])
        np.testing.assert_array_equal(seen["internet"].values, REAL["internet"].values[..., ~at, :])
    for provenance, says in (
        ({}, "held out cells of no network, not of here"),
        ({"held_out_cells": {"a": [1], "b": [2]}}, "held out cells of a, b, not of here"),
        ({"held_out_cells": {"here": [-1]}}, "held out 0 of the"),
    ):
        with pytest.raises(WrongUse, match=says):
            split_like_model(REAL.assign_attrs(network), provenance)


def test_what_stands_at_a_location_that_a_model_held_out_is_in_the_test() -> None:
    location = np.arange(REAL.sizes["cell"]) // 3
    ds = REAL.assign_coords(location=("cell", location)).assign_attrs(network="here")
    ids = REAL["cell_id"].values[[4, 9]].tolist()  # one cell of location 1, one of location 3
    seen, test = split_like_model(ds, {"held_out_cells": {"here": ids}})
    assert set(test["cell_id"].values.tolist()) == set(REAL["cell_id"].values[[3, 4, 5, 9, 10, 11]].tolist())
    assert not set(test["location"].values.tolist()) & set(seen["location"].values.tolist())
    assert seen.sizes["cell"] + test.sizes["cell"] == REAL.sizes["cell"]


def test_cells_with_the_same_series_are_kept_on_one_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ds = REAL.copy(deep=True)
    pairs = [(0, 3), (1, 7), (4, 5)]
    for a, b in pairs:
        ds["internet"][b] = ds["internet"].values[a]
    ds["internet"][8:10] = 0.0  # dead cells are equal and tell nothing
    apart = 0
    for seed in range(20):
        sides = [set(part["cell_id"].values.tolist()) for part in split_traffic(ds, test="40%", seed=seed)]
        ids = ds["cell_id"].values
        assert all((ids[a] in sides[0]) == (ids[b] in sides[0]) for a, b in pairs)
        apart += (ids[8] in sides[0]) != (ids[9] in sides[0])
    assert apart
    files = [str(tmp_path / name) for name in ("t.nc", "a.nc", "b.nc")]
    write_traffic(ds, files[0])
    assert run(["split", files[0], "--test", "40%", "-o", files[1], "--rest", files[2]]) == 0
    assert f"3 cells carry the same series as another one ({ids[3]} as {ids[0]}, " in capsys.readouterr().out


def test_a_test_part_that_cannot_be_written_says_that_the_training_part_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, rest = tmp_path / "train.nc", tmp_path / "test.nc"

    def fails(traffic: object, path: Path, **more: object) -> None:
        if path == rest:
            raise BadInput(f"cannot write {path}: No space left on device")

    monkeypatch.setattr("gentraffic.io.files.write_traffic", fails)
    with pytest.raises(BadInput, match=f"No space left on device; {out} is written, and belongs to no {rest}"):
        gentraffic.split(REAL, test="20%", out=out, rest=rest)
