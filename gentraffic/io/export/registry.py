"""Traffic for other people's tools: the function that writes any of the formats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentraffic.dataset.basemap import without_basemap
from gentraffic.dataset.schema import check_traffic, member_band, need_positions, one_service, services, units_words
from gentraffic.dataset.summary import one_member
from gentraffic.errors import WrongUse, did_you_mean
from gentraffic.io import atomic
from gentraffic.io.export.columns import Tell, in_readable_unit, in_unit, short, silent
from gentraffic.io.export.counters import capacity_in, parse_amount
from gentraffic.io.export.folder import check_folder
from gentraffic.io.export.formats import FORMATS, ExportOptions

if TYPE_CHECKING:
    import xarray as xr

QUANTILE_NOTE = (
    "each value is the {which} of the members by itself: they do not add up; the sum over cells or hours is no {which}"
)
RANGE_NOTE = (
    "of the ensemble the mean, and low and high: the {} at each step, of which only the mean adds up; "
    "--member all writes every member"
)
LONG_S = 60.0
NO_OPTIONS = ExportOptions()


def check_export(form: str, path: str | Path) -> None:
    """Raise now what `export` would raise for the name of the output after long work."""
    if form not in FORMATS:
        raise WrongUse(f"no format {form!r}: choose one of {', '.join(FORMATS)}{did_you_mean(form, FORMATS)}")
    suffixes = FORMATS[form].suffixes
    suffix = Path(path).suffix.lower()
    if suffix not in suffixes:
        ways = " or ".join("a folder, a name without suffix" if s == "" else s for s in suffixes)
        raise WrongUse(f"{path}: {form} writes {ways}")
    if suffix == "":
        check_folder(path)
    atomic.check_writable(path, suffixes, folder=suffix == "")


def export(
    ds: xr.Dataset,
    form: str,
    path: str | Path,
    options: ExportOptions = NO_OPTIONS,
    *,
    service: str | None = None,
    member: str | None = None,
    announce: Callable[[str], None] = lambda line: None,
    tell: Tell = silent,
) -> dict[str, Any]:
    """Write Traffic ([member,] cell, time) in one of FORMATS; return what was written (counts, sums).

    service: only this one, needed where a format holds one and the file several. member: "0", "mean", "p95", needed
    where a format holds one series per cell and the file an ensemble; of a quantile the result has a `note`, as sums
    of quantiles mean nothing; "all" for every member where a format else has their mean and range. options: for the
    formats that take them. announce: told in a line, before it begins, of work above a minute. tell: told (rows, of).

    Raises WrongUse for what does not go together, BadInput where the file cannot be written.
    """
    check_export(form, path)
    check_traffic(ds)
    ds = without_basemap(ds)
    about = FORMATS[form]
    if about.positions:
        need_positions(ds, f"export {form}")
    given: dict[str, Any] = dict(options.given())
    for name in given:
        if name not in about.takes:
            able = ", ".join(key for key, f in FORMATS.items() if name in f.takes)
            raise WrongUse(f"--{name} is for {able}, not for {form}")
    ds, note = _selected(ds, form, service, member)
    names = list(map(str, ds.data_vars))
    if "unit" in given and len(services(ds)) > 1 and about.own_unit:
        raise WrongUse(f"--unit is of one service, and there are {', '.join(names)}: name it with --service")
    if not about.own_unit and "unit" in given:
        ds = in_unit(ds, given.pop("unit"))
    elif about.readable:
        ds = in_readable_unit(ds)
    if options.capacity is not None:
        if len(names) > 1:
            raise WrongUse("--capacity is of one service: name it with --service")
        given["capacity"] = capacity_in(options.capacity, ds, names[0])
        note = note | never_reached(ds, names[0], options.capacity, given["capacity"])
    if about.ranged:
        if "member" in ds.dims and member is None:
            said = RANGE_NOTE.format(member_band(ds.sizes["member"])[1])
            note = note | {"note": "; ".join(filter(None, [str(note.get("note", "")), said]))}
        given["every_member"] = member == "all"
    if line := long_work(ds, form, member):
        announce(line)
    if about.tells:
        given["tell"] = tell
    written = about.writer()(ds, path, **given)
    notes = "; ".join(str(part["note"]) for part in (note, written) if "note" in part)
    return written | note | ({"note": notes} if notes else {})


def never_reached(ds: xr.Dataset, service: str, text: str, capacity: float) -> dict[str, str]:
    """A note where no value reaches a capacity: `text` as it was given, and in the units of the service."""
    highest = float(ds[service].max())
    if highest > capacity:
        return {}
    value, unit = parse_amount(text, "--capacity")
    most = f"{short(highest / capacity * value)}{unit or ' ' + units_words(ds, service)}"
    return {"note": f"no cell exceeds --capacity {text}: the highest value is {most}; give less to see where"}


def long_work(ds: xr.Dataset, form: str, member: str | None) -> str:
    """How many rows an export of selected traffic has, about how large and how long; "" below a minute."""
    about = FORMATS[form]
    rows = ds.sizes["cell"] * ds.sizes["time"] * (1 if about.ranged and member != "all" else ds.sizes.get("member", 1))
    seconds, size = rows * about.row_us * 1e-6, rows * about.row_bytes
    if seconds < LONG_S:
        return ""
    many = "member" in ds.dims and rows > ds.sizes["cell"] * ds.sizes["time"]
    few = "; --member mean writes one row for all members" if many else ""
    return f"{rows:,} rows, about {size / 1e9:.2g} GB and {max(1.0, seconds / 60):.0f} min{few}"


def _selected(ds: xr.Dataset, form: str, service: str | None, member: str | None) -> tuple[xr.Dataset, dict[str, str]]:
    """The service and the member that are written, and a note on what a quantile means. Raises WrongUse."""
    if service is not None or not FORMATS[form].services:
        if service is None and len(ds.data_vars) > 1:
            raise WrongUse(f"{form} holds one service of {', '.join(map(str, ds.data_vars))}: name it with --service")
        ds = ds[[one_service(ds, service)]]
    if member == "all" and not FORMATS[form].members:
        raise WrongUse(f"--member all: {form} holds one series per cell: give a number, mean, or a quantile")
    if (member is not None and member != "all") or not FORMATS[form].members:
        ds = one_member(ds, member)
    if member is None or not member.startswith("p"):
        return ds, {}
    note = QUANTILE_NOTE.format(which=member)
    return ds.assign_attrs(member_note=note), {"note": note}
