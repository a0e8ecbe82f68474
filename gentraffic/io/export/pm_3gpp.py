"""Traffic as 3GPP performance measurement XML, volumes in whole Mbit: TS 32.435 (measCollec) or TS 28.532 (measData).

The counter is `DRB.PdcpSduVolumeDL` of TS 28.552 section 5.1.2.1 by default, an integer number of Mbit (10^6 bit) per
granularity period; volumes of PDCP belong to NRCellCU, as it says, other counters go to NRCellDU.

One file with a measInfo per period, or a folder with one file per period, named as TS 32.432
section 7.1 says. Times carry the local offset, so that the hour that a change of clocks repeats is not ambiguous.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from gentraffic import __version__
from gentraffic.dataset.schema import local_time, services
from gentraffic.errors import BadInput, WrongUse
from gentraffic.io.atomic import replacing
from gentraffic.io.export.counters import bits_per_value, step_seconds, whole_numbers

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

NAMESPACE = "http://www.3gpp.org/ftp/specs/archive/32_series/32.435#measCollec"
COUNTER_OF_CU = "pdcp"  # what is counted where PDCP ends has it in its name
COUNTER = "DRB.PdcpSduVolumeDL"
MBIT = 1e6


@dataclass(frozen=True)
class _Form:
    """What a specification calls things. version: of the file format. sender: attributes of fileSender. entity: who
    has counted; meas: what begins and ends. Both have the same measInfo."""

    namespace: str
    version: str
    root: str
    sender: tuple[str, str]
    entity: str
    meas: str


FORMS = {
    "32.435": _Form(NAMESPACE, "32.435 V10.0", "measCollecFile", ("localDn", "elementType"), "managedElement",
                    "measCollec"),
    "28.532": _Form("http://www.3gpp.org/ftp/specs/archive/28_series/28.532#measData", "28.532 V16.6.0", "measDataFile",
                    ("senderName", "senderType"), "measEntity", "measData"),
}  # fmt: skip
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")


def write_3gpp(
    ds: xr.Dataset, path: str | Path, *, unit: str | None = None, counter: str = COUNTER, form: str = "32.435"
) -> dict[str, Any]:
    """Write checked traffic of one member: a file where `path` ends in .xml, else a folder with a file per period.

    unit: what a value of 1 stands for, where the file does not say. counter: the measurement's name; of several
    services each has its own, counter.SERVICE. form: the specification, a key of FORMS.

    Returns the Mbit written per service, and what rounding left at the end.
    Raises WrongUse where a service is no volume, BadInput for ids that XML cannot hold.
    """
    if form not in FORMS:
        raise WrongUse(f"--form {form}: give one of {', '.join(FORMS)}")
    how = FORMS[form]
    names = services(ds)
    counters = [counter if len(names) == 1 else f"{counter}.{name}" for name in names]
    whole, left = {}, {}
    for name in names:
        whole[name], left[name] = whole_numbers(
            ds[name].values, bits_per_value(ds, name, unit) / MBIT, f"Mbit of {name}", unit
        )
    cells = [_managed(cell, counter) for cell in ds["cell_id"].values.tolist()]
    begins = local_time(ds)
    step_s = step_seconds(ds)
    ends = begins + np.timedelta64(step_s, "s")
    values = np.stack([whole[name] for name in names])  # (services, cells, steps)
    periods = list(range(len(begins)))
    if Path(path).suffix.lower() == ".xml":
        with replacing(path, (".xml",)) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as out:
            _file(out, ds, begins[0], how)
            for i in periods:
                _measurements(out, counters, cells, values[:, :, i], step_s, ends[i])
            _end(out, ends[-1], how)
        files = 1
    else:
        from gentraffic.io.export.folder import folder

        with folder(path, ds, "3gpp") as temporary:
            for i in periods:
                name = file_name(begins[i], ends[i])
                with (temporary / name).open("w", encoding="utf-8", newline="\n") as out:
                    _file(out, ds, begins[i], how)
                    _measurements(out, counters, cells, values[:, :, i], step_s, ends[i])
                    _end(out, ends[i], how)
        files = len(periods)
    return {
        "files": files,
        "counters": dict(zip(names, counters, strict=True)),
        "mbit": {name: int(array.sum()) for name, array in whole.items()},
        "mbit_left": {name: round(rest, 9) for name, rest in left.items()},
    }


def file_name(begin: pd.Timestamp, end: pd.Timestamp) -> str:
    """TS 32.432 section 7.1: Type A, start and end in local time with their offset from UTC, and who sent it."""
    day = f"{end:%Y%m%d}." if end.date() != begin.date() else ""
    return f"A{begin:%Y%m%d.%H%M}{begin:%z}-{day}{end:%H%M}{end:%z}_gentraffic.xml"


def _managed(cell: Any, counter: str) -> str:
    """The name of a cell's object below the managed element; what a distinguished name reserves is escaped."""
    text = str(cell)
    if _NOT_XML.search(text):
        raise BadInput(f"cell id {text!r} holds a character that XML cannot hold; give the cells other ids")
    of_cu = COUNTER_OF_CU in counter.lower()
    parent = "GNBCUCPFunction=1,NRCellCU=" if of_cu else "GNBDUFunction=1,NRCellDU="
    return parent + re.sub(r'([,=+<>#;\\"])', r"\\\1", text)


def _file(out: TextIO, ds: xr.Dataset, begin: pd.Timestamp, how: _Form) -> None:
    place = _NOT_XML.sub(" ", str(ds.attrs.get("place", "")))
    credit = _comment(f"{ds.attrs.get('attribution', '')} {ds.attrs.get('license', '')}")
    name, kind = how.sender
    sender = "SubNetwork=gentraffic,ManagedElement=1"
    out.write('<?xml version="1.0" encoding="UTF-8"?>\n')
    out.write(f"<!-- {_comment(str(ds.attrs.get('source', 'traffic')))}; Mbit per period; {credit} -->\n")
    if "member_note" in ds.attrs:
        out.write(f"<!-- {_comment(str(ds.attrs['member_note']))} -->\n")
    out.write(f"<{how.root} xmlns={quoteattr(how.namespace)}>\n")
    out.write(f'<fileHeader fileFormatVersion="{how.version}" vendorName="gentraffic" dnPrefix="">\n')
    out.write(f'<fileSender {name}="{sender}" {kind}="gentraffic {__version__}"/>\n')
    out.write(f'<{how.meas} beginTime="{begin.isoformat()}"/>\n</fileHeader>\n<measData>\n')
    out.write(f'<{how.entity} localDn="{sender}" userLabel={quoteattr(place)} swVersion="{__version__}"/>\n')


def _measurements(
    out: TextIO, counters: list[str], cells: list[str], values: NDArray[np.int64], step_s: int, end: pd.Timestamp
) -> None:
    """One granularity period; `values` (services, cells)."""
    out.write('<measInfo measInfoId="traffic">\n')
    out.write(f'<granPeriod duration="PT{step_s}S" endTime="{end.isoformat()}"/>\n')
    out.writelines(f'<measType p="{p}">{name}</measType>\n' for p, name in enumerate(counters, start=1))
    out.writelines(_values(cells, values))
    out.write("</measInfo>\n")


def _values(cells: list[str], values: NDArray[np.int64]) -> Iterator[str]:
    for cell, of_cell in zip(cells, values.T.tolist(), strict=True):
        results = "".join(f'<r p="{p}">{value}</r>' for p, value in enumerate(of_cell, start=1))
        yield f"<measValue measObjLdn={quoteattr(cell)}>{results}</measValue>\n"


def _end(out: TextIO, end: pd.Timestamp, how: _Form) -> None:
    out.write(f'</measData>\n<fileFooter>\n<{how.meas} endTime="{end.isoformat()}"/>\n</fileFooter>\n')
    out.write(f"</{how.root}>\n")


def _comment(text: str) -> str:
    return _NOT_XML.sub(" ", text).replace("--", "- -").strip().rstrip("-")
