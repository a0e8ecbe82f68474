"""The times of anybody's table -> UTC: ISO 8601 and its short forms, digits, seconds since 1970, both clock changes.

What may mean two instants is refused, or settled by what the table itself shows: the order of a cell's rows says which
of two rows of the hour that occurs twice in autumn is summer time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from gentraffic.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Times = NDArray[np.datetime64]
_OFFSET = re.compile(r"(?<=[\d.])\s*(Z|z|UTC|GMT|[+-]\d{2}:?\d{2}|(?<=:\d\d)[+-]\d{2}|(?<=T\d\d)[+-]\d{2})$")
_INTERVAL = re.compile(r"[ T](\d{2})(?::?(\d{2}))?(?::?\d{2}(?:\.\d+)?)?\s*-(\d{2}):?(\d{2})?$")
_SECONDS = re.compile(r":\d{2}:\d{2}")
_STEPS = (15, 30, 60)  # minutes of an interval that, one a day, looks like an offset
_MOST_AHEAD, _MOST_BEHIND = 14 * 60, 12 * 60  # minutes that a clock of any place is off UTC
_TWELVE = re.compile(r"[ T](\d{1,2}):\d{2}(?::\d{2})?(\s*[AaPp][Mm])?$")
_COMPACT = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_EPOCH = (("s", 1e8, 1e11, 10**9), ("ms", 1e11, 1e14, 10**6), ("us", 1e14, 1e17, 10**3), ("ns", 1e17, 1e20, 1))
_YEARS = (1970, 2199)  # of measured traffic; nanoseconds reach from 1677 to 2262
_CLOCK = re.compile(r"(\d{1,2})(?::(\d{2})(?::(\d{2}))?)?(\s*[AaPp][Mm])?")
_DAY_CLOCK = re.compile(r"[ T](\d{1,2}:\d{2}(?::\d{2})?)(?:\.0+)?$")
_FORMS = "ISO 8601 such as 2026-01-05T18:00, 20260105, 2026010518, or s, ms, us, ns since 1970"


def joined_clock(
    dates: pa.ChunkedArray, clocks: pa.ChunkedArray, path: Path, minutes: pa.ChunkedArray | None = None,
    name: str = "hour",
) -> pa.ChunkedArray | None:  # fmt: skip
    """Dates and hours of two columns, (rows,) each, as one of text; None where the first tells the time of day as well.

    An hour is 0 to 23, alone or with minutes and seconds, or 1 to 12 with AM or PM. minutes: of a third column,
    (rows,), where the hours are alone. name: of the column of hours. Raises BadInput for hours from 1 to 24, and for
    what is no time of day.
    """
    import pyarrow as pa

    days = _days(dates)
    if days is None:
        return None
    told = _plain_texts(clocks)
    known = {clock: _CLOCK.fullmatch(clock) for clock in set(told)}
    if any(m is not None and int(m[1]) == 24 for m in known.values()):
        raise BadInput(f"{path}: hours reach 24, so that they may end or begin at their number: write 0 to 23")
    for clock, m in known.items():
        if m is None or int(m[1]) > 23 or (m[4] and not 1 <= int(m[1]) <= 12):
            if re.search(r"\d{4}[-/.]|[-/.]\d{4}|\d{6}", clock):  # a date as well
                return None
            raise BadInput(f"{path}: {name} {clock or 'nothing'} is no time of day: write 0 to 23, or 18:00")
    short = {clock: (_of_24(m), m[2] or "00", m[3] or "00") for clock, m in known.items() if m is not None}
    parts = _plain_texts(minutes) if minutes is not None and not any(m and m[2] for m in known.values()) else None
    if parts is not None and not all(re.fullmatch(r"[0-5]?\d", part) for part in parts):
        parts = None
    lines = []
    for row, (day, clock) in enumerate(zip(days, told, strict=True)):
        hour, minute, second = short[clock]
        lines.append(f"{day} {hour:02d}:{minute if parts is None else parts[row].zfill(2)}:{second}")
    return pa.chunked_array([pa.array(lines)])


def _of_24(m: re.Match[str]) -> int:
    return int(m[1]) if not m[4] else int(m[1]) % 12 + (12 if m[4].strip().lower()[0] == "p" else 0)


def _plain_texts(values: pa.ChunkedArray) -> list[str]:
    """A column as text, (rows,), whole numbers without a point."""
    import pyarrow as pa

    if pa.types.is_time(values.type):
        return [str(v.replace(microsecond=0)) if v is not None else "" for v in values.to_pylist()]
    found = ["" if v is None else str(v).strip() for v in values.to_pylist()]
    return [text.removesuffix(".0") for text in found]


def _days(dates: pa.ChunkedArray) -> list[str] | None:
    """The days of a column, (rows,), as text; None where it says times of day that are not all midnight."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_temporal(dates.type):
        if (
            pa.types.is_timestamp(dates.type)
            and not pc.all(pc.equal(dates, pc.floor_temporal(dates, unit="day"))).as_py()
        ):
            return None
        return [str(day) for day in pc.strftime(dates, format="%Y-%m-%d").to_pylist()]
    days = _plain_texts(dates)
    clocks = {m[1] for m in map(_DAY_CLOCK.search, set(days)) if m}
    if clocks - {"00:00", "00:00:00", "0:00"}:
        return None
    days = [_DAY_CLOCK.sub("", d) for d in days] if clocks else days
    return [f"{d[:4]}-{d[4:6]}-{d[6:]}" if re.fullmatch(r"\d{8}", d) else d for d in days]


def distinct_times(
    values: pa.ChunkedArray, name: str, path: Path, first: int = 1
) -> tuple[NDArray[np.int64], Times, bool]:
    """(each row's index into the distinct times, these, whether they are UTC for sure).

    name: of the column; `time_utc` says what its times are. first: number of the first row.
    Raises BadInput for times in no known form, for several forms, for offsets in some rows only, for intervals, hours
    such as 13 PM, and years before 1970 or after 2199.
    """
    import pyarrow as pa

    if values.null_count:
        row = int(np.argmax(values.is_null().to_numpy())) + first
        raise BadInput(f"{path}: row {row} has no time")
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    encoded = values.combine_chunks().dictionary_encode()
    code = encoded.indices.to_numpy().astype(np.int64)
    distinct = encoded.dictionary
    ahead = _ahead_of_utc(name)
    utc_column = ahead is not None
    shift = np.timedelta64(ahead or 0, "m")
    if pa.types.is_temporal(distinct.type):
        aware = getattr(distinct.type, "tz", None) is not None
        stamps = _stamps(distinct, name, path)
        return code, stamps if aware else stamps - shift, aware or utc_column
    if pa.types.is_floating(distinct.type):
        number = distinct.to_numpy(zero_copy_only=False)
        texts = [str(int(v)) if np.isfinite(v) and v == int(v) else repr(float(v)) for v in number]
    else:
        texts = [str(v).strip() for v in distinct.to_pylist()]
    if "" in texts:
        raise BadInput(f"{path}: row {int(np.argmax(code == texts.index(''))) + first} has no time")
    _check_twelve(texts, code, first, path)
    parsed, aware = _parsed(texts, path)
    return code, parsed if aware else parsed - shift, aware or utc_column


def _stamps(distinct: pa.Array, name: str, path: Path) -> Times:
    """Times that a file types as such, (n,), as they stand. Raises BadInput for times without a day, and odd years."""
    import pyarrow as pa

    kind = distinct.type
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        what = "durations" if pa.types.is_duration(kind) else "times of day without a date"
        raise BadInput(f"{path}: column {name!r} holds {what} ({kind}): give date and time")
    if pa.types.is_date(kind):
        distinct = distinct.cast(pa.timestamp("s" if pa.types.is_date32(kind) else "ms"))
    stamps: Times = distinct.cast(pa.int64()).to_numpy().astype(f"datetime64[{distinct.type.unit}]")
    _check_years(stamps, [str(stamp) for stamp in stamps], path)
    return stamps.astype("datetime64[ns]")


def _check_years(stamps: Times, told: Sequence[str], path: Path) -> None:
    """Raise BadInput where times, (n,), in any unit, are of no year of measured traffic. told: as the file has them."""
    years = stamps.astype("datetime64[Y]").astype(np.int64) + 1970
    outside = (years < _YEARS[0]) | (years > _YEARS[1])
    if outside.any():
        raise BadInput(f"{path}: time {told[int(np.argmax(outside))]} is of no year from {_YEARS[0]} to {_YEARS[1]}")


def _check_twelve(texts: Sequence[str], code: NDArray[np.int64], first: int, path: Path) -> None:
    """Raise BadInput for 13:00 PM and 0:00 AM, and where some hours have AM or PM and others none."""
    clocks = [_TWELVE.search(text) for text in texts]
    if not any(m is not None and m[2] for m in clocks):
        return
    for i, m in enumerate(clocks):
        if m is not None and not (m[2] and 1 <= int(m[1]) <= 12):
            fault = "no hour of AM or PM goes beyond 1 to 12" if m[2] else "others have AM or PM, this one has none"
            raise BadInput(f"{path}: row {int(np.argmax(code == i)) + first}: time {texts[i]}: {fault}; write 00:00 to"
                           " 23:59")  # fmt: skip


def _ahead_of_utc(name: str) -> int | None:
    """Minutes that the times of a column are ahead of UTC by its name: `time_utc` 0, `Time (UTC+8)` 480; else None."""
    found = re.search(r"(?:utc|gmt)\s*([+-])\s*(\d{1,2})(?::?(\d{2}))?", name.lower())
    if found is not None:
        return (-1 if found[1] == "-" else 1) * (60 * int(found[2]) + int(found[3] or 0))
    return 0 if re.sub(r"[^a-z]", "", name.lower()).endswith("utc") or name.lower().startswith("utc") else None


def _parsed(texts: Sequence[str], path: Path) -> tuple[Times, bool]:
    """Distinct times (n,) as they stand, or in UTC where they say their offset or count from 1970."""
    digits = [re.fullmatch(r"-?\d+(\.\d*)?", text) is not None for text in texts]
    if all(digits):
        if below := next((text for text in texts if text.startswith("-")), ""):
            raise BadInput(f"{path}: time {below} is before 1970, where it counts from then: traffic is of a year from"
                           f" {_YEARS[0]} to {_YEARS[1]}")  # fmt: skip
        return _from_digits(texts, path)
    if any(digits):
        a, b = texts[digits.index(True)], texts[digits.index(False)]
        raise BadInput(f"{path}: times of two forms, {a} and {b}: bring them to one")
    offset = [_OFFSET.search(text) is not None for text in texts]
    if any(offset) and not all(offset):
        a, b = texts[offset.index(True)], texts[offset.index(False)]
        _from_text([text for text, reason in zip(texts, offset, strict=True) if not reason], False, path)
        raise BadInput(
            f"{path}: some times have an offset ({a}), others none ({b}): give all of them one, or split the file"
        )
    if all(offset):
        _check_offsets(texts, path)
    texts = [re.sub(r"(?<=\d)t(?=\d)", "T", re.sub(r"\s*(UTC|GMT|z)$", "Z", text)) for text in texts]
    return _from_text(texts, all(offset), path)


def _check_offsets(texts: Sequence[str], path: Path) -> None:
    """Raise BadInput where what looks like offsets are the ends of intervals: 00:00-01:00, 01:00-02:00.

    There clock and offset move together from row to row, so that most rows have one length; offsets of a place stay,
    or move against the clock. An offset beyond those of any place is none either.
    """
    lengths: dict[int, set[int]] = {}  # of an interval in minutes -> its ends
    counts: dict[int, int] = {}
    for m in map(_INTERVAL.search, texts):
        if m is not None:
            end = 60 * int(m[3]) + int(m[4] or 0)
            length = (end - 60 * int(m[1]) - int(m[2] or 0)) % 1440
            lengths.setdefault(length, set()).add(end % 1440)
            counts[length] = counts.get(length, 0) + 1
    most = max(counts, key=lambda length: counts[length], default=0)
    if most and counts[most] >= 0.8 * len(texts) and len(lengths[most]) > 1:
        raise BadInput(
            f"{path}: times such as {texts[0]} are intervals, whose end would be read as an offset to UTC: keep the"
            f" start of each alone, {_OFFSET.sub('', texts[0])}"
        )
    for text in texts:
        found = re.search(r"([+-])(\d{2}):?(\d{2})?$", text)
        if found is not None:
            minutes = 60 * int(found[2]) + int(found[3] or 0)
            if minutes > (_MOST_AHEAD if found[1] == "+" else _MOST_BEHIND):
                raise BadInput(f"{path}: time {text}: no place is {found[0]} off UTC; where it is an interval, keep its"
                               " start alone")  # fmt: skip
    if most in _STEPS and counts[most] == len(texts) and not any(map(_SECONDS.search, texts)):  # one a day: none moves
        raise BadInput(
            f"{path}: time {texts[0]} may be an interval, or local time with its offset to UTC: keep the start alone,"
            " or write times in UTC with Z"
        )


def _from_digits(texts: Sequence[str], path: Path) -> tuple[Times, bool]:
    import pandas as pd

    sizes = {len(text) for text in texts}
    form = _COMPACT.get(len(texts[0])) if len(sizes) == 1 and "." not in "".join(texts) else None
    if form is not None:
        parsed = pd.to_datetime(pd.Series(texts), format=form, errors="coerce")
        if parsed.notna().all() and parsed.dt.year.between(1980, 2099).all():
            return parsed.to_numpy(dtype="datetime64[ns]"), False
    if form is not None and all(re.match(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])", t) for t in texts):
        bad = texts[int(np.argmax(parsed.isna().to_numpy()))]
        ends = " (hours reach 24, so that they may end or begin at their number: write 00 to 23)"
        raise BadInput(f"{path}: time {bad} is no such time{ends if bad[8:10] == '24' else ''}")
    number = np.array([float(text) for text in texts])
    for _, low, high, to_ns in _EPOCH:
        if ((number >= low) & (number < high)).all():
            whole = [_nanoseconds(text, to_ns) for text in texts]
            _check_years(np.array([t // 10**9 for t in whole], dtype=np.int64).astype("datetime64[s]"), texts, path)
            return np.array(whole, dtype=np.int64).astype("datetime64[ns]"), True
    odd = texts[0] if number.min() < 1e8 else texts[int(np.argmax(np.abs(np.log10(number) - np.log10(number[0]))))]
    hint = " (a day number of a spreadsheet? write the column as dates)" if 20_000 < float(odd) < 80_000 else ""
    raise BadInput(f"{path}: time {odd} is none of {_FORMS}{hint}")


def _nanoseconds(text: str, to_ns: int) -> int:
    whole, _, part = text.partition(".")
    return int(whole) * to_ns + (round(float("0." + part) * to_ns) if part.strip("0") else 0)


def _from_text(texts: Sequence[str], aware: bool, path: Path) -> tuple[Times, bool]:
    import pandas as pd

    series = pd.Series(texts, dtype=object)
    parsed: pd.Series | None = pd.to_datetime(series, format="ISO8601", errors="coerce", utc=aware)
    assert parsed is not None
    if not aware and not pd.api.types.is_datetime64_dtype(parsed):  # pandas sees an offset such as +1 in it
        odd = next(text for text, when in zip(texts, parsed, strict=True) if when is not pd.NaT and when.tzinfo)
        raise BadInput(f"{path}: time {odd}: write offsets to UTC in full, such as +01:00")
    if parsed.isna().any() and not aware:
        odd = texts[int(np.argmax(parsed.isna().to_numpy()))]
        parsed = _with_day_first(series, path)
    if parsed is None or parsed.isna().any():
        bad = odd if parsed is None else texts[int(np.argmax(parsed.isna().to_numpy()))]
        if re.search(r"[ T]24(:|$)", bad):
            raise BadInput(f"{path}: time {bad}: hours reach 24, so that they may end or begin at their number: write"
                           " 00 to 23")  # fmt: skip
        raise BadInput(
            f"{path}: time {bad} is none of ISO 8601, such as 2026-01-05T18:00, or {_FORMS.split(', ', 1)[1]}"
        )
    if aware:
        parsed = parsed.dt.tz_convert("UTC").dt.tz_localize(None)
    _check_years(parsed.to_numpy(), texts, path)
    return parsed.to_numpy(dtype="datetime64[ns]"), aware


_DMY = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4})(?:[ T](\d{1,2}:\d{2}(?::\d{2})?)(\s*[AaPp][Mm])?)?")


def day_first_note(values: pa.ChunkedArray, name: str, path: Path) -> list[str]:
    """A line where dates such as 01.11.2013 show nowhere which number is the day. name: of the column.

    Raises BadInput where the maker of the table writes the month first, as Nokia's PERIOD_START_TIME does.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_string(values.type):
        return []
    days = pc.unique(pc.utf8_slice_codeunits(pc.utf8_trim_whitespace(values), 0, 10)).to_pylist()
    parts = [re.match(r"(\d{1,2})\.(\d{1,2})\.\d{4}", day or "") for day in days]
    if not parts or not all(m and int(m[1]) <= 12 and int(m[2]) <= 12 and m[1] != m[2] for m in parts):
        return []
    if re.sub(r"[^a-z]", "", name.lower()) == "periodstarttime":
        raise BadInput(f"{path}: time {days[0]} may begin with the month, as Nokia writes it, or with the day: write"
                       " dates as 2026-01-05")  # fmt: skip
    return [f"{days[0]} is read as day {parts[0][1] if parts[0] else ''} of its month"]


def _with_day_first(series: pd.Series, path: Path) -> pd.Series | None:
    """1.11.2013 18:00 and 11/1/2013 6:00 PM, where the table shows which is the day; None for other forms."""
    import pandas as pd

    parts = [_DMY.fullmatch(text) for text in series]
    if not all(parts):
        return None
    first, second = (max(int(p[i]) for p in parts if p) for i in (1, 3))
    if first <= 12 and second <= 12 and parts[0] is not None and parts[0][2] != ".":
        raise BadInput(
            f"{path}: time {series.iloc[0]} may be day {parts[0][1]} of month {parts[0][3]}, or day {parts[0][3]} of"
            f" month {parts[0][1]}: write dates as 2026-01-05"
        )
    day_first = first > 12 or (parts[0] is not None and parts[0][2] == ".")
    texts = []
    for p in parts:
        assert p is not None
        day, month = (p[1], p[3]) if day_first else (p[3], p[1])
        clock = (p[5] or "00:00") + ("" if (p[5] or "").count(":") == 2 else ":00")
        hour, _, rest = clock.partition(":")
        if p[6]:
            hour = str(int(hour) % 12 + (12 if p[6].strip().lower() == "pm" else 0))
        texts.append(f"{p[4]}-{int(month):02d}-{int(day):02d}T{int(hour):02d}:{rest}")
    return pd.to_datetime(pd.Series(texts), format="ISO8601", errors="coerce")


def to_utc(
    code: NDArray[np.int64], times: Times, cell: NDArray[np.int64], ids: NDArray[Any], timezone: str, path: Path
) -> Times:
    """Local times of the rows (`times[code]`, of cells `cell`) in UTC, (rows,).

    In the hour that occurs twice in autumn, the order of the cell's other rows says which of its two rows is which.
    Raises BadInput for a time that the clock skips, for rows of such an hour in no order, and where the hour has one
    row only although the cell goes on at both sides: the table has 24 rows on the day of 25 hours.
    code, cell: (rows,). times: (distinct times,). ids: (cells,).
    """
    import pandas as pd

    zone = ZoneInfo(timezone)
    local = pd.Series(times)
    summer, winter = (
        local.dt.tz_localize(zone, ambiguous=np.full(len(times), flag), nonexistent="NaT") for flag in (True, False)
    )
    if summer.isna().any():
        i = int(summer.isna().to_numpy().argmax())
        row = int(np.argmax(code == i))
        when = f"{path}: cell {ids[cell[row]]}: {pd.Timestamp(times[i])} does not exist in {timezone}"
        whole = pd.Timedelta(days=1)
        before, after = (zone.utcoffset((pd.Timestamp(times[i]) + way).to_pydatetime()) for way in (-whole, whole))
        if before is not None and after is not None and after - before > whole / 2:  # Apia, 30 December 2011
            raise BadInput(f"{when} (its calendar skips that day); give times in UTC or with their offset")
        raise BadInput(
            f"{when} (summer time begins);"
            " give times in UTC or with their offset, or the zone of a clock that keeps winter time, e.g. Etc/GMT-1"
        )
    early, late = (
        s.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(dtype="datetime64[ns]") for s in (summer, winter)
    )
    out: Times = early[code]
    twice = early != late
    rows = np.flatnonzero(twice[code])
    if not len(rows):
        return out
    order = np.argsort(cell, kind="stable")  # the file's order within each cell
    step = np.diff(times[code][order]).astype(np.int64)
    inside = np.diff(cell[order]) == 0
    ups, downs = (np.bincount(cell[order][1:][inside & moved], minlength=len(ids)) for moved in (step > 0, step < 0))
    day = times[code[rows]].astype("datetime64[D]").astype(np.int64)
    frame = pd.DataFrame({"cell": cell[rows], "time": code[rows], "day": day})
    group = frame.groupby(["cell", "time"])
    turn, count = group.cumcount().to_numpy(), group["cell"].transform("size").to_numpy()
    changes = len(np.unique(times[twice].astype("datetime64[D]")))
    orderless = (np.minimum(ups, downs) > changes) | (np.maximum(ups, downs) == 0)
    mixed = orderless[cell[rows]] & (count > 1)
    if mixed.any():
        row = rows[int(np.argmax(mixed))]
        raise BadInput(
            f"{path}: cell {ids[cell[row]]}: {pd.Timestamp(times[code[row]])} occurs twice in {timezone} (summer time "
            "ends) and the cell's rows are in no order: sort them, or give times in UTC"
        )
    if (tied := _sorted_as_text(frame, count, order, rows)) is not None:
        row = rows[tied]
        raise BadInput(
            f"{path}: cell {ids[cell[row]]}: {pd.Timestamp(times[code[row]])} occurs twice in {timezone} (summer time "
            "ends) and its two rows stand together, sorted by local time: which is which is lost; give times in UTC"
        )
    later = (turn > 0) != (downs > ups)[cell[rows]]  # newest first: the first of the two is winter time
    single = count == 1
    if single.any():
        later = np.where(single, _single(rows, code, times, cell, ids, twice, timezone, path), later)
    out[rows[later]] = late[code[rows[later]]]
    return out


def _sorted_as_text(
    frame: pd.DataFrame, count: NDArray[np.int64], order: NDArray[np.intp], rows: NDArray[np.int64]
) -> int | None:
    """The first of `rows` that stands beside its twin although other times of its cell occur twice as well, if any.

    In their true order an hour of quarters runs through once, then once more. frame: cell, time, day of the rows that
    may be twice, count: how often each is there, (rows,). order: (all rows,) by cell, each in the file's order.
    """
    twins = frame[count > 1]
    many = twins.groupby(["cell", "day"])["time"].transform("nunique") > 1
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    twins = twins[many].assign(place=place[rows][twins.index[many]])
    apart = twins.groupby(["cell", "time"])["place"].agg(["min", "max", "size"])
    beside = apart[(apart["size"] == 2) & (apart["max"] - apart["min"] == 1)]
    if not len(beside):
        return None
    own = beside.index[0]
    return int(twins.index[(twins["cell"] == own[0]) & (twins["time"] == own[1])][0])


def _single(
    rows: NDArray[np.int64], code: NDArray[np.int64], times: Times, cell: NDArray[np.int64], ids: NDArray[Any],
    twice: NDArray[np.bool_], timezone: str, path: Path,
) -> NDArray[np.bool_]:  # fmt: skip
    """Whether rows of an hour that occurs twice, alone at their time, are winter time: where the cell begins there."""
    import pandas as pd

    first, last = np.full(len(ids), np.iinfo(np.int64).max), np.full(len(ids), np.iinfo(np.int64).min)
    clock = times[code].astype(np.int64)
    np.minimum.at(first, cell, clock)
    np.maximum.at(last, cell, clock)
    half_day = 12 * 3600 * 10**9  # around the change lies no other one
    spans = {
        int(t): times[twice][np.abs(times[twice].astype(np.int64) - int(t)) < half_day] for t in np.unique(clock[rows])
    }
    out = np.zeros(len(rows), dtype=bool)
    alone = pd.DataFrame({"cell": cell[rows], "time": code[rows]}).duplicated(keep=False).to_numpy()
    for k, row in enumerate(rows):
        if alone[k]:
            continue
        hour = spans[int(clock[row])].astype(np.int64)
        starts, ends = first[cell[row]] >= hour.min(), last[cell[row]] <= hour.max()
        if not starts and not ends:
            raise BadInput(
                f"{path}: cell {ids[cell[row]]} has one row at {pd.Timestamp(times[code[row]])}, an hour that occurs "
                f"twice in {timezone} (summer time ends): 24 rows on a day of 25 hours; give times in UTC or with their"
                " offset, or both rows of that hour"
            )
        out[k] = starts and not ends
    return out


def clock_note(when: np.datetime64, timezone: str | None) -> str:
    """What a message adds where a clock of the place changes within a day of a UTC time."""
    import pandas as pd

    if timezone is None:
        return ""
    around = pd.date_range(pd.Timestamp(when) - pd.Timedelta(hours=24), periods=49, freq="1h", tz="UTC")
    shift = around.tz_convert(timezone).tz_localize(None) - around.tz_localize(None)
    if len(shift.unique()) == 1:
        return ""
    way = "forward" if shift[-1] > shift[0] else "back"
    at = around[int(np.argmax(shift != shift[0]))]
    return (
        f" (the clocks go {way} in {timezone} at {at:%Y-%m-%dT%H:%M}Z: a day of {23 if way == 'forward' else 25} hours)"
    )
