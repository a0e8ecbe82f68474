"""dataset.basemap: the map beneath survives every format, and what does not fit is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import traffic_examples
import xarray as xr

from gentraffic.dataset.basemap import basemap_coords, basemap_of, without_basemap
from gentraffic.dataset.schema import MAP_VARIABLES, check_context, check_traffic
from gentraffic.errors import BadInput
from gentraffic.io.files import read_context, read_traffic, write_context, write_traffic
from poi.elements import BaseMap

BASE = BaseMap(
    kind=np.array([1, 4], dtype=np.int8),
    size=np.array([4, 3], dtype=np.int32),
    at=np.array([[918000, 4546000], [919000, 4546000], [919000, 4547000], [918000, 4546000], [918000, 4546000],
                 [918500, 4546200], [-100, 4600000]], dtype=np.int32),
    name=("Milano", "Łódź « »"),
    name_kind=np.array([0, 4], dtype=np.int8),
    name_at=np.array([[9.19, 45.46], [9.2, 45.47]]),
)  # fmt: skip


def with_map() -> xr.Dataset:
    return traffic_examples.context("grid").assign_coords(basemap_coords(BASE))


def _same(found: BaseMap | None) -> None:
    assert found is not None
    for name in ("kind", "size", "at", "name_kind", "name_at"):
        np.testing.assert_array_equal(getattr(found, name), getattr(BASE, name))
    assert found.name == BASE.name


@pytest.mark.parametrize("suffix", [".nc", ".zarr", ".parquet", ".csv"])
def test_traffic_carries_the_map_of_its_context(suffix: str, tmp_path: Path) -> None:
    ds = traffic_examples.traffic(with_map())
    _same(basemap_of(ds))
    write_traffic(ds, tmp_path / f"t{suffix}")
    back = read_traffic(tmp_path / f"t{suffix}")
    _same(basemap_of(back))
    assert back["map_class"].attrs == ds["map_class"].attrs
    np.testing.assert_array_equal(back["internet"].values, ds["internet"].values)


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_contexts_with_and_without_a_map_are_read(suffix: str, tmp_path: Path) -> None:
    for number, ds in enumerate((with_map(), without_basemap(with_map()))):
        write_context(ds, tmp_path / f"{number}{suffix}")
        back = read_context(tmp_path / f"{number}{suffix}")
        assert set(MAP_VARIABLES) & set(map(str, back.coords)) == (set(MAP_VARIABLES) if number == 0 else set())
        if number == 0:
            _same(basemap_of(back))
        else:
            assert basemap_of(back) is None


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("map_size", [4, 4], "sum up to the 7 points"),
        ("map_size", [6, 1], "2 or more"),
        ("map_class", [1, 9], "a class beyond 8"),
        ("map_name_class", [0, -1], "a class beyond 4"),
        ("map_lon", [918000, 1000, 0, -1000, 0, 500, 90_000_000], "not on earth"),
        ("map_lon", [918000, 1000, 0, -900, 0, 500, -918_600], "does not end where it began"),
        ("map_name_lat", [45.0, 91.0], "not on earth"),
        ("map_lat", [0.5] * 7, "must be numbers"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(name: str, values: list[float], words: str) -> None:
    ds = with_map()
    ds = ds.assign_coords({name: (ds[name].dims, np.asarray(values), ds[name].attrs)})
    with pytest.raises(BadInput, match=words):
        check_context(ds)
    with pytest.raises(BadInput, match="map_lat"):
        check_traffic(traffic_examples.traffic(with_map()).drop_vars("map_lat"))
