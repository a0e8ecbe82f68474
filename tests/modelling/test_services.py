"""Further services: ratios and residuals that are found again, noise that is mixed as it is told, fitted bundles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_examples import DESIGN, PLAN, context, short_graphs, source
from numpy.typing import NDArray

from gentraffic.dataset.calendar import make_calendar
from gentraffic.errors import WrongUse
from gentraffic.generators.base import Settings
from gentraffic.generators.folder import Bundle, load_bundle, save_bundle
from gentraffic.generators.weekly import draw_traffic
from gentraffic.modelling.features import read_places
from gentraffic.modelling.levels import Measured, activity, fit_levels
from gentraffic.modelling.measured import Source
from gentraffic.modelling.random_streams import shape_seeds
from gentraffic.modelling.services import (
    BANDS,
    ServiceDraw,
    Services,
    fit_mixing,
    fit_ratios,
    mix_noise,
    surroundings,
)
from gentraffic.privacy.dp.fit import network_of
from gentraffic.training.distilling import DISTIL_PLAN, DistillingTask, Lesson, distil
from gentraffic.training.fitting import fit_sampler
from samplers import Condition
from samplers.diffusion import starting_noise

CELLS = 400
NOISE = np.array([[0.3, 0.0], [0.12, 0.16]])  # root of the residuals' covariance
MONDAY = make_calendar("2026-01-05", 7, "1h", "Europe/Rome")


def with_services(main: Source, ratios: NDArray[np.float64], names: tuple[str, ...]) -> list[Source]:
    """A network and further services of it, whose levels are those of the main one times exp(ratios)."""
    out = [main]
    for name, ratio in zip(names, ratios, strict=True):
        network = f"{main.network}:{name}"
        out.append(replace(main, network=network, service=name, level=main.level * np.exp(ratio)))
    return out


def world(seed: int = 0) -> tuple[list[Source], NDArray[np.float64]]:
    """400 cells with two further services: ratios fall with the level, the second also follows the POIs."""
    rng = np.random.default_rng(seed + 100)  # other numbers than those of the world itself
    main = source("alpha", CELLS, 7, seed=seed)
    assert main.places is not None
    log = np.log(main.level)
    z = (log - log.mean()) / log.std()
    pois = main.places.pois
    part = (pois - pois.mean()) / pois.std()
    told = np.stack([-2.0 - 0.2 * z, -3.0 + 0.3 * part])
    ratios = told + NOISE @ rng.standard_normal((2, CELLS))
    return with_services(main, ratios, ("call_in", "sms_in")), told


def levels_of(main: Source):  # type: ignore[no-untyped-def]
    assert main.places is not None
    p = main.places
    return fit_levels(
        [Measured(main.network, p.counts, p.around, main.level, main.location, activity(p), p.area_km2, "Europe/Rome")]
    )


def test_ratios_and_the_covariance_of_their_residuals_are_found_again() -> None:
    (main, *others), told = world()
    levels = levels_of(main)
    ratios, root = fit_ratios(main, others, levels)
    assert main.places is not None
    part = levels.networks["alpha"]
    z = (np.log(main.level) - part.mean) / part.spread
    for other, true in zip(others, told, strict=True):
        found = ratios[other.service](z, surroundings(main.places))
        assert np.sqrt(np.mean((found - true) ** 2)) < 0.1  # of residuals of 0.3 and 0.2 over 400 cells
        assert ratios[other.service].mean_traffic == pytest.approx(other.level.mean())
    np.testing.assert_allclose(root @ root.T, NOISE @ NOISE.T, atol=0.02)


def test_a_control_has_the_mean_of_one_and_members_the_spread_of_the_residuals() -> None:
    (main, *others), _ = world()
    levels = levels_of(main)
    ratios, root = fit_ratios(main, others, levels)
    from gentraffic.modelling.services import NetworkServices

    services = Services(networks={"alpha": NetworkServices(ratios, root, np.empty(0))}, scalers={})
    elsewhere = read_places(context(900, "", seed=3))
    served = ServiceDraw(services, "sms_in", levels, elsewhere)
    control = levels.draw(elsewhere, np.zeros((1, 900)))[0]
    log, _ = served.draw(control, "alpha", None, slice(None))
    assert np.exp(log).mean() == pytest.approx(1.0)
    rng = np.random.default_rng(1)
    member, _ = served.draw(control, "alpha", rng.standard_normal((2, 900)), slice(None))
    assert (member - log).std() == pytest.approx(np.linalg.norm(NOISE[1]), rel=0.15)


def test_the_ratio_of_two_cells_does_not_depend_on_the_area_drawn() -> None:
    (main, *others), _ = world()
    levels = levels_of(main)
    ratios, root = fit_ratios(main, others, levels)
    from gentraffic.modelling.services import NetworkServices

    services = Services(networks={"alpha": NetworkServices(ratios, root, np.empty(0))})
    whole = read_places(context(900, "", seed=3))
    rows = np.arange(100, 200)
    served = ServiceDraw(services, "call_in", levels, whole)
    main_log = levels.draw(whole, np.zeros((1, 900)))[0]
    every, _ = served.draw(main_log, "alpha", None, slice(None))
    some, _ = served.draw(main_log[rows], "alpha", None, rows)
    np.testing.assert_array_equal(every[rows], some)


def test_noise_that_is_mixed_has_the_coherence_that_it_is_told() -> None:
    rng = np.random.default_rng(0)
    shared, own = rng.standard_normal((2, 4000, 168))
    slow = np.fft.rfft(own)
    slow[:, : BANDS[1]] = (0.8 * np.fft.rfft(shared) + 0.6 * slow)[:, : BANDS[1]]
    ids = np.arange(4000)
    departures = [(ids, shared.astype(np.float32)), (ids, np.fft.irfft(slow, 168).astype(np.float32))]
    mixing = fit_mixing(departures)
    np.testing.assert_allclose(mixing[:, 1, 0], [0.8, 0, 0, 0], atol=0.03)
    noises = [starting_noise(shape_seeds(0, range(4000), 0, 0, service), 336).numpy() for service in (0, 1)]
    mixed = mix_noise(noises, mixing, 1)
    assert mixed.std() == pytest.approx(1.0, abs=0.01)
    assert np.corrcoef(noises[0].ravel(), noises[1].ravel())[0, 1] == pytest.approx(0.0, abs=0.005)
    again = fit_mixing([(ids, noises[0][:, ::2]), (ids, mixed[:, ::2])])
    np.testing.assert_allclose(again[:, 1, 0], [0.8, 0, 0, 0], atol=0.03)
    np.testing.assert_array_equal(mixed[:, 1::2], noises[1][:, 1::2])  # what moves within the hour is its own


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """Two networks, one of them with two further services, of which one is silent from 1 to 6 o'clock."""
    first = source("alpha")
    rng = np.random.default_rng(5)
    ratios = np.array([-2.0, -1.0])[:, None] + 0.2 * rng.standard_normal((2, len(first.level)))
    alpha = with_services(first, ratios, ("call_in", "sms_in"))
    silent = first.ratio.copy()
    silent[:, :, 1:6] = 0.0
    alpha[1] = replace(alpha[1], ratio=silent, clean=silent)
    plan = replace(PLAN, steps=200)
    with short_graphs():
        return fit_sampler([*alpha, source("beta", 16, 8, per_hour=6, seed=1)], design=DESIGN, plan=plan)[0]


@pytest.mark.slow
def test_each_service_has_its_rhythm_and_all_share_the_busy_cells(bundle: Bundle) -> None:
    drawn = {
        name: draw_traffic(bundle, context(400), MONDAY, Settings(members=3, service=name))
        for name in ("", "call_in", "sms_in")
    }
    night = {name: values[..., np.arange(168) % 24 == 4].mean() / values.mean() for name, values in drawn.items()}
    assert night["call_in"] < 0.15 < 0.4 < min(night[""], night["sms_in"])
    levels = {name: np.log(values.mean(axis=2)) for name, values in drawn.items()}
    for name in ("call_in", "sms_in"):
        assert drawn[name][0].mean() == pytest.approx(1.0, abs=0.1)
        assert all(np.corrcoef(levels[""][m], levels[name][m])[0, 1] > 0.9 for m in range(3))


def test_the_main_service_has_the_same_bits_whatever_else_is_drawn_and_saving_changes_none(
    bundle: Bundle, tmp_path: Path
) -> None:
    save_bundle(bundle, tmp_path / "model", "card")
    again = load_bundle(tmp_path / "model")
    assert again.info.services == ("traffic", "call_in", "sms_in")
    assert "services" in again.info.supports
    for name in ("", "sms_in"):
        settings = Settings(members=2, service=name)
        every = draw_traffic(bundle, context(64), MONDAY, settings)
        some = draw_traffic(again, context(64), MONDAY, settings, cells=[5, 3])
        np.testing.assert_array_equal(every[:, [5, 3]], some)


def test_a_network_without_the_service_lends_its_levels_and_another_the_rhythm(bundle: Bundle) -> None:
    beta = draw_traffic(bundle, context(16, "beta", 1), MONDAY, Settings(service="call_in"))
    assert beta[..., np.arange(168) % 24 == 4].mean() < 0.15 * beta.mean()


def test_a_student_learns_every_service_of_its_teacher(bundle: Bundle) -> None:
    plan = replace(DISTIL_PLAN, steps=3, batch=32, warmup=1)
    places = [read_places(context(32, "alpha"))]
    student, _ = distil(bundle, places, lesson=Lesson(steps=1, teacher_steps=2), plan=plan)
    task = DistillingTask(bundle, bundle.place(places[0]), Lesson(steps=1, teacher_steps=2), plan)
    _, condition, _ = task.batch(0)
    assert condition.service is not None
    pairs = set(zip(condition.network.tolist(), condition.service.tolist(), strict=True))
    assert pairs <= {(0, 0), (1, 0), (2, 0), (3, 1), (4, 2)}  # alpha, beta; alpha's calls, alpha's SMS
    assert {(3, 1), (4, 2)} < pairs
    drawn = draw_traffic(student, context(16), MONDAY, Settings(steps=1, service="sms_in"))
    assert np.isfinite(drawn).all()


def test_a_private_model_starts_as_the_main_service_of_its_start(bundle: Bundle) -> None:
    private = network_of(bundle, DESIGN, 3, 0).eval()
    start = bundle.model.eval()  # type: ignore[attr-defined]
    x, t = torch.randn(2, 168), torch.tensor([500, 20])
    time = bundle.time().repeat(1, 1, 1)
    condition = Condition(torch.randn(2, 32), time, torch.ones(2, 2), torch.tensor([1, 2]))
    with torch.no_grad():
        torch.testing.assert_close(private(x, t, condition), start(x, t, condition))
        new = replace(condition, network=torch.tensor([3, 3]))
        none = replace(condition, network=torch.tensor([0, 0]))
        torch.testing.assert_close(private(x, t, new), start(x, t, none))


def test_designs_that_learn_one_service_say_so() -> None:
    alpha = with_services(source("alpha"), np.zeros((1, 32)), ("call_in",))
    with pytest.raises(WrongUse, match="learns one service"):
        fit_sampler(alpha, design=replace(DESIGN, use_profile=True), plan=PLAN)
    with pytest.raises(WrongUse, match="no context holds the cells"):
        fit_sampler([*alpha[:1], replace(alpha[1], places=None)], design=DESIGN, plan=PLAN)
