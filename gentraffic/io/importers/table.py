"""`gentraffic import table`: a table of anybody's traffic -> a Traffic dataset.

Long: columns of ids, times, and `value` or one per service; optionally lon, lat, row, col, azimuth, height, band.
Wide: a column of times and one column per cell. `gentraffic.io.source_columns` knows the usual names.

A generator is trained on what is read here, so nothing is repaired in silence: a repeated row, a gap, a NaN, a negative
value or a second cadence is an error that names the cell and the time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import available_timezones

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.amounts import check_units, is_amount, volume
from gentraffic.dataset.build import Places, measured_traffic, places_from_lonlat, plain_text, unplaced
from gentraffic.dataset.fingerprint import first_of_series, twins_text
from gentraffic.dataset.misplaced import well_placed
from gentraffic.errors import BadInput, WrongUse, did_you_mean
from gentraffic.io.guard import reads
from gentraffic.io.importers.times import clock_note, day_first_note, distinct_times, joined_clock, to_utc
from gentraffic.io.source_columns import (
    CLOCK_NAMES,
    DATE_NAMES,
    ID_NAMES,
    LAT_NAMES,
    LON_NAMES,
    SECTOR_COLUMNS,
    TIME_NAMES,
    Notation,
    Reading,
    as_ids,
    find_column,
    id_columns,
    id_text,
    no_ids,
    notation,
    numbers,
    odd_ids,
    place_notation,
    plain,
    sector_column,
    sector_names,
    some,
    texts,
)
from gentraffic.io.source_table import DAY, SourceTable, read_source
from gentraffic.io.user_cells import places_from_cells

if TYPE_CHECKING:
    import geopandas as gpd
    import pyarrow as pa
    import xarray as xr

PLACE_COLUMNS = ("lon", "lat", "row", "col")
PLANE_COLUMNS = ("x", "y", "xm", "ym", "footprint", "geometry")  # of a cell, which lon, lat or --cells say better
OURS = ("id", "time", *PLACE_COLUMNS, *SECTOR_COLUMNS)  # what --columns may name beside services
_DAY_ROWS = 24  # of a cell, below which a value that stays tells nothing
_LOCAL_TIMES = ("timelocal", "localtime")  # stands beside time_utc, and says less
# Columns that stand beside traffic: numbers of rows, parts of a date.
BESIDE = frozenset((
    "", "index", "rownumber", "tick", "utcoffset", "utcoffsetmin", "utcoffsets", "hour", "hourofday", "minute",
    "weekday", "dayofweek", "week", "month", "year", "isweekend", "weekend", "holiday", "isholiday",
))  # fmt: skip
SUMS = frozenset(("total", "totals", "grandtotal", "sum", "all", "network", "allcells", "summe", "gesamt", "somme",
                  "suma", "totale", "razem", "итого", "всего", "合计", "总计"))  # fmt: skip
MEANS = frozenset(("mean", "average", "avg", "mittelwert", "durchschnitt", "moyenne", "media", "promedio", "平均"))
_NO_SERVICES = {
    *ID_NAMES,
    *TIME_NAMES,
    *_LOCAL_TIMES,
    *PLANE_COLUMNS,
    *("period", "periodmin", "granularity", "granularityperiod", "duration", "subnetwork", "managedelement"),
    *("integrity", "reliability", "result", "table"),
    "radio",
    "mcc",
    "mnc",
    "net",
    "area",
    "lac",
    "tac",
}

NO_VALUE = frozenset({"", "nan", "na", "n/a", "null", "none", "-", "--"})  # as programs write that there is none


@reads
def read_table(
    path: str | Path,
    *,
    timezone: str | None = None,
    service: str | None = None,
    cells: str | Path | gpd.GeoDataFrame | None = None,
    unit: str | None = None,
    layer: str | None = None,
    reading: Reading | None = None,
    keep_gaps: bool = False,
) -> xr.Dataset:
    """Traffic from a table (CSV, .xlsx, Parquet; packed or not), long or wide (see the module).

    Times: ISO 8601, 20131101, 2013110100, or s, ms, us, ns since the epoch; with an offset (or in a column `time_utc`)
    they are exact, without one local time in `timezone` (IANA; see `importers.times` for the hour that occurs twice).
    `timezone` is also what hours of the week are counted in; left out, it is that of the positions.
    `service` names the column `value`, or the values of a wide table (default "traffic"). unit: of the values ("GB",
    "Mbit/s"), or of each service (internet=GB,users=1); "unknown" where left out. Positions come from columns lon, lat,
    or from `cells` (a file with ids, or its `layer`, or a frame); cells of the table that `cells` lacks are an error.
    Without both the series have no positions (kind "unplaced"). reading: names of columns and marks in numbers.
    keep_gaps: NaN where a cell has no row at a time, or no value in it, in place of an error.

    Raises BadInput for what is wrong in the file, WrongUse for a timezone that does not exist and columns that lack.
    """
    path = Path(path)
    reading = reading or Reading()
    zones = available_timezones() - {"localtime", "posixrules", "Factory"}
    if timezone is not None and timezone not in zones:
        raise WrongUse(
            f"timezone {timezone!r} does not exist; give an IANA name such as Europe/Rome"
            f"{did_you_mean(timezone, zones)}"
        )
    table = read_source(path)
    reading, of_cells = _two_readings(table, reading, cells is not None)
    rows = _rows(table, service, reading)
    when, aware = _times(rows, timezone, path)
    if not aware and timezone is None:
        raise BadInput(f"{path}: times without offset; say which local time they are, e.g. --timezone Europe/Rome")
    values = {name: _values(rows, name, path, keep_gaps) for name in rows.values}
    order = np.lexsort((when, rows.cell))
    time = _check_grid(when[order], rows.cell[order], rows.ids, path, timezone, _maybe_together(rows), keep_gaps)
    shape = (len(rows.ids), len(time))
    units = _units(unit, {name: _told_unit(rows.table, rows.values[name][0]) for name in values})
    step = ((when[order] - time[0]) / (time[1] - time[0])).astype(np.int64)
    row_of, columns = _on_grid(order, rows.cell[order], step, shape, values)
    services = {name: (column, units[name]) for name, column in columns.items()}
    whole = services
    if keep_gaps:
        whole = {name: (np.nan_to_num(column), told) for name, (column, told) in services.items()}
    kept, remarks = _without_sums(rows.ids, whole)
    notes = [*rows.table.notes, *rows.notes, *remarks, *day_first_note(rows.times, rows.time_name, path)]
    if layer is not None and cells is None:
        raise WrongUse(f"--layer {layer} is one of the file that --cells names: give both")
    places, well, remarks = _places(rows, kept, row_of, cells, layer, of_cells, path)
    notes += remarks
    kept[kept] = well
    if not kept.all():
        services = {name: (column[kept], told) for name, (column, told) in services.items()}
    if timezone is None:
        timezone = _zone_at(places, path)
    unknown = [name for name, (_, told) in services.items() if told == "unknown"]
    if unknown and time[1] - time[0] < np.timedelta64(1, "h"):
        notes.append(f"{some(unknown)}: of unknown unit, so that steps are averaged where they become longer; --unit GB"
                     " (or MB, calls, ...) says that they add up")  # fmt: skip
    if places.kind == "unplaced":
        notes.append("no positions: evaluate, audit, forecast and validate work; maps and contexts need --cells FILE")
    gaps = sum(int(np.isnan(column).sum()) for column, _ in services.values())
    if gaps:
        are = "value is missing and kept as a gap" if gaps == 1 else "values are missing and kept as gaps"
        notes.append(f"{gaps:,} {are}: `gentraffic sample --known` fills {'it' if gaps == 1 else 'them'}")
    ds = measured_traffic(
        places,
        time,
        services,
        gaps=keep_gaps,
        timezone=timezone,
        attrs={
            "title": f"Traffic imported from {path.name}",
            "attribution": "as the source's",
            "license": "as the source's",
        },
        warnings=notes,
    )
    twins = twins_text(rows.ids, first_of_series(ds, next(iter(services))))
    if twins:
        notes.append(f"{twins}: where it is one cell under two names, keep one; `fit --dp-epsilon` refuses both")
    return ds.assign_attrs(warnings=plain_text("\n".join(notes))) if notes else ds


def _on_grid(
    order: NDArray[np.intp], cell: NDArray[np.int64], step: NDArray[np.int64], shape: tuple[int, int],
    values: Mapping[str, NDArray[np.float64]],
) -> tuple[NDArray[np.intp], dict[str, NDArray[np.float32]]]:  # fmt: skip
    """(the row of each cell and time, or of the cell's first where it has none; the values there, nan where none is).

    order: (rows,) rows by cell and time, of which cell and step (rows,) say where they belong. shape: (cells, steps).
    """
    row_of = np.repeat(order[np.searchsorted(cell, np.arange(shape[0]))], shape[1]).reshape(shape)
    row_of[cell, step] = order
    out = {}
    for name, column in values.items():
        out[name] = np.full(shape, np.nan, dtype=np.float32)
        out[name][cell, step] = column[order]
    return row_of, out


def _two_readings(table: SourceTable, reading: Reading, with_cells: bool) -> tuple[Reading, Reading]:
    """What was said of the columns of the table, and of those of the file of cells: each has its own names."""
    if not with_cells:
        return reading, Reading()
    have = {plain(name) for name in table.names}
    named = dict(reading.columns) | ({} if reading.id_column is None else {"id": reading.id_column})
    elsewhere = {ours: theirs for ours, theirs in named.items() if plain(theirs) not in have and ours in OURS}
    own = {ours: theirs for ours, theirs in named.items() if ours not in elsewhere}
    return replace(reading, columns=own, id_column=None), replace(reading, columns=elsewhere, id_column=None)


@dataclass(frozen=True)
class _Rows:
    """A table as rows of (cell, time, value per service).

    cell: (rows,) index into ids, which are sorted. times: (rows,) as the file has them. values: service -> (column,
    (rows,) as the file has it). place: our name -> the file's, of lon, lat, row, col, azimuth, ...; marks: of numbers.
    """

    table: SourceTable
    cell: NDArray[np.int64]
    ids: NDArray[Any]
    time_name: str
    times: pa.ChunkedArray
    values: Mapping[str, tuple[str, pa.ChunkedArray]]
    place: Mapping[str, str]
    marks: Notation
    notes: tuple[str, ...]
    id_name: str = ""  # the file's name of the column of ids


def _rows(table: SourceTable, service: str | None, reading: Reading) -> _Rows:
    path = table.path
    table = _with_one_time(table, reading)
    time = _time_column(table, reading)
    if time is None:
        title = len([name for name in table.names if name]) == 1
        fix = ("is that line a title? drop the lines above the names of the columns" if title else "name the columns"
               " cell, time, value, or say which with --columns time=NAME,id=NAME")  # fmt: skip
        raise BadInput(f"{path}: no column 'time' (found: {some(table.names)}); {fix}")
    if "member" in table.names:
        raise BadInput(f"{path}: has a column 'member'; import takes measured traffic, one series per cell")
    columns = id_columns(table, reading.named("id"))
    place = _place_columns(table, reading)
    if not columns:
        return _wide(table, time, service or "traffic", place, reading)
    taken = {time, *columns, *place.values()}
    by_user = {ours: theirs for ours, theirs in reading.columns.items() if ours not in OURS}
    if by_user:
        services = {ours: str(find_column(table, (), theirs)) for ours, theirs in by_user.items()}
    else:
        left = [name for name in table.names if name not in taken and plain(name) not in _NO_SERVICES
                and not _is_beside(name)]  # fmt: skip
        services = {service or "traffic" if plain(_head(name)[0]) == "value" else _service_name(_head(name)[0]): name
                    for name in left}  # fmt: skip
        if len(services) < len(left):
            raise BadInput(f"{path}: two columns are one service: {some(left)}; say which with --columns SERVICE=NAME")
    if not services:
        raise BadInput(f"{path}: no value column beside {some(table.names)}; add 'value' or one column per service")
    if not table.rows:
        raise BadInput(f"{path}: no rows")
    marks = notation(table, list(services.values()), [], reading)
    notes = [f"column {theirs!r} is the service {ours}" for ours, theirs in services.items()
             if theirs != ours and plain(theirs) != "value" and not by_user]  # fmt: skip
    notes += _left_out(name for name in table.names if name not in taken and name not in services.values())
    used = {*services.values(), *place.values()}
    if plane := [name for name in table.names if plain(name) in PLANE_COLUMNS and name not in used]:
        degrees = "" if {"lon", "lat"} <= place.keys() else "; where they are degrees, --columns lon=NAME,lat=NAME"
        notes.append(f"{some(plane)} were left out, as positions on a plane or outlines{degrees}")
    cell, ids = _sorted_ids(*id_text(table, columns), path, table.first)
    notes += odd_ids(ids)
    for ours, theirs in list(services.items()):
        if len(services) == 1 or by_user:
            break
        number = numbers(table.column(theirs), marks)
        if not np.isfinite(number).any():
            del services[ours]
            notes.append(f"column {theirs!r} holds no numbers and was left out")
        elif _is_of_cells(number, cell, len(ids)):
            del services[ours]
            notes.append(f"column {theirs!r} says the same of a cell at all times and was left out, as no traffic;"
                         f" --columns {ours}={theirs} takes it")  # fmt: skip
    values = {ours: (theirs, table.column(theirs)) for ours, theirs in services.items()}
    return _Rows(table, cell, ids, time, table.column(time), values, place, marks, tuple(notes), columns[-1])


def _time_column(table: SourceTable, reading: Reading) -> str | None:
    """The column of times: the one that is named or known, `Time (UTC+1)` as well, or a first one without a name that
    holds times, as pandas writes an index."""
    found = find_column(table, TIME_NAMES, reading.named("time"))
    if found is None:
        heads = [name for name in table.names if plain(re.sub(r"\s*[(\[].*[)\]]$", "", name)) in TIME_NAMES]
        found = heads[0] if len(heads) == 1 else None
    if found is None and table.rows and table.names and table.names[0] in ("", "Unnamed: 0"):
        first = texts(table.columns[0][1].slice(0, 1))[0]
        found = table.names[0] if re.match(DAY, first) else None
    return found


def _with_one_time(table: SourceTable, reading: Reading) -> SourceTable:
    """A table whose columns of the date and of the hour are one, `time`, where it has both and no other is said.

    A date may be three columns, of year, month and day; minutes may stand in a column of their own."""
    if reading.named("time") is not None or not table.rows:
        return table
    table = _with_one_date(table)
    date, clock = find_column(table, DATE_NAMES), find_column(table, CLOCK_NAMES)
    whole = find_column(table, [name for name in TIME_NAMES if name not in DATE_NAMES])
    if date is None or clock is None or whole not in (None, clock):  # a timestamp says more
        return table
    minute = find_column(table, ("minute", "minutes", "min"))
    minutes = None if minute is None else table.column(minute)
    joined = joined_clock(table.column(date), table.column(clock), table.path, minutes, clock)
    if joined is None:
        return table
    used = [date, clock, *([] if minute is None else [minute])]
    left = [(name, values) for name, values in table.columns if name not in used]
    note = f"time is columns {', '.join(map(repr, used[:-1]))} and {used[-1]!r}"
    return replace(table, columns=(("time", joined), *left), notes=(*table.notes, note))


def _with_one_date(table: SourceTable) -> SourceTable:
    """A table whose columns year, month and day are one, `date`."""
    import pyarrow as pa

    parts = [find_column(table, (name,)) for name in ("year", "month", "day")]
    if any(name is None for name in parts) or find_column(table, ("date",)) is not None:
        return table
    named = [str(name) for name in parts]
    rows = list(zip(*(texts(table.column(name)) for name in named), strict=True))
    if not all(re.fullmatch(r"(19|20)\d\d", y) and m.isdecimal() and d.isdecimal() for y, m, d in set(rows)):
        return table
    dates = pa.chunked_array([pa.array([f"{y}-{m.zfill(2)}-{d.zfill(2)}" for y, m, d in rows])])
    left = [(name, values) for name, values in table.columns if name not in named]
    return replace(table, columns=(("date", dates), *left))


def _is_of_cells(number: NDArray[np.float64], cell: NDArray[np.int64], cells: int) -> bool:
    """Whether numbers (rows,) tell of cells, such as a carrier or a power, not of times: each has one all day, not 0.

    cell: (rows,) index of the row's cell."""
    if len(number) < _DAY_ROWS * cells or not np.isfinite(number).all():
        return False
    low, high = np.full(cells, np.inf), np.full(cells, -np.inf)
    np.minimum.at(low, cell, number)
    np.maximum.at(high, cell, number)
    return bool((low == high).all() and (low != 0).any())


def _place_columns(table: SourceTable, reading: Reading) -> dict[str, str]:
    known = {"lon": LON_NAMES, "lat": LAT_NAMES} | {name: (name,) for name in ("row", "col")}
    known |= {name: sector_names(name) for name in SECTOR_COLUMNS}
    columns = {ours: find_column(table, names, reading.named(ours)) for ours, names in known.items()}
    return {ours: theirs for ours, theirs in columns.items() if theirs is not None}


def _is_beside(name: str) -> bool:
    """Whether a column, by its name, holds neither traffic nor a cell: numbers of rows, parts of a date."""
    return plain(name) in BESIDE or re.fullmatch(r"unnamed\d*", plain(name)) is not None


def _left_out(names: Iterable[str]) -> list[str]:
    """A line on the columns that are neither traffic nor a cell, but for those without a name."""
    beside = [name for name in names if _is_beside(name) and name]
    return [f"{some(beside)}: left out, no traffic by the name; --columns NAME=COLUMN takes it"] if beside else []


def _head(name: str) -> tuple[str, str]:
    """The head of a column without a unit in brackets, and its unit: `DL (MB)`, `DL [GB]`, `DL_GB`; else "unknown"."""
    found = re.fullmatch(r"(\w[^()\[\]]*?)\s*(?:\(([^()]+)\)|\[([^\[\]]+)\])", name.strip())
    if found is not None:
        unit = (found[2] or found[3]).strip()
        return (found[1], unit) if volume(unit) or is_amount(unit) else (name, "unknown")
    last = re.search(r"(?<=\w)[\s_,-]+([A-Za-z]{2,})$", name.strip())
    return name, last[1] if last is not None and volume(last[1]) else "unknown"


def _told_unit(table: SourceTable, column: str) -> str:
    """The unit that a column's head or the file's metadata say, else "unknown"."""
    unit = _head(column)[1]
    return table.units.get(column, unit) if unit == "unknown" else unit


def _service_name(name: str) -> str:
    """A column's name as that of a service: letters, digits and _."""
    plain_name = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")
    return plain_name if plain_name[:1].isalpha() else f"service_{plain_name}"


def _wide(table: SourceTable, time: str, service: str, place: Mapping[str, str], reading: Reading) -> _Rows:
    """times x cells -> rows, one cell after the other."""
    import pyarrow as pa

    path = table.path
    words = [name for name in table.names if plain(name) == "value" or name in place.values()]
    if words:
        raise BadInput(f"{path}: has {words[0]!r} but no column 'cell'; name the cells in a column 'cell', or "
                       "say which holds them with --id-column NAME")  # fmt: skip
    names = [name for name in table.names if name != time and plain(name) not in _LOCAL_TIMES and not _is_beside(name)]
    if not names:
        raise BadInput(f"{path}: only {some(table.names)}; a wide table has 'time' and one column per cell")
    if not table.rows:
        raise BadInput(f"{path}: no rows")
    times = table.column(time)
    if len(times.unique()) < 0.8 * len(times):  # a long table: each time stands there once per cell
        raise BadInput(f"{no_ids(table)}; where each column is a cell, keep one row for each time")
    marks = notation(table, names, [], reading)
    _check_wide(table, names, marks)
    column = pa.chunked_array([c for name in names for c in _alike(table, names, name).chunks])
    cell, ids = _sorted_ids(np.repeat(np.arange(len(names)), table.rows), np.asarray(names, dtype=object), path)
    every = pa.chunked_array([chunk for _ in names for chunk in times.chunks])
    notes = _left_out(name for name in table.names if name != time)
    return _Rows(table, cell, ids, time, every, {service: (service, column)}, {}, marks, tuple(notes))


def _check_wide(table: SourceTable, names: list[str], marks: Notation) -> None:
    """Raise BadInput where a column is no cell's: it holds names, or one number in all rows, that of the one cell."""
    for name in names:
        values = numbers(table.column(name), marks)
        first = texts(table.column(name).slice(0, 1))[0]
        if not np.isfinite(values).any() and first and not first[0].isdigit():  # 3 MB is said with its value
            raise BadInput(no_ids(table))
        one = table.rows >= _DAY_ROWS and (values == values[0]).all() and values[0] > 0 and values[0] % 1 == 0
        if one and not re.search(r"\d", name):
            raise BadInput(f"{table.path}: column {name!r} is {values[0]:.0f} in all rows: where that is the cell's id,"
                           f" say --id-column {name}; else drop the column")  # fmt: skip


def _alike(table: SourceTable, names: list[str], name: str) -> pa.ChunkedArray:
    """A column of a wide table in the type that all its cells can have."""
    import pyarrow as pa

    kinds = {table.column(n).type for n in names}
    values = table.column(name)
    if len(kinds) == 1:
        return values
    return values.cast(pa.string() if pa.string() in kinds else pa.float64())


def _sorted_ids(
    code: NDArray[np.int64], names: NDArray[Any], path: Path, first: int = 1
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """(each row's index into the ids, the ids sorted: int64 where all are written as whole numbers, else text)."""
    empty = np.array([str(i) == "" for i in names])[code]
    if empty.any():
        raise BadInput(f"{path}: row {int(np.argmax(empty)) + first} names no cell: fill in its id or drop the row")
    ids = as_ids(names)
    if len(set(ids.tolist())) < len(ids):
        twice = next(i for i in ids.tolist() if ids.tolist().count(i) > 1)
        raise BadInput(f"{path}: two columns are called {twice}: a cell has one")
    order = np.argsort(ids, kind="stable")
    rank = np.empty(len(ids), dtype=np.int64)
    rank[order] = np.arange(len(ids))
    return rank[code], ids[order]


def _values(rows: _Rows, name: str, path: Path, keep_gaps: bool = False) -> NDArray[np.float64]:
    """One service's column as numbers, finite and not negative; keep_gaps: nan where a program writes that there is no
    value."""
    column = rows.values[name][1]
    number = numbers(column, rows.marks)
    most = np.isin(number, (2.0**31 - 1, 2.0**32 - 1, 2.0**63, 2.0**64))
    if most.any():
        i = int(np.argmax(most))
        bits = 32 if number[i] < 2.0**33 else 64
        raise BadInput(
            f"{path}: cell {rows.ids[rows.cell[i]]}, {rows.times[i].as_py()}: {rows.values[name][0]} ="
            f" {column[i].as_py()} is the largest number of {bits} bits, as programs write for a missing value"
            f" ({int(most.sum())} such rows): fill them or drop the cells"
        )
    wrong = ~((number >= 0) & (number <= np.finfo(np.float32).max))
    none = np.zeros(len(number), dtype=bool)
    for row in np.flatnonzero(np.isnan(number)).tolist():
        told = column[row].as_py()
        none[row] = told is None or str(told).strip().lower() in NO_VALUE
    if keep_gaps:
        wrong &= ~none
    if wrong.any():
        i = int(np.argmax(wrong))
        value = column[i].as_py()
        fix = ", or keep them as gaps with --keep-gaps" if none[wrong].all() else ""
        raise BadInput(
            f"{path}: cell {rows.ids[rows.cell[i]]}, {rows.times[i].as_py()}: {rows.values[name][0]} = "
            f"{'nan' if value in (None, '') else value}; traffic is a number, not negative"
            f" ({int(wrong.sum())} such rows): correct them in the source{fix}"
        )
    return number


def _units(unit: str | None, services: Mapping[str, str]) -> dict[str, str]:
    """The unit of each service. services: name -> the unit that its column names, or "unknown".

    Raises WrongUse for a service that the table lacks."""
    units = {name: "1" if name == "users" else told for name, told in services.items()}
    for part in (unit or "").split(","):
        name, equals, value_unit = (p.strip() for p in part.partition("="))
        if equals and name not in units:
            raise WrongUse(f"--unit {unit}: there is no service {name!r}, only {some(services)}")
        if re.fullmatch(r"\s*[0-9.]+\s*[A-Za-z].*", value_unit or name):
            raise WrongUse(f"--unit {unit}: give the unit alone, such as GB or Mbit/s, in which the values are")
        check_units(value_unit or name, f"--unit {unit}")
        for service in [name] if equals else [service for service in services if name and service != "users"]:
            told = services[service]
            if told not in ("unknown", value_unit or name):
                raise WrongUse(f"--unit {unit}: the column of {service} says {told}: correct the one or the other")
            units[service] = value_unit or name
    return units


def _times(rows: _Rows, timezone: str | None, path: Path) -> tuple[NDArray[np.datetime64], bool]:
    """(UTC times of the rows, whether the source stated their offset)."""
    code, times, aware = distinct_times(rows.times, rows.time_name, path, rows.table.first)
    if aware or timezone is None:
        return times[code], aware
    return to_utc(code, times, rows.cell, rows.ids, timezone, path), True


def _check_grid(
    when: NDArray[np.datetime64], cell: NDArray[np.int64], ids: NDArray[Any], path: Path, timezone: str | None = None,
    hint: str = "", keep_gaps: bool = False,
) -> NDArray[np.datetime64]:  # fmt: skip
    """The common times of rows sorted by cell and time: every cell at every time, once, or at most once where gaps are
    kept. hint: on repeated rows."""
    part = when.astype(np.int64) % 10**9 != 0
    if part.any():
        i = int(np.argmax(part))
        at = np.datetime_as_string(when[i])
        raise BadInput(
            f"{path}: cell {ids[cell[i]]}, {at}Z ({int(part.sum())} such rows) is no whole second: round the times to"
            " the step"
        )
    gap = np.diff(when).astype("timedelta64[ns]").astype(np.int64)
    inside = np.diff(cell) == 0
    repeated = inside & (gap == 0)
    if repeated.any():
        i = int(np.argmax(repeated))
        raise BadInput(
            f"{path}: cell {ids[cell[i]]}, {_utc(when[i])} occurs twice"
            f" ({int(repeated.sum())} repeats); keep one row each{hint}"
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
        i = int(np.argmax(inside & (gap == step)))
        raise BadInput(f"{path}: a step of {minutes:g} min does not divide a day; aggregate to 1 h, 30, 15 or 10 min"
                       f"{clock_note(when[i], timezone)}")  # fmt: skip
    time = np.arange(when.min(), when.max() + np.timedelta64(step, "ns"), np.timedelta64(step, "ns"))
    at = (when - time[0]).astype(np.int64)
    odd = at % step != 0
    if odd.any():
        i = int(np.argmax(odd))
        raise BadInput(
            f"{path}: cell {ids[cell[i]]}, {_utc(when[i])} is off the {minutes:g}-minute grid of the other rows"
            f"{clock_note(when[i], timezone)}"
        )
    if len(when) != len(ids) * len(time) and not keep_gaps:
        counts = np.bincount(cell, minlength=len(ids))
        i = int(np.argmax(counts < len(time)))
        have = at[cell == i] // step
        lack = np.setdiff1d(np.arange(len(time)), have)
        raise BadInput(
            f"{path}: cell {ids[i]} has no value at {_utc(time[lack[0]])} ({len(lack)} missing there,"
            f" {int((counts < len(time)).sum())} cells with gaps){clock_note(time[lack[0]], timezone)};"
            " fill the gaps or drop the cells, no value is not 0; or keep them as gaps with --keep-gaps"
        )
    return time


def _maybe_together(rows: _Rows) -> str:
    """What a message adds where a second column names cells or areas, so that only both may name a cell."""
    taken = {rows.id_name, rows.time_name, *(theirs for theirs, _ in rows.values.values())}
    known = {*ID_NAMES, "lac", "tac", "area", "pci", "cellnumber"}
    other = [name for name in rows.table.names if name not in taken and plain(name) in known]
    return f"; where {other[0]} and {rows.id_name} name a cell together, make one column of them" if other else ""


def _utc(time: np.datetime64) -> str:
    return f"{np.datetime_as_string(time, 'm')}Z"


def _without_sums(
    ids: NDArray[Any], services: Mapping[str, tuple[NDArray[np.float32], str]]
) -> tuple[NDArray[np.bool_], list[str]]:
    """(which ids are cells, a line on those that are not): what is the sum or the mean of all others, by its values.

    In short series a name such as Total has to say it as well. ids: (cells,). services: name -> (values (cells, steps),
    unit).
    """
    cells = np.ones(len(ids), dtype=bool)
    notes: list[str] = []
    if len(ids) < 3:
        return cells, notes
    sums = [values.sum(axis=0, dtype=np.float64) for values, _ in services.values()]
    steps = len(sums[0])
    first, _ = next(iter(services.values()))
    busy = int(np.argmax(sums[0]))  # one step tells most cells from a sum
    for what, names, share in (("sum", SUMS, 1.0), ("mean", MEANS, 1.0 / (len(ids) - 1))):
        found = np.isclose(first[:, busy], (sums[0][busy] - first[:, busy]) * share, rtol=1e-5, atol=0)
        if steps < _DAY_ROWS or what == "mean":
            found &= [plain(str(name)) in names for name in ids]
        for k in np.flatnonzero(found):
            found[k] = all(
                values[k].any() and np.allclose(values[k], (total - values[k]) * share, rtol=1e-5, atol=0)
                for (values, _), total in zip(services.values(), sums, strict=True)
            )
        if found.any():
            notes.append(f"{some(ids[found].tolist())} is the {what} of all cells: left out")
            cells &= ~found
    return cells, notes


def _places(
    rows: _Rows,
    kept: NDArray[np.bool_],
    order: NDArray[np.intp],
    cells: str | Path | gpd.GeoDataFrame | None,
    layer: str | None,
    reading: Reading,
    path: Path,
) -> tuple[Places, NDArray[np.bool_], list[str]]:
    """(positions from `cells`, else from the columns, else none; which cells have one that can be meant; warnings).

    kept: (ids,) which ids are cells. order: (ids, steps) the row of each cell and time.
    """
    ids, order = rows.ids[kept], order[kept]
    names = [f"cell {name}" for name in ids.tolist()]
    if cells is not None:
        known, places = places_from_cells(cells, ids, reading, rows.id_name, layer)
        if not known.all():
            raise BadInput(
                f"{path}: cell {ids[~known][0]} ({int((~known).sum())} of {len(ids)}) is not in the cells file"
            )
        where = Path(cells).name if isinstance(cells, str | Path) else "the cells"
        well, places, notes = well_placed(places, names, where)
        return places, well, notes
    first = order[:, 0]
    sectors: dict[str, NDArray[Any]] = {}
    for name in SECTOR_COLUMNS:
        if name in rows.place:
            sectors[name] = sector_column(rows.table, name, rows.place[name], reading)[first]
    if "site" in sectors and (sectors["site"] == ids.astype(str)).all():
        del sectors["site"]  # the ids say it
    have = [name for name in ("lon", "lat") if name in rows.place]
    if not have:
        return unplaced(ids, sectors), np.ones(len(ids), dtype=bool), []
    if len(have) == 1:
        raise BadInput(
            f"{path}: no positions, only {have[0]}; add columns lon, lat, or give --cells FILE: outlines, or a CSV of"
            " lon, lat, id"
        )
    marks = place_notation(rows.table, [rows.place[name] for name in have])
    lon, lat = (_one_place(rows, name, order, marks, path) for name in have)
    extra: dict[str, NDArray[Any]] = dict(sectors)
    for name in ("row", "col"):
        if name in rows.place:
            number = numbers(rows.table.column(rows.place[name]), marks)[first]
            if not np.isfinite(number).all() or (number % 1).any() or (np.abs(number) >= 2**31).any():
                raise BadInput(f"{path}: {name} of cell {ids[int(np.argmax(~(number % 1 == 0)))]} is no whole number")
            extra[name] = number.astype(np.int32)
    names = [f"row {row + rows.table.first} ({name})" for row, name in zip(first, names, strict=True)]
    well, places, notes = well_placed(places_from_lonlat(ids, lon, lat, kind="stations", extra=extra), names, path.name)
    return places, well, notes


def _one_place(rows: _Rows, axis: str, order: NDArray[np.intp], marks: Notation, path: Path) -> NDArray[np.float64]:
    """A cell's lon or lat, (cells,), which all of its rows tell alike, or leave empty. order: (cells, steps)."""
    column = rows.table.column(rows.place[axis])
    number = numbers(column, marks)[order]
    low: NDArray[np.float64] = np.nanmin(number, axis=1, initial=np.inf)
    high = np.nanmax(number, axis=1, initial=-np.inf)
    if np.isnan(number).any():  # rows that leave it out are told by others of the cell
        empty = np.array([text == "" for text in texts(column)])[order]
        wrong = np.argwhere(np.isnan(number) & (~empty | ~np.isfinite(low)[:, None]))
        if len(wrong):
            row = int(order[tuple(wrong[0])])
            raise BadInput(f"{path}, row {row + rows.table.first}: {axis} {column[row].as_py()!r} is not a number")
    if (high - low > 1e-6).any():
        k = int(np.argmax(high - low > 1e-6))
        raise BadInput(f"{path}: cell {rows.ids[rows.cell[order[k, 0]]]} stands at several places, {axis} {low[k]:g}"
                       f" and {high[k]:g}: give each place a cell of its own")  # fmt: skip
    return low


def _zone_at(places: Places, path: Path) -> str:
    """The IANA zone that most of the cells lie in."""
    from gentraffic.dataset.zones import zone_of_most

    if places.kind == "unplaced":
        raise BadInput(f"{path}: no positions to tell the local time from; give --timezone, e.g. Europe/Rome")
    zone = zone_of_most(places.lon, places.lat)
    if zone is None:
        raise BadInput(f"{path}: no timezone at the cells' positions; give --timezone")
    return zone
