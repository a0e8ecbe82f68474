"""Two files onto the same cells, steps and units: against arrays cut by hand."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from traffic_examples import context, traffic

from gentraffic.errors import BadInput, WrongUse
from gentraffic.evaluation.alignment import Pair, align, coarsen, read_series, rescale, same_slot
from gentraffic.evaluation.scores import hour_steps

REAL = traffic(days=15, units="MB")


def paired(real: xr.Dataset, synthetic: xr.Dataset) -> Pair:
    return rescale(align(real, synthetic))


def test_cells_and_times_are_matched_and_what_is_left_out_is_counted() -> None:
    order = np.random.default_rng(0).permutation(36)[:30]
    synthetic = traffic(days=15, units="MB", seed=2, members=3).isel(cell=order, time=slice(24, 200))
    real = REAL.isel(cell=slice(0, 33), time=slice(0, 150))
    pair = paired(real, synthetic)
    ids = [i for i in range(33) if i in order and i != 3]  # in the order of real; the fourth cell is dead
    np.testing.assert_array_equal(pair.ids, [str(i + 1) for i in ids])
    np.testing.assert_array_equal(pair.real, REAL["internet"].values[ids, 24:150].astype(np.float64))
    whole = traffic(days=15, units="MB", seed=2, members=3)["internet"].values
    np.testing.assert_array_equal(pair.synthetic, whole[:, ids, 24:150])
    both = len([i for i in range(33) if i in order])
    assert pair.counts == {
        "cells": len(ids), "cells_dead": both - len(ids), "cells_only_real": 33 - both,
        "cells_only_synthetic": 30 - both, "steps": 126, "steps_only_real": 24, "steps_only_synthetic": 50,
    }  # fmt: skip
    assert pair.paired
    assert pair.factor == 1.0
    np.testing.assert_array_equal(pair.utc, real["time"].values[24:].astype("datetime64[s]").astype(np.int64))


def test_ids_of_text_and_of_numbers_are_the_same_cell() -> None:
    other = REAL.assign_coords(cell_id=("cell", REAL["cell_id"].values.astype(str).astype(object)))
    np.testing.assert_array_equal(paired(REAL, other).synthetic[0], paired(REAL, REAL).real.astype(np.float32))


@pytest.mark.parametrize(("units", "how"), [("MB", "added up"), ("Mbit/s", "averaged"), ("unknown", "averaged")])
def test_the_finer_cadence_is_brought_to_the_coarser(units: str, how: str) -> None:
    fine = traffic(days=3, minutes=10, units=units, seed=4)
    coarse = REAL.assign(internet=REAL["internet"].assign_attrs(units=units))
    pair = paired(coarse, fine.isel(time=slice(2, None)))  # begins at 0:20: the first hour is not whole
    live = [i for i in range(36) if i != 3]
    parts = fine["internet"].values[live].astype(np.float64).reshape(35, 72, 6)
    wanted = (parts.sum(axis=2) if how == "added up" else parts.mean(axis=2))[:, 1:]
    np.testing.assert_allclose(pair.synthetic[0], wanted, rtol=1e-6)
    np.testing.assert_array_equal(pair.real, REAL["internet"].values[live, 1:72].astype(np.float64))
    assert any(f"{how} from steps of 10 to 60 min" in note for note in pair.notes)
    back = paired(fine, coarse)  # the real file may be the finer one
    assert back.step_s == 3600
    np.testing.assert_allclose(back.real[:, 1:], wanted, rtol=1e-6)


def test_cadences_that_do_not_divide_are_refused() -> None:
    with pytest.raises(WrongUse, match="10 min, which do not divide 15 min"):
        align(traffic(minutes=10), traffic(minutes=15))
    one = read_series(traffic(minutes=10).isel(time=slice(0, 5)), "--train", None)
    with pytest.raises(WrongUse, match="shorter than one step"):
        coarsen(one, 3600)


def test_files_without_a_shared_time_are_laid_side_by_side_at_one_hour_of_the_week() -> None:
    later = traffic(days=10, start="2014-06-02T22:00", units="MB", seed=3)  # Tuesday 0:00 in Rome, in summer time
    pair = paired(REAL, later)  # real begins on Friday 1 November 2013, 0:00
    assert not pair.paired
    live = [i for i in range(36) if i != 3]
    # Tuesday comes fourth in the real file: 11 days there, 10 here; Friday comes third here: 7 days left
    np.testing.assert_array_equal(pair.synthetic[0], later["internet"].values[live])
    np.testing.assert_array_equal(pair.real[:, 0], REAL["internet"].values[live, 96])
    assert pair.counts["steps"] == 240
    assert pair.counts["steps_only_real"] == 120
    assert any("share no time" in note and "hour of the local week" in note for note in pair.notes)


def test_short_files_of_different_weekdays_are_laid_side_by_side_at_one_hour_of_the_day() -> None:
    pair = paired(REAL.isel(time=slice(0, 48)), traffic(days=2, start="2014-01-06T11:00", units="MB"))
    assert pair.counts["steps"] == 36
    assert pair.clock[0] % 86_400 == 12 * 3600
    assert any("different weekdays" in note for note in pair.notes)


def test_same_slot_is_the_longest_stretch() -> None:
    day = 86_400
    monday = 4 * day + np.arange(0, 14 * day, 3600)
    i, j, steps = same_slot(monday, monday[60:100] + 7 * day * 52, 3600)
    assert (i, j, steps) == (60, 0, 40)
    assert same_slot(monday[60:100], monday, 3600) == (0, 60, 40)


def test_hours_of_a_day_when_the_clocks_change() -> None:
    for start, hours in (("2014-03-29", 23), ("2014-10-25", 25)):
        utc = pd.date_range(start, periods=96, freq="30min", tz="Europe/Rome")
        clock = utc.tz_localize(None).to_numpy().astype("datetime64[s]").astype(np.int64)
        at = hour_steps(clock, 1800)
        days = utc[at[:, 0]].strftime("%Y-%m-%d %H").tolist()
        assert days == [f"{start} {h:02d}" for h in range(24)]  # the day of the change and what follows it is no day
        assert (np.diff(at, axis=1) == 1).all()
        assert (
            len(pd.date_range(utc[48], utc[48].normalize() + pd.DateOffset(days=1), freq="1h", inclusive="left"))
            == hours
        )
    with pytest.raises(ValueError, match="no parts of hours"):
        hour_steps(np.arange(0, 86_400, 7200), 7200)


def test_a_service_is_named_in_both_or_the_only_one_beside_users() -> None:
    two = traffic(days=15, units="MB", seed=5).rename(internet="traffic")
    two["users"] = two["traffic"].copy()
    pair = paired(REAL, two)
    assert pair.services == ("internet", "traffic")
    assert any("'internet' of --real is compared with 'traffic'" in note for note in pair.notes)
    two["calls"] = two["traffic"] * 2
    with pytest.raises(WrongUse, match="several services: traffic, users, calls"):
        align(REAL, two)
    np.testing.assert_array_equal(align(two, two, service="calls").real, align(two, two, service="traffic").real * 2)
    with pytest.raises(WrongUse, match="in neither file"):
        align(REAL, REAL, service="calls")


def test_scaling() -> None:
    relative = traffic(days=15, members=2, seed=6)
    raw = align(REAL, relative)
    train = np.full((4, 9), 250.0)
    assert rescale(raw, train=train).factor == 250.0
    np.testing.assert_allclose(rescale(raw, train=train).synthetic, raw.synthetic * 250.0, rtol=1e-6)
    by_mean = rescale(raw)
    assert by_mean.scaling == "mean of real"
    assert by_mean.synthetic.mean(dtype=np.float64) == pytest.approx(by_mean.real.mean(), rel=1e-6)
    assert rescale(raw, "none").factor == 1.0
    other = align(REAL, traffic(days=15, units="erlang", seed=6))
    with pytest.raises(WrongUse, match="'MB', --synthetic in 'erlang'"):
        rescale(other)
    assert rescale(other, "mean", train).scaling == "mean of real"  # erlangs are no share of a mean cell
    assert any("compared as they are" in note for note in rescale(other, "none").notes)
    assert any("unknown" in note for note in paired(traffic(units="unknown"), traffic(units="unknown")).notes)
    with pytest.raises(WrongUse, match="--scale half"):
        rescale(raw, "half")


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(WrongUse, match="no cell_id is in both files"):
        align(REAL, traffic(context("stations")))
    with pytest.raises(WrongUse, match="must be measured"):
        align(traffic(members=2), REAL)
    with pytest.raises(BadInput, match="every cell compared is dead"):
        align(REAL.isel(cell=[3]), REAL)
    far = REAL.assign_coords(lat=REAL["lat"] + 1.0)
    with pytest.raises(WrongUse, match="111 km apart"):
        align(REAL, far)


def test_whole_weeks_of_the_real_file_are_kept_for_the_diversity() -> None:
    pair = paired(REAL, traffic(days=2, members=3, units="MB", seed=8))
    live = [i for i in range(36) if i != 3]
    assert pair.weeks.shape == (2, 35, 168)
    np.testing.assert_array_equal(pair.weeks[1], REAL["internet"].values[live, 168:336])


@pytest.mark.parametrize(
    ("units", "factor"), [("TB", 1e-6), ("kB", 1e3), ("Mbit", 8.0), ("Mbit/s", 8 / 3600), ("MiB", 1e6 / 2**20)]
)
def test_other_units_of_volume_are_converted(units: str, factor: float) -> None:
    """The same traffic in another unit is the same traffic; what is no volume is asked for."""
    other = REAL.copy(deep=True)
    other["internet"] = (REAL["internet"].astype(np.float64) * factor).astype(np.float32).assign_attrs(units=units)
    pair = paired(REAL, other)
    np.testing.assert_allclose(pair.synthetic[0], pair.real, rtol=1e-6)
    assert pair.factor == 1.0
    assert f"--synthetic was converted from {units} to MB" in pair.notes
    other["internet"].attrs["units"] = "erlang"
    with pytest.raises(WrongUse, match="convert one of them"):
        paired(REAL, other)
