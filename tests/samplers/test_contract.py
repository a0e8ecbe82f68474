"""What every sampler of `samplers.SAMPLERS`, and a stranger's, keeps, whether it draws in many steps or at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from gaussian_denoiser import seeds
from own_samplers import EVERY, class_named
from torch import Tensor

from samplers import TCNGAN, WEEK, Condition, Denoiser, OneShot, Sampler, draw

SMALL: dict[str, dict[str, Any]] = {  # arguments that make a sampler small, where its own are large
    "stouter": {"channels": (8, 8)},
    "vae": {"channels": 8, "latent": 4},
    "tcn-gan": {"channels": 8, "blocks": 2},
    "diffwave": {"channels": 8, "layers": 4},
}
NAMES = sorted(EVERY)


def make(name: str, **changes: Any) -> Sampler:
    """A small sampler whose last layers are not zero, as after some training."""
    torch.manual_seed(0)
    kind = class_named(name)
    small: dict[str, Any] = {"place_dim": 3, "time_dim": 4, "networks": 2, "width": 8, "dropout": 0.0}
    model: Sampler = kind(**small, **SMALL.get(name, {}), **changes).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return model


def told(b: int = 5, k: int = 1, *, profile: bool = False) -> Condition:
    g = torch.Generator().manual_seed(1)
    condition = Condition(
        place=torch.randn(b, 3, generator=g),
        time=torch.randn(1, WEEK * k, 4, generator=g),
        level=torch.stack([torch.randn(b, generator=g), torch.ones(b)], 1),
        network=torch.arange(b) % 3,
    )
    past = torch.stack([torch.randn(b, WEEK * k, generator=g), torch.full((b, WEEK * k), 0.75)], 1)
    return replace(condition, profile=past) if profile else condition


def drawn(model: Any, condition: Condition, b: int = 5, first: int = 0) -> Tensor:
    return draw(model, condition, seeds=seeds(5)[first : first + b], steps=3)


def first_day(x: Tensor, k: int = 1) -> Tensor:
    known = torch.full_like(x, torch.nan)
    known[:, : 24 * k] = x[:, : 24 * k]
    return known


def test_every_sampler_is_one_of_two_kinds() -> None:
    assert set(SMALL) <= set(EVERY)
    for name in EVERY:
        model = make(name)
        assert isinstance(model, Denoiser) is not isinstance(model, OneShot), name


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("k", [1, 2, 4, 6])
def test_a_draw_is_a_week_at_any_cadence_and_belongs_to_its_seed(name: str, k: int) -> None:
    model = make(name)
    whole = drawn(model, told(k=k))
    assert whole.shape == (5, WEEK * k)
    assert whole.std() > 0
    assert (whole[0] - whole[1]).abs().max() > 0
    torch.testing.assert_close(drawn(model, told(k=k).rows(slice(1, 3)), 2, 1), whole[1:3], rtol=1e-4, atol=1e-5)
    assert torch.equal(drawn(model, told(k=k)), whole)


@pytest.mark.parametrize("name", NAMES)
def test_given_days_come_out_as_they_are_and_change_the_rest(name: str) -> None:
    model = make(name)
    condition = told()
    one, other = (first_day(torch.full((5, WEEK), v)) for v in (-2.0, 2.0))
    low, high = (drawn(model, condition.with_known(known)) for known in (one, other))
    assert (low[:, :24] == -2).all()
    assert (high[:, :24] == 2).all()
    assert (high[:, 24:] - low[:, 24:]).abs().max() > 1e-3
    nothing = drawn(model, condition.with_known(torch.full((5, WEEK), torch.nan)))
    assert torch.equal(nothing, drawn(model, condition))


@pytest.mark.parametrize("name", NAMES)
def test_the_past_counts_for_a_model_that_takes_it_and_only_for_that(name: str) -> None:
    takes, does_not = make(name, use_profile=True), make(name)
    assert (drawn(takes, told(profile=True)) - drawn(takes, told())).abs().max() > 1e-3
    assert torch.equal(drawn(does_not, told(profile=True)), drawn(does_not, told()))
    absent = replace(told(), profile=torch.zeros(5, 2, WEEK))
    assert torch.equal(drawn(takes, absent), drawn(takes, told()))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("part", ["place", "time", "level", "network"])
def test_every_part_of_the_condition_counts(name: str, part: str) -> None:
    model, condition = make(name), told()
    changed = getattr(condition, part).flip(1 if part == "time" else 0)
    assert (drawn(model, replace(condition, **{part: changed})) - drawn(model, condition)).abs().max() > 1e-6


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("switch", "part"), [("use_time", "time"), ("use_place", "place")])
def test_an_ablated_model_cannot_see_what_was_taken_away(name: str, switch: str, part: str) -> None:
    model, condition = make(name, **{switch: False}), told()
    other = replace(condition, **{part: getattr(condition, part) * 3 + 1})
    assert torch.equal(drawn(model, condition), drawn(model, other))


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded_it_draws_the_same(name: str, tmp_path: Path) -> None:
    model = make(name, cadences=(1, 4), use_profile=True)
    model.save_pretrained(tmp_path / "model")
    assert {p.name for p in (tmp_path / "model").iterdir()} == {"config.json", "diffusion_pytorch_model.safetensors"}
    kind: Any = type(model)
    loaded = kind.from_pretrained(tmp_path / "model", local_files_only=True, low_cpu_mem_usage=False).eval()
    assert loaded.cadences == (1, 4)
    condition = told(k=4, profile=True)
    assert torch.equal(drawn(loaded, condition), drawn(model, condition))
    with pytest.raises(ValueError, match="336 steps a week: this model draws"):
        drawn(model, told(k=2))


@pytest.mark.parametrize("name", NAMES)
def test_the_turns_of_a_step_move_every_parameter_once(name: str) -> None:
    model = make(name, use_profile=True)
    turns = model.turns()
    owned = [id(p) for turn in turns for p in turn.parameters]
    assert sorted(owned) == sorted(id(p) for p in model.parameters())
    moved: set[int] = set()
    for k in (1, 2, 4, 6):
        x = torch.randn(5, WEEK * k, generator=torch.Generator().manual_seed(2))
        condition = told(k=k, profile=True).with_known(first_day(x, k))
        for turn in turns:
            loss = turn.loss(x, condition, torch.Generator().manual_seed(3))
            slopes = torch.autograd.grad(loss, turn.parameters, allow_unused=True)
            moved |= {id(p) for p, s in zip(turn.parameters, slopes, strict=True) if s is not None and (s != 0).any()}
    assert {n for n, p in model.named_parameters() if id(p) not in moved and n not in CONSTANT} == set()


CONSTANT = {"critic.judge.2.bias"}  # a critic's constant cancels in every loss


@pytest.mark.parametrize("name", NAMES)
def test_what_was_not_measured_or_is_given_is_not_scored(name: str) -> None:
    model = make(name)
    x = torch.randn(5, WEEK, generator=torch.Generator().manual_seed(2))
    condition = told().with_known(first_day(x))
    gap = x.clone()
    gap[:, 40:50] = torch.nan
    under = gap.clone()
    under[:, :24] = 9.0  # below values that are given
    one, other = (model.score(y, condition, torch.Generator().manual_seed(4)) for y in (gap, under))
    assert torch.isfinite(one)
    assert one == other
    assert model.score(x, condition, torch.Generator().manual_seed(4)) != one


HOUR = torch.arange(WEEK) % 24
WAVE = torch.cos(2 * torch.pi * HOUR / 24)
CLOCK = torch.stack([WAVE, torch.sin(2 * torch.pi * HOUR / 24), torch.ones(WEEK), torch.zeros(WEEK)], 1)[None]
STEPS: dict[str, tuple[int, float, dict[str, Any]]] = {"vae": (150, 5e-3, {}), "tcn-gan": (220, 5e-3, {"blocks": 3})}


@pytest.mark.parametrize("name", ["vae", pytest.param("tcn-gan", marks=pytest.mark.slow)])
def test_one_shot_draws_follow_the_place_with_the_right_spread(name: str) -> None:
    """A town where places of sign +1 are busy by night and those of sign -1 by day, with noise."""
    steps, rate, more = STEPS[name]
    torch.manual_seed(0)
    kind = class_named(name)
    model = kind(place_dim=3, time_dim=4, networks=2, width=8, channels=8, dropout=0.0, **more)
    g = torch.Generator().manual_seed(0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.0, 0.9))
    for _ in range(steps):
        signs = torch.randint(0, 2, (16,), generator=g) * 2.0 - 1
        x = signs[:, None] * WAVE + 0.5 * torch.randn(16, WEEK, generator=g)
        for turn in model.turns():
            loss = turn.loss(x, places(signs), g)
            optimiser.zero_grad()
            for p, s in zip(
                turn.parameters, torch.autograd.grad(loss, turn.parameters, allow_unused=True), strict=True
            ):
                p.grad = s
            optimiser.step()
    signs = torch.tensor([1.0, -1.0]).repeat(32)
    got = draw(model.eval(), places(signs), seeds=seeds(64), steps=1)
    against = (got * WAVE).mean(1) / WAVE.pow(2).mean() * signs
    assert 0.7 < against.mean() < 1.3, against.mean()
    assert 0.25 < (got - signs[:, None] * WAVE).std() < 0.9


def places(signs: Tensor) -> Condition:
    b = len(signs)
    return Condition(
        place=torch.stack([signs, torch.ones(b), torch.zeros(b)], 1),
        time=CLOCK,
        level=torch.stack([signs * 0, torch.ones(b)], 1),
        network=torch.zeros(b, dtype=torch.long),
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_of_a_series_is_its_own_and_that_of_the_training(name: str) -> None:
    """The same in any company; and, but for a critic's value, as large on average as `loss` of each series alone."""
    model, condition = make(name), told()
    x = torch.randn(5, WEEK, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        losses = model.losses(x, condition, 0)
        torch.testing.assert_close(
            model.losses(x[1:3], condition.rows(slice(1, 3)), 0), losses[1:3], rtol=1e-4, atol=1e-5
        )
        if isinstance(model, TCNGAN):
            torch.testing.assert_close(losses, -model.judge(x, condition).double())
            return
        plain = Sampler.losses(model, x, condition, 5)  # of the class itself: another noise, one series at a time
    assert losses.shape == (5,)
    torch.testing.assert_close(losses, plain, rtol=0.25, atol=0.02)
    assert model.log_losses or (losses > 0).all()
