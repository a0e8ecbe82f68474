"""Further sources that the bundled model is trained on: Milan (25 cells, and a week of more), Beijing's stations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.build import local_utm_wkt, measured_traffic, places_from_xy
from gentraffic.errors import BadInput
from gentraffic.io.guard import reads
from gentraffic.io.importers.telecom_italia import TELECOM_ATTRIBUTION, TELECOM_UNITS, milan_places
from gentraffic.io.user_cells import places_from_cells

if TYPE_CHECKING:
    import xarray as xr

MILAN_CELLS = np.array(
    [(41 + k // 5) * 100 + (41 + k % 5) + 1 for k in range(25)], dtype=np.int64
)  # by column of the CSV
MILAN_START = "2013-10-31T23:00"  # UTC: midnight of 1 November in Milan, winter time throughout
MILAN_STEPS = 30 * 144
MILAN_WEEK, WEEK_HOURS = "2013-11-03T23:00", 168  # UTC: midnight of Monday 4 November in Milan
SCATTERED, BLOCK = "milan_248_cells_week_hourly.npz", "milan_100_cells_week_10min.npz"
BEIJING_X0, BEIJING_Y0 = 450_000.0, 4_150_000.0  # metres of UTM 50N: south-west corner of the synthetic lattice
BEIJING_START = "2021-02-28T16:00"  # UTC: midnight of an arbitrary Monday in Beijing


@reads
def read_milan_5x5(path: str | Path, grid_path: str | Path | None = None) -> xr.Dataset:
    """Traffic `internet` (25 cells, 4320 steps of 10 min), 1-30 November 2013, from the header-less 25-column CSV.

    Cell ids are those of Telecom Italia's Milan grid (4142 .. 4546). Positions come by formula, or from the grid file
    `grid_path` where it is given. Raises BadInput.
    """
    path = Path(path)
    try:
        values = np.loadtxt(path, delimiter=",", dtype=np.float32, ndmin=2)
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: not the 25-column CSV of Milan cells ({error})") from error
    if values.shape != (MILAN_STEPS, 25):
        raise BadInput(f"{path}: {values.shape[0]} rows x {values.shape[1]} columns, expected {MILAN_STEPS} x 25")
    if grid_path is None:
        places = milan_places(MILAN_CELLS)
    else:
        known, places = places_from_cells(grid_path, MILAN_CELLS)
        if not known.all():
            raise BadInput(f"{grid_path}: lacks cell {MILAN_CELLS[~known][0]}; give the grid of Milan")
    return measured_traffic(
        places,
        _times(MILAN_START, MILAN_STEPS, 10),
        {"internet": (np.ascontiguousarray(values.T), TELECOM_UNITS)},
        timezone="Europe/Rome",
        attrs={
            "title": "Milan, 5x5 cells, Internet activity",
            "network": "milan-5x5",
            "place": "Milan, Italy",
            "attribution": TELECOM_ATTRIBUTION + "; extract: suemon-suemon/DGRN-wireless-traffic-forecast (MIT)",
            "license": "ODbL-1.0",
        },
    )


@reads
def read_milan_week(
    folder: str | Path, blocks: tuple[str, ...] = (SCATTERED, BLOCK), services: Sequence[str] = ("internet",)
) -> xr.Dataset:
    """Traffic (cells, 168 h from Monday 4 November 2013) of the cells of Milan's grid that are measured.

    folder: with the .npz files of `blocks`: 248 cells scattered over the grid, by hour, and a block of 100, by ten
    minutes, whose activity is summed up by hour. services: one variable each, of TELECOM_SERVICES. Raises BadInput.
    """
    if Path(folder).is_file():
        raise BadInput(f"{folder}: give the folder that holds {' and '.join(blocks)}")
    series_of: dict[int, list[NDArray[np.float32]]] = {}
    for name in blocks:
        path = Path(folder) / name
        try:
            with np.load(path, allow_pickle=False) as archive:
                ids, each = archive["cell_id"].astype(np.int64), [archive[s].astype(np.float64) for s in services]
        except (OSError, ValueError, KeyError, EOFError) as error:
            named = ", ".join(services)
            raise BadInput(f"{path}: not the .npz of cells of Milan with cell_id and {named} ({error})") from error
        for values in each:
            if len(values) != len(ids) or values.shape[1] % WEEK_HOURS:
                raise BadInput(
                    f"{path}: traffic of shape {values.shape}, expected {len(ids)} cells x whole weeks of hours"
                )
        # activity per step
        hourly = [values.reshape(len(ids), WEEK_HOURS, -1).sum(axis=2).astype(np.float32) for values in each]
        for row, cell in enumerate(ids.tolist()):
            series_of.setdefault(cell, [values[row] for values in hourly])
    cells = np.array(sorted(series_of), dtype=np.int64)
    return measured_traffic(
        milan_places(cells),
        _times(MILAN_WEEK, WEEK_HOURS, 60),
        {
            name: (np.stack([series_of[cell][i] for cell in cells.tolist()]), TELECOM_UNITS)
            for i, name in enumerate(services)
        },
        timezone="Europe/Rome",
        attrs={
            "title": f"Milan, {len(cells)} cells, {'Internet' if len(services) == 1 else 'Internet, calls and SMS'} "
            "activity",
            "network": "milan",
            "attribution": TELECOM_ATTRIBUTION,
            "license": "ODbL-1.0",
        },
    )


@reads
def read_beijing(path: str | Path) -> xr.Dataset:
    """Traffic `traffic` (stations, 168 h from a Monday 00:00) of STK-Diff's Beijing stations. No positions, no POIs.

    Positions are synthetic, 20 km apart, and the attribute `positions` says so: this is for patterns in time only. The
    source gives no date; rush hours and the two flat days at the end show that hour 0 is Monday, midnight. Raises
    BadInput.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            values, station = archive["traffic"].astype(np.float32), archive["station"].astype(np.int64)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise BadInput(f"{path}: not the Beijing .npz with traffic and station ({error})") from error
    if values.shape != (len(station), 168):
        raise BadInput(f"{path}: traffic of shape {values.shape}, expected ({len(station)}, 168)")
    row, col = np.divmod(np.arange(len(station)), 28)
    x, y = (BEIJING_X0 + col * 20_000.0, BEIJING_Y0 + row * 20_000.0)
    return measured_traffic(
        places_from_xy(station, x, y, local_utm_wkt(116.4, 39.9), kind="stations"),
        _times(BEIJING_START, 168, 60),
        {"traffic": (values, "unknown")},
        timezone="Asia/Shanghai",
        attrs={
            "title": "Beijing base stations, one week",
            "network": "beijing",
            "place": "Beijing, China",
            "positions": "synthetic: the source states none",
            "calendar": "arbitrary week; weekday and hour follow the source",
            "attribution": "STK-Diff, FIB Lab, Tsinghua University: github.com/tsinghua-fib-lab/STK-Diff",
            "license": "MIT",
        },
    )


def _times(start: str, steps: int, minutes: int) -> NDArray[np.datetime64]:
    """UTC times (steps,) from `start`."""
    return np.datetime64(start, "ns") + (np.arange(steps) * minutes).astype("timedelta64[m]")
