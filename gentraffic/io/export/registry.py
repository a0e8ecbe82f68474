"""Traffic for other people's tools: one table of formats, and the function that writes any of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentraffic.dataset.basemap import without_basemap
from gentraffic.dataset.positions import need_positions
from gentraffic.dataset.schema import check_traffic, one_service
from gentraffic.dataset.summary import one_member
from gentraffic.errors import WrongUse
from gentraffic.io import atomic
from gentraffic.io.export.counters import capacity_in
from gentraffic.io.export.data_packages import write_croissant, write_frictionless
from gentraffic.io.export.folder import check_folder
from gentraffic.io.export.gis import write_geopackage, write_geotiff, write_kepler
from gentraffic.io.export.gridded import write_gridded, write_planning
from gentraffic.io.export.pm_3gpp import write_3gpp
from gentraffic.io.export.simulators import write_matlab, write_simu5g, write_sionna
from gentraffic.io.export.tables import write_influx, write_maveric, write_office, write_parquet_by_day

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Format:
    """A format. suffixes: what the output's name may end in; "" is a folder. members, services: whether it holds
    several. takes: which of OPTIONS its writer has."""

    about: str
    suffixes: tuple[str, ...]
    write: Callable[..., dict[str, Any]]
    members: bool = True
    services: bool = True
    takes: tuple[str, ...] = ()


FORMATS = {
    "3gpp": Format("3GPP TS 32.435 or TS 28.532 measurement XML, whole Mbit", (".xml", ""), write_3gpp,
                   members=False, takes=("unit", "counter", "form")),
    "simu5g": Format("Simu5G / OMNeT++ configuration", (".ini",), write_simu5g,
                     members=False, services=False, takes=("unit", "release")),
    "sionna": Format("tensor (batch, cell, service, time) and positions", (".npz",), write_sionna),
    "matlab": Format("folder with a CSV per cell, or one .mat", ("", ".mat"), write_matlab),
    "gridded": Format("NetCDF (time, y, x) for cdo, GDAL and QGIS", (".nc",), write_gridded, members=False),
    "geotiff": Format("GeoTIFF (COG) for QGIS: a band per step, or the maps of an ensemble", (".tif",), write_geotiff,
                      services=False, takes=("capacity",)),
    "geopackage": Format("GeoPackage for QGIS: cells with statistics, series with time", (".gpkg",), write_geopackage,
                         takes=("capacity",)),
    "planning": Format("rasters of planning tools, .bil and .grd, a folder", ("",), write_planning,
                       members=False, services=False, takes=("statistic",)),
    "kepler": Format("CSV for Kepler.gl", (".csv",), write_kepler),
    "office": Format("CSV or workbook for spreadsheet programs", (".csv", ".xlsx"), write_office, takes=("decimal",)),
    "influx": Format("InfluxDB line protocol", (".lp", ".txt"), write_influx),
    "parquet": Format("Parquet partitioned by local day, a folder", ("",), write_parquet_by_day),
    "maveric": Format("Maveric (RADP) tables, a folder", ("",), write_maveric, members=False, services=False),
    "frictionless": Format("Frictionless data package, a folder", ("",), write_frictionless),
    "croissant": Format("Croissant card (JSON-LD) and its tables, a folder", ("",), write_croissant),
}  # fmt: skip
OPTIONS = ("unit", "counter", "capacity", "form", "release", "decimal", "statistic")  # that some format takes
QUANTILE_NOTE = (
    "each value is the {which} of the members by itself: they do not add up; the sum over cells or hours is no {which}"
)


def check_export(form: str, path: str | Path) -> None:
    """Raise now what `export` would raise for the name of the output after long work."""
    if form not in FORMATS:
        raise WrongUse(f"no format {form!r}: choose one of {', '.join(FORMATS)}")
    suffixes = FORMATS[form].suffixes
    suffix = Path(path).suffix.lower()
    if suffix not in suffixes:
        ways = " or ".join("a folder, a name without suffix" if s == "" else s for s in suffixes)
        raise WrongUse(f"{path}: {form} writes {ways}")
    if suffix == "":
        check_folder(path)
    atomic.check_writable(path, suffixes, folder=suffix == "")


def export(  # noqa: PLR0913  # the whole of one command
    ds: xr.Dataset,
    form: str,
    path: str | Path,
    *,
    service: str | None = None,
    member: str | None = None,
    unit: str | None = None,
    counter: str | None = None,
    capacity: str | None = None,
    form_of: str | None = None,
    release: str | None = None,
    decimal: str | None = None,
    statistic: str | None = None,
) -> dict[str, Any]:
    """Write a traffic Dataset in one of FORMATS; return what was written (counts, sums).

    service: only this one, needed where a format holds one and the file several. member: "0", "mean", "p95", needed
    where a format holds one series per cell and the file an ensemble; of a quantile the result has a `note`, as sums
    of quantiles mean nothing. unit, counter, capacity, form_of (3gpp: the specification), release (simu5g), decimal
    (office), statistic (planning): for the formats that take them.

    Raises WrongUse for what does not go together, BadInput where the file cannot be written.
    """
    check_export(form, path)
    chosen = FORMATS[form]
    check_traffic(ds)
    ds = without_basemap(ds)
    if form not in ("3gpp", "simu5g", "influx"):
        need_positions(ds, f"export {form}")
    told = {
        "unit": unit, "counter": counter, "capacity": capacity, "form": form_of, "release": release,
        "decimal": decimal, "statistic": statistic,
    }  # fmt: skip
    for name, value in told.items():
        if value is not None and name not in chosen.takes:
            able = ", ".join(key for key, f in FORMATS.items() if name in f.takes)
            raise WrongUse(f"--{name} is for {able}, not for {form}")
    if service is not None or not chosen.services:
        if service is None and len(ds.data_vars) > 1:
            raise WrongUse(f"{form} holds one service of {', '.join(map(str, ds.data_vars))}: name it with --service")
        ds = ds[[one_service(ds, service)]]
    if member is not None or not chosen.members:
        ds = one_member(ds, member)
    note = {}
    if member is not None and member.startswith("p"):
        note = {"note": QUANTILE_NOTE.format(which=member)}
        ds = ds.assign_attrs(member_note=note["note"])
    if unit is not None and len(ds.data_vars) > 1:
        raise WrongUse(
            f"--unit is of one service, and there are {', '.join(map(str, ds.data_vars))}: name it with --service"
        )
    options: dict[str, Any] = {key: value for key, value in told.items() if value is not None}
    if capacity is not None:
        names = list(map(str, ds.data_vars))
        if len(names) > 1:
            raise WrongUse("--capacity is of one service: name it with --service")
        options["capacity"] = capacity_in(capacity, ds, names[0])
    return chosen.write(ds, path, **options) | note
