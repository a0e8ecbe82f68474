"""Every generator x every capability x every sink: what is supported gives the same bits wherever it goes; what is not
is refused by its name, in Python and on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import xarray as xr
from fomo_examples import tiny_fomo, world

from gentraffic.cli.main import run as command
from gentraffic.errors import BadModel, GentrafficError
from gentraffic.generate.run import File, Memory, Request, run
from gentraffic.generate.store import Store
from gentraffic.generators.base import CAPABILITIES, OTHERS, Unsupported, describe, load_model
from gentraffic.generators.folder import Bundle, save_bundle
from gentraffic.generators.fomo.folder import save_fomo
from gentraffic.generators.naive import NAIVE, fit_naive, save_naive
from gentraffic.io.files import read_traffic, write_context, write_traffic
from gentraffic.modelling.measured import read_source
from samplers import sampler_class, sampler_names

ROOT = Path(__file__).parents[2]
SMALL: dict[str, dict[str, Any]] = {  # arguments that make a sampler small, where its own are large
    "vae": {"channels": 8, "latent": 4},
    "tcn-gan": {"channels": 8, "blocks": 2},
    "diffwave": {"channels": 8, "layers": 4},
}  # fmt: skip
NETWORKS = tuple(sorted(sampler_names()))  # samplers of packages that are installed, too
GENERATORS = (*NETWORKS, *sorted(OTHERS), "student", "follower", "flat")  # flat: of another package
CELLS = 12
PLAIN = Request(days=8, seed=3, members=2)


def place() -> xr.Dataset:
    """The cells of the measured world."""
    return world("here", CELLS)[1].assign_attrs(network="here", place="the tests")


def measured(days: int = 14) -> xr.Dataset:
    """Their traffic, and users."""
    return world("here", CELLS, days)[0]


def gappy() -> xr.Dataset:
    """Two days of it with a cell and some hours missing."""
    ds = measured().drop_vars("users").isel(time=slice(0, 48)).copy(deep=True)
    ds["traffic"][3] = np.nan
    ds["traffic"][6:9, 20:30] = np.nan
    return ds


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples of a stranger's packages, installed as pip installs them."""
    folder = tmp_path_factory.mktemp("site")
    words = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder)]
    copies = []
    for name in ("own_generator", "own_forecaster", "own_sampler"):
        copy = tmp_path_factory.mktemp("source") / name
        copy.mkdir()
        for path in (ROOT / "examples" / name).iterdir():
            if path.is_file():
                (copy / path.name).write_bytes(path.read_bytes())
        copies.append(str(copy))
    subprocess.run([sys.executable, "-m", "pip", *words, *copies], check=True, capture_output=True)
    return folder


def moved(model: Any) -> Any:
    """A network whose last layers are not zero, as after some training."""
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return model.eval()


@pytest.fixture(scope="module")
def models(installed: Path, tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Where each generator is loaded from."""
    folder = tmp_path_factory.mktemp("models")
    source = read_source(measured(), [place()], "traffic")
    for name in NAIVE:
        save_naive(fit_naive(name, [source]), folder / name, "card")
    known: dict[str, Any] = {"place_dim": 32, "time_dim": 32, "width": 8, "dropout": 0.0, "cadences": (1, 2, 6)}
    known["networks"] = len(tiny_bundle.networks)
    tiny_bundle = replace(tiny_bundle, provenance=tiny_bundle.provenance | {"recommended_steps": 2})  # of the solver
    save_bundle(tiny_bundle, folder / "stouter", "card")
    for name in NETWORKS:
        if name == "stouter":
            continue
        kind, design = cast(Any, sampler_class(name)), SMALL.get(name, {})
        save_bundle(replace(tiny_bundle, model=moved(kind(**known, **design)), sampler=name), folder / name, "card")
    stunet: Any = sampler_class("stouter")
    follower = moved(stunet(**known, channels=(8, 8), use_profile=True))
    save_bundle(replace(tiny_bundle, model=follower), folder / "follower", "card")
    told = {"distilled_from": "0", "recommended_steps": 1, "recommended_solver": "gaussian"}
    save_bundle(replace(tiny_bundle, provenance=told), folder / "student", "card")
    save_fomo(tiny_fomo(), folder / "fomo", "card")
    sys.path.insert(0, str(installed))
    try:
        yield {name: name if name == "flat" else str(folder / name) for name in GENERATORS}
    finally:
        sys.path.remove(str(installed))


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of the place, of what is measured there, and of a change."""
    folder = tmp_path_factory.mktemp("inputs")
    files = {name: folder / f"{name}.nc" for name in ("context", "history", "known", "users")}
    write_context(place(), files["context"])
    write_traffic(measured().drop_vars("users"), files["history"])
    gappy().to_netcdf(files["known"], engine="h5netcdf")
    users = measured()[["users"]].isel(time=slice(0, 48))
    write_traffic(users.assign_attrs(measured().attrs), files["users"])
    ds = place()
    point = {"type": "Point", "coordinates": [float(ds.lon[5]), float(ds.lat[5])]}
    more = {"change": "add", "category": "Food", "count": 40}
    features = [{"type": "Feature", "geometry": point, "properties": more}]
    files["change"] = folder / "change.geojson"
    files["change"].write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return files


def asked(capability: str, inputs: dict[str, Path]) -> tuple[Request, list[str]]:
    """A request for one capability, and the words of the same command."""
    short = replace(PLAIN, days=2)  # one window of the sampler; all sinks draw PLAIN in the test below
    if capability in ("history", "known", "users", "change"):
        request = replace(short, start="2021-03-01" if capability == "users" else None)
        words = ["--days", "2", *(["--start", "2021-03-01"] if capability == "users" else [])]
        file = inputs[capability]
        return replace(request, **{capability: file}), [*words, f"--{capability}", str(file)]
    if capability == "services":
        return replace(short, service="internet,call_in"), ["--service", "internet,call_in"]
    if capability == "holidays":  # with Christmas
        return replace(short, holidays="IT", start="2026-12-24"), ["--holidays", "IT", "--start", "2026-12-24"]
    value: Any = {"rhythm": "beta", "steps": 3, "solver": "ddim", "guidance": 1.5, "device": "cpu:0",
                  "precision": "bf16"}[capability]  # fmt: skip
    return replace(short, **{capability: value}), [f"--{capability}", str(value)]


def refused(name: str, capability: str, request: Request) -> Request:
    """The same request with the network that the generator knows."""
    return replace(request, rhythm="there") if capability == "rhythm" and name == "fomo" else request


ASKED = [capability for capability in CAPABILITIES if capability != "workers"]
OF_A_PAST = {"history", "known", "users", "holidays", "guidance"}  # in which a follower differs from stouter
ALIKE = {"diffwave", "tcn-gan", "vae"}  # of which the family is that of stouter, and which differ in few capabilities
DIFFER = {"solver", "services"}
PAIRS = [
    pytest.param(name, capability, marks=[pytest.mark.slow] if name in ALIKE and capability not in DIFFER else [])
    for name in GENERATORS for capability in ASKED if name != "follower" or capability in OF_A_PAST
]  # fmt: skip


@pytest.mark.parametrize(("name", "capability"), PAIRS)
def test_a_capability_is_there_in_every_sink_or_refused_by_name(
    name: str, capability: str, models: dict[str, str], inputs: dict[str, Path], tmp_path: Path
) -> None:
    request, words = asked(capability, inputs)
    request, generator = refused(name, capability, request), load_model(models[name])
    line = ["sample", "--context", str(inputs["context"]), "--model", models[name], "--seed", "3", "--members", "2"]
    if capability not in generator.info.supports:
        for sink in (Memory(), File(tmp_path / "x.nc"), Store(tmp_path / "x.zarr")):
            with pytest.raises(
                Unsupported, match="--service" if capability == "services" else f"--{capability}"
            ) as caught:
                run(request, generator, place(), sink)
            assert caught.value.capability == capability
        assert command([*line, *words, "-o", str(tmp_path / "x.nc"), "--quiet"]) == 2
        assert list(tmp_path.iterdir()) == []
        return
    drawn = run(request, generator, place()).traffic
    run(request, generator, place(), File(tmp_path / "a.nc"))
    run(request, generator, place(), Store(tmp_path / "a.zarr"))
    for path in (tmp_path / "a.nc", tmp_path / "a.zarr"):
        got = read_traffic(path)
        assert set(got.data_vars) == set(drawn.data_vars)
        for variable in drawn.data_vars:
            np.testing.assert_array_equal(got[variable].values, drawn[variable].values)
            assert got[variable].attrs["units"] == drawn[variable].attrs["units"]
    field = "service" if capability == "services" else capability
    plain = replace(request, **{field: "none" if capability == "holidays" else None})
    if capability == "device":  # the CPU under another name
        other = run(plain, generator, place()).traffic
        np.testing.assert_array_equal(other["traffic"].values, drawn["traffic"].values)
    elif capability == "change":
        assert np.abs(drawn["traffic_after"].values - drawn["traffic_before"].values).max() > 0
    elif capability == "known":
        truth = gappy()["traffic"].values
        there = ~np.isnan(truth)
        assert (drawn["traffic"].values[:, there] == truth[there]).all()
    else:
        other = run(plain, generator, place()).traffic
        same = (
            other["traffic"].shape == drawn["traffic"].shape
            and (other["traffic"].values == drawn["traffic"].values).all()
        )
        assert not same, f"--{capability} changes nothing"


@pytest.fixture(scope="session")
def scheduler() -> Iterator[str]:
    """A Dask scheduler and a worker, in this process."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, host="127.0.0.1", protocol="tcp"
    ) as cluster:
        yield str(cluster.scheduler_address)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in ALIKE else []) for name in GENERATORS]
)
def test_all_sinks_hold_the_same_bits(name: str, models: dict[str, str], tmp_path: Path, scheduler: str) -> None:
    generator, ids = load_model(models[name]), tuple(str(i) for i in place()["cell_id"].values[[7, 2, 9]])
    request = replace(PLAIN, total=("traffic=3TB/day", "traffic=0.3TB/busyhour"), select=ids)
    want = run(request, generator, place()).traffic["traffic"]
    assert want.shape == (2, 3, 8 * 24)
    np.testing.assert_allclose(want.values.sum((1, 2), dtype=np.float64) / 8, 3.0, rtol=1e-6)
    run(request, generator, place(), File(tmp_path / "a.nc"))
    run(request, generator, place(), Store(tmp_path / "a.zarr"))
    for path in (tmp_path / "a.nc", tmp_path / "a.zarr"):
        np.testing.assert_array_equal(read_traffic(path)["traffic"].values, want.values)
    if "workers" in generator.info.supports:
        for number, more in enumerate(({"chunk_cells": 2}, {"chunk_cells": 2, "scheduler": scheduler})):
            done = run(request, generator, place(), Store(tmp_path / f"{number}.zarr", **more))
            np.testing.assert_array_equal(read_traffic(tmp_path / f"{number}.zarr")["traffic"].values, want.values)
            assert done.mean == pytest.approx(float(want.mean(dtype=np.float64)), rel=1e-6)
    else:
        with pytest.raises(Unsupported, match="--workers"):
            run(request, generator, place(), Store(tmp_path / "w.zarr", workers=2))
    one = run(PLAIN, generator, place()).traffic["traffic"].values
    assert one.shape[1] == CELLS
    few = run(replace(PLAIN, select=ids), generator, place()).traffic["traffic"].values
    np.testing.assert_array_equal(few, one[:, [7, 2, 9]])
    first = run(replace(PLAIN, members=1), generator, place()).traffic["traffic"].values
    np.testing.assert_array_equal(first, one[0])


@pytest.mark.parametrize("freq", ["1h", "30min", "15min", "10min"])
@pytest.mark.parametrize("name", GENERATORS)
def test_cadences_are_drawn_or_refused(name: str, freq: str, models: dict[str, str], tmp_path: Path) -> None:
    generator, minutes = load_model(models[name]), {"1h": 60}.get(freq) or int(freq.removesuffix("min"))
    request = replace(PLAIN, days=1, members=1, freq=freq)
    if minutes in generator.info.cadences:
        assert run(request, generator, place()).traffic["traffic"].shape == (CELLS, 1440 // minutes)
        return
    for sink in (Memory(), File(tmp_path / "x.nc"), Store(tmp_path / "x.zarr")):
        with pytest.raises(Unsupported, match=f"not {minutes} min") as caught:
            run(request, generator, place(), sink)
        assert caught.value.capability == "freq"


@pytest.mark.parametrize("name", GENERATORS)
def test_what_is_described_is_what_is_loaded(name: str, models: dict[str, str]) -> None:
    assert describe(models[name]) == load_model(models[name]).info


@pytest.mark.parametrize("name", GENERATORS)
def test_the_name_of_the_variable_and_bad_numbers(name: str, models: dict[str, str]) -> None:
    generator = load_model(models[name])
    small = replace(PLAIN, days=1, members=1)
    assert list(run(replace(small, service="internet"), generator, place()).traffic) == ["internet"]
    for bad in ({"members": 0}, {"seed": -1}, {"days": 0}, {"freq": "7min"}, {"guidance": -1.0}, {"select": ("x",)}):
        with pytest.raises(GentrafficError, match=f"--{next(iter(bad))}"):
            run(replace(small, **bad), generator, place())  # type: ignore[arg-type]


def test_a_strangers_sampler_is_fitted_and_drawn_with(
    installed: Path, inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example is the code that CONTRIBUTING.md prints; trained with the rules of stouter, loaded, drawn; without
    its package, its folder says what is missing."""
    own = str(tmp_path / "own")
    monkeypatch.setattr("gentraffic.training.fitting.pretrain", lambda *args, **more: iter(()))  # takes seconds
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(installed)])
    with monkeypatch.context() as patch:
        patch.syspath_prepend(installed)
        line = ["fit", "affine", "--traffic", str(inputs["history"]), "--context", str(inputs["context"])]
        assert command([*line, "--steps", "2", "--holdout", "0", "-o", own, "--quiet"]) == 0
        loaded: Any = load_model(own)
        assert type(loaded.model).__module__ == "affine_sampler"
        assert loaded.weeks.networks
        assert describe(own).fixed == {"steps": 1}
        drawn = run(replace(PLAIN, days=1), loaded, place()).traffic["traffic"].values
        assert np.isfinite(drawn).all()
        assert (drawn[0] != drawn[1]).mean() > 0.9
    with pytest.raises(BadModel, match=r"holds the model 'affine': .* or install the package that has it"):
        load_model(own)
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert (ROOT / "examples/own_sampler/affine_sampler.py").read_text(encoding="utf-8") in page


@pytest.mark.slow
def test_a_strangers_packages_serve_the_command_line(installed: Path, inputs: dict[str, Path], tmp_path: Path) -> None:
    """In processes of their own, as pip has installed them."""

    def gentraffic(*words: object) -> None:
        path = f"{installed}:{ROOT}"
        done = subprocess.run(
            [sys.executable, "-m", "gentraffic", *map(str, words), "--quiet"], cwd=tmp_path, check=False,
            capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": path},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    gentraffic("sample", "--model", "flat", "--context", inputs["context"], "--days", "14", "-o", "flat.nc")
    drawn = read_traffic(tmp_path / "flat.nc")["traffic"].values
    pois = place()["poi_count"].values.sum(1) + 1.0
    day = 1 + np.cos(2 * np.pi * (np.arange(14 * 24) % 24 - 18) / 24)
    np.testing.assert_allclose(drawn / drawn.mean(1, keepdims=True), day[None].repeat(CELLS, 0), atol=1e-5)
    surprise = np.log(drawn.mean(1) / (pois / pois.mean()))  # what its lines say: normal, 0.3 wide
    assert 0.1 < surprise.std() < 0.6
    gentraffic("forecast", "fit", "weighted-mean", "--traffic", inputs["history"], "-o", "m", "--steps", "50")
    gentraffic("forecast", "run", "--model", "m", "--history", inputs["history"], "-o", "next.nc")
    last = read_traffic(inputs["history"])["traffic"].values[:, -6:]
    ahead = read_traffic(tmp_path / "next.nc")["traffic"].values[:, 0]
    assert (ahead <= last.max(1) * 1.001).all()
    assert (ahead >= last.min(1) * 0.999).all()
