"""FoMo: exactly zero at first, blind to what is hidden, indifferent to what is observed in its loss."""

import itertools
import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from samplers.diffusion import Noise
from samplers.fomo import NEAR_HOURS, SIZES, FoMo, FoMoCondition, nearby
from samplers.fomo_draw import draw_scenes, solve

B, SIDE, T = 3, 4, 32


def scene(seed: int = 0, token: int = 16) -> FoMoCondition:
    """Half observed, POIs and users told for some, one cell missing."""
    g = torch.Generator().manual_seed(seed)
    nan = torch.tensor(math.nan)
    known = torch.randn(B, SIDE, SIDE, T, generator=g)
    known[..., T // 2 :] = nan
    exists = torch.ones(B, SIDE, SIDE, T, dtype=torch.bool)
    exists[1, 0, 0] = False
    poi, users = torch.randn(B, SIDE, SIDE, 16, generator=g), torch.randn(B, SIDE, SIDE, T, generator=g)
    poi[2], users[0] = nan, nan
    cells = torch.stack(torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij"), -1)
    return FoMoCondition(
        known=known,
        exists=exists,
        hour=(torch.arange(T) + 20.0).expand(B, T).clone(),
        minutes=torch.tensor([60, 30, 15]),
        xy=cells.expand(B, 4, 4, 2).clone(),
        poi=poi,
        users=users,
        echo=torch.full((B, SIDE, SIDE, T), math.nan),
        level=torch.full((B, SIDE, SIDE), math.nan),
        network=torch.tensor([0, 1, 1]),
    )


def awake(token: tuple[int, int, int] = (1, 1, 16), **more: object) -> FoMo:
    """A small FoMo whose zero layers are moved, so that it answers something."""
    torch.manual_seed(0)
    model = FoMo(width=32, depth=2, heads=2, token=token, **more)  # type: ignore[arg-type]
    with torch.no_grad():
        for weight in model.parameters():
            if (weight == 0).all():
                weight.normal_(std=0.1)
    return model.eval()


def answer(model: FoMo, x: torch.Tensor, s: FoMoCondition) -> torch.Tensor:
    with torch.inference_mode():
        return model(x, torch.tensor([10, 500, 990]), s)


def test_output_is_exactly_zero_at_initialisation() -> None:
    model = FoMo(width=32, depth=2, heads=2)
    x = torch.randn(B, SIDE, SIDE, T)
    assert (answer(model, x, scene()) == 0).all()
    assert (answer(awake(), x, scene()) != 0).any()  # the test can fail


def test_zero_output_survives_saving_and_loading(tmp_path: object) -> None:
    model = FoMo(width=32, depth=2, heads=2)
    model.save_pretrained(tmp_path)
    again = FoMo.from_pretrained(tmp_path)
    assert (answer(again, torch.randn(B, SIDE, SIDE, T), scene()) == 0).all()


@pytest.mark.parametrize("token", [(1, 1, 16), (2, 2, 4), (4, 4, 1), (1, 2, 8)])
def test_what_stands_at_observed_or_missing_places_of_the_state_is_not_looked_at(token: tuple[int, int, int]) -> None:
    model, s, x = awake(token), scene(), torch.randn(B, SIDE, SIDE, T)
    other = x.clone()
    ignored = ~s.known.isnan() | ~s.exists
    other[ignored] = 1e6
    assert torch.equal(answer(model, x, s), answer(model, other, s))
    other[0, 0, 0, -1] += 1.0  # this one is to be drawn
    assert not torch.equal(answer(model, x, s), answer(model, other, s))


def test_what_is_not_told_is_not_looked_at() -> None:
    model, s, x = awake(), scene(), torch.randn(B, SIDE, SIDE, T)
    for name in ("poi", "users", "level"):  # NaN says: not told; told values do matter
        whole = getattr(s, name)
        untold = torch.full_like(whole, math.nan)
        told = torch.where(torch.zeros_like(whole, dtype=torch.bool), whole, torch.full_like(whole, 0.7))
        assert torch.isfinite(answer(model, x, replace(s, **{name: untold}))).all()
        assert not torch.equal(
            answer(model, x, replace(s, **{name: untold})), answer(model, x, replace(s, **{name: told}))
        )


def test_the_loss_ignores_targets_at_observed_positions() -> None:
    model, s = awake(), scene()
    x = torch.where(s.known.isnan(), torch.randn(B, SIDE, SIDE, T), s.known)

    def loss(values: torch.Tensor) -> float:
        return float(model.loss(values, s, torch.Generator().manual_seed(4)).detach())

    other = x.clone()
    other[~s.known.isnan()] += 5.0
    other[~s.exists] = math.nan
    assert loss(other) == loss(x)
    hidden = x.clone()
    hidden[0, 0, 0, -1] += 5.0
    assert loss(hidden) != loss(x)


def test_training_leaves_out_tokens_of_nothing_and_learns_the_same() -> None:
    model, s = awake(), scene()
    s.exists[2, 1:, :, 16:] = False  # cells, and stretches of cells
    x = torch.randn(B, SIDE, SIDE, T)
    passed: list[int] = []
    model.blocks[0].mlp.register_forward_hook(lambda _, z, out: passed.append(z[0].numel() // 32))

    def slopes() -> list[torch.Tensor]:
        model.zero_grad()
        model.loss(x, s, torch.Generator().manual_seed(4)).backward()  # type: ignore[no-untyped-call]
        return [torch.zeros(1) if w.grad is None else w.grad.clone() for w in model.parameters()]

    drawing = slopes()
    model.train()
    for mine, theirs in zip(slopes(), drawing, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)
    assert passed == [B * SIDE * SIDE * 2, B * SIDE * SIDE * 2 - 2 - 12]


def test_the_loss_at_first_is_the_mean_square_of_the_target() -> None:
    model, s = FoMo(width=32, depth=1, heads=2, prediction_type="epsilon"), scene()
    x = torch.randn(B, SIDE, SIDE, T)
    _, eps = model.random_step(x, torch.Generator().manual_seed(1))
    hidden = (s.known.isnan() & s.exists).float()
    expected = ((eps**2 * hidden).sum((1, 2, 3)) / hidden.sum((1, 2, 3))).mean()
    assert float(model.loss(x, s, torch.Generator().manual_seed(1)).detach()) == pytest.approx(
        float(expected), rel=1e-6
    )


def test_blocks_do_not_see_each_other() -> None:
    model, s, x = awake(), scene(), torch.randn(B, SIDE, SIDE, T)
    alone = torch.cat(
        [model(x[i : i + 1], torch.tensor([10, 500, 990])[i : i + 1], s.rows(slice(i, i + 1))) for i in range(B)]
    )
    torch.testing.assert_close(answer(model, x, s), alone, rtol=1e-4, atol=1e-5)


def test_attention_is_that_of_its_formula() -> None:
    block = awake().blocks[0]
    z, c = torch.randn(2, 5, 32), torch.randn(2, 32)
    live = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 1, 0]], dtype=torch.bool)
    with torch.inference_mode():
        out = block(z, c, live[:, None, None, :])
        shift, scale, gate, shift2, scale2, gate2 = (v[:, None] for v in block.ada(c).chunk(6, -1))
        n = torch.nn.functional.layer_norm(z, (32,), eps=1e-6) * (1 + scale) + shift
        q, k, v = (p.reshape(2, 5, 2, 16).transpose(1, 2) for p in block.qkv(n).chunk(3, -1))
        weights = (q @ k.transpose(-1, -2) / 4).masked_fill(~live[:, None, None], -torch.inf).softmax(-1)
        mid = z + gate * block.out((weights @ v).transpose(1, 2).reshape(2, 5, 32))
        m = torch.nn.functional.layer_norm(mid, (32,), eps=1e-6) * (1 + scale2) + shift2
        expected = mid + gate2 * block.mlp(m)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)


def test_tokens_are_blocks_of_space_and_time_and_come_back() -> None:
    model = FoMo(width=32, depth=1, heads=2, token=(2, 1, 4))
    values = torch.arange(4 * 4 * 8.0).view(1, 4, 4, 8)
    tokens = model._tokens(values)
    assert tokens.shape == (1, 2 * 4 * 2, 8)
    assert torch.equal(tokens[0, 0].view(2, 1, 4), values[0, 0:2, 0:1, 0:4])
    assert torch.equal(tokens[0, 3].view(2, 1, 4), values[0, 0:2, 1:2, 4:8])
    assert torch.equal(model._untokens(tokens, 4, 4, 8), values)


@pytest.mark.parametrize("name", list(SIZES))
def test_sizes_are_what_their_names_say(name: str) -> None:
    with torch.device("meta"):
        model = FoMo(**SIZES[name])
    weights = sum(p.numel() for p in model.parameters())
    if "x" in name:
        assert name == f"{len(model.blocks)}x{model.of_step[0].in_features}"
        assert round(weights / 1e6, 1) == {"12x128": 3.7, "16x256": 19.5, "20x768": 216.5}[name]  # as its comment says
    else:
        told = float(name.rstrip("m")) * 1e6
        assert weights == pytest.approx(told, rel=0.4 if told < 2e6 else 0.05)


def test_the_contrast_takes_other_blocks_and_is_bounded() -> None:
    model, s = awake(), scene()
    x = torch.randn(B, SIDE, SIDE, T)

    def loss(values: torch.Tensor, weight: float, other: list[list[int]]) -> float:
        g = torch.Generator().manual_seed(2)
        rivals = torch.tensor(other)
        return float(model.contrastive_loss(values, s, rivals, g, weight=weight, ceiling=1.0).detach())

    plain = float(model.loss(x, s, torch.Generator().manual_seed(2)).detach())
    none = [[-1], [-1], [-1]]
    assert loss(x, 0.5, none) == pytest.approx(plain)  # no negatives: the loss itself
    # eq. 16 by hand: the other block's traffic under this block's context, same step and noise
    g = torch.Generator().manual_seed(2)
    t, eps = model.random_step(x, g)
    roll = torch.tensor([1, 2, 0])
    swapped = replace(s, known=s.known[roll], echo=s.echo[roll], exists=s.exists & s.exists[roll])
    negative = model.errors(x[roll], t, eps, swapped).clamp(max=1.0).mean()
    assert loss(x, 0.5, [[1], [2], [0]]) == pytest.approx(plain - 0.5 * float(negative.detach()), rel=1e-5)
    assert float(negative.detach()) > 1e-3  # not numerically nil
    wild = x.clone()
    wild[roll] *= 1e3
    assert loss(wild, 0.5, [[1], [2], [0]]) >= -0.5
    assert fields(FoMoCondition)


def test_freezing_leaves_modulation_context_and_decoder() -> None:
    model = awake()
    trained = model.freeze()
    assert {"ada.weight", "leave.weight", "of_poi.weight", "of_users.weight", "blocks.0.ada.weight"} <= set(trained)
    kept = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert {"blocks.0.qkv.weight", "blocks.0.out.weight", "blocks.1.mlp.0.weight", "enter.weight"} <= kept


def test_what_the_model_cannot_do_is_refused() -> None:
    model, s = awake(), scene()
    with pytest.raises(ValueError, match="not made of tokens"):
        model(torch.zeros(B, 4, 4, 24), torch.zeros(B).long(), s)
    with pytest.raises(ValueError, match="cadence of 7 min"):
        answer(model, torch.zeros(B, 4, 4, T), replace(s, minutes=torch.tensor([60, 7, 15])))


def test_observed_values_come_back_untouched_and_hidden_truth_changes_nothing() -> None:
    model, s = awake(), scene()
    noise = torch.randn(B, SIDE, SIDE, T)
    x = draw_scenes(model, s, noise, steps=3)
    seen = ~s.known.isnan()
    assert torch.equal(x[seen], s.known[seen])
    assert not torch.equal(x[~seen], noise[~seen])


@pytest.mark.parametrize("solver", ["dpm++", "ddim", "unipc"])
def test_solving_with_the_exact_denoiser_of_a_gaussian_gives_that_gaussian(solver: str) -> None:
    mean, spread = 0.7, 0.4
    noise = Noise(prediction_type="v_prediction")
    alphas = noise.scheduler().alphas_cumprod

    def predict(x: torch.Tensor, t: int, step: int) -> torch.Tensor:
        a, s = alphas[t].sqrt(), (1 - alphas[t]).sqrt()
        clean = mean + a * spread**2 / (a**2 * spread**2 + s**2) * (x - a * mean)
        return a * (x - a * clean) / s - s * clean  # v = a eps - s x0

    x = solve(
        predict, noise, torch.randn(200, 200, generator=torch.Generator().manual_seed(0)), steps=60, solver=solver
    )
    assert float(x.mean()) == pytest.approx(mean, abs=0.02)
    assert float(x.std()) == pytest.approx(spread, abs=0.03)
    once = solve(
        predict, noise, torch.randn(10, 100, generator=torch.Generator().manual_seed(0)), steps=1, solver=solver
    )
    assert np.abs(once.numpy() - mean).max() < 0.02  # one step: the expectation


def test_solvers_that_draw_on_their_way_are_refused() -> None:
    with pytest.raises(ValueError, match="ddpm"):
        solve(lambda x, t, step: x, Noise(), torch.zeros(2), steps=2, solver="ddpm")


def test_what_is_nearby_is_a_weighted_mean_drawn_to_the_usual() -> None:
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(2, 1, 2, 16, generator=generator)
    observed = torch.rand(values.shape, generator=generator) < 0.4
    observed[0, 0, 0] = False  # a place of which nothing is observed
    minutes = torch.tensor([15, 60])
    got = nearby(torch.where(observed, values, 0.0), observed, minutes)
    for b, w, t in itertools.product(range(2), range(2), range(16)):
        hours = [abs(s - t) * int(minutes[b]) / 60 for s in range(16)]
        weight = [math.exp(-h / NEAR_HOURS) * float(observed[b, 0, w, s]) for s, h in enumerate(hours)]
        mean = sum(weight[s] * float(values[b, 0, w, s]) for s in range(16)) / (sum(weight) + 1)
        assert float(got[b, 0, w, t]) == pytest.approx(mean, abs=1e-6)
    assert (got[0, 0, 0] == 0).all()
