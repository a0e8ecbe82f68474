"""A panel holds what the Dataset holds, by another way: xarray and pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from traffic_examples import context, traffic

from gentraffic.dataset.panel import read_panel
from gentraffic.errors import BadInput, WrongUse


def test_values_and_places_are_those_of_the_dataset() -> None:
    ds = traffic(members=3)
    panel = read_panel(ds, "internet")
    np.testing.assert_array_equal(panel.values, ds["internet"].values)
    assert (panel.units, panel.service, panel.kind, panel.per_day) == ("1", "internet", "grid", 24)
    assert panel.grid is not None
    for name, column in (("x", panel.xy_m[:, 0]), ("y", panel.xy_m[:, 1]), ("row", panel.grid[:, 0])):
        np.testing.assert_array_equal(column, ds[name].values)
    with pytest.raises(WrongUse, match="the traffic holds 3 members: it must be measured"):
        panel.check_measured()
    one = read_panel(traffic(), name="--real")
    one.check_measured()
    np.testing.assert_array_equal(one.values[0], traffic()["internet"].values)
    with pytest.raises(WrongUse, match="no service 'calls' here, only internet"):
        read_panel(ds, "calls")
    assert read_panel(traffic(context("stations"))).grid is None


@pytest.mark.parametrize("start", ["2013-10-26T22:00", "2013-03-30T23:00"])  # then clocks change
def test_times_are_those_of_pandas(start: str) -> None:
    ds = traffic(days=3, minutes=30, start=start)
    panel = read_panel(ds)
    local = pd.DatetimeIndex(ds["time"].values).tz_localize("UTC").tz_convert("Europe/Rome")
    np.testing.assert_array_equal(panel.utc, ds["time"].values.astype("datetime64[s]").astype(np.int64))
    np.testing.assert_array_equal(panel.weekday, local.day_of_week)
    np.testing.assert_allclose(panel.hour, local.day_of_week * 24 + local.hour + local.minute / 60)
    np.testing.assert_array_equal(panel.cut(7, 20).clock, panel.clock[7:27])


def test_a_part_finds_its_cells_and_steps_again() -> None:
    ds = traffic(days=3)
    ds["users"] = (("cell", "time"), 2 * ds["internet"].values, {"units": "1"})
    part = read_panel(ds, "internet").cut(5, 30).only(np.array([7, 2, 30]))
    users = read_panel(ds, "users").like(part)
    np.testing.assert_array_equal(users.values, 2 * part.values)
    np.testing.assert_array_equal(users.utc, part.utc)
    np.testing.assert_array_equal(part.cell_id, ds["cell_id"].values[[7, 2, 30]])
    np.testing.assert_array_equal(part.xy_m[:, 0], ds["x"].values[[7, 2, 30]])


def test_a_day_must_be_whole_steps() -> None:
    with pytest.raises(BadInput, match="one time step"):
        _ = read_panel(traffic().isel(time=slice(0, 1))).per_day
    odd = traffic().isel(time=slice(0, 40, 7))
    with pytest.raises(BadInput, match="steps of 420 min do not divide the day"):
        _ = read_panel(odd).per_day
