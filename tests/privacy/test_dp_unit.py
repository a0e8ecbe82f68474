"""One cell is one unit, in whatever files it stands; a model that has seen the cells is not public for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import xarray as xr
from traffic_examples import UTM, context, traffic

from gentraffic.dataset.fingerprint import KEPT, marks_of, shared_share
from gentraffic.errors import BadInput, WrongUse
from gentraffic.generators.cards import origins_of
from gentraffic.io.files import write_traffic
from gentraffic.privacy.dp.attempts import counted_attempt, counts_beside
from gentraffic.privacy.dp.unit import check_start, check_units

PLACES = context(n=5)
MINE = traffic(PLACES, days=9, seed=1)


def other_week() -> xr.Dataset:
    return traffic(PLACES, days=9, seed=2, start="2013-11-14T23:00")


def renamed(ds: xr.Dataset, **attrs: str) -> xr.Dataset:
    ids = np.array([f"x{k}" for k in range(ds.sizes["cell"])], dtype=object)
    return ds.assign_coords(cell_id=("cell", ids)).assign_attrs(attrs)


def elsewhere(ds: xr.Dataset) -> xr.Dataset:
    return ds.assign_coords(lon=ds["lon"] + 3.0, lat=ds["lat"] - 1.0)


def moved(ds: xr.Dataset) -> xr.Dataset:
    """Nine kilometres to the east, in all coordinates."""
    x = ds["x"] + 9000.0
    lon, lat = pyproj.Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform(x.values, ds["y"].values)
    return ds.assign_coords(x=x, lon=("cell", lon, ds["lon"].attrs), lat=("cell", lat, ds["lat"].attrs))


def unplaced(ds: xr.Dataset) -> xr.Dataset:
    return elsewhere(ds).assign_attrs(positions="synthetic: the source states none")


def files(*datasets: xr.Dataset) -> list[tuple[str, xr.Dataset, str]]:
    return [(f"{k}.nc", ds, str(next(iter(ds.data_vars)))) for k, ds in enumerate(datasets)]


@pytest.mark.parametrize(
    ("second", "how"),
    [
        (other_week(), "positions"),
        (renamed(other_week(), network="another"), "positions"),
        (other_week().rename(internet="calls"), "positions"),
        (renamed(unplaced(MINE)), "series"),
        (renamed(unplaced(MINE * 1024.0).assign_attrs(MINE.attrs | {"positions": "synthetic"})), "series"),
        (unplaced(other_week()), "ids"),
    ],
)
def test_the_same_cells_in_two_files_are_refused(second: xr.Dataset, how: str) -> None:
    with pytest.raises(WrongUse, match=rf"0.nc and 1.nc hold \d+ cells in common by their {how}, .*one unit") as told:
        check_units(files(MINE, second))
    assert "\n" not in str(told.value)


def test_other_cells_are_taken_also_where_numbers_are_the_same() -> None:
    check_units(files(MINE, elsewhere(other_week())))


def test_several_rows_of_a_cell_in_one_file_are_refused() -> None:
    twice = xr.concat([MINE, other_week().assign_coords(time=MINE["time"])], "cell")
    n = MINE.sizes["cell"]
    by_week = twice.assign_coords(week=("cell", np.repeat([0, 1], n)), cell_id=("cell", np.arange(2 * n)))
    by_name = twice.assign_coords(
        cell_id=("cell", np.array([f"{k % n}_week{k // n}" for k in range(2 * n)], dtype=object))
    )
    for ds in (by_week, by_name):
        with pytest.raises(WrongUse, match=f"{n} rows are cells that have another row: .* which (is|rises)"):
            check_units(files(ds))
    sectors = twice.assign_coords(cell_id=("cell", np.array([f"s{k % n}-{'ab'[k // n]}" for k in range(2 * n)])))
    check_units(files(sectors))  # two sectors of one mast are two cells


def test_a_start_that_was_private_or_has_seen_the_cells_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match=r"--start m was fitted with differential privacy \(epsilon 8\)"):
        check_start("m", {"privacy": {"epsilon": 8.0}}, files(MINE))
    unplaced_copy = renamed(MINE * 3.0).assign_attrs(MINE.attrs | {"positions": "synthetic: the source states none"})
    for name, seen in (("a.nc", MINE), ("b.nc", renamed(MINE)), ("c.zarr", MINE), ("d.nc", unplaced_copy)):
        seen["internet"].attrs |= {"units": "1"}
        write_traffic(seen, tmp_path / name)
        known: dict[str, Any] = origins_of([tmp_path / name])
        with pytest.raises(WrongUse, match=r"was trained on cells of 0.nc, by their (series|positions)"):
            check_start("m", known, files(MINE))
    write_traffic(moved(traffic(context("stations", n=5), days=9, seed=2)), tmp_path / "other.nc")
    said = check_start("m", origins_of([tmp_path / "other.nc"]), files(MINE))
    assert said.startswith("you declared this model public: m; none of its training cells")
    assert "could not be checked" in check_start("m", {"data": [{"file": "x"}]}, files(MINE))


def test_marks_find_a_part_of_many_cells() -> None:
    names = [f"{k:08x}" for k in np.random.default_rng(0).choice(2**32, 5000, replace=False)]
    whole, part = sorted(names)[:KEPT], sorted(names[:400])[:KEPT]
    assert shared_share(whole, part) == 1.0
    assert shared_share(whole, sorted(f"{k:08x}" for k in range(0, 2**32, 2**24))[:KEPT]) < 0.01
    assert marks_of(MINE) == marks_of(renamed(MINE.astype(np.float64)))


def test_no_seed_is_left_and_attempts_are_counted(tmp_path: Path) -> None:
    checkpoint = tmp_path / "m.checkpoint.safetensors"
    part = tmp_path / ".m.checkpoint.safetensors.0a1b2c3d.part"
    part.write_bytes(b"seed")  # of a process that was killed while it wrote

    def attempt(error: BaseException) -> None:
        with counted_attempt(checkpoint) as attempts:
            told.extend(attempts.notes)
            assert not part.exists()
            checkpoint.write_bytes(b"seed")
            part.write_bytes(b"seed")
            raise error

    told: list[str] = []
    with pytest.raises(BadInput, match="full"):
        attempt(BadInput("disk full"))
    assert not checkpoint.exists()
    assert len(told) == 1
    assert "swept 1 half-written" in told[0]
    with pytest.raises(KeyboardInterrupt, match="holds the seed of the noise"):
        attempt(KeyboardInterrupt())
    assert checkpoint.exists()  # to go on from
    with pytest.raises(WrongUse, match="of another run"):
        attempt(WrongUse("of another run"))
    assert checkpoint.exists()
    assert not part.exists()
    with counted_attempt(checkpoint) as attempts:  # goes on
        attempts.end()
    assert attempts.counts == {"begun": 2, "ended": 1}
    assert [p.name for p in tmp_path.iterdir()] == [counts_beside(checkpoint).name]
