"""`gentraffic import table`: a CSV or Parquet table of anybody's traffic -> a Traffic dataset.

Long: columns `cell` (or `cell_id`), `time`, and `value` or one per service; optionally `lon`, `lat`, `row`, `col`.
Wide: a column `time` and one column per cell.

A generator is trained on what is read here, so nothing is repaired in silence: a repeated row, a gap, a NaN, a negative
value or a second cadence is an error that names the cell and the time.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.build import Places, measured_traffic, places_from_lonlat
from gentraffic.errors import BadInput, WrongUse
from gentraffic.io.guard import reads
from gentraffic.io.user_cells import places_from_cells

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd
    import xarray as xr

ID_NAMES = ("cell", "cell_id")
PLACE_COLUMNS = ("lon", "lat", "row", "col")
MAX_BYTES = 8 * 2**30


@reads
def read_table(
    path: str | Path,
    *,
    timezone: str | None = None,
    service: str | None = None,
    cells: str | Path | gpd.GeoDataFrame | None = None,
) -> xr.Dataset:
    """Traffic from a CSV (comma, semicolon or tab; also .gz, .bz2) or Parquet table, long or wide (see the module).

    `time`: ISO 8601, or milliseconds or seconds since the epoch; with an offset it is exact, without one it is local
    time in `timezone` (IANA; in the hour that occurs twice in autumn a cell's first row is summer time, its second
    winter time). `timezone` is also what hours of the week are counted in; left out, it is that of the positions.
    `service` names the column `value`, or the values of a wide table (default "traffic"). Positions come from columns
    `lon`, `lat`, or from `cells` (a file or frame with ids); cells of the table that `cells` lacks are an error.

    Raises BadInput for what is wrong in the file, WrongUse for a timezone that does not exist.
    """

    path = Path(path)
    if timezone is not None and timezone not in available_timezones() - {"localtime", "posixrules", "Factory"}:
        raise WrongUse(f"timezone {timezone!r} does not exist; give an IANA name such as Europe/Rome")
    frame = _read(path)
    id_column = next((name for name in ID_NAMES if name in frame.columns), None)
    if "time" not in frame.columns:
        raise BadInput(f"{path}: no column 'time' (found: {_some(frame.columns)}); name the columns cell, time, value")
    if id_column is None:
        frame, id_column = _long_from_wide(frame, service or "traffic", path), "cell"
    if "member" in frame.columns:
        raise BadInput(f"{path}: has a column 'member'; import takes measured traffic, one series per cell")
    names = [c for c in frame.columns if c not in (id_column, "time", *PLACE_COLUMNS)]
    if not names:
        raise BadInput(f"{path}: no value column beside {_some(frame.columns)}; add 'value' or one column per service")
    if not len(frame):
        raise BadInput(f"{path}: no rows")
    ids, cell = _ids(frame[id_column], path)
    values = {name: _values(frame, name, id_column, path) for name in names}
    when, aware = _times(frame, cell, ids, timezone, path)

    order = np.lexsort((when, cell))
    time, start = _check_grid(when[order], cell[order], ids, path)
    shape = (len(ids), len(time))
    services = {
        (service if name == "value" and service else "traffic" if name == "value" else name): (
            column[order].reshape(shape).astype(np.float32),
            "unknown",
        )
        for name, column in values.items()
    }
    places = _places(frame.iloc[order[start]], ids, cells, path)
    if timezone is None:
        if not aware:
            raise BadInput(f"{path}: times without offset; say which local time they are, e.g. --timezone Europe/Rome")
        timezone = _zone_at(places, path)
    return measured_traffic(
        places,
        time,
        services,
        timezone=timezone,
        attrs={
            "title": f"Traffic imported from {path.name}",
            "attribution": "as the source's",
            "license": "as the source's",
        },
    )


def _read(path: Path) -> pd.DataFrame:
    """The table as it is."""
    import pandas as pd
    import pyarrow as pa

    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    if path.stat().st_size > MAX_BYTES:
        raise BadInput(
            f"{path}: {path.stat().st_size / 2**30:.1f} GiB; split tables above {MAX_BYTES / 2**30:.0f} GiB by time"
        )
    suffix = path.suffix.lower()
    try:
        if suffix in (".parquet", ".geoparquet", ".pq"):
            return pd.read_parquet(path)
        header = pd.read_csv(path, sep="\x1f", nrows=0, encoding="utf-8-sig").columns  # the first line, unfolded
        separator = max(",;\t", key="".join(header).count)
        return pd.read_csv(path, sep=separator, skipinitialspace=separator != "\t")
    except (ValueError, OSError, EOFError, pa.ArrowException) as error:  # pandas' ParserError is a ValueError
        line = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise BadInput(
            f"{path}: not a whole {'Parquet' if suffix.endswith(('et', 'pq')) else 'CSV'} table ({line})"
        ) from error


def _some(columns: pd.Index) -> str:
    """Column names for a message, not all of ten thousand."""
    names = [str(c) for c in columns]
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def _long_from_wide(frame: pd.DataFrame, service: str, path: Path) -> pd.DataFrame:
    """time x cells -> rows of (time, cell, service)."""
    if len(frame.columns) < 2:
        raise BadInput(f"{path}: only {_some(frame.columns)}; a wide table has 'time' and one column per cell")
    words = [c for c in frame.columns if str(c).lower() in ("value", *PLACE_COLUMNS)]
    if words:
        raise BadInput(f"{path}: has {words[0]!r} but no column 'cell'; name the cells in a column 'cell'")
    return frame.melt(id_vars="time", var_name="cell", value_name=service)


def _ids(column: pd.Series, path: Path) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """(the cells' ids sorted: int64 where all are whole numbers, else text; each row's index into them)."""
    import pandas as pd

    if column.isna().any():
        raise BadInput(f"{path}: row {int(column.isna().to_numpy().argmax()) + 1} names no cell")
    number = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    whole = np.isfinite(number).all() and not (number % 1).any() and (np.abs(number) < 2**53).all()
    text = column.astype(str)
    if whole and not text.str.match(r"[+-]?0\d").any():  # 007 and 7 are two cells
        ids, cell = np.unique(number.astype(np.int64), return_inverse=True)
    else:
        ids, cell = np.unique(text.to_numpy(dtype=str), return_inverse=True)
    return ids, cell.astype(np.int64)


def _values(frame: pd.DataFrame, name: str, id_column: str, path: Path) -> NDArray[np.float64]:
    """One service's column as numbers, finite and not negative."""
    import pandas as pd

    number = pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = ~(np.isfinite(number) & (number >= 0))
    if wrong.any():
        i = int(np.argmax(wrong))
        row = frame.iloc[i]
        raise BadInput(
            f"{path}: cell {row[id_column]}, {row['time']}: {name} = {row[name]!s}; traffic is a number, not negative"
            f" ({int(wrong.sum())} such rows): correct them in the source"
        )
    return number


def _times(
    frame: pd.DataFrame, cell: NDArray[np.int64], ids: NDArray[Any], timezone: str | None, path: Path
) -> tuple[NDArray[np.datetime64], bool]:
    """(UTC times of the rows, whether the source stated their offset)."""
    import pandas as pd

    column = frame["time"]
    if pd.api.types.is_numeric_dtype(column):
        number = column.to_numpy(dtype=np.float64, na_value=np.nan)
        if not np.isfinite(number).all() or (number < 1e8).any() or (number >= 1e14).any():
            raise BadInput(f"{path}: time {column.iloc[0]} is neither ISO 8601 nor seconds or milliseconds since 1970")
        milliseconds = np.where(number < 1e11, number * 1000, number)
        return milliseconds.astype("datetime64[ms]").astype("datetime64[ns]"), True
    try:
        parsed = pd.to_datetime(column, format=None if pd.api.types.is_datetime64_any_dtype(column) else "ISO8601")
    except (ValueError, TypeError):
        try:  # offsets that change with summer time parse only as UTC
            parsed = pd.to_datetime(column, format="ISO8601", utc=True)
        except (ValueError, TypeError) as error:
            said = str(error).splitlines()[0].removesuffix(" You might want to try:")
            raise BadInput(f"{path}: a time is not ISO 8601, such as 2026-01-05T18:00 ({said})") from error
    if parsed.isna().any():
        raise BadInput(f"{path}: row {int(parsed.isna().to_numpy().argmax()) + 1} has no time")
    if parsed.dt.tz is not None:
        return parsed.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(dtype="datetime64[ns]"), True
    if timezone is None:
        return parsed.to_numpy(dtype="datetime64[ns]"), False

    occurrence = pd.DataFrame({"cell": cell, "time": parsed.to_numpy()}).groupby(["cell", "time"]).cumcount().to_numpy()
    zone = ZoneInfo(timezone)
    local = parsed.dt.tz_localize(zone, ambiguous=occurrence == 0, nonexistent="NaT")
    if local.isna().any():
        i = int(local.isna().to_numpy().argmax())
        raise BadInput(
            f"{path}: cell {ids[cell[i]]}: {parsed.iloc[i]} does not exist in {timezone} (summer time begins);"
            " give times in UTC or with their offset"
        )
    return local.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(dtype="datetime64[ns]"), True


def _check_grid(
    when: NDArray[np.datetime64], cell: NDArray[np.int64], ids: NDArray[Any], path: Path
) -> tuple[NDArray[np.datetime64], NDArray[np.int64]]:
    """(the common times, first row of each cell) of rows sorted by cell and time: every cell at every time, once."""
    start = np.searchsorted(cell, np.arange(len(ids)))
    gap = np.diff(when).astype("timedelta64[ns]").astype(np.int64)
    inside = np.diff(cell) == 0
    repeated = inside & (gap == 0)
    if repeated.any():
        i = int(np.argmax(repeated))
        raise BadInput(
            f"{path}: cell {ids[cell[i]]}, {_utc(when[i])} occurs twice"
            f" ({int(repeated.sum())} repeats); keep one row each"
        )
    if not inside.any():
        raise BadInput(f"{path}: one time step per cell; a series needs at least two")
    smallest = np.full(len(ids), np.iinfo(np.int64).max)
    np.minimum.at(smallest, cell[:-1][inside], gap[inside])
    step = int(smallest.min())
    minutes = step / 60e9
    slow = smallest != step
    if slow.any() and (smallest[slow] < np.iinfo(np.int64).max).any():
        i = int(np.argmax(slow & (smallest < np.iinfo(np.int64).max)))
        raise BadInput(
            f"{path}: cell {ids[i]} has a step of {smallest[i] / 60e9:g} min, others {minutes:g} min (first: cell"
            f" {ids[int(np.argmin(smallest))]}); bring all cells to one cadence"
        )
    if minutes % 1 or 1440 % int(minutes):
        raise BadInput(f"{path}: a step of {minutes:g} min does not divide a day; aggregate to 1 h, 30, 15 or 10 min")
    time = np.arange(when.min(), when.max() + np.timedelta64(step, "ns"), np.timedelta64(step, "ns"))
    at = (when - time[0]).astype(np.int64)
    odd = at % step != 0
    if odd.any():
        i = int(np.argmax(odd))
        raise BadInput(
            f"{path}: cell {ids[cell[i]]}, {_utc(when[i])} is off the {minutes:g}-minute grid of the other rows"
        )
    if len(when) != len(ids) * len(time):
        counts = np.bincount(cell, minlength=len(ids))
        i = int(np.argmax(counts < len(time)))
        have = at[cell == i] // step
        lack = np.setdiff1d(np.arange(len(time)), have)
        raise BadInput(
            f"{path}: cell {ids[i]} has no value at {_utc(time[lack[0]])} ({len(lack)} missing there,"
            f" {int((counts < len(time)).sum())} cells with gaps); fill the gaps or drop the cells, no value is not 0"
        )
    return time, start


def _utc(time: np.datetime64) -> str:
    return f"{np.datetime_as_string(time, 'm')}Z"


def _places(rows: pd.DataFrame, ids: NDArray[Any], cells: str | Path | gpd.GeoDataFrame | None, path: Path) -> Places:
    """Positions from `cells`, else from the columns; `rows` holds one row per cell."""
    if cells is not None:
        known, places = places_from_cells(cells, ids)
        if not known.all():
            raise BadInput(
                f"{path}: cell {ids[~known][0]} ({int((~known).sum())} of {len(ids)}) is not in the cells file"
            )
        return places
    if not {"lon", "lat"} <= set(rows.columns):
        raise BadInput(
            f"{path}: no positions; add columns lon, lat, or give --cells FILE: outlines, or a CSV of lon, lat, id"
        )
    lon, lat = (rows[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in ("lon", "lat"))
    extra = {name: rows[name].to_numpy().astype(np.int32) for name in ("row", "col") if name in rows.columns}
    return places_from_lonlat(ids, lon, lat, kind="stations", extra=extra)


def _zone_at(places: Places, path: Path) -> str:
    """The IANA zone that most of the cells lie in."""
    from gentraffic.dataset.zones import zone_of_most

    found = zone_of_most(places.lon, places.lat)
    if found is None:
        raise BadInput(f"{path}: no timezone at the cells' positions; give --timezone")
    return found
