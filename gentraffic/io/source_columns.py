"""What the columns of anybody's table are: which holds the ids, which the positions; ids as text; numbers.

Ids are text (0041, 1E2 and 007 are ids); they become whole numbers only where every one is written as a whole number
is. Numbers are read by one notation for the whole table: where `1.234` may be 1234 or 1.234, nobody guesses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.errors import BadInput, WrongUse
from gentraffic.io.source_table import SECTOR_COLUMNS as SECTOR_COLUMNS
from gentraffic.io.source_table import SourceTable

if TYPE_CHECKING:
    import pyarrow as pa

_ENDINGS = ("id", "", "name", "ref", "code", "number", "no", "identity", "标识", "名称", "编号")
_CELLS = ("cell", "localcell", "eutrancell", "eutrancellfdd", "eutrancelltdd", "utrancell", "gerancell", "nrcell",
          "nrcelldu", "nrcellcu", "lncel", "wcel", "gcell", "ucell", "nrcel", "小区", "zelle", "zell", "cellule",
          "celda", "cella", "célula", "celula", "сота", "セル", "셀")  # fmt: skip
_SITES = ("station", "basestation", "bs", "bts", "enodeb", "enb", "gnodeb", "gnb", "nodeb", "ne", "site", "lnbts",
          "mrbts", "wbts", "tower", "mast", "antenna", "基站", "站点", "standort")  # fmt: skip
# Small letters and digits alone; in the order in which they are taken: what names a cell before what names a site.
SITE_NAMES = tuple(site + ending for site in _SITES for ending in _ENDINGS)
ID_NAMES = (
    *(cell + ending for cell in _CELLS for ending in _ENDINGS), "id", *("sector" + ending for ending in _ENDINGS),
    "eci", "ecgi", "cgi", "nci", "ncgi", "ci", "cid", *SITE_NAMES,
    "squareid", "gridid", "tileid", "hexid", "zoneid", "nodeid",
)  # fmt: skip
_OF_WHAT = ("", "site", "cell", "station", "gps", "antenna", "wgs84", "coord", "geo")
_HOW = ("", "deg", "degrees", "wgs84", "dd", "dec", "decimal")
_LON, _LAT = (
    ("lon", "longitude", "lng", "long", "longitud", "longitudine"),
    ("lat", "latitude", "latitud", "latitudine"),
)
LON_NAMES = (*(of + name + how for of in _OF_WHAT for how in (*_HOW, "e") for name in _LON),
             "länge", "laenge", "längengrad", "经度", "経度", "долгота")  # fmt: skip
LAT_NAMES = (*(of + name + how for of in _OF_WHAT for how in (*_HOW, "n") for name in _LAT),
             "breite", "breitengrad", "纬度", "緯度", "широта")  # fmt: skip
TIME_NAMES = ("time", "timeutc", "timestamp", "timestamputc", "datetime", "datetimeutc", "utctime", "starttime",
              "begintime", "periodstart", "periodstarttime", "intervalstart", "resulttime", "utc", "date", "day",
              "timelocal", "localtime", "ts", "unixtime", "epoch", "epochms", "meastime", "measurementtime",
              "collectiontime", "zeit", "zeitstempel", "zeitpunkt", "datum", "datumuhrzeit", "datumzeit", "fecha",
              "fechahora", "horodatage", "dateheure", "dataora", "datahora", "时间", "开始时间", "日期时间", "日期",
              "日時", "время", "датавремя", "дата")  # fmt: skip
DATE_NAMES = ("date", "dateid", "day", "datum", "fecha", "日期", "дата")
CLOCK_NAMES = ("hour", "hourid", "hourofday", "time", "timeofday", "starttime", "clock", "uhrzeit", "stunde", "zeit",
               "hora", "heure", "ora", "时间", "小时", "время", "час")  # fmt: skip
_SECTOR_TEXT = ("site", "band")
# What tells apart rows of one site and place, where neither azimuth nor band does.
TELLING = ("sector", "sectorid", "sectorname", "cell", "cellname", "radio", "rat", "tech", "technology", "carrier",
           "frequency", "freq", "earfcn", "arfcn", "pci", "operator", "antenna")  # fmt: skip
GLOBAL_ID = (("radio", "rat", "technology"), ("mcc",), ("net", "mnc", "netcode"), ("area", "lac", "tac", "areacode"),
             ("cell", "cid", "ci", "cellid", "eci", "nci", "cellcode"))  # fmt: skip
_WHOLE = re.compile(r"0|-?[1-9]\d{0,18}")
_MISSING = ("#N/A", "<NA>", "\\N", "#REF!", "#NAME?", "#VALUE!")  # what programs write for no value
_PERHAPS = frozenset(("nan", "null", "none", "na", "n/a", "-", "--"))  # and what may be a name as well
_SHORT = r"^[0-9]([.,][0-9]+)?[eE]\+[0-9]+$"  # 4.60012E+14 of Excel, 1e+05 of R
_HELP = "say which with --id-column NAME"
_ROW_NUMBERS = frozenset(("", "index", "row", "col", "rownumber", "rownum", "rowno", "rowid", "fid", "ogcfid",
                          "objectid", "seq", "no", "nr", "lfd", "lfdnr", "n", "num", "number", "sno", "slno",
                          "rownames", "line", "lineno", "序号", "番号"))  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """What a user says about a table. columns: our name (id, time, lon, lat, or a service) -> the file's.

    id_column: short for columns["id"]. decimal, thousands: the marks in its numbers, "" for none, None: not said.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    id_column: str | None = None
    decimal: str | None = None
    thousands: str | None = None

    def named(self, ours: str) -> str | None:
        """The file's name for one of our columns, where it was said."""
        return self.id_column if ours == "id" and self.id_column is not None else self.columns.get(ours)


def make_reading(
    columns: str | None = None, id_column: str | None = None, decimal: str | None = None, thousands: str | None = None
) -> Reading:
    """From what a command line holds: columns as `id=CELL_NAME,lon=X`; marks as themselves or by name.

    Raises WrongUse for what is no such pair, and for marks that are unknown or the same.
    """
    pairs: dict[str, str] = {}
    for part in (columns or "").split(","):
        ours, equals, theirs = (p.strip() for p in part.partition("="))
        if part.strip() and not (ours and equals and theirs):
            raise WrongUse(
                f"--columns {columns}: give pairs such as id=CELL_NAME,lon=X,lat=Y; {part.strip()!r} is none"
            )
        if ours:
            pairs["id" if ours in ("cell", "cell_id") else ours] = theirs
    if id_column is not None and pairs.get("id", id_column) != id_column:
        raise WrongUse(f"--id-column {id_column} and --columns id={pairs['id']} name two columns: give one")
    marks = {
        name: _mark(name, value, known)
        for name, value, known in (
            ("--decimal", decimal, {"point": ".", "dot": ".", ".": ".", "comma": ",", ",": ","}),
            ("--thousands", thousands, {"point": ".", "dot": ".", ".": ".", "comma": ",", ",": ",", "space": " ",
                                        " ": " ", "apostrophe": "'", "'": "'", "none": "", "": ""}),
        )
    }  # fmt: skip
    if marks["--decimal"] is not None and marks["--decimal"] == marks["--thousands"]:
        raise WrongUse(f"--decimal and --thousands are both {decimal!r}: a mark is one or the other")
    return Reading(pairs, id_column, marks["--decimal"], marks["--thousands"])


def _mark(option: str, value: str | None, known: Mapping[str, str]) -> str | None:
    if value is None:
        return None
    if value not in known:
        raise WrongUse(f"{option} {value}: give one of {', '.join(k for k in known if k.strip())}")
    return known[value]


def plain(name: str) -> str:
    """A column's name in small letters, of any alphabet, and digits: `Cell ID` and `CELL_ID` are one."""
    return re.sub(r"[\W_]", "", name.lower())


def is_row_number(name: str) -> bool:
    """Whether a column, by its name, holds the numbers of rows, which are no ids of cells."""
    return plain(name) in _ROW_NUMBERS or re.fullmatch(r"unnamed\d*", plain(name)) is not None


def find_column(table: SourceTable, names: Sequence[str], asked: str | None = None) -> str | None:
    """The column called `asked`, else the first known name that the table has. Raises BadInput where `asked` lacks."""
    if asked is not None:
        if asked in table.names:
            return asked
        alike = [name for name in table.names if plain(name) == plain(asked)]
        if not alike:
            raise BadInput(f"{table.path} has no column {asked!r}: it has {some(table.names)}")
        return alike[0]
    have: dict[str, str] = {}
    for name in table.names:
        have.setdefault(plain(name), name)
    found = next((have[name] for name in names if name in have), None)
    if found is not None and table.names.count(found) > 1:
        same = [values for name, values in table.columns if name == found]
        if any(not values.equals(same[0]) for values in same[1:]):
            raise BadInput(f"{table.path}: {len(same)} columns are called {found!r}: rename or drop the others")
    return found


def global_id(table: SourceTable) -> list[str]:
    """The columns radio, mcc, net, area and cell of OpenCelliD, which name a cell together; empty where one lacks."""
    have: dict[str, str] = {}
    for name in table.names:
        have.setdefault(plain(name), name)
    columns = [next((have[n] for n in names if n in have), "") for names in GLOBAL_ID]
    return [name for name in columns if name] if all(columns[1:]) else []


def id_columns(table: SourceTable, asked: str | None = None) -> list[str]:
    """The columns that name a cell, several where only together they do; empty where none is known.

    Together: those of OpenCelliD; a site and a cell number that other sites have as well; and those that are asked for
    with commas between. Raises WrongUse for a column that is asked for and lacks.
    """
    if asked is None:
        if together := global_id(table):
            return together
        column = find_column(table, ID_NAMES)
        return [] if column is None else [*_site_of(table, column), column]
    if "," in asked and asked not in table.names:
        return [str(find_column(table, (), part.strip())) for part in asked.split(",")]
    return [str(find_column(table, (), asked))]


def _site_of(table: SourceTable, column: str) -> list[str]:
    """The column of sites, where it tells apart what a column of cells calls alike: cell 1 of two sites."""
    if plain(column) in SITE_NAMES:
        return []
    site = find_column(table, SITE_NAMES)
    if site is None or site == column:
        return []
    cells, pairs = (len(id_text(table, columns)[1]) for columns in ([column], [site, column]))
    return [site] if pairs > cells else []


def no_ids(table: SourceTable) -> str:
    """What to say of a table in which no column of ids is known."""
    return f"{table.path} has no known column of ids (cell, cell_id, id, site, ...) among {some(table.names)}: {_HELP}"


def some(names: Iterable[str]) -> str:
    """Column names for a message of one line, not all of ten thousand."""
    listed = [" ".join(str(name).split()) for name in names]
    return ", ".join(listed[:12])[:200] + (", ..." if len(listed) > 12 else "")


# --- ids --------------------------------------------------------------------------------------------------------------


def id_text(table: SourceTable, columns: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """(each row's index into the ids, the distinct ids as text in the order in which they appear); "" is no id.

    Raises BadInput for ids that a program has rounded or shortened, which name no cell any more.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    for name in columns:
        _check_whole(table, name)
    texts = [_as_text(table.column(name)) for name in columns]
    for number, values in enumerate(texts):
        if len(missing := values.filter(pc.is_in(values, pa.array(_MISSING)))):
            texts[number] = pc.if_else(pc.is_in(values, missing.combine_chunks()), "", values)
    joined = texts[0] if len(texts) == 1 else pc.binary_join_element_wise(*texts, "-")
    encoded = joined.combine_chunks().dictionary_encode()
    ids = np.asarray(encoded.dictionary.to_pylist(), dtype=object)
    if len(ids) and all(re.fullmatch(r"-?\d+\.0+", str(i)) for i in ids):  # whole numbers that a program wrote as 41.0
        ids = np.asarray([str(i).split(".")[0] for i in ids], dtype=object)
    return encoded.indices.to_numpy().astype(np.int64), ids


def odd_ids(ids: NDArray[Any]) -> list[str]:
    """A line on ids, (n,), that are written as programs write a missing value."""
    odd = [str(i) for i in ids.tolist() if str(i).lower() in _PERHAPS]
    return [f"{some(odd)} is taken as an id: where it stands for a missing one, drop those rows"] if odd else []


def _check_whole(table: SourceTable, name: str) -> None:
    """Raise BadInput where ids are floating numbers beyond what these hold exactly, or short as 4.60012E+14."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = table.column(name)
    if pa.types.is_floating(values.type):
        number = values.drop_null().to_numpy()
        big = np.abs(number) >= 2.0 ** (np.finfo(number.dtype).nmant + 1)
        if big.any():
            raise BadInput(f"{table.path}: {name} {number[big][0]:.0f} is a rounded number, as spreadsheets hold ids of"
                           " so many digits: give that column as text")  # fmt: skip
    elif pa.types.is_string(values.type):
        short = values.filter(pc.fill_null(pc.match_substring_regex(values, _SHORT), False))
        if len(short):
            raise BadInput(f"{table.path}: {name} {short[0].as_py()} is a number that a program has shortened"
                           f" ({len(short)} such rows): write that column as text, in full")  # fmt: skip


def _as_text(values: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_floating(values.type):
        number = values.to_numpy().astype(np.float64)
        known = number[~np.isnan(number)]  # what has no number is missing
        if np.isfinite(known).all() and not (known % 1).any() and (np.abs(known) < 2**53).all():
            values = pa.chunked_array([pa.array(number, pa.float64(), from_pandas=True).cast(pa.int64())])
    return pc.fill_null(pc.utf8_trim_whitespace(values.cast(pa.string())), "")


def as_ids(texts: NDArray[Any]) -> NDArray[Any]:
    """Ids as int64 where every one is written as a whole number is, else as text. texts: (n,)."""
    if len(texts) and all(_WHOLE.fullmatch(text) and -(2**63) <= int(text) < 2**63 for text in texts):
        return np.array([int(text) for text in texts], dtype=np.int64)
    return texts.astype(str)


# --- numbers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Notation:
    """The marks of a table's numbers; thousands "" where there are none."""

    decimal: str = "."
    thousands: str = ""


_SPACES = "\u00a0\u202f\u2009"  # that offices put between thousands
_DOT_GROUP, _COMMA_GROUP = r"^[+-]?[1-9][0-9]{0,2}(\.[0-9]{3})+$", r"^[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+$"


def place_notation(table: SourceTable, columns: Sequence[str]) -> Notation:
    """The decimal mark of longitudes and latitudes: degrees have no thousands, so that any mark is the decimal."""
    return notation(table, [], columns, Reading())


def _read_marks(
    table: SourceTable, name: str, placed: bool, proof: dict[str, str], doubt: dict[str, tuple[str, str]]
) -> None:
    """Add what the numbers of a column show to `proof`, and what may be either to `doubt`. placed: it holds degrees."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = table.column(name)
    if not pa.types.is_string(values.type):
        return
    values = _clean(values)
    marked = values.filter(pc.match_substring_regex(values, r"[0-9][., '][0-9]|^[+-]?[.,][0-9]|[0-9][.,]$"))
    if not len(marked):
        return
    for mark, other, group in ((".", ",", _DOT_GROUP), (",", ".", _COMMA_GROUP)):
        here = pc.match_substring(marked, mark)
        if not pc.any(here).as_py():
            continue
        only = marked.filter(here)
        both = only.filter(pc.match_substring(only, other))
        if len(both):  # 1.234,5 or 1,234.5: the last is the decimal
            value = both[0].as_py()
            last = mark if value.rfind(mark) > value.rfind(other) else other
            proof.setdefault("decimal" + last, value)
            proof.setdefault("thousands" + (other if last == mark else mark), value)
            continue
        grouped = pc.match_substring_regex(only, group)
        twice = only.filter(pc.match_substring_regex(only, "^[^" + mark + "]*[" + mark + "].*[" + mark + "]"))
        if len(twice):  # 1.234.567
            proof.setdefault("thousands" + mark, twice[0].as_py())
        elif placed or not pc.all(grouped).as_py():
            single = only if placed else only.filter(pc.invert(grouped))
            proof.setdefault("decimal" + mark, single[0].as_py())
        else:
            doubt.setdefault(mark, (only[0].as_py(), name))
    for mark in (" ", "'"):
        apart = marked.filter(pc.match_substring(marked, mark))
        if len(apart):
            proof.setdefault("thousands" + mark, apart[0].as_py())


def notation(table: SourceTable, columns: Sequence[str], places: Sequence[str], reading: Reading) -> Notation:
    """The marks that the numbers in `columns` show, or those in `places`, which have decimals but no thousands.

    Coordinates prove nothing of amounts: programs write the ones, offices the others. Raises BadInput where marks may
    be decimal or of thousands, naming a value and the options that say it.
    """
    for name in (*columns, *places):
        if name in table.mixed:
            raise BadInput(f"{table.path}: {name} holds numbers, and {table.mixed[name]!r} as text: make all of them"
                           " numbers in the spreadsheet, or save it as CSV")  # fmt: skip
    decimal, thousands = reading.decimal, reading.thousands
    proof: dict[str, str] = {}  # "decimal" or "thousands" + mark -> a value that shows it
    doubt: dict[str, tuple[str, str]] = {}  # mark -> a value that may be either, and its column
    for name in (*columns, *places):
        _read_marks(table, name, name in places, proof, doubt)
    if decimal is None:
        shown = [mark for mark in ".," if "decimal" + mark in proof]
        if len(shown) > 1 and thousands not in shown:
            raise BadInput(
                f"{table.path}: {proof['decimal.']} has a decimal point, {proof['decimal,']} a decimal comma: bring all"
                " numbers to one form"
            )
        decimal = next((mark for mark in shown if mark != thousands), None)
    if thousands is None:
        thousands = next((m for m in ".,' " if "thousands" + m in proof and m != decimal), None)
    if decimal is None:
        decimal = {".": ",", ",": "."}.get(thousands or "")
    for mark, (value, name) in doubt.items():
        if mark not in (decimal, thousands):
            if decimal is not None and thousands is None:
                thousands = mark  # the other mark is the decimal: this one can only be that of thousands
                continue
            one, many = value.replace(mark, "."), value.replace(mark, "")
            word = {".": "point", ",": "comma"}[mark]
            raise BadInput(
                f"{table.path}: {name} {value} may be {one} or {many}: say --decimal {word} or --thousands {word}"
            )
    return Notation(decimal or ".", thousands or "")


def _clean(values: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow.compute as pc

    values = pc.fill_null(values, "")
    if pc.any(pc.match_substring_regex(values, f"[{_SPACES}\u2019]")).as_py():
        values = pc.replace_substring_regex(values, f"[{_SPACES}]", " ")
        values = pc.replace_substring(values, "\u2019", "'")
    return values


def numbers(values: pa.ChunkedArray, marks: Notation) -> NDArray[np.float64]:
    """A column as numbers, (rows,); NaN where a value is none in this notation (1,23 where commas part thousands)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_string(values.type):
        if pa.types.is_boolean(values.type) or pa.types.is_temporal(values.type):
            return np.full(len(values), np.nan)
        # whole numbers above 2**53 are rounded, as those of text are
        return np.asarray(values.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)
    d, t = re.escape(marks.decimal), re.escape(marks.thousands)
    form = rf"^[+-]?([0-9]+({d}[0-9]*)?|{d}[0-9]+)([eE][+-]?[0-9]+)?$"
    text = _clean(values)
    good = pc.match_substring_regex(text, form)
    if marks.thousands:
        groups = rf"[0-9]{{1,3}}({t}[0-9]{{3}})+" + ("|[0-9]{1,2}(,[0-9]{2})+,[0-9]{3}" if t == "," else "")  # 1,23,456
        grouped = pc.match_substring_regex(text, rf"^[+-]?({groups})({d}[0-9]*)?$")
        good = pc.or_(good, grouped)
        text = pc.replace_substring(text, marks.thousands, "")
    if marks.decimal != ".":
        text = pc.replace_substring(text, marks.decimal, ".")
    text = pc.if_else(good, pc.replace_substring_regex(text, r"^\+", ""), pa.scalar(None, pa.string()))
    return np.asarray(text.cast(pa.float64()).to_numpy(), dtype=np.float64)


def texts(values: pa.ChunkedArray) -> list[str]:
    """A column as text, for ids of few rows and for messages."""
    words: list[str] = _as_text(values).to_pylist()
    return words


def sector_names(ours: str) -> tuple[str, ...]:
    """The names under which tables have one of SECTOR_COLUMNS; of another column, its own."""
    if ours == "site":
        return tuple("site" + ending for ending in ("", "name", "id", "code", "ref", "number", "no"))
    own = plain(ours)
    return (own, f"{own}deg", f"{own}m", f"antenna{own}") if ours in SECTOR_COLUMNS else (own,)


def sector_column(table: SourceTable, ours: str, theirs: str, reading: Reading) -> NDArray[Any]:
    """A column beside the cells, (rows,): site and band as text, others as numbers where all that is told is one."""
    column, told = table.column(theirs), np.asarray(texts(table.column(theirs)), dtype=object)
    if ours in _SECTOR_TEXT or any(re.match(r"-?0\d", text) for text in told):  # 007 is no number
        return told
    number = numbers(column, notation(table, [], [theirs], reading))
    return told if (np.isnan(number) & (told != "")).any() or np.isnan(number).all() else number


def points(table: SourceTable, reading: Reading) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitude and latitude of a table of places, (rows,) each, in degrees.

    Raises poi.errors.BadFile, with the row, for a missing column, no rows, and what is no number, not on earth, or
    swapped.
    """
    from poi.errors import BadFile
    from poi.osm import checklonlat

    columns = []
    for axis, names in (("lon", LON_NAMES), ("lat", LAT_NAMES)):
        name = find_column(table, names, reading.named(axis))
        if name is None:
            raise BadFile(f"{table.path} has no column {axis!r}: it has {some(table.names)}; say which with --columns"
                          " lon=NAME,lat=NAME, in degrees")  # fmt: skip
        columns.append(name)
    if not table.rows:
        raise BadFile(f"{table.path} has no rows: give a table of points")
    marks = place_notation(table, columns)
    axes = []
    for axis, name in zip(("lon", "lat"), columns, strict=True):
        number = numbers(table.column(name), marks)
        wrong = np.flatnonzero(~np.isfinite(number))
        if len(wrong):
            value = table.column(name)[int(wrong[0])].as_py()
            raise BadFile(f"{table.path}, row {table.first + wrong[0]}: {axis} {value!r} is not a number")
        axes.append(number)
    checklonlat(axes[0], axes[1], str(table.path), table.first)
    return axes[0], axes[1]
