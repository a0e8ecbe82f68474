"""What a denoiser leaves open, against the spectrum of what was left open on purpose."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_examples import source, tiny_bundle
from scipy.signal import periodogram
from torch import Tensor

from gentraffic.generators.folder import load_bundle, save_bundle
from gentraffic.modelling.features import Scaler
from gentraffic.modelling.measured import Source
from gentraffic.privacy.dp.sgd import clone_untrained
from gentraffic.training.residual_spectrum import fit_residual_spectrum, set_residual_spectrum
from gentraffic.training.sampler_task import Plan, Prepared, prepare
from samplers import WEEK, Condition, Noise

SCALER = Scaler(mean=0.0, spread=1.0, detail={})
TIME = torch.zeros(WEEK, 4)
PLAN = Plan(batch=64)


def one_week(network: str, spread: float, seed: int) -> Source:
    """Cells of one week, so that every window of a cell is the same series; log-normal about MEAN."""
    made = source(network, 32, 7, seed=seed)
    logs = MEAN + spread * np.random.default_rng(seed).normal(size=(32, WEEK))
    ratio = np.exp(logs).astype(np.float32).reshape(32, 7, 24)
    return replace(made, ratio=ratio, clean=ratio, weekday=0, places=None, rows=np.zeros(32, dtype=np.int64))


MEAN = np.sin(2 * np.pi * np.arange(WEEK) / 24)


class Knows:
    """Predicts MEAN as the network is told of it: half of it where it is told none."""

    def __init__(self, kind: str) -> None:
        self.noise = Noise(prediction_type=kind)

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        a = self.noise.scheduler().alphas_cumprod[t][:, None]
        share = torch.where(condition.network > 0, 1.0, 0.5)[:, None]
        clean = share * torch.from_numpy(MEAN).float()
        eps = (x_t - a.sqrt() * clean) / (1 - a).sqrt()
        return {"sample": clean, "epsilon": eps, "v_prediction": a.sqrt() * eps - (1 - a).sqrt() * clean}[
            self.noise.prediction_type
        ]


def prepared(*sources: Source) -> list[Prepared]:
    return prepare(sources, lambda s: np.zeros((1, 1), np.float32), None, [s.network for s in sources], 3)


@pytest.mark.parametrize("kind", ["sample", "epsilon", "v_prediction"])
def test_it_is_the_power_of_weeks_about_what_is_predicted(kind: str) -> None:
    quiet, busy = one_week("quiet", 0.2, 0), one_week("busy", 0.6, 1)
    rest = np.array(fit_residual_spectrum(Knows(kind), prepared(quiet, busy), TIME, SCALER, PLAN))
    assert rest.shape == (3, 85)
    for row, of in zip(rest[1:], (quiet, busy), strict=True):
        apart = SCALER.forward(of.ratio.reshape(32, WEEK), np.zeros(32)) - MEAN
        density = periodogram(apart, detrend=False, scaling="density")[1].mean(0)
        density[1:-1] /= 2  # scipy adds the negative frequencies to these
        # windows are drawn from the cells with replacement, 512 of 32; epsilon tells a clean series badly, by noise
        assert np.corrcoef(row, density)[0, 1] > (0.6 if kind == "epsilon" else 0.9)
        assert row.mean() == pytest.approx(density.mean(), rel=0.1)
    daily = rest[0, 7] - (rest[1, 7] + rest[2, 7]) / 2  # half of the mean day is open where no network is told
    assert daily == pytest.approx(0.25 * WEEK / 4, rel=0.25)


def test_windows_with_gaps_do_not_count_and_a_network_of_nothing_else_is_as_all() -> None:
    whole, gaps = one_week("whole", 0.2, 0), one_week("gaps", 0.6, 1)
    ratio = gaps.ratio.copy()
    ratio[:, 3, 5] = np.nan
    broken = replace(gaps, ratio=ratio, clean=ratio)
    both = np.array(fit_residual_spectrum(Knows("sample"), prepared(whole, broken), TIME, SCALER, PLAN))
    alone = np.array(fit_residual_spectrum(Knows("sample"), prepared(whole), TIME, SCALER, PLAN))
    np.testing.assert_allclose(both[:2], alone)
    np.testing.assert_allclose(both[2], alone[0])
    assert fit_residual_spectrum(Knows("sample"), prepared(broken), TIME, SCALER, PLAN) == ((1.0,) * 85,) * 2


def test_it_is_measured_by_a_fit_saved_and_handed_on(tmp_path: Path) -> None:
    bundle = tiny_bundle()
    model = bundle.model
    rest = model.noise.rest  # type: ignore[attr-defined]
    assert np.shape(rest) == (4, 85)
    assert not np.allclose(rest, 1.0)
    save_bundle(bundle, tmp_path / "m", "card")
    assert load_bundle(tmp_path / "m").model.noise.rest == rest  # type: ignore[attr-defined]
    wider = clone_untrained(model, networks=4)  # as private training does for a new network
    assert wider.noise.rest == (*rest, rest[0])
    set_residual_spectrum(wider, ((2.0,) * 85,) * 5)
    assert wider.noise.rest == ((2.0,) * 85,) * 5
    assert wider.config["rest"] == ((2.0,) * 85,) * 5
