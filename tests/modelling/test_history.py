"""The past of a cell as a condition: what windows are told, what draws follow, and what P2 compares."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmark_scripts import script
from bundle_examples import DESIGN, PLAN, context, short_graphs, source

from gentraffic.cli.main import run
from gentraffic.dataset.calendar import make_calendar
from gentraffic.errors import WrongUse
from gentraffic.generators.folder import Bundle, load_bundle, save_bundle
from gentraffic.generators.weekly import Settings, draw_traffic, prepare_inputs
from gentraffic.modelling.features import Scaler, read_places
from gentraffic.modelling.history import History, as_profile, history_of, mean_week
from gentraffic.training.fitting import fit_drift, fit_sampler
from gentraffic.training.sampler_task import past_of
from samplers import Condition, STUNet
from samplers.stunet import SPREAD_KNOTS, follow

SCALER = Scaler(mean=-0.2, spread=0.7, detail={"2": [0.2]})


def test_mean_weeks_are_means_of_days_by_weekday() -> None:
    rng = np.random.default_rng(0)
    days = rng.random((3, 17, 24))
    use = rng.random(17) < 0.7
    week, count = mean_week(days, 4, use)
    for weekday in range(7):
        at = [d for d in range(17) if use[d] and (4 + d) % 7 == weekday]
        assert count[weekday] == len(at)
        expected = days[:, at].mean(axis=1) if at else np.zeros((3, 24))
        np.testing.assert_allclose(week[:, weekday], expected, atol=1e-12)


@pytest.mark.parametrize(("units", "factor"), [("GB", 4.0), ("Mbit/s", 1.0), ("1", 1.0)])
def test_a_past_in_quarters_gives_levels_of_hours(units: str, factor: float) -> None:
    week = np.ones((2, 7, 96), dtype=np.float32)
    past = History(np.arange(2), week, np.ones(7, dtype=np.int64), np.array([1.0, 2.0]), units)
    assert past.step_factor(1) == factor
    assert past.step_factor(4) == 1.0


def test_a_profile_begins_on_its_weekday_and_says_what_it_does_not_know() -> None:
    week = np.random.default_rng(1).random((2, 7, 48)).astype(np.float32)
    days = np.array([1, 2, 0, 3, 1, 1, 4])
    told = as_profile(week, days, 5, 1, SCALER).reshape(2, 2, 7, 24)
    hours = week.reshape(2, 7, 24, 2).mean(axis=3)
    for day in range(7):
        weekday = (5 + day) % 7
        expected = (np.log(hours[:, weekday] + 0.05) + 0.2) / 0.7 if days[weekday] else np.zeros((2, 24))
        np.testing.assert_allclose(told[:, 0, day], expected, atol=1e-5)
        np.testing.assert_allclose(told[:, 1, day], days[weekday] / (days[weekday] + 1), atol=1e-6)
    coarse = as_profile(hours, days, 0, 2, SCALER)  # finer than the past: the hour's mean, and nothing within
    fine = SCALER.inverse(coarse[:, 0]).reshape(2, 7, 24, 2)
    known = days > 0
    np.testing.assert_allclose(fine[:, known, :, 0], fine[:, known, :, 1], rtol=1e-4)


def test_a_window_is_told_other_days_only() -> None:
    days = np.random.default_rng(2).random((21, 24)).astype(np.float32) + 0.2
    told, mean = past_of(days, 3, 6, 1, SCALER, 1.0, None)
    other = days.copy()
    other[6:13] = 99.0  # the window itself
    again, same = past_of(other, 3, 6, 1, SCALER, 1.0, None)
    np.testing.assert_array_equal(told, again)
    assert mean == same == pytest.approx(np.delete(days, range(6, 13), axis=0).mean(), rel=1e-6)
    first = SCALER.inverse(told[:1])[0, :24] * mean  # the window begins on day 6: its weekday is that of 13 and 20
    np.testing.assert_allclose(first, days[[13, 20]].mean(axis=0), rtol=1e-4)
    counts = [past_of(days, 3, 6, 1, SCALER, 1.0, np.random.default_rng(i))[0][1, 0] for i in range(30)]
    assert {round(float(c), 3) for c in counts} == {0.5, 0.667}  # thinned to one week, or both
    kept = [past_of(days, 3, 6, 1, SCALER, 0.5, np.random.default_rng(i))[0].any() for i in range(200)]
    assert 0.35 < np.mean(kept) < 0.65
    nothing, one = past_of(days[:7], 3, 0, 1, SCALER, 1.0, None)
    assert one == 1.0
    assert not nothing.any()


@pytest.mark.parametrize("alpha", [0.02, 0.5, 0.98])
def test_what_the_network_adds_to_is_the_best_linear_guess(alpha: float) -> None:
    """x = profile + spread y: the error of the guess of v is uncorrelated with what is seen, of the size foretold."""
    g = torch.Generator().manual_seed(0)
    n = 4000
    profile = torch.stack([torch.randn(n, 168, generator=g), torch.full((n, 168), 0.5)], 1)
    profile[:, :, 100:] = 0.0  # no past there
    nowhere = torch.zeros(n, dtype=torch.long)
    at_knots = np.linspace(0.6, 0.25, len(SPREAD_KNOTS))  # quiet hours depart further
    between = torch.from_numpy(np.interp(profile[:, 0].numpy(), SPREAD_KNOTS, at_knots)).float()
    s = torch.where(profile[:, 1] > 0, between, torch.ones_like(between))
    model = STUNet(networks=0, use_profile=True, profile_spread=(tuple(at_knots.tolist()),), profile_shift=-0.1)
    mean, spread, _ = model.centre(profile, nowhere, 1)
    x = torch.where(profile[:, 1] > 0, profile[:, 0] - 0.1, profile[:, 0]) + s * torch.randn(n, 168, generator=g)
    eps, a = torch.randn(n, 168, generator=g), torch.tensor(alpha)
    x_t, v = a.sqrt() * x + (1 - a).sqrt() * eps, a.sqrt() * eps - (1 - a).sqrt() * x
    seen, guess, gain = follow(x_t, a.expand(n, 1), mean, spread, torch.zeros_like(x_t))
    error = v - guess
    for part in (slice(0, 100), slice(100, 168)):
        assert seen[:, part].std() == pytest.approx(1.0, abs=0.01)
        assert (error[:, part] / gain[:, part]).std() == pytest.approx(1.0, abs=0.01)
    correlation = torch.corrcoef(torch.stack([error[:, :100].flatten(), seen[:, :100].flatten()]))[0, 1]
    assert abs(correlation) < 0.01
    assert torch.equal(guess[:, 100:], torch.zeros_like(guess[:, 100:]))
    given = torch.ones_like(x_t)
    torch.testing.assert_close(follow(x, a.expand(n, 1), mean, spread, given)[0], x - mean)


def test_in_training_weeks_depart_from_their_profile_as_others_did(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each hour that follows: its own mean and spread, and the departure of another series, the same for all hours."""
    seen: list[tuple[torch.Tensor, Condition]] = []

    def spy(network: STUNet, noise: Any, x: torch.Tensor, condition: Condition, *rest: Any) -> None:
        seen.append((x, condition))

    monkeypatch.setattr("samplers.stunet.denoising_loss", spy)
    shift, spread = (tuple((v * n,) * len(SPREAD_KNOTS) for n in (1.0, 2.0, 3.0)) for v in (0.25, 0.2))
    model = STUNet(networks=2, use_profile=True, profile_shift=shift, profile_spread=spread)
    g = torch.Generator().manual_seed(0)
    number = torch.arange(40) % 3
    profile = torch.stack([torch.randn(40, 168, generator=g), torch.full((40, 168), 0.5)], 1)
    profile[:, :, 100:] = 0.0  # no past there
    profile[30:] = 0.0  # nor anywhere
    centre, scale = (profile[:, 0] + 0.25 * (number + 1)[:, None], 0.2 * (number + 1)[:, None])
    x = centre + scale * (torch.arange(40)[:, None] + torch.zeros(168))  # the departure names the series
    x[:, 100:] = x[30:] = 7.0
    known = torch.full_like(x, torch.nan)
    known[:, :24] = x[:, :24]
    condition = Condition(torch.zeros(40, 32), torch.zeros(1, 168, 32), torch.zeros(40, 2), number, known, profile)
    model.loss(torch.where(known.isnan(), x, 99.0), condition, g)  # what is given counts
    ((told, after),) = seen
    assert torch.equal(told[30:], x[30:])
    assert torch.equal(told[:, 100:], x[:, 100:])
    who = ((told - centre) / scale)[:30, :100]
    torch.testing.assert_close(who, who[:, :1].expand(-1, 100), atol=1e-3, rtol=0)
    assert sorted(who[:, 0].round().int().tolist()) == list(range(30))
    assert (who[:, 0].round() == torch.arange(30)).sum() < 5
    assert after.known is not None
    torch.testing.assert_close(after.known, torch.where(known.isnan(), known, told), equal_nan=True)
    plain = replace(condition, profile=None)
    model.loss(x, plain, g)
    assert seen[1][0] is x
    assert seen[1][1] is plain


@pytest.fixture(scope="module")
def follower() -> Bundle:
    """A model that takes the past, fitted in seconds on one network of three weeks."""
    plan = replace(PLAN, steps=40)
    with short_graphs():
        bundle, told = fit_sampler([source("alpha", days=21)], design=replace(DESIGN, use_profile=True), plan=plan)
    assert told["recommended_steps"] == 8
    assert told["plan"]["profile_keep"] > 0
    spread = np.array(bundle.model.config["profile_spread"])
    assert spread.shape == (2, len(SPREAD_KNOTS))
    assert (spread >= 0.05).all()
    assert (spread <= 1).all()
    shift = np.array(bundle.model.config["profile_shift"])
    assert shift.shape == spread.shape
    assert (np.abs(shift) < spread).all()
    return bundle


def past_with_a_peak(hour: int, level: float, cells: int = 20) -> History:
    week = np.full((cells, 7, 24), 0.5, dtype=np.float32)
    week[:, :, hour] = 24 - 23 * 0.5
    return History(np.arange(1, cells + 1), week, np.full(7, 4), np.full(cells, level), "MB")


@pytest.mark.slow
def test_draws_follow_the_past_of_their_cell_and_its_level(follower: Bundle) -> None:
    places = context(30, "alpha")
    calendar = make_calendar("2026-01-05", 14, "1h", "Europe/Rome")
    settings = Settings(members=3, steps=4)
    past = past_with_a_peak(4, 5.0)
    drawn = draw_traffic(follower, places, calendar, settings, history=past)
    unit = past.unit(follower.levels, read_places(places), places["cell_id"].values)
    assert unit == follower.levels.networks["alpha"].mean_traffic
    day = drawn.reshape(3, 30, 14, 24).mean(axis=(0, 2))
    assert (day[:20].argmax(axis=1) == 4).mean() > 0.9  # those with a past
    assert (day[20:].argmax(axis=1) == 4).mean() < 0.2
    assert 0.4 < np.median(drawn[:, :20].mean(axis=2) * unit / 5.0) < 2.5
    more = draw_traffic(follower, places, calendar, settings, history=replace(past, level=past.level * 10))
    np.testing.assert_allclose(np.median(more[:, :20] / drawn[:, :20]), 10.0, rtol=0.35)
    alone = draw_traffic(follower, places, calendar, settings)
    np.testing.assert_allclose(drawn[:, 20:], alone[:, 20:], rtol=1e-4, atol=1e-5)
    some = draw_traffic(follower, places, calendar, settings, history=past, cells=[25, 3])
    np.testing.assert_array_equal(some, drawn[:, [25, 3]])


def test_a_history_of_other_cells_or_for_another_model_is_refused(follower: Bundle, tiny_bundle: Bundle) -> None:
    calendar = make_calendar("2026-01-05", 7, "1h", "Europe/Rome")
    strange = replace(past_with_a_peak(4, 5.0), cell_id=np.arange(900, 920))
    with pytest.raises(WrongUse, match=r"--history holds none of the 30 cells \(its first is '900'\)"):
        draw_traffic(follower, context(30), calendar, Settings(), history=strange)
    with pytest.raises(WrongUse, match="--history: this model takes no past"):
        draw_traffic(tiny_bundle, context(30), calendar, Settings(), history=past_with_a_peak(4, 5.0))


def test_the_level_of_a_past_drifts_as_far_as_weeks_did(follower: Bundle) -> None:
    """Members' log levels over that of the past: of mean exp 1, of the standard deviation that was fitted."""
    scaler = replace(follower.scaler, drift={"alpha": 0.3})
    calendar = make_calendar("2026-01-05", 7, "1h", "Europe/Rome")
    past = past_with_a_peak(4, 5.0)
    region, _ = prepare_inputs(
        replace(follower, scaler=scaler), context(30, "alpha"), calendar, Settings(members=201), history=past
    )
    unit = past.unit(follower.levels, read_places(context(30, "alpha")), context(30)["cell_id"].values)
    over = region.log_level[:, :20] - np.log(5.0 / unit)
    np.testing.assert_allclose(over[0], 0.0, atol=1e-12)  # the control
    spread = over[1:].std(axis=0)
    np.testing.assert_allclose(spread, 0.3, rtol=0.15)
    assert spread.mean() == pytest.approx(0.3, rel=0.02)
    np.testing.assert_allclose(np.exp(over[1:]).mean(axis=0), 1.0, atol=0.02)


def test_the_drift_of_weeks_is_found_again() -> None:
    rng = np.random.default_rng(0)
    of = source("alpha", days=21)
    weeks = np.exp(0.2 * rng.standard_normal((len(of.ratio), 3)))
    even = of.ratio / of.ratio.reshape(len(of.ratio), 3, 7, -1).mean(axis=(2, 3)).repeat(7, axis=1)[..., None]
    drift = fit_drift([replace(of, ratio=even * weeks.repeat(7, axis=1)[..., None])])
    expected = 0.2 * np.sqrt((1 + 1 + 1 + 1 / 2) / 2)  # against one week before, and the mean of two
    assert drift["alpha"] == pytest.approx(expected, rel=0.2)
    assert drift[""] == pytest.approx(drift["alpha"], abs=1e-4)
    assert fit_drift([source("alpha", days=7)]) == {}


def test_the_history_of_a_source_is_its_mean_week() -> None:
    of = source("alpha", days=16)
    past = history_of(of, "MB")
    monday = [d for d in range(16) if (of.weekday + d) % 7 == 0]
    np.testing.assert_allclose(past.week[:, 0], of.ratio[:, monday].mean(axis=1), rtol=1e-5)
    assert past.days.sum() == 16
    np.testing.assert_array_equal(past.level, of.level)


def test_sample_follows_a_file(follower: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pyproj import Transformer
    from traffic_examples import UTM

    from gentraffic.dataset.schema import traffic_dataset
    from gentraffic.io.files import read_traffic, write_context, write_traffic

    places = context(30, "alpha")
    to_degrees = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform(places["x"].values, places["y"].values)
    places = places.assign_coords(lon=("cell", lon), lat=("cell", lat))
    write_context(places, tmp_path / "c.nc")
    time = make_calendar("2025-12-01", 14, "1h", "Europe/Rome").utc
    wave = 100 + 80 * np.cos(2 * np.pi * (np.arange(len(time)) - 3) / 24)
    values = np.tile(wave, (30, 1)).astype(np.float32)
    past = traffic_dataset(
        values, cells=places, time=time, service="traffic", units="MB", timezone="Europe/Rome", attrs={}
    )
    write_traffic(past, tmp_path / "past.nc")
    save_bundle(replace(follower, provenance={"attribution": ""}), tmp_path / "m", "card")
    words = ["sample", "--context", str(tmp_path / "c.nc"), "--history", str(tmp_path / "past.nc"), "--steps", "3"]
    assert run([*words, "--model", str(tmp_path / "m"), "-o", str(tmp_path / "s.nc"), "--quiet"]) == 0
    drawn = read_traffic(tmp_path / "s.nc")
    assert drawn["traffic"].attrs["units"] == "MB"
    assert 50 < float(drawn["traffic"].mean()) < 200
    assert load_bundle(tmp_path / "m").model.config["use_profile"]
    assert run([*words, "-o", str(tmp_path / "x.nc")]) == 2
    assert "fit ... --profile" in capsys.readouterr().err
    store = ["--model", str(tmp_path / "m"), "-o", str(tmp_path / "s.zarr"), "--chunk-cells", "7", "--quiet"]
    assert run([*words, *store]) == 0
    streamed = read_traffic(tmp_path / "s.zarr")["traffic"]
    np.testing.assert_array_equal(streamed.values, drawn["traffic"].values)
    assert streamed.attrs["units"] == "MB"


def test_two_weeks_of_the_same_ground_are_paired_and_kept_apart(shared_data: Path) -> None:
    from gentraffic.io.importers.uomo import read_uomo

    p2 = script("fidelity")
    traffic, places = read_uomo(shared_data / "traffic" / "uomo_nc.npz")
    drawn = []
    for fold in (0, 1):
        train, later = p2.two_weeks(traffic, places, 2, fold)
        assert not set(train.location.tolist()) & set(later.past.location.tolist())
        assert train.ratio.shape[1:] == (14, 24)
        drawn.append(len(later.real))
        past = later.past.hourly()
        own = [np.corrcoef(past[i], later.real[i])[0, 1] for i in range(len(past))]
        assert np.mean(own) > 0.55
        level = np.corrcoef(np.log(past.mean(axis=1)), np.log(later.real.mean(axis=1)))[0, 1]
        assert level > 0.85  # pairs are the same ground: shuffled they would not agree
        perfect = p2.score_later(later.real[None], later)
        assert all(np.allclose(perfect[key], 0.0) for key in p2.POINT)
        rows = p2.later_week_rows(later)
        np.testing.assert_allclose(rows["climatology"], rows["earlier weeks"][:1], rtol=1e-6)  # one week: the same
        np.testing.assert_allclose(rows["climatology"][0], past, rtol=1e-6)
    assert sum(drawn) == 84
