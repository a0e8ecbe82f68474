"""A network that draws the level itself: what it is trained on and told, and that nothing else gives a level."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bundle_examples import DESIGN, PLAN, context, short_graphs, source
from torch import Tensor

from gentraffic.api.models import FitOptions
from gentraffic.cli.main import run
from gentraffic.dataset.calendar import make_calendar
from gentraffic.errors import WrongUse
from gentraffic.generators.folder import Bundle, load_bundle, save_bundle
from gentraffic.generators.weekly import Settings, draw_traffic
from gentraffic.modelling.features import Scaler
from gentraffic.modelling.levels import LevelModel
from gentraffic.privacy.audit.weekly import cell_losses
from gentraffic.privacy.dp.accounting import Privacy
from gentraffic.privacy.dp.fit import fit_private_stouter
from gentraffic.training.distilling import distil
from gentraffic.training.fitting import Design, fit_sampler, fit_scaler, plan_for
from gentraffic.training.options import design_of
from gentraffic.training.sampler_task import batch_of, prepare
from samplers import Condition, Noise
from samplers.diffusion import denoising_losses

OWN = replace(DESIGN, own_level=True)
FORTNIGHT = make_calendar("2026-01-08", 14, "1h", "UTC")


class Constant:
    """A denoiser whose answer is one number, whatever it is asked; it remembers the levels that it was told."""

    noise = Noise(prediction_type="sample")
    series_at_once = 128
    cadences = (1,)

    def __init__(self, answer: float) -> None:
        self.answer = answer
        self.told: list[Tensor] = []

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        self.told.append(condition.level)
        return torch.full_like(x_t, self.answer)

    def losses(self, x: Tensor, condition: Condition, seed: int) -> Tensor:
        return denoising_losses(self, self.noise, x, condition, seed)


class Unasked(LevelModel):
    """A level model that nobody may ask for a level."""

    def draw(self, *asked: Any) -> Any:
        raise AssertionError("the level model was asked")

    standard = draw


@pytest.fixture(scope="module")
def own() -> Bundle:
    """A network that was really fitted so, and whose level model must not be asked."""
    with short_graphs():
        bundle, _ = fit_sampler([source("alpha")], design=OWN, plan=replace(PLAN, steps=150))
    levels = Unasked(**{f.name: getattr(bundle.levels, f.name) for f in fields(bundle.levels)})
    return replace(bundle, levels=levels)


@pytest.mark.parametrize("network", ["", "alpha"])
@pytest.mark.parametrize("answer", [-1.5, 0.0, 2.0])
def test_a_constant_network_draws_exactly_that_level(own: Bundle, network: str, answer: float) -> None:
    model: Any = Constant(answer)
    scaler = Scaler(mean=0.3, spread=0.7, own_level=True)
    recipe = Settings(steps=2, members=3, solver="ddim")  # gaussian would add noise to what is constant
    got = draw_traffic(replace(own, model=model, scaler=scaler), context(9, network), FORTNIGHT, recipe)
    np.testing.assert_allclose(got, max(np.exp(0.3 + 0.7 * answer) - 0.05, 0.0), rtol=1e-5)
    assert all((told == 0).all() for told in model.told)


def test_training_weeks_are_over_the_mean_cell_of_their_network_and_no_level_is_told() -> None:
    alpha = source("alpha")
    over = alpha.over(float(alpha.level.mean()))
    np.testing.assert_allclose(over.hourly(), alpha.hourly(), rtol=1e-5)
    np.testing.assert_allclose(over.ratio.mean((1, 2)), alpha.level / alpha.level.mean(), rtol=1e-5)
    scaler = fit_scaler([over], own_level=True)
    assert scaler.own_level
    every = scaler.forward(over.ratio[:, :7].reshape(-1, 168))
    assert abs(every.mean()) < 0.05
    assert abs(every.std() - 1) < 0.05
    ready = prepare([over], lambda s: np.zeros((len(s.ratio), 3), dtype=np.float32), None, ("alpha",), 3)
    x, condition, _ = batch_of(ready, torch.zeros(168, 4), scaler, replace(PLAN, batch=256), 0)
    assert (condition.level == 0).all()
    levels = np.log(scaler.inverse(x[:, :168].numpy()).mean(1))  # which the weeks themselves hold
    assert abs(levels.std() - np.log(alpha.level).std()) < 0.1


def test_a_fitted_network_draws_the_levels_of_its_networks_and_keeps_to_it_when_saved(
    own: Bundle, tmp_path: Path
) -> None:
    alpha = source("alpha")
    recipe = Settings(steps=4, members=4)
    calendar = make_calendar("2026-01-07", 7, "1h", "Europe/Rome")
    got = draw_traffic(own, context(32, "alpha"), calendar, recipe)
    level, real = np.log(got.mean(axis=2)), np.log(alpha.level / alpha.level.mean())
    assert abs(level.mean() - real.mean()) < 0.5
    assert 0.5 < level.std() / real.std() < 1.6  # relative to the cell's own mean, no level would be told apart
    save_bundle(replace(own, levels=LevelModel(own.levels.networks)), tmp_path / "m", "card")
    again = load_bundle(tmp_path / "m")
    assert again.scaler == own.scaler
    np.testing.assert_array_equal(draw_traffic(again, context(32, "alpha"), calendar, recipe), got)


def test_its_loss_is_that_of_weeks_that_hold_the_level(own: Bundle) -> None:
    model: Any = Constant(0.0)  # of the series itself: the error is its mean square
    alpha, scaler = source("alpha"), own.scaler
    got = cell_losses(replace(own, model=model), alpha)
    weeks = alpha.hourly() / own.levels.networks["alpha"].mean_traffic
    weeks = weeks[:, : weeks.shape[1] // 168 * 168].reshape(len(got), -1)
    expected = ((np.log(weeks + 0.05) - scaler.mean) / scaler.spread) ** 2
    np.testing.assert_allclose(got, expected.mean(1), rtol=1e-4)
    assert all((told == 0).all() for told in model.told)


def test_what_makes_no_sense_is_refused(own: Bundle) -> None:
    with pytest.raises(WrongUse, match="own_level does not go with use_profile"):
        fit_sampler([source("alpha")], design=replace(OWN, use_profile=True), plan=PLAN)
    with pytest.raises(WrongUse, match="cannot be distilled"):
        distil(own, [])
    privacy = Privacy(epsilon=4.0, delta=1e-5)
    for given in ({"design": OWN}, {"start": own}):
        with pytest.raises(WrongUse, match="no private training"):
            fit_private_stouter([], privacy, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sampler", "asked", "own_level"),
    [
        ("stouter", {}, False),
        ("diffwave", {}, True),
        ("vae", {}, True),
        ("tcn-gan", {}, True),
        ("diffwave", {"level": "model"}, False),
        ("stouter", {"level": "network"}, True),
        ("vae", {"profile": True}, False),
    ],
)
def test_baselines_draw_levels_as_published_unless_told_a_past(
    sampler: str, asked: dict[str, Any], own_level: bool
) -> None:
    assert design_of(sampler, FitOptions(**asked)).own_level is own_level


def test_flags_that_exclude_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(WrongUse, match="--level network does not go with --profile"):
        design_of("vae", FitOptions(level="network", profile=True))
    for name in ("fomo", "bootstrap"):
        assert run(["fit", name, "--traffic", "t.nc", "-o", str(tmp_path / "m"), "--level", "model"]) == 2
        err = capsys.readouterr().err
        assert f"--level model: {name} " in err
        assert len(err.splitlines()) == 1


def test_what_tells_levels_by_the_place_sees_more_of_it() -> None:
    for name in ("vae", "diffwave"):
        own, told = (plan_for(Design(sampler=name, own_level=mine)) for mine in (True, False))
        assert own.place_noise < told.place_noise
        assert own.place_keep > told.place_keep
        assert replace(own, place_noise=told.place_noise, place_keep=told.place_keep) == told
