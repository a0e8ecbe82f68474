"""Traffic as tables of other programs: spreadsheets of offices, InfluxDB, Parquet by day, Maveric (RADP)."""

from __future__ import annotations

import csv
import json
import math
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.schema import local_time, services
from gentraffic.dataset.summary import member_range
from gentraffic.errors import WrongUse
from gentraffic.io.atomic import replacing
from gentraffic.io.export.columns import Tell, headed, own_columns, silent, text_number
from gentraffic.io.export.folder import FOOTER, folder, mark_text

if TYPE_CHECKING:
    import xarray as xr

MAX_ROWS = 1_048_576  # of a sheet of a spreadsheet program
DIGITS = 6  # of an amount in a spreadsheet
EPOCH = datetime(1899, 12, 30)  # day 0 of a spreadsheet program
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
Row = list[Any]


def _places(ds: xr.Dataset) -> list[str]:
    """The columns that say where a cell lies; none where the file does not."""
    return [name for name in ("lon", "lat") if name in ds.coords]


def _rows(ds: xr.Dataset, tell: Tell) -> tuple[list[str], Iterator[Row]]:
    """The heads and the rows of the long table: [member,] cell, [lon, lat,] columns of the cells, the two times, the
    services with their units. Degrees have 6 decimals, amounts DIGITS digits; what rounding leaves goes to the next,
    and at the end to the last that is not 0."""
    names = services(ds)
    times = local_time(ds)
    utc, local = times.tz_convert("UTC").tz_localize(None).to_pydatetime(), times.tz_localize(None).to_pydatetime()
    members = ds["member"].values.tolist() if "member" in ds.dims else [None]
    heads = [headed(ds, name) for name in names]
    own = own_columns(ds, {"member", "cell", "lon", "lat", "time_utc", "time_local", *names, *heads})
    head = [*(["member"] if "member" in ds.dims else []), "cell", *_places(ds), *own]
    head += ["time_utc", "time_local", *heads]

    def rows() -> Iterator[Row]:
        degrees = [ds[name].values.round(6).tolist() for name in _places(ds)]
        cells = [ds["cell_id"].values.tolist(), *degrees, *(column.tolist() for column in own.values())]
        left = [0.0] * len(names)
        last = [_last_positive(ds[name].values) for name in names]  # has what is left over at the end
        for m, member in enumerate(members):
            for c, cell in enumerate(zip(*cells, strict=True)):
                tell(m * len(cells[0]) + c, len(members) * len(cells[0]))
                all_of = ((v.values if member is None else v.values[m])[c].tolist() for v in (ds[n] for n in names))
                series = []
                for i, exact in enumerate(all_of):
                    short, left[i] = rounded(exact, left[i])
                    if last[i][:-1] == (m, c):
                        short[last[i][-1]] = float(f"{short[last[i][-1]] + left[i]:.12g}")
                    series.append(short)
                for t in range(len(times)):
                    values = [column[t] for column in series]
                    where = cell if member is None else (member, *cell)
                    yield [*where, utc[t], local[t], *values]

    return head, rows()


def _last_positive(values: NDArray[np.floating[Any]]) -> tuple[int, int, int]:
    """Member, cell and step of the last value above 0 of values ([members,] cells, steps); -1 where there is none."""
    series = values.reshape(-1, *values.shape[-2:])
    found = np.flatnonzero((series > 0).any(axis=-1).ravel())
    if not len(found):
        return -1, -1, -1
    m, c = divmod(int(found[-1]), series.shape[1])
    return m, c, int(np.flatnonzero(series[m, c] > 0)[-1])


def rounded(exact: list[float], left: float = 0.0) -> tuple[list[float], float]:
    """Values with DIGITS significant digits (whole ones above), and what is left over of all of them.

    left: over from before. It goes to the next value that is so large that it does not show: sums stay, zeros too.
    """
    out = []
    for value in exact:
        if value > 1000 * abs(left):
            value, left = value + left, 0.0
        short = round(value, max(0, DIGITS - 1 - math.floor(math.log10(value)))) if value > 0 else 0.0
        left += value - short
        out.append(short)
    return out, left


def write_office(
    ds: xr.Dataset, path: str | Path, *, decimal: str = "point", every_member: bool = False, tell: Tell = silent
) -> dict[str, Any]:
    """Write a table that a spreadsheet program opens with a double click: .csv with a byte-order mark, or .xlsx.

    decimal: "point" (columns apart by commas) or "comma" (by semicolons), as the program's language has it; .xlsx needs
    neither. A row per (cell, step); local times stand beside UTC, which tells the hour that a change of the clocks
    repeats apart. Of an ensemble there are the mean and its range, or with every_member a row per member. Heads name
    the units, `traffic (MB)`; amounts have DIGITS digits, and remainders go to the next value, so that sums stay.
    A workbook's properties hold the attributes and units.

    Raises WrongUse for more rows than a sheet holds, or another decimal.
    """
    path = Path(path)
    if not every_member:
        ds = member_range(ds)
    count = ds.sizes["cell"] * ds.sizes["time"] * ds.sizes.get("member", 1)
    if decimal not in ("point", "comma"):
        raise WrongUse(f"--decimal {decimal}: give point or comma")
    if count + 1 > MAX_ROWS:
        raise WrongUse(
            f"{count:,} rows: a sheet of a spreadsheet program holds {MAX_ROWS - 1:,}; draw fewer cells, days or "
            "members, or export parquet"
        )
    head, rows = _rows(ds, tell)
    about = {"rows": count, "units": {name: str(ds[name].attrs["units"]) for name in services(ds)}}
    about |= {"rounded": f"{DIGITS} digits"}
    if path.suffix.lower() == ".xlsx":
        with replacing(path, (".xlsx",)) as temporary:
            _write_xlsx(temporary, head, rows, str(ds.attrs.get("title", "cellular traffic")), _about(ds))
        return about | {"sheet": "traffic"}
    with replacing(path, (".csv",)) as temporary, temporary.open("w", encoding="utf-8-sig", newline="") as out:
        table = csv.writer(out, delimiter=";" if decimal == "comma" else ",", lineterminator="\r\n")
        table.writerow(head)
        for row in rows:
            table.writerow([_office_text(value, decimal) for value in row])
    changed = next((cell for cell in ds["cell_id"].values.tolist() if _taken_for_a_number(cell)), None)
    lost = {} if changed is None else {"note": f"a spreadsheet program makes another number of ids such as {changed}: "
                                               "write .xlsx, or tell it that the column is text"}  # fmt: skip
    return about | {"decimal": decimal} | lost


def _taken_for_a_number(cell: Any) -> bool:
    """Whether a spreadsheet program that opens a CSV shows another id: 007 as 7, 1E2 as 100, 16 digits rounded."""
    text = str(cell)
    try:
        number = float(text)
    except ValueError:
        return False
    return math.isfinite(number) and text != f"{number:.15g}"


def _office_text(value: Any, decimal: str) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, float | np.floating):
        text = text_number(value) if math.isfinite(value) else ""  # of the cells: what the table does not tell
        return text.replace(".", ",") if decimal == "comma" else text
    return str(value)


def _about(ds: xr.Dataset) -> str:
    """What a reader should know of the table, a line each."""
    metadata = {f"units of {name}": ds[name].attrs["units"] for name in services(ds)}
    metadata |= {"rounded": f"amounts to {DIGITS} digits, remainders go to the next value: sums stay; degrees to 1e-6"}
    metadata |= {str(key): value for key, value in ds.attrs.items() if key != "crs_wkt"}
    return "\n".join(f"{key}: {value}" for key, value in metadata.items())


def _write_xlsx(path: Path, head: list[str], rows: Iterator[Row], title: str, about: str) -> None:
    """A workbook of Office Open XML of one sheet: text as text, so that 007 stays an id; moments as dates."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    rels = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    kinds = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    core = "application/vnd.openxmlformats-package.core-properties+xml"
    top = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{kinds}.sheet.main+xml"/>'
        f'<Override PartName="/xl/styles.xml" ContentType="{kinds}.styles+xml"/>'
        f'<Override PartName="/docProps/core.xml" ContentType="{core}"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{kinds}.worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships">'
        f'<Relationship Id="rId1" Type="{rels}/officeDocument" Target="xl/workbook.xml"/>'
        f'<Relationship Id="rId2" Type="{package}/relationships/metadata/core-properties" Target="docProps/core.xml"/>'
        "</Relationships>",
        "docProps/core.xml": f'<cp:coreProperties xmlns:cp="{package}/metadata/core-properties" '
        f'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{_xml(title)}</dc:title>'
        f"<dc:description>{_xml(about)}</dc:description></cp:coreProperties>",
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{rels}"><sheets>'
        '<sheet name="traffic" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships">'
        f'<Relationship Id="rId1" Type="{rels}/worksheet" Target="worksheets/sheet1.xml"/>'
        f'<Relationship Id="rId2" Type="{rels}/styles" Target="styles.xml"/></Relationships>',
        "xl/styles.xml": f'<styleSheet xmlns="{main}"><numFmts count="1">'
        '<numFmt numFmtId="164" formatCode="yyyy\\-mm\\-dd\\ hh:mm:ss"/></numFmts>'
        '<fonts count="1"><font><sz val="11"/><name val="Calibri"/></font></fonts>'
        '<fills count="2"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/>'
        '</fill></fills><borders count="1"><border/></borders><cellStyleXfs count="1"><xf/></cellStyleXfs>'
        '<cellXfs count="2"><xf/><xf numFmtId="164" applyNumberFormat="1"/></cellXfs>'
        '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>',
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as book:
        for name, text in parts.items():
            book.writestr(_entry(name), top + text, zipfile.ZIP_DEFLATED)
        with book.open(_entry("xl/worksheets/sheet1.xml"), "w") as out:
            out.write(f'{top}<worksheet xmlns="{main}"><sheetData>'.encode())
            out.write(_xlsx_row(head).encode())
            for row in rows:
                out.write(_xlsx_row(row).encode())
            out.write(b"</sheetData></worksheet>")


def _xml(text: str) -> str:
    return escape(_NOT_XML.sub(" ", text))


def _entry(name: str) -> zipfile.ZipInfo:
    """An entry without the time of day, so that the same traffic makes the same bytes."""
    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def _xlsx_row(values: Row) -> str:
    return "<row>" + "".join(map(_xlsx_cell, values)) + "</row>"


def _xlsx_cell(value: Any) -> str:
    if isinstance(value, datetime):
        days = (value - EPOCH).total_seconds() / 86400
        return f'<c s="1"><v>{days!r}</v></c>'
    if isinstance(value, float | np.floating):
        if not math.isfinite(value):
            return "<c/>"
        return f"<c><v>{float(value)!r}</v></c>"
    if isinstance(value, int) and abs(value) < 10**15:  # a spreadsheet program keeps 15 digits
        return f"<c><v>{value}</v></c>"
    return f'<c t="inlineStr"><is><t xml:space="preserve">{_xml(str(value))}</t></is></c>'


# --- InfluxDB ---------------------------------------------------------------------------------------------------------


def write_influx(ds: xr.Dataset, path: str | Path, *, tell: Tell = silent) -> dict[str, Any]:
    """Write line protocol of InfluxDB: measurement `traffic`, tags cell, [member,] place, a field per service.

    Times are nanoseconds since 1970, so that no change of clocks touches them; lon and lat, where known, are fields of
    each line. Further columns of the cells are tags where they are text (site, band), fields where they are numbers.
    """
    names = services(ds)
    place = str(ds.attrs.get("place", ""))
    nanoseconds = ds["time"].values.astype("datetime64[ns]").astype(np.int64).tolist()
    members = ds["member"].values.tolist() if "member" in ds.dims else [None]
    cells, where = ds["cell_id"].values.tolist(), [(name, ds[name].values.tolist()) for name in _places(ds)]
    own = own_columns(ds, {"cell", "member", "place", "time", "lon", "lat", *names})
    where += [(name, values.astype(np.float64).tolist()) for name, values in own.items() if values.dtype.kind in "iuf"]
    told = {name: values.tolist() for name, values in own.items() if values.dtype.kind not in "iuf"}
    rows = 0
    with replacing(path, (".lp", ".txt")) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as out:
        for m, member in enumerate(members):
            for c, cell in enumerate(cells):
                at_place = "".join(f",{name}={number[c]!r}" for name, number in where if math.isfinite(number[c]))
                tags = {"cell": str(cell), "member": "" if member is None else str(member), "place": place}
                tags |= {name: texts[c] for name, texts in told.items()}
                series = [(v.values if member is None else v.values[m])[c] for v in (ds[name] for name in names)]
                key = "traffic" + "".join(f",{name}={_tag(v)}" for name, v in tags.items() if v.strip())
                for t, at in enumerate(nanoseconds):
                    fields = ",".join(f"{name}={text_number(series[i][t])}" for i, name in enumerate(names))
                    out.write(f"{key} {fields}{at_place} {at}\n")
                    rows += 1
                tell(rows, len(members) * len(cells) * len(nanoseconds))
    return {"lines": rows, "fields": names}


def _tag(text: str) -> str:
    """A value of a tag: one line, with commas, equals signs and spaces escaped; no backslash at its end."""
    plain = " ".join(text.split()).rstrip("\\")
    return re.sub(r"([,= ])", r"\\\1", plain)


# --- Parquet by day ---------------------------------------------------------------------------------------------------


def write_parquet_by_day(ds: xr.Dataset, path: str | Path, *, tell: Tell = silent) -> dict[str, Any]:
    """Write a folder of Parquet partitioned by the local day: day=2026-01-05/part-0.parquet, and so on (Hive's names).

    Columns: [member,] cell, [lon, lat,] columns of the cells, time (UTC), time_local (text with its offset), one per
    service.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = services(ds)
    days = np.array([f"{t:%Y-%m-%d}" for t in local_time(ds)])
    local = pa.array([t.isoformat() for t in local_time(ds)])
    cells = ds.sizes["cell"]
    whole = ds["cell_id"].dtype.kind in "iu"
    ids = pa.array(ds["cell_id"].values.astype(np.int64 if whole else object))
    about = {str(k): str(v) for k, v in ds.attrs.items() if k != "crs_wkt"}
    about |= {f"units of {name}": str(ds[name].attrs["units"]) for name in names}
    members = ds["member"].values.tolist() if "member" in ds.dims else [None]
    unique = list(dict.fromkeys(days.tolist()))
    own = own_columns(ds, {"member", "cell", "lon", "lat", "time", "time_local", "day", *names})
    footer = {"about": json.dumps(about, ensure_ascii=False)}
    footer[FOOTER] = mark_text(ds, "parquet", [f"day={day}/part-0.parquet" for day in unique])
    with folder(path, ds, "parquet", marked=False) as temporary:
        for number, day in enumerate(unique):
            tell(number, len(unique))
            at = np.flatnonzero(days == day)
            part = temporary / f"day={day}"
            part.mkdir()
            blocks = []
            for m, member in enumerate(members):
                of_cell = np.repeat(np.arange(cells), len(at))
                columns: dict[str, Any] = {} if member is None else {"member": np.full(len(of_cell), member, np.int32)}
                columns |= {"cell": ids.take(pa.array(of_cell))}
                columns |= {name: ds[name].values[of_cell] for name in _places(ds)}
                columns |= {name: values[of_cell] for name, values in own.items()}
                moments = pa.array(np.tile(ds["time"].values[at].astype("datetime64[ms]"), cells))
                columns |= {"time": moments.cast(pa.timestamp("ms", "UTC"))}
                columns |= {"time_local": local.take(pa.array(np.tile(at, cells)))}
                for name in names:
                    values = ds[name].values if member is None else ds[name].values[m]
                    columns[name] = np.ascontiguousarray(values[:, at]).reshape(-1)
                blocks.append(pa.table(columns))
            table = pa.concat_tables(blocks).replace_schema_metadata(footer)
            pq.write_table(table, part / "part-0.parquet", compression="zstd", write_page_checksum=True)
    return {"days": len(unique), "rows": cells * len(days) * len(members)}


# --- Maveric ----------------------------------------------------------------------------------------------------------


def write_maveric(ds: xr.Dataset, path: str | Path) -> dict[str, Any]:
    """Write one service and member as the tables of Maveric's RADP (RIC Algorithm Development Platform).

    topology.csv   a row per cell: ecgi, site_id, cell_name, enodeb_id, cell_az_deg, tac, cell_lat, cell_lon, cell_id,
                   cell_carrier_freq_mhz. Site, azimuth and band (as MHz) are those of the cells where they are told;
                   what traffic does not know (azimuth, carrier, codes) is made up: 0, 2100, 1
    config.csv     cell_id, cell_el_deg (0), cell_carrier_freq_mhz
    ue_data.csv    mock_ue_id, lon, lat, tick: per tick and cell one mock user at its centre where it carries traffic
    traffic.csv    tick, cell_id, time_utc, time_local, SERVICE: the volumes; tick counts the steps from 0
    """
    (service,) = services(ds)
    ids = [f"cell_{cell}" if isinstance(cell, int) else str(cell) for cell in ds["cell_id"].values.tolist()]
    lon, lat = ds["lon"].values.tolist(), ds["lat"].values.tolist()
    times = local_time(ds)
    values = ds[service].values.reshape(len(ids), -1)
    azimuth = _told(ds, "azimuth", [0] * len(ids))
    carrier = _told(ds, "band", [2100] * len(ids))
    site = ds["site"].values.tolist() if "site" in ds.coords else [f"site_{i}" for i in range(1, len(ids) + 1)]
    topology = ["ecgi", "site_id", "cell_name", "enodeb_id", "cell_az_deg", "tac", "cell_lat", "cell_lon", "cell_id"]
    users = 0
    with folder(path, ds, "maveric") as temporary:
        with _table(temporary / "topology.csv") as table:
            table.writerow([*topology, "cell_carrier_freq_mhz"])
            for i, cell in enumerate(ids, start=1):
                k = i - 1
                where = [repr(lat[k]), repr(lon[k])]
                table.writerow([i, site[k], cell, i, azimuth[k], 1, *where, cell, carrier[k]])
        with _table(temporary / "config.csv") as table:
            table.writerow(["cell_id", "cell_el_deg", "cell_carrier_freq_mhz"])
            table.writerows([cell, 0, mhz] for cell, mhz in zip(ids, carrier, strict=True))
        with _table(temporary / "ue_data.csv") as table:
            table.writerow(["mock_ue_id", "lon", "lat", "tick"])
            for tick in range(values.shape[1]):
                busy = np.flatnonzero(values[:, tick] > 0).tolist()
                table.writerows([i, repr(lon[i]), repr(lat[i]), tick] for i in busy)
                users += len(busy)
        with _table(temporary / "traffic.csv") as table:
            table.writerow(["tick", "cell_id", "time_utc", "time_local", service])
            for tick, (utc, local) in enumerate(zip(times.tz_convert("UTC"), times, strict=True)):
                moment = [f"{utc:%Y-%m-%dT%H:%M:%SZ}", local.isoformat()]
                table.writerows([tick, cell, *moment, text_number(values[i, tick])] for i, cell in enumerate(ids))
    return {"cells": len(ids), "ticks": values.shape[1], "mock_users": users}


def _told(ds: xr.Dataset, name: str, made_up: list[int]) -> list[float]:
    """A column of the cells as numbers, (cells,); `made_up` where one is not told."""
    if name not in ds.coords:
        return list(made_up)
    out: list[float] = []
    for value, instead in zip(ds[name].values.tolist(), made_up, strict=True):
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        out.append(instead if not math.isfinite(number) else int(number) if number.is_integer() else number)
    return out


@contextmanager
def _table(path: Path) -> Iterator[Any]:
    """A CSV file that is open for writing."""
    with path.open("w", encoding="utf-8", newline="") as out:
        yield csv.writer(out, lineterminator="\n")
