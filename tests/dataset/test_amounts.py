"""gentraffic.dataset.amounts: what adds up when steps become longer, against sums and means made by hand."""

import numpy as np
import pytest
from traffic_examples import traffic

from gentraffic.dataset.amounts import (
    at_cadence,
    bits_per_unit,
    combine_cells,
    combine_steps,
    conversion,
    is_amount,
    per_hour,
    volume,
)
from gentraffic.dataset.summary import summary
from gentraffic.dataset.units import converted
from gentraffic.errors import WrongUse
from gentraffic.io.export.counters import parse_amount

AMOUNTS = ["B", "kB", "MB", "GB", "TB", "GiB", "Mbit", "Gbits", "bit", "Gbyte", "Tbyte", "MBytes", "GB per step",
           "calls", "SMS", "octets", "unit"]  # fmt: skip
RATES = ["1", "unknown", "Mbit/s", "Mbps", "kb/s", "bps", "MB/s", "GB/day", "GB/h", "MB per hour", "MB per 15 min",
         "Gbit s-1", "%", "users", "prb share", "Erlang"]  # fmt: skip


@pytest.mark.parametrize("units", AMOUNTS)
def test_amounts_are_added_up(units: str) -> None:
    assert is_amount(units)
    values = np.array([[1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 5.0, 5.0]], dtype=np.float32)
    np.testing.assert_array_equal(combine_steps(values, 2, units), [[3.0, 7.0], [1.0, 10.0]])
    assert per_hour(units, 900) == 4.0


@pytest.mark.parametrize("units", RATES)
def test_rates_and_relative_traffic_are_averaged(units: str) -> None:
    assert not is_amount(units)
    values = np.array([[1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 5.0, 5.0]], dtype=np.float32)
    np.testing.assert_array_equal(combine_steps(values, 2, units), [[1.5, 3.5], [0.5, 5.0]])
    assert per_hour(units, 900) == 1.0


def test_volumes_in_bits() -> None:
    assert volume("GB") == (8e9, None)
    assert volume("MB per 15 min") == (8e6, 900)
    assert volume("mB") is None, "a milli-byte is no unit of traffic"
    assert bits_per_unit("Mbps", 900) == 900e6
    assert bits_per_unit("GB/day", 3600) == pytest.approx(8e9 / 24)
    assert conversion("TB", "GB", 3600) == 1000
    assert conversion("GB", "Mbit/s", 3600) == pytest.approx(8e9 / 3600 / 1e6)
    assert conversion("GB", "1", 3600) is None
    assert conversion("unknown", "unknown", 3600) == 1


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("3.2GB", (3.2, "GB")), ("18GB per step", (18, "GB per step")), ("3 GB/15min", (3, "GB/15min")), ("40", (40, ""))],
)
def test_a_capacity_is_an_amount_and_perhaps_a_time(text: str, wanted: tuple[float, str]) -> None:
    assert parse_amount(text, "--capacity") == wanted
    assert wanted[1] == "" or volume(wanted[1]) is not None


def test_steps_that_do_not_fit_are_refused() -> None:
    with pytest.raises(WrongUse, match="no multiple of 3"):
        combine_steps(np.zeros((2, 4)), 3, "GB")


@pytest.mark.parametrize(("units", "factor"), [("GB", 1.0), ("Mbit/s", 0.25), ("1", 0.25)])
def test_a_dataset_at_a_longer_step(units: str, factor: float) -> None:
    fine = traffic(days=2, minutes=15, units=units)
    coarse = at_cadence(fine.isel(time=slice(1, None)), 3600, 0)  # from 23:15: the first whole hour begins at 0:00
    assert coarse["time"].values[0] == np.datetime64("2013-11-01T00:00")
    wanted = fine["internet"].values[:, 4:].astype(np.float64).reshape(36, 47, 4).sum(axis=2) * factor
    np.testing.assert_allclose(coarse["internet"].values, wanted, rtol=1e-6)
    assert coarse["internet"].attrs["units"] == units
    with pytest.raises(WrongUse, match="15 min do not divide 20 min"):
        at_cadence(fine, 1200)
    with pytest.raises(WrongUse, match="shorter than one step"):
        at_cadence(fine.isel(time=slice(0, 3)), 3600)


def test_cells_become_a_region() -> None:
    values = np.array([[1.0, 2.0], [3.0, 6.0]])
    np.testing.assert_array_equal(combine_cells(values, "GB", 0), [4.0, 8.0])
    np.testing.assert_array_equal(combine_cells(values, "Mbit/s", 0), [4.0, 8.0])
    np.testing.assert_array_equal(combine_cells(values, "1", 0), [2.0, 4.0])
    np.testing.assert_array_equal(combine_cells(values, "%", 0), [2.0, 4.0])


@pytest.mark.parametrize("units", ["GB", "Mbit/s", "1"])
def test_the_busy_hour_says_the_same_of_hours_and_of_quarters(units: str) -> None:
    fine = traffic(days=2, minutes=15, units=units)
    hourly = at_cadence(fine, 3600, int(fine["time"].values[0].astype("datetime64[s]").astype(int)))
    a, b = summary(fine, "internet"), summary(hourly, "internet")
    np.testing.assert_array_equal(a["busy_hour"], b["busy_hour"])
    np.testing.assert_allclose(a["busy_mean"], b["busy_mean"], rtol=1e-5)


def test_a_dataset_in_another_unit() -> None:
    tera = traffic(units="TB")
    giga = converted(tera, "GB")
    np.testing.assert_allclose(giga["internet"].values, tera["internet"].values * 1000, rtol=1e-6)
    assert giga["internet"].attrs["units"] == "GB"
    assert converted(traffic(units="1"), "GB")["internet"].attrs["units"] == "1"
