"""`sample --history / --known / --users`, `fit fomo` and `finetune fomo` as a user types them."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from fomo_examples import tiny_fomo, world

from gentraffic.cli.main import run
from gentraffic.errors import BadModel
from gentraffic.generators.base import load_model
from gentraffic.generators.cards import card
from gentraffic.generators.folder import load_bundle
from gentraffic.generators.fomo.folder import load_fomo, save_fomo
from gentraffic.io.files import read_traffic, write_context, write_traffic


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, a measured world and its context."""
    out = tmp_path_factory.mktemp("fomo")
    bundle = tiny_fomo()
    save_fomo(bundle, out / "m", card("m", {**bundle.provenance, "sampler": "fomo"}))
    traffic, place = world()
    write_traffic(traffic, out / "all.nc")
    write_traffic(traffic[["traffic"]].isel(time=slice(0, 150)), out / "past.nc")
    write_context(place, out / "c.nc")
    return out


def gaps(folder: Path, name: str, values: np.ndarray, cells: slice = slice(None)) -> str:
    """A file with holes, written by hand: the tool itself writes none."""
    traffic = xr.open_dataset(folder / "past.nc").load().isel(cell=cells)
    traffic["traffic"][:] = values[cells]
    traffic.to_netcdf(folder / name, engine="h5netcdf")
    return str(folder / name)


def sample(folder: Path, *words: str, out: str = "o.nc") -> int:
    return run(["sample", "--model", str(folder / "m"), "--quiet", "-o", str(folder / out), *words])


def test_a_history_is_continued_from_its_end_in_its_units(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    past = read_traffic(folder / "past.nc")
    assert sample(folder, "--history", str(folder / "past.nc"), "--days", "2", "--members", "2") == 0
    drawn = read_traffic(folder / "o.nc")
    assert drawn.sizes == {"member": 2, "cell": 36, "time": 48}
    assert drawn["time"].values[0] == past["time"].values[-1] + np.timedelta64(1, "h")
    assert drawn["traffic"].attrs["units"] == "MB"
    assert "the tests" in drawn.attrs["attribution"]
    truth = read_traffic(folder / "all.nc")["traffic"].values[:, 150:198]
    assert drawn["traffic"].values.mean() == pytest.approx(truth.mean(), rel=0.3)
    again = ["--history", str(folder / "past.nc"), "--days", "2", "--members", "2"]
    assert sample(folder, *again, out="again.nc") == 0
    np.testing.assert_array_equal(read_traffic(folder / "again.nc")["traffic"].values, drawn["traffic"].values)


def test_what_is_known_is_kept_and_the_rest_filled(folder: Path) -> None:
    values = read_traffic(folder / "past.nc")["traffic"].values.copy()
    values[3] = np.nan
    values[10:20, 40:60] = np.nan
    path = gaps(folder, "gaps.nc", values, slice(0, 30))  # six cells of the context are not in the file at all
    assert sample(folder, "--known", path, "--context", str(folder / "c.nc")) == 0
    drawn = read_traffic(folder / "o.nc")
    assert drawn.sizes == {"cell": 36, "time": 150}
    seen = ~np.isnan(values)
    seen[30:] = False
    np.testing.assert_array_equal(drawn["traffic"].values[seen], values[seen])
    assert np.log(drawn["traffic"].values[30:].mean() / values[seen].mean()) == pytest.approx(0.0, abs=1.2)


def test_without_measured_traffic_it_draws_like_any_model(folder: Path) -> None:
    words = ["--context", str(folder / "c.nc"), "--days", "3", "--freq", "30min"]
    assert sample(folder, *words) == 0
    drawn = read_traffic(folder / "o.nc")
    assert drawn["traffic"].attrs["units"] == "1"
    assert drawn.sizes == {"cell": 36, "time": 144}
    assert sample(folder, *words, "--total", "traffic=100MB/day") == 0
    assert read_traffic(folder / "o.nc")["traffic"].values.sum() == pytest.approx(300, rel=1e-3)


def test_users_are_followed(folder: Path) -> None:
    words = ["--context", str(folder / "c.nc"), "--start", "2021-03-02", "--days", "3", "--steps", "1"]
    assert sample(folder, *words, "--users", str(folder / "all.nc")) == 0
    drawn = read_traffic(folder / "o.nc")["traffic"].values
    users = read_traffic(folder / "all.nc")["users"].values[:, 24:96]
    assert np.corrcoef(np.log(drawn.mean(1)), np.log(users.mean(1)))[0, 1] > 0.95


BAD = [
    ("short.nc", "--history", "5 steps; the model reads 16 at a time", 5),
    ("ten.nc", "--history", "this model draws 15 min, 30 min, 60 min, not 10 min", 2),
    ("past.nc", "--known", "everything is measured already", 2),
    ("nothing.nc", "--known", "holds nothing but NaN", 5),
    ("nobody.nc", "--users", "1 values of the users are NaN", 5),
    ("absent.nc", "--history", "no such file", 5),
]


@pytest.mark.parametrize(("name", "option", "message", "code"), BAD)
def test_bad_input_gets_one_clear_line(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, option: str, message: str, code: int
) -> None:
    traffic = read_traffic(folder / "all.nc")
    if name == "short.nc":
        write_traffic(traffic[["traffic"]].isel(time=slice(0, 5)), folder / name)
    elif name == "ten.nc":
        write_traffic(world(minutes=10, days=2)[0][["traffic"]], folder / name)
    elif name == "nothing.nc":
        gaps(folder, name, np.full((36, 150), np.nan))
    elif name == "nobody.nc":
        holes = xr.open_dataset(folder / "all.nc").load()
        holes["users"][2, 3] = np.nan
        holes.to_netcdf(folder / name, engine="h5netcdf")
    more = ["--context", str(folder / "c.nc"), "--start", "2021-03-02", "--days", "2"] if option == "--users" else []
    (folder / "o.nc").unlink(missing_ok=True)
    assert sample(folder, option, str(folder / name), *more) == code
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (folder / "o.nc").exists()


def test_options_that_contradict_each_other_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    past, place = str(folder / "past.nc"), ["--context", str(folder / "c.nc")]
    for words, message in (
        (["--history", past, "--start", "2021-03-09"], "--start does not go with --history"),
        (["--history", past, "--freq", "30min"], "--freq 30min: the measured file is at 60 min"),
        (["--history", past, "--known", past], "give one"),
        (["--history", past, "--total", "traffic=1TB/day"], "--total does not go with --history"),
        (["--known", past, *place, "--start", "2030-01-07"], "nothing is known"),
        (["--users", past], "--users alone names no place"),
        ([*place, "--solver", "ddpm"], "--solver ddpm: choose one of gaussian, dpm++, ddim, unipc"),
    ):
        assert sample(folder, *words) in (2, 3)
        assert message in capsys.readouterr().err
    words = ["sample", "--users", past, *place, "-o", str(folder / "o.nc")]
    assert run(words) == 2
    assert "needs a FoMo" in capsys.readouterr().err


def test_fine_tuning_on_a_new_city_adds_it_and_leaves_frozen_weights(folder: Path) -> None:
    traffic, place = world("elsewhere", seed=9)
    traffic = traffic.assign_coords(location=("cell", np.arange(36) // 4))
    write_traffic(traffic.drop_vars("location"), folder / "new.nc")
    write_context(place, folder / "new-c.nc")
    words = ["finetune", "fomo", "--model", str(folder / "m"), "--traffic", str(folder / "new.nc")]
    words += ["--context", str(folder / "new-c.nc"), "--service", "traffic", "--steps", "3", "--quiet"]
    assert run([*words, "-o", str(folder / "tuned")]) == 0
    before, after = load_fomo(folder / "m"), load_fomo(folder / "tuned")
    assert after.networks == (*before.networks, "elsewhere")
    old, new = before.model.state_dict(), after.model.state_dict()
    for name in ("blocks.0.qkv.weight", "blocks.0.mlp.0.weight", "enter.weight"):
        np.testing.assert_array_equal(old[name], new[name])
    assert not np.array_equal(old["leave.weight"], new["leave.weight"])
    assert not np.array_equal(old["blocks.0.ada.weight"], new["blocks.0.ada.weight"])
    known = json.loads((folder / "tuned" / "provenance.json").read_text())
    assert known["sampler"] == "fomo"
    assert known["fine_tuned_from"]["sha256"] == before.sha256
    few = [*words, "--few", "5%", "--json", "-o", str(folder / "few")]
    assert run(few) == 0
    assert run([*words, "--few", "much", "-o", str(folder / "few")]) == 2


def test_fitting_writes_a_model_that_says_how_it_was_made(folder: Path) -> None:
    words = ["fit", "fomo", "--traffic", str(folder / "all.nc"), "--context", str(folder / "c.nc"), "--size", "0.3m"]
    words += ["--service", "traffic", "--steps", "2", "--batch", "2", "--holdout", "0", "--quiet"]
    assert run([*words, "-o", str(folder / "fitted")]) == 0
    known = json.loads((folder / "fitted" / "provenance.json").read_text())
    assert known["design"]["size"] == "0.3m"
    assert known["steps"] == 2
    assert known["data"][0]["title"]
    assert "gentraffic" in (folder / "fitted" / "README.md").read_text()
    assert not list(folder.glob("*.checkpoint*"))
    assert run([*words, "--size", "3t", "-o", str(folder / "never")]) == 2


def test_loaders_tell_the_kinds_apart(folder: Path) -> None:
    assert load_model(folder / "m").info.networks == ("here", "there")
    with pytest.raises(BadModel, match="holds the model 'fomo'"):
        load_bundle(folder / "m")
    with pytest.raises(BadModel, match="holds no FoMo"):
        load_fomo("stouter-base")
    weights = folder / "m" / "fomo" / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(BadModel, match="differs from its SHA-256"):
        load_model(folder / "m")
    weights.write_bytes(whole)
