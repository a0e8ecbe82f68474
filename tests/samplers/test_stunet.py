"""What every denoiser of `samplers.SAMPLERS`, and a stranger's, keeps, and what STUNet makes of its condition."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gaussian_denoiser import seeds
from own_samplers import EVERY, class_named
from torch import Tensor

from samplers import WEEK, Condition, STUNet, draw
from samplers.layers import FUSIONS

TINY = {"place_dim": 3, "time_dim": 4, "networks": 2, "width": 8, "dropout": 0.0}
SMALL: dict[str, dict[str, Any]] = {
    "stouter": {"channels": (8, 8)},
    "diffwave": {"channels": 8, "layers": 4},
}  # arguments that make a denoiser small, where its own are large
DENOISERS = [name for name in EVERY if not hasattr(class_named(name), "noise_size")]
LOSSES = [  # of those whose loss may be another than the mean square
    (name, loss_type)
    for name in DENOISERS
    for loss_type in ("mse", "l1")
    if loss_type == "mse" or "loss_type" in inspect.signature(class_named(name)).parameters
]


def make(name: str = "stouter", **changes: Any) -> STUNet:
    torch.manual_seed(0)
    kind = class_named(name)
    model: STUNet = kind(**{**TINY, **SMALL.get(name, {}), **changes}).eval()
    return model


def shaken(name: str = "stouter", **changes: Any) -> STUNet:
    """A sampler whose last layers are no longer zero, as after some training."""
    model = make(name, **changes)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return model


def batch(b: int = 3, k: int = 1, seed: int = 0) -> tuple[Tensor, Condition]:
    """A clean series (B, 168 k) and a condition with times of its own for every series."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(b, WEEK * k, generator=g)
    return x, Condition(
        place=torch.randn(b, 3, generator=g),
        time=torch.randn(b, WEEK * k, 4, generator=g),
        level=torch.stack([torch.randn(b, generator=g), torch.ones(b)], 1),
        network=torch.arange(b) % 3,
    )


def steps_of(b: int) -> Tensor:
    return torch.linspace(3, 996, b).long()


def first_days_known(x: Tensor, k: int = 1) -> Tensor:
    known = torch.full_like(x, torch.nan)
    known[:, : 24 * k] = x[:, : 24 * k]
    return known


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("k", [1, 2, 4, 6])
def test_output_has_the_shape_of_the_series_and_is_zero_at_the_start(name: str, k: int) -> None:
    x, condition = batch(k=k)
    out = make(name)(x, steps_of(3), condition)
    assert out.shape == x.shape
    assert (out == 0).all()
    assert shaken(name)(x, steps_of(3), condition).std() > 0.001


@pytest.mark.parametrize("name", DENOISERS)
@pytest.mark.parametrize("changes", [{}, {"use_time": False}, {"use_place": False}])
def test_gradient_reaches_every_parameter(name: str, changes: dict[str, Any]) -> None:
    model = shaken(name, **changes)
    for k in (1, 2, 4, 6):
        x, condition = batch(k=k)
        condition = condition.with_known(first_days_known(x, k))
        model.loss(x, condition, torch.Generator().manual_seed(1)).backward()  # type: ignore[no-untyped-call]
    without = {n for n, p in model.named_parameters() if p.grad is None or not (p.grad != 0).any()}
    off = {"use_time": "of_time.", "use_place": "of_place."}
    expected = {n for n, _ in model.named_parameters() if any(off[c] in n for c in changes if c in off)}
    assert without == expected  # only the part that is switched off learns nothing


@pytest.mark.parametrize("fusion", FUSIONS)
def test_gradient_reaches_every_fusion(fusion: str) -> None:
    test_gradient_reaches_every_parameter("stouter", {"fusion": fusion})


@pytest.mark.parametrize(("name", "loss_type"), LOSSES)
@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
def test_loss_is_the_mean_error_where_something_was_measured_and_nothing_given(
    name: str, kind: str, loss_type: str
) -> None:
    model = shaken(name, prediction_type=kind, **({} if loss_type == "mse" else {"loss_type": loss_type}))
    x, condition = batch()
    x[1, 30:50] = torch.nan
    known = first_days_known(x)
    condition = condition.with_known(known)
    got = model.loss(x, condition, torch.Generator().manual_seed(5))
    g = torch.Generator().manual_seed(5)
    t = torch.randint(1000, (3,), generator=g)
    eps = torch.randn(3, WEEK, generator=g).double()
    a = torch.from_numpy(np.cumprod(1 - np.linspace(1e-4, 0.02, 1000)))[t][:, None]
    clean = x.nan_to_num().double()
    target = {"epsilon": eps, "sample": clean, "v_prediction": a.sqrt() * eps - (1 - a).sqrt() * clean}[kind]
    x_t = torch.where(known.isnan(), a.sqrt() * clean + (1 - a).sqrt() * eps, clean)  # given days enter clean
    error = (model(x_t.float(), t, condition) - target).abs()
    scored = known.isnan() & ~x.isnan()
    assert scored.sum() == 3 * (WEEK - 24) - 20
    expected = (error if loss_type == "l1" else error**2)[scored].mean()
    torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", DENOISERS)
def test_the_series_under_given_values_does_not_matter(name: str) -> None:
    model = shaken(name)
    x, condition = batch()
    condition = condition.with_known(first_days_known(x))
    other = x.clone()
    other[:, :24] = 7.0
    gone = x.clone()
    gone[:, :24] = torch.nan
    losses = [model.loss(y, condition, torch.Generator().manual_seed(2)) for y in (x, other, gone)]
    assert losses[0] == losses[1] == losses[2]
    moved = model.loss(x, condition.with_known(first_days_known(x + 1)), torch.Generator().manual_seed(2))
    assert moved != losses[0]  # what is given does


@pytest.mark.parametrize("name", DENOISERS)
def test_given_values_are_told_apart_from_noisy_ones(name: str) -> None:
    model = shaken(name)
    x, condition = batch()
    with_known = model(x, steps_of(3), condition.with_known(first_days_known(x)))
    without = model(x, steps_of(3), condition)
    nothing = model(x, steps_of(3), condition.with_known(torch.full_like(x, torch.nan)))
    assert (with_known - without).abs().max() > 1e-3
    assert torch.equal(nothing, without)


@pytest.mark.parametrize("name", DENOISERS)
def test_series_do_not_mix(name: str) -> None:
    model = shaken(name)
    x, condition = batch()
    whole = model(x, steps_of(3), condition)
    for i in range(3):
        alone = model(x[i : i + 1], steps_of(3)[i : i + 1], condition.rows(slice(i, i + 1)))
        torch.testing.assert_close(alone[0], whole[i], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", DENOISERS)
@pytest.mark.parametrize("part", ["place", "time", "level", "network"])
def test_every_part_of_the_condition_counts_after_a_few_steps_of_training(name: str, part: str) -> None:
    model = make(name)
    train(model, 4)
    x, condition = batch()
    changed = {
        "place": condition.place.flip(0),
        "time": condition.time.flip(1),
        "level": condition.level.flip(0),
        "network": condition.network.flip(0),
    }
    with torch.no_grad():
        base = model(x, steps_of(3), condition)
        assert (model(x, steps_of(3), replace(condition, **{part: changed[part]})) - base).abs().max() > 1e-5


@pytest.mark.parametrize("name", DENOISERS)
@pytest.mark.parametrize(("switch", "part"), [("use_time", "time"), ("use_place", "place")])
def test_an_ablated_model_cannot_see_what_was_taken_away(name: str, switch: str, part: str) -> None:
    x, condition = batch()
    other = replace(condition, **{part: getattr(condition, part) * 3 + 1})
    for on in (True, False):
        model = shaken(name, **{switch: on})
        with torch.no_grad():
            same = torch.equal(model(x, steps_of(3), condition), model(x, steps_of(3), other))
        assert same is not on


@pytest.mark.parametrize("name", DENOISERS)
@pytest.mark.parametrize("changes", [{}, {"cadences": (1, 4), "use_time": False}])
def test_saved_and_loaded_it_is_the_same(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    model = shaken(name, **changes)
    model.save_pretrained(tmp_path / "model")
    names = {p.name for p in (tmp_path / "model").iterdir()}
    assert names == {"config.json", "diffusion_pytorch_model.safetensors"}
    loaded = type(model).from_pretrained(tmp_path / "model", local_files_only=True, low_cpu_mem_usage=False).eval()
    assert (loaded.cadences, loaded.config["use_time"], loaded.noise) == (
        model.cadences,
        model.config["use_time"],
        model.noise,
    )
    x, condition = batch()
    with torch.no_grad():
        assert torch.equal(loaded(x, steps_of(3), condition), model(x, steps_of(3), condition))


@pytest.mark.parametrize("name", DENOISERS)
def test_a_series_of_another_length_is_refused(name: str) -> None:
    model = make(name, cadences=(1, 4))
    for steps in (167, 336, 24):
        x = torch.zeros(1, steps)
        condition = Condition(
            torch.zeros(1, 3), torch.zeros(1, steps, 4), torch.zeros(1, 2), torch.zeros(1, dtype=torch.long)
        )
        with pytest.raises(ValueError, match=rf"{steps} steps a week: this model draws \[168, 672\]"):
            model(x, torch.zeros(1, dtype=torch.long), condition)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_window_has_no_beginning_but_in_its_times(fusion: str) -> None:
    """Turning series and times by a day turns the output: nothing but F_t says which hour it is."""
    model = shaken(fusion=fusion)
    x, condition = batch()
    turned = replace(condition, time=condition.time.roll(24, 1))
    with torch.no_grad():
        out = model(x, steps_of(3), condition)
        torch.testing.assert_close(model(x.roll(24, 1), steps_of(3), turned), out.roll(24, 1), rtol=1e-4, atol=1e-5)
        assert (model(x.roll(24, 1), steps_of(3), condition) - out.roll(24, 1)).abs().max() > 1e-3


@pytest.mark.parametrize("k", [2, 4, 6])
def test_hourly_means_pass_through_the_same_weights_at_every_cadence(k: int) -> None:
    """With nothing moving within the hours, the first number of every hour is what an hourly series gives."""
    model = shaken()
    x, condition = batch()
    fine = replace(condition, time=condition.time.repeat_interleave(k, 1))
    spread = torch.zeros(3, WEEK, k)
    spread[..., 0] = x
    known = torch.full_like(spread, torch.nan)
    known[:, :24] = spread[:, :24]
    enter = model.enter_detail[str(k)]
    assert isinstance(enter, torch.nn.Linear)
    with torch.no_grad():
        enter.bias.zero_()
        for given, finely_given in ((None, None), (first_days_known(x), known.flatten(1))):
            hourly = model(x, steps_of(3), condition.with_known(given))
            finely = model(spread.flatten(1), steps_of(3), fine.with_known(finely_given)).view(3, WEEK, k)
            torch.testing.assert_close(finely[..., 0], hourly, rtol=1e-4, atol=1e-5)
            assert finely[..., 1:].std() > 0.01
        moved = model((spread + torch.eye(k)[-1]).flatten(1), steps_of(3), fine).view(3, WEEK, k)
        still = model(spread.flatten(1), steps_of(3), fine).view(3, WEEK, k)
        assert (moved - still).abs().max() > 0.01  # what moves within the hours is seen


LONG = {"stouter": 90, "diffwave": 60}  # steps after which a town is learned, where SLOW are not needed
SLOW = 200
HOUR = torch.arange(WEEK) % 24
WAVE = torch.cos(2 * torch.pi * HOUR / 24)
CLOCK = torch.stack([WAVE, torch.sin(2 * torch.pi * HOUR / 24), torch.ones(WEEK), torch.zeros(WEEK)], 1)[None]


def places(signs: Tensor) -> Condition:
    b = len(signs)
    return Condition(
        place=torch.stack([signs, torch.ones(b), torch.zeros(b)], 1),
        time=CLOCK,
        level=torch.stack([signs * 0, torch.ones(b)], 1),
        network=torch.zeros(b, dtype=torch.long),
    )


def train(model: STUNet, steps: int) -> None:
    """A town where places of sign +1 are busy by night and those of sign -1 by day."""
    g = torch.Generator().manual_seed(0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2, betas=(0.9, 0.99))
    for _ in range(steps):
        signs = torch.randint(0, 2, (24,), generator=g) * 2.0 - 1
        x = signs[:, None] * WAVE + 0.3 * torch.randn(24, WEEK, generator=g)
        loss = model.loss(x, places(signs), g)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()


@pytest.mark.slow
@pytest.mark.parametrize("name", DENOISERS)
def test_draws_follow_the_place_they_are_for(name: str) -> None:
    model = make(name)
    train(model, LONG.get(name, SLOW))
    signs = torch.tensor([1.0, -1.0]).repeat(12)
    draws = draw(model, places(signs), seeds=seeds(24), steps=10)
    against = (draws * WAVE).mean(1) / WAVE.pow(2).mean()  # about the sign, if the model follows the place
    assert ((against * signs) > 0.3).all(), against
    assert 0.6 < (against * signs).mean() < 1.4
    blind = make(name, use_place=False)
    train(blind, LONG.get(name, SLOW))
    draws = draw(blind, places(signs), seeds=seeds(24), steps=10)
    against = (draws * WAVE).mean(1) / WAVE.pow(2).mean() * signs
    assert abs(against.mean()) < 0.5  # without the place there is nothing to follow
