"""What the command line draws, to the last bit: hashes from before a change, to prove the same bits after it.

Only the commands are called, never a module, so the test says the same wherever the code lies. Arithmetic differs from
one kind of processor to another: tests/conftest.py has torch use what x86 processors have in common, golden.json holds
hashes for each kind, and an unknown kind skips. On such a machine

    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 python tests/contracts/test_golden.py

writes its entry; do so on a commit whose bits are trusted, such as one where another machine's entry holds.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).with_name("golden.json")
MONACO = ["sample", "--city", "monaco", "--offline"]
CHOSEN = "320019369001494,320019369001490,320019375001493"  # not in the order of the file
FAST = [*MONACO, "--model", "stouter-fast", "--days", "8"]
BASE = [*MONACO, "--model", "stouter-base", "--days", "2", "--steps", "4"]
FOMO = ["sample", "--model", "fomo-base", "--steps", "4"]


def machine() -> str:
    """The kind of this machine, as far as it decides the bits."""
    return f"{platform.machine()} torch-{torch.__version__} {torch.backends.cpu.get_cpu_capability()}"


def gentraffic(*words: str) -> None:
    """Run the command of this checkout on one thread: sums over more threads round in another order.

    In this process where it has one thread, else in one of its own, which takes two seconds to begin."""
    if os.environ.get("OMP_NUM_THREADS") == "1":
        from gentraffic.cli.main import run

        assert run([*words, "--quiet"]) == 0
        return
    more = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "gentraffic", *words, "--quiet"], cwd=ROOT, env={**os.environ, **more}, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, f"gentraffic {' '.join(words)}: {done.stderr}"


def read(path: Path) -> xr.Dataset:
    """A drawn file, loaded."""
    if path.suffix in (".csv", ".parquet"):
        from gentraffic import read_traffic

        return read_traffic(path)
    with xr.open_zarr(path) if path.suffix == ".zarr" else xr.open_dataset(path) as ds:
        return ds.load()


def sha256(path: Path) -> str:
    """The hash of the numbers in a drawn file: its traffic variables by name, each as (member, cell, time)."""
    ds = read(path)
    names = sorted(str(name) for name in ds.data_vars if {"cell", "time"} <= set(ds[name].dims))
    assert names, f"{path.name} holds no traffic"
    found = hashlib.sha256()
    for name in names:
        values = ds[name].transpose("member", "cell", "time", missing_dims="ignore").values
        assert values.dtype in (np.float32, np.float64), values.dtype
        assert values.size > 0
        assert np.isfinite(values).all()
        found.update(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes())
    return found.hexdigest()


class Inputs:
    """Files that several cases start from, each made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _once(self, name: str, make: Callable[[Path], None]) -> str:
        path = self.folder / name
        if not path.exists():
            make(path)
        return str(path)

    def _cut(self, name: str, change: Callable[[xr.Dataset], xr.Dataset]) -> str:
        def make(path: Path) -> None:
            change(read(Path(self.traffic()))).to_netcdf(path, engine="h5netcdf")

        return self._once(name, make)

    def traffic(self) -> str:
        """Eight days of all cells of Monaco: what the case fast-nc draws."""
        return self._once("fast-nc.nc", lambda path: gentraffic(*FAST, "-o", str(path)))

    def context(self) -> str:
        """The POIs of the same cells."""
        return self._once("context.nc", lambda path: gentraffic("fetch", "--city", "monaco", "-o", str(path)))

    def history(self) -> str:
        """Some cells without the last day."""
        return self._cut("history.nc", lambda ds: ds.isel(cell=slice(40, 64), time=slice(96, -24)))

    def known(self) -> str:
        """Two days of some cells with holes: a whole cell, and ten hours of six others."""

        def holes(ds: xr.Dataset) -> xr.Dataset:
            ds = ds.isel(cell=slice(40, 64), time=slice(0, 48)).copy(deep=True)
            ds["traffic"][3] = np.nan
            ds["traffic"][10:16, 20:30] = np.nan
            return ds

        return self._cut("known.nc", holes)

    def model(self, sampler: str, *words: str) -> str:
        """A model fitted on `traffic`."""
        data = ["--traffic", self.traffic(), "--context", self.context(), "--threads", "1"]
        return self._once(sampler, lambda path: gentraffic("fit", sampler, *data, *words, "-o", str(path)))


Words = Callable[[Inputs], list[str]]
CASES: dict[str, tuple[str, str, Words]] = {  # case -> the hash it must have, the suffix of its file, its words
    "fast-nc": ("stouter-fast", ".nc", lambda _: FAST),
    "fast-zarr": ("stouter-fast", ".zarr", lambda _: FAST),
    "fast-zarr-workers": ("stouter-fast", ".zarr", lambda _: [*FAST, "--workers", "2", "--chunk-cells", "50"]),
    "fast-csv": ("stouter-fast", ".csv", lambda _: FAST),
    "fast-parquet": ("stouter-fast", ".parquet", lambda _: FAST),
    "base-members": ("stouter-base-members", ".nc", lambda _: [*BASE, "--members", "3", "--seed", "1"]),
    "base-total": ("stouter-base-total", ".nc", lambda _: [*BASE, "--total", "traffic=5TB/day"]),
    "base-select": ("stouter-base-select", ".nc", lambda _: [*BASE, "--select", CHOSEN]),
    "fomo": ("fomo", ".nc", lambda _: [*FOMO, *MONACO[1:], "--select", CHOSEN, "--days", "2"]),
    "fomo-history": ("fomo-history", ".nc", lambda at: [*FOMO, "--history", at.history(), "--days", "1"]),
    "fomo-known": ("fomo-known", ".nc", lambda at: [*FOMO, "--known", at.known(), "--context", at.context()]),
    "bootstrap": ("bootstrap", ".nc", lambda at: [*MONACO, "--model", at.model("bootstrap"), "--days", "2"]),
    "knn": ("knn", ".nc", lambda at: [*MONACO, "--model", at.model("knn"), "--days", "2"]),
    "stouter-fitted": (
        "stouter-fitted", ".nc",
        lambda at: [*MONACO, "--model", at.model("stouter", "--steps", "3", "--batch", "8", "--holdout", "0"),
                    "--days", "2", "--steps", "2"],
    ),
}  # fmt: skip
SLOW = {"stouter-fitted"}


def draw(case: str, inputs: Inputs) -> str:
    """Draw a case and hash it."""
    _, suffix, words = CASES[case]
    path = inputs.folder / f"{case}{suffix}"
    if not path.exists():  # fast-nc is an input of others as well
        gentraffic(*words(inputs), "-o", str(path))
    return sha256(path)


def golden() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else {}
    return found


@pytest.fixture(scope="module")
def expected() -> dict[str, str]:
    known = golden()
    if machine() not in known:
        pytest.skip(f"golden.json has no hashes for {machine()!r}: `python tests/contracts/test_golden.py` adds them")
    return known[machine()]


@pytest.fixture(scope="module")
def inputs(expected: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return Inputs(tmp_path_factory.mktemp("golden"))


@pytest.mark.parametrize("case", [pytest.param(c, marks=pytest.mark.slow) if c in SLOW else c for c in CASES])
def test_the_bits_are_those_of_before(case: str, inputs: Inputs, expected: dict[str, str]) -> None:
    assert draw(case, inputs) == expected[CASES[case][0]]


def write() -> None:
    """Take the hashes of this machine into golden.json."""
    sys.path.insert(0, str(ROOT))
    hashes: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        inputs = Inputs(Path(folder))
        for case, (name, _, _) in CASES.items():
            began = time.monotonic()
            found = draw(case, inputs)
            print(f"{case:20} {found[:16]} {time.monotonic() - began:5.1f} s", flush=True)
            assert hashes.setdefault(name, found) == found, f"{case} differs from the other draws of {name}"
    text = json.dumps({**golden(), machine(): hashes}, indent=1, sort_keys=True)
    GOLDEN.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    write()
