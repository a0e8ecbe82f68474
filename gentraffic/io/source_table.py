"""Anybody's table, whatever it is packed in: CSV, Excel's .xlsx, Parquet; columns as they stand, ids never as numbers.

What a file is, its content says, not its name. CSV may be in UTF-8, UTF-16 or Windows' Latin-1, separated by comma,
semicolon, tab or bar, packed by gzip, bzip2, xz, zstd or alone in a zip. Its columns are text: what is a number, a
time, an id is decided by `gentraffic.io.source_columns`, which knows the column.
"""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentraffic.errors import BadInput
from gentraffic.io.export.folder import MARK
from poi.errors import PoiError
from poi.safety import check_row_groups

if TYPE_CHECKING:
    import pyarrow as pa

SECTOR_COLUMNS = ("site", "azimuth", "height", "band")  # of a planner's table, kept beside the cell
MAX_BYTES = 8 * 2**30  # of a file
MAX_UNFOLDED = 8 * 2**30  # of what a packed file holds
MAX_SHEET_BYTES = 2**30  # of the XML in an .xlsx, which becomes Python objects
SEPARATORS = ",;\t|"
MAX_SHEET_CELLS = 2**26  # empty ones too, as every row is made as long as the longest
MAX_SHEET_ROWS = 2**20  # that Excel has
_PIECE = 2**20
_XML_HEAD = 4096  # bytes of a part of an .xlsx in which declarations would stand
# The columns of an OpenCelliD download, which has no header.
OPENCELLID = ("radio", "mcc", "net", "area", "cell", "unit", "lon", "lat", "range", "samples", "changeable", "created",
              "updated", "averageSignal")  # fmt: skip
_TUPLE = re.compile(r"""\((?:'[^']*'|"[^"]*"|[\w.-]+)(?:, (?:'[^']*'|"[^"]*"|[\w.-]+))+\)""")  # ('dl', 'a')
_RADIOS = ("GSM", "UMTS", "LTE", "NR", "CDMA")
_OTHERS = {  # what begins so is no table: what it is, and what to do
    b"\xd0\xcf\x11\xe0": "an old Excel .xls: save it as .xlsx or CSV",
    b"\x89HDF": "a NetCDF or HDF5 file: traffic in .nc needs no import; else save a table",
    b"CDF": "a classic NetCDF file: save a table",
    b"SQLite format 3": "an SQLite or GeoPackage database: save its table as CSV or Parquet",
    b"%PDF": "a PDF: save the table as CSV",
    b"7z\xbc\xaf": "a 7z archive: unpack it first",
    b"Rar!": "a rar archive: unpack it first",
}
_OFFICE = {  # a ZIP that holds such a part: what it is, and what to do
    "xl/workbook.bin": "an Excel .xlsb: save it as .xlsx or CSV",
    "content.xml": "an OpenDocument file: save the sheet as .xlsx or CSV",
    "word/document.xml": "a document of Word: save its table as CSV",
}
DAY = r"(19|20)\d\d-\d\d-\d\d"  # that times begin with
_WKT_NAMES = ("wkt", "wktgeom", "geometry", "geom", "thegeom", "geomwkt", "point")
_WKT_POINT = (r"^(?i:SRID=4326;)?\s*(?i:POINT)\s*(?i:Z)?\s*"
              r"\(\s*(?P<lon>[-+0-9.eE]+)\s+(?P<lat>[-+0-9.eE]+)(?:\s+[-+0-9.eE]+)?\s*\)\s*$")  # fmt: skip
_EXACT = 2**53  # whole numbers above are rounded in a spreadsheet


@dataclass(frozen=True)
class SourceTable:
    """columns: (name, values (rows,)) as the file has them, text where it was text. notes: what a reader must know.

    first: the number that a spreadsheet shows beside the first row, whose header is a row as well. units: of columns,
    where the file's metadata say them. mixed: columns of a sheet that hold numbers, and texts that look like numbers:
    name -> such a text."""

    path: Path
    columns: tuple[tuple[str, pa.ChunkedArray], ...]
    notes: tuple[str, ...] = ()
    first: int = 1
    units: Mapping[str, str] = field(default_factory=dict)
    mixed: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The names of the columns in their order."""
        return [name for name, _ in self.columns]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.columns[0][1]) if self.columns else 0

    def column(self, name: str) -> pa.ChunkedArray:
        """The first column of that name."""
        return next(values for own, values in self.columns if own == name)


def read_source(path: str | Path) -> SourceTable:
    """The table in a file, or in the Parquet files of a folder; a column of points in WKT as columns lon and lat.

    Raises BadInput, in one line, for what is missing, empty, cut, too large or no table.
    """
    return _with_lonlat(_as_it_stands(Path(path)))


def _with_lonlat(table: SourceTable) -> SourceTable:
    """A table whose `POINT (lon lat)`, as QGIS and PostGIS write them, are columns lon and lat."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for name, values in table.columns:
        if re.sub(r"[\W_]", "", name.lower()) not in _WKT_NAMES or not pa.types.is_string(values.type):
            continue
        parts = pc.extract_regex(values, _WKT_POINT)
        if table.rows and parts.null_count == 0 and not {"lon", "lat"} & set(table.names):
            axes = [(axis, pc.struct_field(parts, axis)) for axis in ("lon", "lat")]
            left = [(own, column) for own, column in table.columns if own != name]
            return replace(table, columns=(*left, *axes))
    return table


def _as_it_stands(path: Path) -> SourceTable:
    if path.is_dir():
        return _data_package(path) if (path / MARK).is_file() else _parquet_folder(path)
    if not path.is_file():
        raise BadInput(f"{path}: {'is no file' if path.exists() else 'no such file'}")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise BadInput(f"{path}: {size / 2**30:.1f} GiB; split tables above {MAX_BYTES / 2**30:.0f} GiB by time")
    if size == 0:
        raise BadInput(f"{path}: is empty")
    with path.open("rb") as stream:
        start = stream.read(64)
    try:
        if start[:4] == b"PAR1":
            return _parquet(path)
        if start[:2] == b"PK":
            with zipfile.ZipFile(path) as archive:
                parts = archive.namelist()
                if "xl/workbook.xml" in parts:
                    return _excel(path, archive)
            for part, what in _OFFICE.items():
                if part in parts:
                    raise BadInput(f"{path}: is {what}")
        return _csv(path, _unpacked(path, start))
    except (BadInput, PoiError):
        raise
    except MemoryError:
        raise BadInput(f"{path}: does not fit into memory; split it by time") from None
    except Exception as error:  # whatever a library raises on an input is the input's
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1][:200]
        kind = "Parquet" if start[:4] == b"PAR1" else "Excel" if path.suffix.lower() == ".xlsx" else "CSV"
        raise BadInput(f"{path}: not a whole {kind} table ({reason})") from error


def _parquet(path: Path) -> SourceTable:
    import pyarrow as pa
    import pyarrow.parquet as pq

    about = pq.read_metadata(path)
    check_row_groups(about, str(path))
    schema = about.schema.to_arrow_schema()
    plain = [f.name for f in schema if not (pa.types.is_nested(f.type) or _binary(f.type)) and f.name[:7] != "__index"]
    _check_columns(path, plain, schema.metadata or {})
    # an index of pandas without a name: of times it is the column of times
    index = [f.name for f in schema if f.name[:7] == "__index" and pa.types.is_timestamp(f.type)]
    if len(index) > 1 or "time" in plain:
        index = []
    table = pq.read_table(path, columns=[*index, *plain])
    columns = []
    for name in (*index, *plain):
        values = table[name]
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        ours = "time" if name in index else name.strip()
        columns.append((ours, values.cast(pa.string()) if pa.types.is_large_string(values.type) else values))
    return SourceTable(path, tuple(columns), units=_told_units(schema.metadata or {}))


def _check_columns(path: Path, names: Sequence[str], metadata: Mapping[bytes, bytes]) -> None:
    """Raise BadInput where two columns of a Parquet file have one name, or pandas wrote names of several levels."""
    if twice := next((name for i, name in enumerate(names) if name in names[:i]), None):
        raise BadInput(f"{path}: {names.count(twice)} columns are called {twice!r}: rename or drop the others")
    try:
        levels = len(json.loads(metadata.get(b"pandas", b"{}")).get("column_indexes", ()))
    except (ValueError, TypeError, AttributeError):
        levels = 0  # other programs have metadata of such names
    tuples = [name for name in names if _TUPLE.fullmatch(name)]
    if tuples or levels > 1:
        raise BadInput(f"{path}: its columns have names of several levels ({(tuples or list(names))[0]}): give each one"
                       " name, such as dl_a")  # fmt: skip


def _told_units(metadata: Mapping[bytes, bytes]) -> dict[str, str]:
    """The units of columns in the metadata of a Parquet file of this project: an export by day, or traffic itself."""
    try:
        about, notes = (json.loads(metadata.get(key, b"{}")) for key in (b"about", b"gentraffic"))
        told = {key.removeprefix("units of "): str(value) for key, value in about.items() if key[:9] == "units of "}
        variables = notes.get("variables", {})
        return told | {name: str(variables[name]["units"]) for name in notes.get("services", ())}
    except (ValueError, TypeError, AttributeError, KeyError):
        return {}  # other programs have metadata of such names


def _companion_units(path: Path) -> dict[str, str]:
    """The units in the CSV-on-the-Web metadata beside a table of this project, traffic itself or an export."""
    beside = path.with_name(f"{path.name}-metadata.json")
    try:
        if not beside.is_file() or beside.is_symlink() or beside.stat().st_size > _PIECE:
            return {}
        (note, *_) = json.loads(beside.read_text(encoding="utf-8"))["notes"]
        variables = note.get("gentraffic", {}).get("variables", {})
        services = note.get("gentraffic", {}).get("services", ())
        return {str(name): str(unit) for name, unit in note.get("units", {}).items()} | {
            str(name): str(variables[name]["units"]) for name in services
        }
    except (ValueError, TypeError, AttributeError, KeyError):
        return {}  # other programs write such files too


def _data_package(folder: Path) -> SourceTable:
    """The series of a Frictionless or Croissant export, with the positions and antennas of its table of cells."""
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = [folder / name for name in ("traffic.csv", "cells.csv")]
    if not all(part.is_file() and not part.is_symlink() for part in parts):
        raise BadInput(f"{folder}: is an export without traffic.csv and cells.csv: give one table")
    series, cells = (read_source(part) for part in parts)
    try:
        about = json.loads((folder / MARK).read_text(encoding="utf-8"))
        units = {str(name): str(unit) for name, unit in about["units"].items()}
        at = pc.index_in(series.column("cell_id"), cells.column("cell_id").combine_chunks())
        places = [(name, pa.chunked_array([cells.column(name).combine_chunks().take(at.combine_chunks())]))
                  for name in ("lon", "lat", *SECTOR_COLUMNS) if name in cells.names]  # fmt: skip
    except (ValueError, TypeError, AttributeError, KeyError, StopIteration):
        raise BadInput(f"{folder}: {MARK}, traffic.csv or cells.csv is not as gentraffic writes it") from None
    if at.null_count:
        missing = series.column("cell_id").filter(at.is_null())[0].as_py()
        raise BadInput(f"{folder}: cell {missing} of traffic.csv is not in cells.csv")
    return replace(series, path=folder, columns=(*series.columns, *places), units=units)


def _parquet_folder(folder: Path) -> SourceTable:
    """The rows of all Parquet files of a folder, in the order of their names, as one table."""
    import pyarrow as pa

    parts, others = [], []
    for entry in sorted(folder.rglob("*")):
        named = entry.suffix.lower() == ".parquet"
        if entry.is_symlink() and (named or entry.is_dir()):
            raise BadInput(f"{folder}: {entry.relative_to(folder)} is a link; a folder of Parquet files holds its data"
                           " itself")  # fmt: skip
        if named and not (entry.is_file() or entry.is_dir()):
            raise BadInput(f"{folder}: {entry.relative_to(folder)} is a pipe or a device, not a file")
        if named and entry.is_file():
            parts.append(entry)
        elif not entry.is_dir() and entry.name[0] not in "._" and entry.name != MARK:  # _SUCCESS, .crc: of the writer
            others.append(str(entry.relative_to(folder)))
    if not parts:
        raise BadInput(f"{folder}: is a folder without Parquet files: give one table")
    if sum(part.stat().st_size for part in parts) > MAX_BYTES:
        raise BadInput(f"{folder}: more than {MAX_BYTES / 2**30:.0f} GiB; split it by time")
    tables = [read_source(part) for part in parts]
    for part in tables:
        if part.names != tables[0].names:
            raise BadInput(
                f"{part.path}: has columns {', '.join(part.names)}, the first part {', '.join(tables[0].names)}"
            )
    columns = []
    for i, name in enumerate(tables[0].names):
        values = [part.columns[i][1] for part in tables]
        if len({column.type for column in values}) > 1:
            raise BadInput(f"{folder}: column {name!r} is of one type in some parts and of another in others")
        columns.append((name, pa.chunked_array([chunk for column in values for chunk in column.chunks])))
    notes = tuple(dict.fromkeys(note for part in tables for note in part.notes))
    if others:
        notes += (f"{folder.name}: the Parquet files alone were read, not {', '.join(others[:3])}"
                  f"{', ...' if len(others) > 3 else ''}",)  # fmt: skip
    return SourceTable(folder, tuple(columns), notes, units=tables[0].units)


def _binary(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _unpacked(path: Path, start: bytes) -> bytes:
    """The bytes of a text file, unfolded where it is packed."""
    for magic, what in _OTHERS.items():
        if start.startswith(magic):
            raise BadInput(f"{path}: is {what}")
    if start[:2] == b"PK":
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if not n.endswith("/") and not n.startswith("__MACOSX")]
            if len(names) != 1:
                raise BadInput(f"{path}: holds {len(names)} files ({', '.join(names[:3])}): unpack it, give one table")
            with archive.open(names[0]) as stream:
                return _whole(stream, path)
    if start[:2] == b"\x1f\x8b":
        with gzip.open(path) as unfolded:
            return _whole(unfolded, path)
    if start[:3] == b"BZh":
        with bz2.open(path) as unfolded:
            return _whole(unfolded, path)
    if start[:6] == b"\xfd7zXZ\0":
        with lzma.open(path) as unfolded:
            return _whole(unfolded, path)
    if start[:4] == b"\x28\xb5\x2f\xfd":
        import pyarrow as pa

        with pa.input_stream(str(path), compression="zstd") as unfolded:
            return _whole(unfolded, path)
    with path.open("rb") as stream:
        return stream.read()


def _whole(stream: Any, path: Path) -> bytes:
    out = io.BytesIO()
    while piece := stream.read(_PIECE):
        out.write(piece)
        if out.tell() > MAX_UNFOLDED:
            raise BadInput(f"{path}: unfolds to more than {MAX_UNFOLDED / 2**30:.0f} GiB; split it by time")
    return out.getvalue()


# --- text -------------------------------------------------------------------------------------------------------------


def _csv(path: Path, content: bytes) -> SourceTable:
    import pyarrow as pa
    import pyarrow.csv as pc

    content, encoding = _utf8(path, content)
    if not content.strip():
        raise BadInput(f"{path}: is empty")
    if content.lstrip()[:1] in (b"{", b"<") or content.lstrip()[:2] == b"[{":
        raise BadInput(f"{path}: is JSON or XML, not a table: save it as CSV, Parquet or .xlsx")
    skipped, header, wanted = _header(content)
    separator = wanted or max(SEPARATORS, key=lambda s: len(_fields(header, s)))
    names = _fields(header, separator)
    headless = len(names) == len(OPENCELLID) and names[0] in _RADIOS
    if headless:
        names = list(OPENCELLID)
    read = pc.ReadOptions(
        column_names=names,
        skip_rows=skipped if headless else skipped + 1 + header.count("\n"),
        block_size=min(2**30, max(2**22, 64 * len(header.encode()))),
    )
    try:
        table = pc.read_csv(
            pa.BufferReader(content),
            read_options=read,
            parse_options=pc.ParseOptions(delimiter=separator, newlines_in_values=b'"' in content),
            convert_options=pc.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False, null_values=[]
            ),
        )
    except pa.ArrowInvalid as error:
        reason = str(error).splitlines()[0][:160]
        if "Empty CSV file" in reason:
            raise BadInput(f"{path}: no rows") from None
        hint = "; a number with a decimal comma, or a name with a comma, needs quotes" if separator == "," else ""
        if len(names) == 1:
            hint = f"; is the line {names[0][:40]!r} a title? drop the lines above the names of the columns"
        raise BadInput(f"{path}: not a whole CSV table ({reason}){hint}") from error
    import pyarrow.compute as pcc

    table = _without_empty_end(table)
    bare = [_bare(name, pcc.utf8_trim_whitespace(table.column(i))) for i, name in enumerate(names)]
    names, trimmed = [name for name, _ in bare], [values for _, values in bare]
    # a separator at the end of each line makes no column
    empty = [not name and pcc.all(pcc.equal(trimmed[i], "")).as_py() for i, name in enumerate(names)]
    notes = () if encoding == "UTF-8" else (f"{path.name} was read as {encoding}",)
    nameless = {i + 1: trimmed[i] for i, name in enumerate(names) if not name and not empty[i]}
    columns = tuple((name, trimmed[i]) for i, name in enumerate(names) if not empty[i])
    return SourceTable(path, columns, notes + _left_out(nameless), read.skip_rows + 1, _companion_units(path))


def _left_out(nameless: Mapping[int, pa.ChunkedArray]) -> tuple[str, ...]:
    """A line on the columns that hold values and have no name, but for the numbers of rows that pandas and R write.

    nameless: the column's number in the file, from 1 -> its values, (rows,).
    """
    numbers = [
        i for i, values in nameless.items() if not (_counts_rows(values) or (i == 1 and _begins_with_day(values)))
    ]
    if not numbers:
        return ()
    shown = ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")
    return (f"column{'s' if len(numbers) > 1 else ''} {shown}: left out, as the header has no name there",)


def _begins_with_day(values: pa.ChunkedArray) -> bool:
    """Whether the first value is a day, as in an index of times that pandas writes without a name."""
    return len(values) > 0 and re.match(DAY, str(values[0].as_py()).strip()) is not None


def _counts_rows(values: pa.ChunkedArray) -> bool:
    """Whether a column holds 0, 1, 2, ... or 1, 2, 3, ... in the order of its rows."""
    first = str(values[0].as_py()).strip() if len(values) else ""
    return first in ("0", "1") and all(
        str(value).strip() == str(i) for i, value in enumerate(values.to_pylist(), int(first))
    )


def _bare(name: str, values: pa.ChunkedArray) -> tuple[str, pa.ChunkedArray]:
    """A column without the quotes of a database ('0041') and without what keeps Excel from numbers (="0041")."""
    import pyarrow.compute as pc

    if pc.any(pc.starts_with(values, '="')).as_py():
        values = pc.replace_substring_regex(values, r'^="(.*)"$', r"\1")
    filled = values.filter(pc.not_equal(values, ""))
    if len(filled) and filled[0].as_py()[0] == "'" and pc.all(pc.match_substring_regex(filled, "^'.*'$")).as_py():
        values = pc.replace_substring_regex(values, "^'(.*)'$", r"\1")
    return name[1:-1] if re.fullmatch("'.+'", name) else name, values


def _without_empty_end(table: pa.Table) -> pa.Table:
    """A table without the rows at its end that hold separators alone, as spreadsheets write them."""
    rows = table.num_rows
    while rows and all(not table.column(i)[rows - 1].as_py().strip() for i in range(table.num_columns)):
        rows -= 1
    return table.slice(0, rows)


def _utf8(path: Path, content: bytes) -> tuple[bytes, str]:
    """(the text as UTF-8, the encoding that it was in)."""
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF32_LE, "utf-32"),  # begins as UTF-16 does
        (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if content.startswith(mark):
            try:
                text = content[len(mark) :] if encoding == "utf-8" else content.decode(encoding).encode()
                text[:_PIECE].decode(errors="ignore")
            except UnicodeError:
                raise BadInput(f"{path}: begins as {encoding.upper()} but is not whole") from None
            return text, encoding.upper()
    sample = content[:4096]
    if b"\0" in sample:
        for encoding, at in (("utf-16-le", 1), ("utf-16-be", 0)):
            if sample[at::2].count(0) > 0.4 * len(sample[at::2]) and not sample[1 - at :: 2].count(0):
                try:
                    return content.decode(encoding).encode(), "UTF-16"
                except UnicodeError:
                    break
        raise BadInput(f"{path}: is binary, not a table: give CSV, Parquet or .xlsx")
    if _is_utf8(content):
        return content, "UTF-8"
    if any(byte < 9 or 14 <= byte < 32 for byte in sample):
        raise BadInput(f"{path}: is binary, not a table: give CSV, Parquet or .xlsx")
    if not _is_western(content):
        raise BadInput(f"{path}: its letters are in an encoding of another alphabet (GBK, Windows-1251, ...), which the"
                       " file does not name: save it as UTF-8")  # fmt: skip
    try:
        return content.decode("cp1252").encode(), "Latin-1 (Windows-1252)"
    except UnicodeError:
        return content.decode("latin-1").encode(), "Latin-1"


def _is_western(content: bytes) -> bool:
    """Whether letters beyond ASCII stand mostly alone, as accents do; in other alphabets whole words are of them."""
    runs = [len(run) for run in re.findall(rb"[\x80-\xff]+", content[: 4 * _PIECE])]
    return sum(run for run in runs if run > 1) <= 0.5 * sum(runs)


def _is_utf8(content: bytes) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    view = memoryview(content)
    try:
        for start in range(0, len(content), _PIECE):
            decoder.decode(view[start : start + _PIECE])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _header(content: bytes) -> tuple[int, str, str]:
    """(lines above the header, the header, the separator that a first line `sep=;` names): comments are skipped."""
    separator, skipped = "", 0
    stream = io.BytesIO(content)
    while raw := stream.readline():
        line = raw.decode(errors="replace").rstrip("\r\n")
        if line.lower().startswith("sep=") and len(line) == 5:
            separator = line[4]
        elif line.strip() and not line.startswith("#"):
            while line.count('"') % 2 and (more := stream.readline()):  # a line end inside quotes
                line += "\n" + more.decode(errors="replace").rstrip("\r\n")
            if "\r" in line:  # lines that end as on an old Macintosh
                line = line.split("\r")[0]
            return skipped, line, separator
        skipped += 1
    return skipped, "", separator


def _fields(header: str, separator: str) -> list[str]:
    """The names in a header; none where a separator would leave its quotes within a name."""
    try:
        return [name.strip().strip("\ufeff") for name in next(csv.reader([header], delimiter=separator), [])]
    except csv.Error:
        return []


# --- Excel ------------------------------------------------------------------------------------------------------------


def _excel(path: Path, archive: zipfile.ZipFile) -> SourceTable:
    if sum(entry.file_size for entry in archive.infolist()) > MAX_SHEET_BYTES:
        raise BadInput(f"{path}: unfolds to more than {MAX_SHEET_BYTES / 2**30:.0f} GiB: save the sheet as CSV")
    for entry in archive.infolist():  # Excel declares no types and no entities; a parser would unfold them
        with archive.open(entry) as part:
            if re.search(rb"<!(DOCTYPE|ENTITY)", part.read(_XML_HEAD)):
                raise BadInput(
                    f"{path}: {entry.filename} declares XML entities, as Excel does not: save the sheet as CSV"
                )
    from openpyxl import load_workbook

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of openpyxl's, about styles and the like
        book = load_workbook(path, read_only=True, data_only=True)
        try:
            sheets = {sheet.title: rows for sheet in book.worksheets if len(rows := list(_sheet_rows(path, sheet))) > 1}
        finally:
            book.close()
    if not sheets:
        raise BadInput(f"{path}: no rows")
    if len(sheets) > 1:
        raise BadInput(f"{path}: {len(sheets)} sheets hold tables ({', '.join(sheets)}): save the one you mean alone")
    header, *rows = next(iter(sheets.values()))
    width = max(len(header), *map(len, rows))
    if width * len(rows) > MAX_SHEET_CELLS:  # a value far to the right
        raise BadInput(f"{path}: {len(rows)} rows of {width} columns: more than {MAX_SHEET_CELLS} cells; save as CSV"
                       " the columns you mean")  # fmt: skip
    names = [str(name).strip() if name is not None else "" for name in (*header, *[None] * (width - len(header)))]
    cells: Iterator[tuple[Any, ...]] = zip(*((*row, *[None] * (width - len(row))) for row in rows), strict=True)
    held = [(i, name, column) for i, (name, column) in enumerate(zip(names, cells, strict=True), start=1)
            if name or any(value not in (None, "") for value in column)]  # fmt: skip
    mixed = {name: text for _, name, column in held if (text := _text_among_numbers(column))}
    columns = [(i, name, _cells(column)) for i, name, column in held]
    notes = _left_out({i: values for i, name, values in columns if not name})
    return SourceTable(path, tuple((name, values) for _, name, values in columns), notes, first=2, mixed=mixed)


def _sheet_rows(path: Path, sheet: Any) -> Iterator[tuple[Any, ...]]:
    sheet.reset_dimensions()  # what a sheet says of its size may be short: A1 in all that Apache POI streams
    for number, cells in enumerate(sheet.iter_rows()):
        if number >= MAX_SHEET_ROWS:  # a row says a higher number: all before it come as empty ones
            raise BadInput(
                f"{path}: sheet {sheet.title!r} has rows beyond the {MAX_SHEET_ROWS} of Excel: save it as CSV"
            )
        row = tuple(_shown(cell) for cell in cells)
        last = next((i for i in range(len(row), 0, -1) if row[i - 1] not in (None, "")), 0)
        if last:
            yield row[:last]


def _shown(cell: Any) -> Any:
    """What a cell of a sheet holds; a whole number that is shown with noughts before it (0041) as that text."""
    value = cell.value
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 and value % 1 == 0:
        form = cell.number_format
        if isinstance(form, str) and re.fullmatch("00+", form):
            return str(int(value)).zfill(len(form))
    return value


def _text_among_numbers(values: Sequence[Any]) -> str:
    """A text such as 2.345 among the numbers of a column, or "": numbers of a sheet have no marks to read it by."""
    if not any(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return ""
    texts = (v.strip() for v in values if isinstance(v, str))
    return next((text for text in texts if re.fullmatch(r"[+-]?\d[\d '.,\u00a0\u202f\u2019]*[.,' ]\d+", text)), "")


def _cells(values: Sequence[Any]) -> pa.ChunkedArray:
    """Cells of one kind keep it; of several they become text."""
    import pyarrow as pa

    present = [v for v in values if v is not None]
    if present and all(isinstance(v, int | float) and not isinstance(v, bool) for v in present):
        whole = all(float(v).is_integer() and abs(v) < _EXACT for v in present) and len(present) == len(values)
        return pa.chunked_array([pa.array([int(v) if whole else v for v in values], pa.int64() if whole else None)])
    if present and all(isinstance(v, date) for v in present):
        return pa.chunked_array([pa.array([None if v is None else _second(v) for v in values], pa.timestamp("ns"))])
    texts = ["" if v is None else _second(v).isoformat() if isinstance(v, date) else str(v).strip() for v in values]
    return pa.chunked_array([pa.array(texts, pa.string())])


def _second(when: date) -> datetime:
    """Excel holds fractions of a day: an hour may miss its full second by a rounding."""
    exact = when if isinstance(when, datetime) else datetime(when.year, when.month, when.day)
    return (exact + timedelta(microseconds=500_000)).replace(microsecond=0)
