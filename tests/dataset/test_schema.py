"""check_traffic and check_context: what is right passes, each wrong thing is named in one line."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from traffic_examples import context, traffic

from gentraffic.dataset.schema import (
    check_context,
    check_traffic,
    local_time,
    member_band,
    one_service,
    services,
    traffic_dataset,
    units_words,
)
from gentraffic.errors import BadInput, WrongUse


@pytest.mark.parametrize("kind", ["grid", "cells", "stations"])
@pytest.mark.parametrize("members", [None, 3])
def test_examples_pass(kind: str, members: int | None) -> None:
    check_context(context(kind))
    check_traffic(traffic(context(kind), members=members))


def _with(name: str, change: Callable[[np.ndarray], None]) -> Callable[[xr.Dataset], xr.Dataset]:
    def apply(ds: xr.Dataset) -> xr.Dataset:
        ds = ds.copy(deep=True)
        values = ds[name].values.copy()
        change(values)
        return (
            ds.assign_coords({name: (ds[name].dims, values)})
            if name in ds.coords
            else ds.assign({name: (ds[name].dims, values, ds[name].attrs)})
        )

    return apply


def _put(name: str, at: object, value: object) -> Callable[[xr.Dataset], xr.Dataset]:
    return _with(name, lambda values: values.__setitem__(at, value))


def _swap_lon_lat(ds: xr.Dataset) -> xr.Dataset:
    return ds.assign_coords(lon=("cell", ds["lat"].values), lat=("cell", ds["lon"].values))


def _gap(ds: xr.Dataset) -> xr.Dataset:
    return ds.isel(time=[*range(5), *range(8, 30), *range(31, 40)])


def _attr(**attrs: object) -> Callable[[xr.Dataset], xr.Dataset]:
    return lambda ds: ds.assign_attrs(attrs)


def _units(ds: xr.Dataset) -> xr.Dataset:
    ds = ds.copy()
    del ds["internet"].attrs["units"]
    return ds


WRONG_TRAFFIC: list[tuple[Callable[[xr.Dataset], xr.Dataset], str]] = [
    (
        _put("internet", (2, slice(3, 6)), np.nan),
        r"internet holds 3 NaN values, the first at cell 3, 2013-11-01T02:00Z",
    ),
    (_put("internet", (4, 0), -0.5), r"internet holds 1 negative values, the first at cell 5, 2013-10-31T23:00Z"),
    (_put("internet", (0, 47), np.inf), r"internet holds 1 infinite values, the first at cell 1, 2013-11-02T22:00Z"),
    (_put("cell_id", 7, 3), r"1 cell ids appear more than once, the first is 3"),
    (_put("lon", 2, np.nan), r"coordinate lon is not finite at cell 3"),
    (_put("lat", 0, 145.0), r"lat is 145 at cell 1, beyond 90 degrees: are lon and lat swapped"),
    (_swap_lon_lat, r"lon, lat and x, y of cell 1 are \d+ km apart \(36 such cells\): are lon and lat swapped"),
    (
        _put("time", 3, np.datetime64("2013-10-31T20:00", "ns")),
        r"not sorted: 2013-11-01T01:00Z is followed by 2013-10-31T20",
    ),
    (_put("time", 3, np.datetime64("2013-11-01T01:00", "ns")), r"1 times appear twice, the first is 2013-11-01T01:00Z"),
    (_put("time", 3, np.datetime64("NaT")), r"time is missing at position 3"),
    (
        _put("time", 3, np.datetime64("2013-11-01T02:00:00.5", "ns")),
        r"times are not whole seconds: 2013-11-01T02:00:00.5",
    ),
    (_gap, r"evenly spaced by 60 minutes: 2013-11-01T03:00Z to 2013-11-01T07:00Z; 2013-11-02T04:00Z to 2013-11-02T06"),
    (_put("row", 1, 1), r"two cells have the same row and col"),
    (
        lambda ds: ds.assign_coords(built=("cell", np.zeros(ds.sizes["cell"], dtype="datetime64[ns]"))),
        r"the coordinate built is datetime64\[ns\], must be numbers or text",
    ),
    (_attr(timezone="Europe/Milan"), r"unknown time zone 'Europe/Milan'"),
    (_attr(timezone="../etc/passwd"), r"unknown time zone"),
    (_attr(timezone=""), r"attribute timezone is missing"),
    (_attr(kind="hexagons"), r"attribute kind is 'hexagons', must be one of grid, cells, stations"),
    (_attr(cell_m=-1.0), r"attribute cell_m is -1.0"),
    (_attr(crs_wkt="EPSG:nonsense"), r"crs_wkt is not a WKT coordinate system"),
    (_attr(seeds=[1, 2]), r"attribute seeds is a list: attributes are text or numbers"),
    (_attr(fine=True), r"attribute fine is a bool"),
    (_units, r"internet has no units"),
    (lambda ds: ds.transpose("time", "cell"), r"dimensions \(time, cell\), must be \(cell, time\): use \.transpose"),
    (lambda ds: ds.astype(np.float64), r"internet is float64, must be float32"),
    (lambda ds: ds.drop_vars("cell_id"), r"coordinate cell_id \(cell\) is missing"),
    (lambda ds: ds.drop_vars("col"), r"coordinate col \(cell\) is missing"),
    (lambda ds: ds.drop_vars("time"), r"coordinate time is missing"),
    (lambda ds: ds.isel(time=0), r"dimension time is missing"),
    (lambda ds: ds.isel(cell=slice(0)), r"dimension cell is empty"),
    (lambda ds: ds.drop_vars("internet"), r"there is no traffic variable"),
    (lambda ds: ds.rename(internet="sms in"), r"'sms in' cannot name a service"),
    (lambda ds: ds.expand_dims(band=2), r"unexpected dimension band"),
    (lambda ds: ds.assign_coords(x=ds["x"].astype(np.float32)), r"coordinate x is float32, must be float64"),
    (lambda ds: ds.assign_coords(cell_id=ds["cell_id"].astype(float)), r"cell_id is float64"),
    (lambda ds: ds.assign_coords(time=ds["time"].astype("datetime64[s]")), r"time is datetime64\[s\], must be"),
    (lambda ds: ds.assign_attrs(kind="cells"), r"coordinate footprint \(cell\) is missing"),
    (
        lambda ds: ds.assign_coords(footprint=("cell", ["POLYGON ((0 0, 1 0, 1 1, 0 0))"] * 35 + ["POINT (0 0)"])),
        r"footprint of cell 36 is not a WKT polygon",
    ),
]


@pytest.mark.parametrize(("spoil", "message"), WRONG_TRAFFIC)
def test_wrong_traffic_is_named_in_one_line(spoil: Callable[[xr.Dataset], xr.Dataset], message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        check_traffic(spoil(traffic()))
    assert "\n" not in str(caught.value)


def test_a_degree_crs_is_refused() -> None:
    import pyproj

    with pytest.raises(BadInput, match="not in metres"):
        check_traffic(traffic().assign_attrs(crs_wkt=pyproj.CRS("EPSG:4326").to_wkt()))
    with pytest.raises(BadInput, match="not in metres"):  # feet
        check_traffic(traffic().assign_attrs(crs_wkt=pyproj.CRS("EPSG:2263").to_wkt()))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda ds: ds.isel(category=slice(None, None, -1)), r"categories are Others, .* must be Education, Medical"),
        (lambda ds: ds.isel(category=slice(7)), r"categories are Education"),
        (lambda ds: ds.drop_vars("poi_count"), r"variable poi_count \(cell, category\) is missing"),
        (lambda ds: ds.transpose("category", "cell"), r"poi_count has dimensions \(category, cell\)"),
        (lambda ds: ds.astype(np.float32), r"poi_count is float32"),
        (_put("poi_count", (3, 2), -1), r"poi_count holds 1 negative or missing values, the first at cell 4"),
        (lambda ds: ds.assign(population=("cell", np.full(36, np.nan))), r"population holds 36 negative or missing"),
        (lambda ds: ds.assign_attrs(timezone="Mars/Base"), r"unknown time zone"),
    ],
)
def test_wrong_context_is_named_in_one_line(spoil: Callable[[xr.Dataset], xr.Dataset], message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        check_context(spoil(context()))
    assert "\n" not in str(caught.value)


def test_traffic_dataset_takes_over_the_place_and_casts() -> None:
    cells = context("stations")
    times = pd.date_range("2024-03-31", periods=4, freq="h", tz="Europe/Rome")
    ds = traffic_dataset(
        np.ones((2, 36, 4)),
        cells=cells,
        time=times,
        service="calls",
        units="MB",
        timezone="Europe/Rome",
        attrs={"seed": 3},
    )
    assert ds["calls"].dims == ("member", "cell", "time")
    assert ds["calls"].dtype == np.float32
    assert ds["calls"].attrs["units"] == "MB"
    # 31 March 2024 has no hour 2 in Rome: UTC runs on, local time jumps
    assert ds["time"].values[0] == np.datetime64("2024-03-30T23:00", "ns")
    assert [when.hour for when in local_time(ds)] == [0, 1, 3, 4]
    assert ds.attrs["attribution"] == cells.attrs["attribution"]
    assert ds.attrs["featureType"] == "timeSeries"
    assert ds["cell_id"].attrs["cf_role"] == "timeseries_id"
    assert "category" not in ds.dims
    np.testing.assert_array_equal(ds["lon"].values, cells["lon"].values)


def test_traffic_dataset_names_a_wrong_shape() -> None:
    times = pd.date_range("2024", periods=4, freq="h")
    with pytest.raises(BadInput, match=r"shape \(36, 3\), .* \(\[members,\] 36, 4\)"):
        traffic_dataset(np.ones((36, 3)), cells=context(), time=times, service="a", units="1", timezone="Europe/Rome")


def test_services_units_and_bands() -> None:
    ds = traffic()
    ds["sms"] = ds["internet"].assign_attrs(units="messages")
    check_traffic(ds)
    assert services(ds) == ["internet", "sms"]
    assert one_service(ds, None) == "internet"
    assert one_service(ds, "sms") == "sms"
    with pytest.raises(WrongUse, match="no service 'calls' here, only internet, sms"):
        one_service(ds, "calls")
    assert (units_words(ds, "internet"), units_words(ds, "sms")) == ("relative", "messages")
    assert member_band(3) == ((0.0, 1.0), "range of 3 members")
    assert member_band(10)[0] == (0.05, 0.95)
