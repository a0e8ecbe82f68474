"""Public holidays as a kind of day: which days of a period they are, and what they do to traffic.

What a holiday does was measured on few days. All Saints' Day, Friday 1 November 2013, in 100 cells of Milan's east:
hour by hour it goes the whole way from its own weekday to a Sunday (by regression 1.2 of the way, 1.1 for calls and
SMS), and carries LEVEL times as much as a Sunday. Christmas, 26 December and New Year's Day in three cells, Internet
alone: a third of a Sunday; three cells are shrunk half the way towards 1, in logarithms. So a holiday has the hours of
a Sunday, and these levels. The days around (23 to 31 December carry half as much in those cells) are drawn as usual.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path

from gentraffic.errors import BadInput, WrongUse

AUTO, NONE = "auto", "none"
LEVEL = {"": 1.14, "call_in": 1.32, "call_out": 1.37, "sms_in": 1.45, "sms_out": 1.65}  # over a Sunday, by service
CHRISTMAS = 0.58  # the same, of the three days below
CHRISTMAS_DAYS = ((12, 25), (12, 26), (1, 1))
LONG_DAYS = 31  # a longer period holds seasons that nobody drew


@dataclass(frozen=True)
class Holidays:
    """The public holidays of a period. days: of each its number from the first day on, its date and its name. source:
    the country, or the file."""

    days: tuple[tuple[int, date, str], ...] = ()
    source: str = ""

    def levels(self, service: str = "") -> tuple[tuple[int, float], ...]:
        """Day number and level over that of a Sunday, of each holiday, for one service ("": the main one)."""
        out = []
        for number, day, _ in self.days:
            christmas = (day.month, day.day) in CHRISTMAS_DAYS
            out.append((number, CHRISTMAS if christmas else LEVEL.get(service, LEVEL[""])))
        return tuple(out)

    @property
    def text(self) -> str:
        """One line that names them."""
        if not self.days:
            return f"none in this period ({self.source})"
        named = ", ".join(f"{day.isoformat()} {name}".strip() for _, day, name in self.days[:20])
        more = f" and {len(self.days) - 20} more" if len(self.days) > 20 else ""
        return f"{self.source}: {named}{more}"


def find_holidays(asked: str, timezone: str, first: date, days: int) -> Holidays | None:
    """The public holidays of `days` days from `first` on; None for none asked, or a zone of no known country.

    asked: auto (those of the country of the zone), none, a country as ISO 3166 has it (IT), or a file of dates, one per
    line, each perhaps followed by a name. Raises WrongUse and BadInput.
    """
    if asked == NONE:
        return None
    if asked == AUTO:
        country = country_of(timezone)
        found = _of_country(country, first, days) if country else None
        return None if found is None else Holidays(found, country)
    if len(asked) == 2 and asked.isalpha():
        known = _of_country(asked.upper(), first, days)
        if known is None:
            raise WrongUse(f"--holidays {asked}: no public holidays are known of this country; give a file of dates")
        return Holidays(known, asked.upper())
    return Holidays(_of_file(Path(asked), first, days), Path(asked).name)


@lru_cache(maxsize=1)
def _zones() -> dict[str, str]:
    """IANA zone -> its country, from the table of the zone database."""
    from importlib.resources import files

    lines = (files("tzdata") / "zoneinfo" / "zone.tab").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return {row[2]: row[0] for row in rows}


def country_of(timezone: str) -> str:
    """The ISO 3166 code of the country that a zone is named for; "" where it is of none (UTC)."""
    return _zones().get(timezone, "")


def _of_country(country: str, first: date, days: int) -> tuple[tuple[int, date, str], ...] | None:
    import holidays

    last = first + timedelta(days=days - 1)
    try:
        known = holidays.country_holidays(country, years=range(first.year, last.year + 1))
    except NotImplementedError:
        return None
    return tuple(((day - first).days, day, str(name)) for day, name in sorted(known.items()) if first <= day <= last)


def _of_file(path: Path, first: date, days: int) -> tuple[tuple[int, date, str], ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WrongUse(f"--holidays {path}: give auto, none, a country such as IT, or a file ({reason})") from error
    found: dict[date, str] = {}
    for number, line in enumerate(lines, start=1):
        text, _, name = line.strip().replace(",", " ").partition(" ")
        if not text or text.startswith("#"):
            continue
        try:
            found[date.fromisoformat(text)] = name.strip()
        except ValueError as error:
            raise BadInput(f"{path}, line {number}: {text!r} is no date; give YYYY-MM-DD, one per line") from error
    numbers = sorted(((day - first).days, day, name) for day, name in found.items())
    return tuple(part for part in numbers if 0 <= part[0] < days)
