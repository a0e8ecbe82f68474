"""What every family learns in a few steps, to the last bit: hashes of weights and of what the run tells.

As test_golden.py, for training: trained.json holds hashes for each kind of machine, and an unknown kind skips. There

    OMP_NUM_THREADS=1 PYTHONPATH=.:tests/support python tests/contracts/test_trained_bits.py

with the processor's settings of test_golden.py writes its entry; do so on a commit whose bits are trusted.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import bundle_examples
import fomo_examples
import forecast_examples
import numpy as np
import pytest
import torch

from gentraffic.forecasting.data import split, whole
from gentraffic.forecasting.fit import fit_forecaster
from gentraffic.forecasting.tstr import plan_for
from gentraffic.forecasting.weighted import fit_weighted
from gentraffic.privacy.dp import fit as private_fitting
from gentraffic.privacy.dp.accounting import Privacy, Secret
from gentraffic.privacy.dp.fit import PrivateSource, fit_private_stouter
from gentraffic.privacy.dp.sgd import PrivatePlan
from gentraffic.training import distilling, fitting
from gentraffic.training.fitting import Design, fit_sampler
from gentraffic.training.fomo_fitting import FoMoDesign, finetune_fomo, fit_fomo
from samplers import fomo

ROOT = Path(__file__).parents[2]
FOUND = Path(__file__).with_name("trained.json")
STEPS = 6
Found = tuple[torch.nn.Module, dict[str, Any]]


def machine() -> str:
    """The kind of this machine, as far as it decides the bits."""
    return f"{platform.machine()} torch-{torch.__version__} {torch.backends.cpu.get_cpu_capability()}"


@contextmanager
def quick() -> Iterator[None]:
    """Graphs that learn for a moment, and a tiny FoMo."""
    graphs = fitting.fit_graphs
    few = lambda *of, **more: graphs(*of, **more | {"steps": 5})  # noqa: E731
    with (
        mock.patch.object(fitting, "fit_graphs", few),
        mock.patch.object(private_fitting, "fit_graphs", few),
        mock.patch.object(distilling, "LESSONS", 4),
        mock.patch.dict(fomo.SIZES, {"tiny": {"width": 24, "depth": 1, "heads": 2}}),
    ):
        yield


def sampler(name: str, held: int = 1, **design: Any) -> Found:
    """A sampler of weeks, judged on held-out cells unless `held` is 0."""
    plan = replace(fitting.plan_for(Design(sampler=name)), steps=STEPS, batch=8, warmup=2, check_every=2)
    bundle, told = fit_sampler(
        bundle_examples.sources(),
        held_out=[bundle_examples.source("alpha", 8, 7, seed=9)] * held,
        design=replace(bundle_examples.DESIGN, sampler=name, **design),
        plan=plan,
    )
    return bundle.model, told


def foundation(again: bool = False, **changes: Any) -> Found:
    """FoMo, and with `again` the same made finer on a network that it does not know."""
    plan = replace(fomo_examples.PLAN, steps=STEPS, batch=4, check_every=4, **changes)
    worlds = fomo_examples.data(fomo_examples.world("here"), fomo_examples.world("there", cells=20, seed=3))
    bundle, told = fit_fomo(worlds[: 1 if again else 2], design=FoMoDesign(size="tiny"), plan=plan)
    if again:
        bundle, told = finetune_fomo(bundle, worlds[1:], plan=replace(plan, frozen=True, seed=3))
    return bundle.model, told


def forecaster(name: str, shares: tuple[float, float] | None = None, *, judged: bool = True) -> Found:
    """A forecaster of two networks."""
    plan = replace(forecast_examples.QUICK, steps=STEPS, batch=16, check_every=2)
    nets = [forecast_examples.network(seed=seed) for seed in (0, 1)]
    parts = [split(net) for net in nets]
    later = [part[1] for part in parts] if judged else ()
    fitted = fit_forecaster(name, [part[0] for part in parts], later, plan, shares=shares)
    return fitted.model, fitted.metadata


def weighted() -> Found:
    """Sim-MSTNet's rounds."""
    train, later, _ = split(forecast_examples.network(cols=2))
    drawn = [whole(forecast_examples.network(cols=2, seed=seed)) for seed in (1, 2)]
    fitted = fit_weighted([train], [later], drawn, replace(plan_for("sim-mstnet", 6), batch=16))
    return fitted.model, fitted.metadata


def student() -> Found:
    """A distilled student of an untrained teacher."""
    teacher, _ = fit_sampler(
        bundle_examples.sources(), design=bundle_examples.DESIGN, plan=replace(bundle_examples.PLAN, steps=1)
    )
    places = [s.places for s in bundle_examples.sources() if s.places is not None]
    plan = replace(distilling.DISTIL_PLAN, steps=STEPS, batch=4, warmup=2, check_every=4)
    bundle, told = distilling.distil(teacher, places, plan=plan)
    return bundle.model, told


def private() -> Found:
    """DP-SGD, its noise from a secret that is known."""
    s = bundle_examples.source("alpha", 64, 14)
    rows = np.arange(64)
    told_of = PrivateSource(s, rows, rows // 4, np.where(rows == 5, -1, rows), s.cell_id)
    bundle, told = fit_private_stouter(
        [told_of],
        Privacy(8.0, 1e-3, level_range=(0.01, 100.0)),
        design=bundle_examples.DESIGN,
        plan=PrivatePlan(steps=4, batch=8.0),
        secret=Secret(b"of the tests"),
    )
    return bundle.model, told


CASES: dict[str, Callable[[], Found]] = {
    "stouter": lambda: sampler("stouter"),
    "stouter-alone": lambda: sampler("stouter", held=0),
    "stouter-profile": lambda: sampler("stouter", use_profile=True),
    "stouter-own-level": lambda: sampler("stouter", own_level=True),
    "vae": lambda: sampler("vae"),
    "tcn-gan": lambda: sampler("tcn-gan"),
    "diffwave": lambda: sampler("diffwave"),
    "fomo": foundation,
    "fomo-contrast": lambda: foundation(contrast=0.1),
    "fomo-finetuned": lambda: foundation(again=True),
    "lstm": lambda: forecaster("lstm"),
    "lstm-shares": lambda: forecaster("lstm", (3.0, 1.0)),
    "stn-alone": lambda: forecaster("stn", judged=False),
    "stn-tf": lambda: forecaster("stn-tf"),
    "stn-slstm-day": lambda: forecaster("stn-slstm-day"),
    "sim-mstnet": lambda: forecaster("sim-mstnet"),
    "sim-mstnet-weighted": weighted,
    "student": student,
    "private": private,
}
TOLD = ("steps", "best_step", "validation", "loss", "weights", "batches", "outer", "likeness", "privacy")


def digest(found: Found) -> str:
    """The hash of a model's state and of what its training tells."""
    model, told = found
    sha = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        sha.update(name.encode() + value.detach().contiguous().numpy().tobytes())
    sha.update(json.dumps({key: told[key] for key in TOLD if key in told}, sort_keys=True).encode())
    return sha.hexdigest()


def known() -> dict[str, dict[str, str]]:
    """Hashes by machine and case."""
    found: dict[str, dict[str, str]] = json.loads(FOUND.read_text(encoding="utf-8")) if FOUND.exists() else {}
    return found


@pytest.fixture(scope="module")
def hashes() -> dict[str, str]:
    """Those of this commit, from another process: how many threads numpy takes is settled when it is imported."""
    more = {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'support'}"}
    done = subprocess.run(
        [sys.executable, __file__, "print"], cwd=ROOT, env={**os.environ, **more}, check=False, capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def expected() -> dict[str, str]:
    """Those of before."""
    if machine() not in known():
        pytest.skip(f"{FOUND.name} has no hashes for {machine()!r}: this file, run as a program, adds them")
    return known()[machine()]


@pytest.mark.parametrize("case", CASES)
def test_training_gives_the_bits_of_before(case: str, expected: dict[str, str], hashes: dict[str, str]) -> None:
    assert hashes[case] == expected[case]


if __name__ == "__main__":
    with quick():
        now = {case: digest(run()) for case, run in CASES.items()}
    if sys.argv[1:] == ["print"]:
        print(json.dumps(now))
    else:
        FOUND.write_text(f"{json.dumps({**known(), machine(): now}, indent=1, sort_keys=True)}\n", encoding="utf-8")
