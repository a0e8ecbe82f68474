"""The noise schedule against the paper's closed form, prediction types, and solvers against the exact flow."""

from typing import Any

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from gaussian_denoiser import Gaussian, ar1, condition, seeds

from samplers import SOLVERS, Noise, draw
from samplers.diffusion import PREDICTIONS, diffusion_target, make_solver, masked_mean, read_rest, starting_noise

ODE = ("ddim", "dpm++", "unipc", "gaussian")


def alpha_bar(steps: int) -> Any:
    return np.cumprod(1 - np.linspace(1e-4, 0.02, steps))  # STOUTER section 5.1: linear betas


@pytest.mark.parametrize("steps", [600, 1000])
def test_noisy_series_are_those_of_the_paper(steps: int) -> None:
    noise = Noise(num_train_timesteps=steps)
    np.testing.assert_allclose(noise.alphas_cumprod.numpy(), alpha_bar(steps), rtol=1e-4)
    g = torch.Generator().manual_seed(0)
    x, eps = torch.randn(4, 9, generator=g), torch.randn(4, 9, generator=g)
    t = torch.tensor([0, 1, steps // 2, steps - 1])
    x_t, _ = diffusion_target(noise, x, eps, t)
    a = torch.from_numpy(alpha_bar(steps))[t][:, None]
    torch.testing.assert_close(x_t.double(), a.sqrt() * x + (1 - a).sqrt() * eps, atol=1e-5, rtol=1e-4)  # eq. 7
    assert alpha_bar(steps)[-1] < 0.003  # the last step is noise and nothing else


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_noisy_series_and_targets_have_the_bits_of_diffusers(kind: str) -> None:
    noise = Noise(prediction_type=kind)
    theirs: Any = noise.scheduler()
    assert torch.equal(noise.alphas_cumprod, theirs.alphas_cumprod)
    x, eps = torch.randn(2, 40, 9, generator=torch.Generator().manual_seed(2))
    t = torch.arange(40) * 25
    x_t, target = diffusion_target(noise, x, eps, t)
    assert torch.equal(x_t, theirs.add_noise(x, eps, t))
    assert torch.equal(target, eps if kind == "epsilon" else theirs.get_velocity(x, eps, t))


@pytest.mark.parametrize("kind", PREDICTIONS)
@pytest.mark.parametrize("steps", [1, 2, 3, 8, 61])
def test_solvers_of_our_own_have_the_bits_of_diffusers(kind: str, steps: int) -> None:
    noise = Noise(prediction_type=kind)
    theirs: dict[str, Any] = {
        "dpm++": DPMSolverMultistepScheduler(**noise.config(), algorithm_type="dpmsolver++", use_lu_lambdas=True),
        "ddim": DPMSolverMultistepScheduler(**noise.config(), algorithm_type="dpmsolver++", solver_order=1),
    }
    theirs["dpm++"].set_timesteps(steps)
    theirs["ddim"].set_timesteps(timesteps=[round(1000 * (steps - i) / steps) - 1 for i in range(steps)])
    for name, solver in theirs.items():
        solver.set_begin_index(0)
        own = make_solver(name, noise, steps)
        assert own.timesteps.tolist() == solver.timesteps.tolist()
        x = other = torch.randn(5, 33, generator=torch.Generator().manual_seed(steps))
        for t in own.timesteps:
            x = own.step(torch.sin(3 * x), t, x).prev_sample
            other = solver.step(torch.sin(3 * other), t, other).prev_sample
            assert torch.equal(x, other)


@pytest.mark.parametrize("kind", PREDICTIONS)
def test_every_target_tells_the_clean_series(kind: str) -> None:
    noise = Noise(prediction_type=kind)
    g = torch.Generator().manual_seed(1)
    x, eps = torch.randn(5, 9, generator=g), torch.randn(5, 9, generator=g)
    t = torch.tensor([0, 10, 300, 600, 900])
    x_t, target = diffusion_target(noise, x, eps, t)
    a = torch.from_numpy(alpha_bar(1000)).float()[t][:, None]
    clean = {
        "epsilon": (x_t - (1 - a).sqrt() * target) / a.sqrt(),
        "sample": target,
        "v_prediction": a.sqrt() * x_t - (1 - a).sqrt() * target,
    }
    torch.testing.assert_close(clean[kind], x, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("solver", ODE)
def test_solvers_do_not_care_what_the_network_predicts(solver: str) -> None:
    mean, covariance = np.linspace(-1, 1, 8), ar1(8)
    draws = [
        draw(
            Gaussian(mean, covariance, Noise(prediction_type=k)),
            condition(6, 8),
            seeds=seeds(6),
            steps=10,
            solver=solver,
        )
        for k in PREDICTIONS
    ]
    torch.testing.assert_close(draws[0], draws[1], atol=2e-3, rtol=0)
    torch.testing.assert_close(draws[0], draws[2], atol=2e-3, rtol=0)


def flow_error(solver: str, steps: int) -> float:
    model = Gaussian(np.linspace(-1, 1, 12), ar1(12))
    x = draw(model, condition(200, 12), seeds=seeds(200), steps=steps, solver=solver).numpy()
    exact = model.flow(starting_noise(seeds(200), 12).numpy())
    return float(np.sqrt(((x - exact) ** 2).mean()))


@pytest.mark.parametrize(
    ("solver", "order", "at", "last"),
    [
        ("ddim", 1, (16, 32, 64, 128), 0.02),
        ("dpm++", 2, (16, 32, 64), 0.002),
        ("gaussian", 1.5, (8, 16, 32, 64, 128), 0.002),
        ("unipc", 2, (8, 16, 32), 0.004),
    ],
)
def test_solvers_converge_to_the_exact_flow_at_their_order(
    solver: str, order: float, at: tuple[int, ...], last: float
) -> None:
    errors = [flow_error(solver, steps) for steps in at]
    observed = np.polyfit(np.log(at), np.log(errors), 1)[0]
    assert observed < -order + 0.15, (observed, errors)
    assert errors[-1] < last


def test_eight_steps_of_a_good_solver_are_near_the_exact_flow() -> None:
    assert flow_error("unipc", 8) < 0.08  # with Karras' spacing of the steps 0.17
    assert flow_error("dpm++", 8) < 0.04  # with Karras' 0.14


def test_ddim_errs_less_with_every_further_step_whether_or_not_they_divide_the_chain() -> None:
    errors = [flow_error("ddim", steps) for steps in (50, 61, 77, 103, 130, 201, 256)]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("steps", [5, 8, 20])
def test_ddim_is_the_loop_of_diffusers(steps: int) -> None:
    model = Gaussian(np.linspace(-1, 1, 12), ar1(12), Noise(prediction_type="epsilon"))
    chain: Any = DDIMScheduler(
        beta_start=1e-4, beta_end=0.02, beta_schedule="linear", clip_sample=False, timestep_spacing="trailing"
    )
    chain.set_timesteps(steps)
    x = starting_noise(seeds(5), 12)
    for t in chain.timesteps:
        x = chain.step(model(x, t.expand(5), condition(5, 12)), t, x).prev_sample
    got = draw(model, condition(5, 12), seeds=seeds(5), steps=steps, solver="ddim")
    torch.testing.assert_close(got, x, atol=1e-4, rtol=0)


@pytest.mark.parametrize("steps", [7, 61, 103])
def test_ddim_is_its_formula_where_diffusers_own_is_not(steps: int) -> None:
    """DDIMScheduler ends 61 steps in a step -1, far off, and each goes to t - T // steps, which is not on the list."""
    model = Gaussian(np.linspace(-1, 1, 12), ar1(12), Noise(prediction_type="epsilon"))
    x = starting_noise(seeds(5), 12)
    times = [round(1000 * (steps - i) / steps) - 1 for i in range(steps)]
    for t, then in zip(times, [*times[1:], None], strict=True):
        a, b = alpha_bar(1000)[t], 1.0 if then is None else alpha_bar(1000)[then]
        eps = model(x, torch.full((5,), t), condition(5, 12))
        x = np.sqrt(b) * (x - np.sqrt(1 - a) * eps) / np.sqrt(a) + np.sqrt(1 - b) * eps  # Song et al. 2021, eq. 12
    got = draw(model, condition(5, 12), seeds=seeds(5), steps=steps, solver="ddim")
    torch.testing.assert_close(got.float(), x.float(), atol=2e-4, rtol=0)


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_number_of_steps_gives_as_many_calls_from_full_noise_down(solver: str) -> None:
    for steps in (1, 2, 3, 8, 61, 103, 201, 499, 998, 999, 1000):
        times = make_solver(solver, Noise(), steps).timesteps.tolist()
        assert len(times) == steps
        assert times[0] == 999
        assert times[-1] >= 0
        assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("solver", SOLVERS)
def test_wrong_use_is_told(solver: str) -> None:
    with pytest.raises(ValueError, match="steps is 0: give 1 to 1000"):
        make_solver(solver, Noise(), 0)
    with pytest.raises(ValueError, match="steps is 601: give 1 to 600"):
        make_solver(solver, Noise(num_train_timesteps=600), 601)
    with pytest.raises(ValueError, match="no solver 'euler': choose one of ddpm, ddim"):
        make_solver("euler", Noise(), 8)


def test_masked_mean_counts_only_what_is_there() -> None:
    error = torch.tensor([[1.0, 100.0], [3.0, 5.0]])
    where = torch.tensor([[True, False], [True, True]])
    assert masked_mean(error, where) == 3.0
    assert masked_mean(error, torch.zeros_like(where)) == 0.0


def test_a_network_that_was_not_there_leaves_open_what_no_network_does() -> None:
    rest = [[1.0, 2.0], [3.0, 4.0]]  # as JSON has it
    assert read_rest(rest, 1) == ((1.0, 2.0), (3.0, 4.0))  # type: ignore[arg-type]
    assert read_rest(rest, 3) == ((1.0, 2.0), (3.0, 4.0), (1.0, 2.0), (1.0, 2.0))  # type: ignore[arg-type]
    assert read_rest(None, 3) is None
    with pytest.raises(ValueError, match="rest has 2 rows: 0 networks have 1"):
        read_rest(rest, 0)  # type: ignore[arg-type]
