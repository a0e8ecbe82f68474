"""Naive generators as models: what they remember comes back, cell by cell, through fit and sample."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundle_examples import context, source

from gentraffic.api.models import FITTERS, can_be_fitted, is_trained
from gentraffic.cli.main import run
from gentraffic.dataset.calendar import make_calendar
from gentraffic.errors import BadModel, WrongUse
from gentraffic.generators.base import load_model
from gentraffic.generators.folder import load_bundle
from gentraffic.generators.naive import NAIVE, NaiveModel, draw_naive, fit_naive, save_naive
from gentraffic.generators.weekly import Settings
from samplers import sampler_names

WEEK = make_calendar("2026-01-05", 7, "1h", "Europe/Rome")  # a Monday
SOURCE = source("alpha", days=15)
RELATIVE = SOURCE.ratio * (SOURCE.level / SOURCE.level.mean())[:, None, None]


def test_the_command_offers_what_there_is() -> None:
    assert tuple(name for name in FITTERS if not is_trained(name)) == NAIVE
    assert set(can_be_fitted()) == {*sampler_names(), *NAIVE, "fomo"}


def test_bootstrap_draws_whole_series_of_single_cells() -> None:
    model = fit_naive("bootstrap", [SOURCE])
    drawn = draw_naive(model, context(40), WEEK, Settings(members=8, seed=3))
    monday = (0 - SOURCE.weekday) % 7
    known = RELATIVE[:, (monday + np.arange(7)) % 14].reshape(len(RELATIVE), 168)
    match = [np.flatnonzero(np.isclose(known, series, rtol=1e-4).all(axis=1)) for series in drawn.reshape(-1, 168)]
    assert all(len(m) == 1 for m in match)
    picked = np.concatenate(match)
    assert len(set(picked.tolist())) > 0.8 * len(RELATIVE)  # 320 draws: nearly every cell
    some = draw_naive(model, context(40), WEEK, Settings(members=8, seed=3), cells=[7, 2])
    np.testing.assert_array_equal(some, drawn[:, [7, 2]])


def test_two_weeks_follow_each_other_by_weekday() -> None:
    model = fit_naive("bootstrap", [SOURCE])
    long = make_calendar("2026-01-08", 21, "1h", "Europe/Rome")  # a Thursday
    drawn = draw_naive(model, context(4), long, Settings())
    np.testing.assert_array_equal(drawn[..., :168], drawn[..., 336:])  # the third week is the first of the two again
    assert (drawn[..., :168] != drawn[..., 168:336]).any()


def test_knn_draws_the_nearest_places_nearest_first() -> None:
    assert SOURCE.places is not None
    model = fit_naive("knn", [SOURCE])
    own = context(len(RELATIVE), "alpha", seed=0)
    drawn = draw_naive(model, own, WEEK, Settings(members=3))
    features = model.series[0].features
    assert features is not None
    monday = (0 - SOURCE.weekday) % 7
    known = RELATIVE[:, (monday + np.arange(7)) % 14].reshape(len(RELATIVE), 168)
    from gentraffic.modelling.features import fit_scale, read_places
    from gentraffic.modelling.levels import stack_features

    places = read_places(own)
    wanted = fit_scale(stack_features(places.counts, places.around))(stack_features(places.counts, places.around))
    apart = ((wanted[:, None] - features[None]) ** 2).sum(axis=2)
    for member in range(3):
        nearest = np.sort(apart, axis=1)[:, member]
        chosen = [np.isclose(known, drawn[member, i], rtol=1e-4).all(axis=1).argmax() for i in range(len(wanted))]
        np.testing.assert_allclose(apart[np.arange(len(wanted)), chosen], nearest, rtol=1e-6)
    with pytest.raises(WrongUse, match="knn needs the POIs"):
        fit_naive("knn", [replace(SOURCE, places=None)])


def test_climatology_is_the_mean_week_of_the_same_cell_and_of_no_other() -> None:
    model = fit_naive("climatology", [SOURCE])
    drawn = draw_naive(model, context(20), WEEK, Settings(members=2))
    for weekday in range(7):
        days = [d for d in range(15) if (SOURCE.weekday + d) % 7 == weekday]
        expected = RELATIVE[:20, days].mean(axis=1)
        np.testing.assert_allclose(drawn[0, :, weekday * 24 : weekday * 24 + 24], expected, rtol=1e-4)
    np.testing.assert_array_equal(drawn[0], drawn[1])
    elsewhere = context(5, ids=np.arange(900, 905))
    with pytest.raises(WrongUse, match=r"not of 900 \(5 of 5 cells\)") as told:
        draw_naive(model, elsewhere, WEEK, Settings())
    assert "\n" not in str(told.value)


def test_a_cadence_that_no_series_has_is_refused() -> None:
    with pytest.raises(WrongUse, match="draws 60 min, not 15 min"):
        draw_naive(
            fit_naive("bootstrap", [SOURCE]),
            context(4),
            make_calendar("2026-01-05", 7, "15min", "Europe/Rome"),
            Settings(),
        )


def test_saved_and_loaded_it_is_the_same_and_a_changed_file_is_told(tmp_path: Path) -> None:
    model = fit_naive("knn", [SOURCE, source("beta", 12, 8, per_hour=6, seed=1)])
    save_naive(model, tmp_path / "m", "card")
    loaded = load_model(tmp_path / "m")
    assert isinstance(loaded, NaiveModel)
    assert [s.network for s in loaded.series] == ["alpha", "beta"]
    settings = Settings(members=2, seed=1)
    np.testing.assert_array_equal(
        draw_naive(loaded, context(30), WEEK, settings), draw_naive(model, context(30), WEEK, settings)
    )
    with pytest.raises(BadModel, match="holds the model 'knn'"):
        load_bundle(tmp_path / "m")
    file = tmp_path / "m" / "series.nc"
    file.write_bytes(file.read_bytes()[:-9] + b"altered!!")
    with pytest.raises(BadModel, match=r"series\.nc differs"):
        load_model(tmp_path / "m")


def test_fit_and_sample(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source_file = str(shared_data / "traffic" / "uomo_sd.npz")
    traffic, places, model = (str(tmp_path / name) for name in ("sd.nc", "c.nc", "m"))
    assert run(["import", "uomo", source_file, "-o", traffic, "--context", places, "--quiet"]) == 0
    fit = ["fit", "bootstrap", "--traffic", traffic, "--context", places, "-o", model]
    assert run([*fit, "--steps", "5"]) == 2
    assert "bootstrap is not trained" in capsys.readouterr().err
    assert run([*fit, "--quiet"]) == 0
    sample = ["sample", "--city", "monaco", "--model", model, "--days", "9", "-o", str(tmp_path / "o.nc")]
    assert run([*sample, "--members", "2", "--quiet"]) == 0
    assert "contains them" in (tmp_path / "m" / "README.md").read_text()
    assert run([*sample[:-1], str(tmp_path / "o.zarr"), "--quiet"]) == 0
