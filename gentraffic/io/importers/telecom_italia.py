"""Operators' and public measurements -> Traffic datasets: `gentraffic import uomo|telecom-italia|table`.

`read_uomo` and `read_table` live in files of their own; this one reads the raw files of Telecom Italia's Open Big Data.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.build import Places, measured_traffic, places_from_xy
from gentraffic.errors import BadInput, WrongUse
from gentraffic.io.guard import reads
from gentraffic.io.user_cells import places_from_cells

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd
    import xarray as xr

TELECOM_SERVICES = ("sms_in", "sms_out", "call_in", "call_out", "internet")  # columns 4 to 8 of the raw files
TELECOM_UNITS = "unknown"  # Telecom Italia: proportional to the number of call detail records, the factor not stated
TELECOM_ATTRIBUTION = "Telecom Italia Open Big Data Challenge 2014 (Barlacchi et al., Scientific Data 2:150055, 2015)"
TIMEZONE = "Europe/Rome"
STEP_MS = 600_000  # 10 minutes
STEPS_PER_CHUNK = 144  # one UTC day
ROWS = 1_000_000  # rows parsed at a time: about 100 MB
FIRST_MS, END_MS = 946_684_800_000, 4_102_444_800_000  # 2000 to 2100: every day between two times takes memory
MAX_DAYS = 3660  # between the first and the last day, each of which takes memory
MAX_ID = 100_000  # Milan has 10,000 cells, Trentino ids reach 11,466

# The published Milan grid is exact in UTM 32N: telecom-grid.geojson agrees to 2e-8 m. Cell 1 is south-west
MILAN_SIDE, MILAN_M = 100, 235.0
MILAN_X0, MILAN_Y0 = 501_017.5, 5_022_692.4988938  # centre of cell 1 in EPSG:32632


def milan_places(ids: NDArray[np.int64]) -> Places:
    """Places of cells of Telecom Italia's Milan grid, by formula; `ids` in 1..10000. Raises BadInput for other ids.

    ids: (cells,).
    """
    from pyproj import CRS

    outside = (ids < 1) | (ids > MILAN_SIDE**2)
    if outside.any():
        raise BadInput(
            f"cell {ids[outside][0]}: the Milan grid holds 1 to {MILAN_SIDE**2}; for another grid give --cells"
        )
    row, col = np.divmod(ids - 1, MILAN_SIDE)
    return places_from_xy(
        ids,
        MILAN_X0 + col * MILAN_M,
        MILAN_Y0 + row * MILAN_M,
        str(CRS.from_epsg(32632).to_wkt()),
        kind="grid",
        cell_m=MILAN_M,
        extra={"row": row.astype(np.int32), "col": col.astype(np.int32)},
    )


@reads
def read_telecom_italia(
    paths: str | Path | Sequence[str | Path],
    *,
    cells: str | Path | gpd.GeoDataFrame | None = None,
    layer: str | None = None,
    services: Sequence[str] = TELECOM_SERVICES,
) -> xr.Dataset:
    """Traffic (cells, 10-minute steps) of five services, or of some, from the raw `sms-call-internet-{mi,tn}-DATE.txt`.

    Rows: cell, start of interval (ms since the epoch), country code, SMS in, SMS out, call in, call out, Internet; no
    header. Countries are summed. An empty field is 0, and so is a (cell, interval) without a row: the source writes no
    row where nothing happened. Intervals without a row in any cell are counted in `warnings`; a local day without any
    row between the first and the last is an error. The days may come in any order, one or several files. Milan's
    positions follow from the cell id; for Trentino give `cells` (a file with `cellId`, or its `layer`): cells of the
    traffic that it lacks are dropped and counted in `warnings`.

    Memory: 4 bytes x cells x steps x 5, plus about 150 MB while reading. Raises BadInput.
    """
    unknown = [name for name in services if name not in TELECOM_SERVICES]
    if unknown or not services:
        raise WrongUse(f"--service {','.join(unknown)}: the files hold {', '.join(TELECOM_SERVICES)}")
    files = [Path(p) for p in ([paths] if isinstance(paths, str | Path) else paths)]
    if layer is not None and cells is None:
        raise WrongUse(f"--layer {layer} is one of the file that --cells names: give both")
    if not files:
        raise BadInput("no files given: name the raw files, one per day")
    if cells is None and any(re.search(r"(?<![a-z])tn(?![a-z])", f.stem.lower()) for f in files):
        raise BadInput(f"{files[0]}: Trentino's cells follow no formula; give the grid file with --cells")

    days: dict[int, NDArray[np.float32]] = {}  # UTC day number -> (services, ids, 144)
    owner: dict[int, Path] = {}  # interval number -> the file that holds it
    for file in files:
        _add_file(file, days, owner)
    numbers = np.array(sorted(owner))
    first, last = int(numbers[0]), int(numbers[-1])
    if last - first > MAX_DAYS * STEPS_PER_CHUNK:
        raise BadInput(f"{files[0]}: {(last - first) // STEPS_PER_CHUNK} days from first to last, more than {MAX_DAYS}")
    notes = [*_cut(files), *_gaps(numbers, files)]

    ids_size = max(values.shape[1] for values in days.values())
    present = np.zeros(ids_size, dtype=bool)
    for values in days.values():
        present[: values.shape[1]] |= (values > 0).any(axis=(0, 2))
    ids = np.flatnonzero(present)
    if not len(ids):
        raise BadInput(f"{files[0]}: every value is 0; nothing to import")
    if cells is None:
        places = milan_places(ids)
    else:
        known, places = places_from_cells(cells, ids, layer=layer)
        if not known.all():
            notes.append(
                f"{(~known).sum()} of {len(ids)} cells dropped: not in the cells file (first: {ids[~known][0]})"
            )
        ids = ids[known]

    steps = last - first + 1
    values_of: dict[str, tuple[NDArray[np.float32], str]] = {}
    for name in [name for name in TELECOM_SERVICES if name in services]:
        k = TELECOM_SERVICES.index(name)
        out = np.zeros((len(ids), steps), dtype=np.float32)
        for day, values in days.items():
            begin = day * STEPS_PER_CHUNK - first  # where this day's first step lies in the output
            lo, hi = max(0, -begin), min(STEPS_PER_CHUNK, steps - begin)
            inside = ids < values.shape[1]
            out[inside, begin + lo : begin + hi] = values[k, ids[inside], lo:hi]
        values_of[name] = (out, TELECOM_UNITS)
    time = (np.arange(first, last + 1) * STEP_MS).astype("datetime64[ms]").astype("datetime64[ns]")
    return measured_traffic(
        places,
        time,
        values_of,
        timezone=TIMEZONE,
        attrs={
            "title": "Telecom Italia SMS, calls and Internet activity",
            **({"network": "milan"} if cells is None else {}),
            "attribution": TELECOM_ATTRIBUTION,
            "license": "ODbL-1.0",
            "comment": "proportional to the number of call detail records; country codes summed; no row = 0",
        },
        warnings=notes,
    )


def _add_file(file: Path, days: dict[int, NDArray[np.float32]], owner: dict[int, Path]) -> None:
    """Adds one file's rows to `days` and its intervals to `owner`; an interval in two files would count twice."""
    sums: dict[int, NDArray[np.float64]] = {}
    seen: set[int] = set()
    for rows in _rows(file):
        cell, number, values = _columns(rows, file)
        seen.update(np.unique(number).tolist())
        day = number // STEPS_PER_CHUNK
        size = int(cell.max()) + 1
        for d in np.unique(day):
            here = day == d
            flat = cell[here] * STEPS_PER_CHUNK + number[here] % STEPS_PER_CHUNK
            total = sums.get(int(d), np.zeros((len(TELECOM_SERVICES), 0, STEPS_PER_CHUNK)))
            if total.shape[1] < size:
                total = np.pad(total, ((0, 0), (0, size - total.shape[1]), (0, 0)))
            for k in range(len(TELECOM_SERVICES)):
                counted = np.bincount(flat, weights=values[here, k], minlength=total.shape[1] * STEPS_PER_CHUNK)
                total[k] += counted.reshape(total.shape[1], STEPS_PER_CHUNK)
            sums[int(d)] = total
    if not seen:
        raise BadInput(f"{file}: empty; expected tab-separated rows of cell, time, country and five values")
    shared = seen & owner.keys()
    if shared:
        when = np.datetime64(min(shared) * STEP_MS, "ms")
        raise BadInput(f"{file}: its interval {when}Z is also in {owner[min(shared)]}; give each day once")
    owner.update(dict.fromkeys(seen, file))
    for d, total in sums.items():
        old = days.get(d)
        if old is not None and old.shape[1] > total.shape[1]:
            total = np.pad(total, ((0, 0), (0, old.shape[1] - total.shape[1]), (0, 0)))
        added = total.astype(np.float32)
        if old is not None:
            added[:, : old.shape[1]] += old
        days[d] = added


def _rows(file: Path) -> Iterator[pd.DataFrame]:
    """The file's rows, some at a time. Rows end where their last value ends, so they differ in length."""
    import pandas as pd

    # pandas cuts longer rows without an error, so a ninth column shows whether there is one
    names = ["cell", "time", "country", *TELECOM_SERVICES, "beyond"]
    try:
        with pd.read_csv(
            file,
            sep="\t",
            header=None,
            names=names,
            dtype="float64",
            chunksize=ROWS,
            index_col=False,
            encoding_errors="replace",
        ) as reader:
            while True:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", pd.errors.ParserWarning)  # "loss of data": `beyond` tells better
                    try:
                        rows = reader.get_chunk()
                    except StopIteration:
                        return
                if len(rows):
                    yield rows
    except FileNotFoundError as error:
        raise BadInput(f"{file}: no such file") from error
    except pd.errors.EmptyDataError:
        return
    except (ValueError, OSError) as error:  # pandas' ParserError is a ValueError
        raise BadInput(
            f"{file}: not Telecom Italia's tab-separated rows ({str(error).strip().splitlines()[-1]})"
        ) from error


def _columns(rows: pd.DataFrame, file: Path) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """(cell ids, interval numbers since the epoch, values (rows, 5)) of raw rows, checked."""
    head = rows[["cell", "time"]].to_numpy()
    values = rows[list(TELECOM_SERVICES)].fillna(0.0).to_numpy()
    wrong = ~np.isfinite(head).all(axis=1) | (head[:, 0] < 0) | (head[:, 0] > MAX_ID) | (head[:, 0] % 1 != 0)
    wrong |= (head[:, 1] < FIRST_MS) | (head[:, 1] >= END_MS)
    wrong |= (head[:, 1] % STEP_MS != 0) | rows["beyond"].notna().to_numpy()
    if wrong.any():
        line = int(rows.index.to_numpy()[np.argmax(wrong)]) + 1
        cell, time = head[np.argmax(wrong)]
        raise BadInput(
            f"{file}, line {line}: cell {cell:g}, time {time:.0f}; expected an id, ms at a full 10 minutes, 8 columns"
        )
    bad = ~(np.isfinite(values) & (values >= 0)).all(axis=1)
    if bad.any():
        i = int(np.argmax(bad))
        when = np.datetime64(int(head[i, 1]), "ms")
        raise BadInput(
            f"{file}, line {int(rows.index.to_numpy()[i]) + 1}: cell {head[i, 0]:g}, {when}Z: value"
            f" {values[i].min():g} is negative or infinite; correct or drop the row"
        )
    return head[:, 0].astype(np.int64), (head[:, 1] // STEP_MS).astype(np.int64), values


def _cut(files: Sequence[Path]) -> list[str]:
    """A warning about files whose last line has no end: rows differ in length, so that a number may be cut as well."""
    cut = []
    for file in files:
        with file.open("rb") as stream:
            if (
                stream.read(2) != b"\x1f\x8b"
                and stream.seek(0, 2)
                and stream.seek(-1, 2)
                and stream.read(1) not in b"\r\n"
            ):
                cut.append(file.name)
    return [f"{', '.join(cut[:3])}: the last line has no end: is the file whole?"] if cut else []


def _gaps(numbers: NDArray[np.int64], files: Sequence[Path]) -> list[str]:
    """Warnings about intervals without any row; BadInput where a whole local day in between is absent."""
    import pandas as pd

    missing = np.setdiff1d(np.arange(numbers[0], numbers[-1] + 1), numbers)
    if not len(missing):
        return []
    local = [
        pd.DatetimeIndex((n * STEP_MS).astype("datetime64[ms]"), tz="UTC").tz_convert(TIMEZONE).normalize().unique()
        for n in (missing, numbers)
    ]
    days = local[0].difference(local[1])
    if len(days):
        raise BadInput(
            f"{files[0]} and {len(files) - 1} more: no row on {days[0].date()} ({len(days)} such days);"
            " give the files of all days between the first and the last"
        )
    when = np.datetime64(int(missing[0]) * STEP_MS, "ms")
    return [f"{len(missing)} intervals have no row in any cell and are 0 (first: {when}Z)"]
