"""The formats that traffic is exported to, as the command line and the documentation list them. Loads nothing heavy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Format:
    """A format for people. write: what writes it, module:function. suffixes: what the output's name may
    end in; "" is a folder.

    members, services: whether it holds several. takes: which fields of ExportOptions it has. ranged: an ensemble is
    written as its mean and range unless all members are asked for. readable: amounts are written in a unit that reads
    well. positions: it must say where cells lie. tells: its writer says how far it is. own_unit: it says in a unit of
    its own what 1 is; others are written in --unit. row_us, row_bytes: microseconds and bytes of a row of the long
    table on one core, 0 where there is none.
    """

    write: str
    about: str
    suffixes: tuple[str, ...]
    examples: tuple[str, ...]
    members: bool = True
    services: bool = True
    takes: tuple[str, ...] = ()
    ranged: bool = False
    readable: bool = False
    positions: bool = True
    tells: bool = False
    own_unit: bool = False
    row_us: float = 0.0
    row_bytes: float = 0.0

    def writer(self) -> Callable[..., dict[str, Any]]:
        """What writes it: called with checked Traffic ([member,] cell, time), a path, and the options that it takes."""
        module, _, function = self.write.partition(":")
        return getattr(import_module(module), function)  # type: ignore[no-any-return]


def _option(metavar: str, about: str) -> Any:
    """An option of some formats, as the command line shows it; None is what a format does without."""
    return field(default=None, metadata={"metavar": metavar, "about": about})


@dataclass(frozen=True)
class ExportOptions:
    """What only some formats take, and what the command line says of each; None is what the format does without."""

    unit: str | None = _option(
        "AMOUNT",
        "The unit to write, e.g. GB, where a format has units; or what 1 is in a step, e.g. 3.2GB, where units are 1.",
    )
    counter: str | None = _option("NAME", "The measurement. [default: DRB.PdcpSduVolumeDL]")
    capacity: str | None = _option(
        "AMOUNT",
        "Also how often, and how probably, it is exceeded, e.g. 40Mbit/s; a bare number is in the file's units.",
    )
    form: str | None = _option("32.435|28.532", "The specification. [default: 32.435]")
    release: str | None = _option("1.4|1.3", "Of Simu5G. [default: 1.4, which is 1.4.3 and later]")
    decimal: str | None = _option("point|comma", "Of .csv: comma parts the columns by semicolons. [default: point]")
    statistic: str | None = _option(
        "NAME", "One map of it: mean, peak, busy_mean. [default: .bil a band per step, .grd the mean]"
    )

    def given(self) -> dict[str, str]:
        """Those that are not None, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


FORMATS = {
    "3gpp": Format(
        "gentraffic.io.export.pm_3gpp:write_3gpp",
        ".xml: 3GPP TS 32.435 or TS 28.532 measurement XML, whole Mbit; or a folder, a file per period",
        (".xml", ""),
        (
            "export 3gpp milan.nc -o milan.xml --unit 3.2GB",
            "export 3gpp ensemble.nc -o measurements --member p95",
            "export 3gpp milan.nc -o milan.xml --form 28.532",
        ),
        members=False,
        takes=("unit", "counter", "form"),
        positions=False,
        own_unit=True,
    ),
    "simu5g": Format(
        "gentraffic.io.export.simulators:write_simu5g",
        ".ini: Simu5G 1.4.3 and later (OMNeT++), one UE per cell, run k = step k",
        (".ini",),
        (
            "export simu5g sites.nc -o traffic.ini --member 0",
            "export simu5g sites.nc -o traffic.ini --release 1.3",
        ),
        members=False,
        services=False,
        takes=("unit", "release"),
        own_unit=True,
    ),
    "sionna": Format(
        "gentraffic.io.export.simulators:write_sionna",
        ".npz: tensor (batch, cell, service, time) and positions",
        (".npz",),
        ("export sionna milan.nc -o milan.npz",),
        takes=("unit",),
    ),
    "matlab": Format(
        "gentraffic.io.export.simulators:write_matlab",
        ".mat: one file; or a folder with a CSV per cell",
        ("", ".mat"),
        ("export matlab milan.nc -o milan.mat",),
        takes=("unit",),
    ),
    "gridded": Format(
        "gentraffic.io.export.gridded:write_gridded",
        ".nc: NetCDF (time, y, x) for cdo, GDAL and QGIS's time slider",
        (".nc",),
        ("export gridded milan.nc -o maps.nc", "export gridded ensemble.nc -o maps.nc --member mean"),
        members=False,
        takes=("unit",),
    ),
    "geotiff": Format(
        "gentraffic.io.export.gis:write_geotiff",
        ".tif: a COG with a band per step; of an ensemble its maps: mean, peak, quantiles, probabilities",
        (".tif",),
        ("export geotiff ensemble.nc -o maps.tif --capacity 5Mbit/s",),
        services=False,
        takes=("capacity", "unit"),
    ),
    "geopackage": Format(
        "gentraffic.io.export.gis:write_geopackage",
        ".gpkg: cells with statistics, and the series with geometry and time, for QGIS; of an ensemble mean and range",
        (".gpkg",),
        (
            "export geopackage ensemble.nc -o milan.gpkg --capacity 5Mbit/s",
            "export geopackage ensemble.nc -o milan.gpkg --member all",
        ),
        takes=("capacity", "unit"),
        ranged=True,
        readable=True,
        row_us=36.0,
        row_bytes=145.0,
        tells=True,
    ),
    "planning": Format(
        "gentraffic.io.export.gridded:write_planning",
        "folder: traffic.bil and traffic.grd, rasters of planning tools",
        ("",),
        ("export planning milan.nc -o rasters --statistic busy_mean",),
        members=False,
        services=False,
        takes=("statistic", "unit"),
    ),
    "kepler": Format(
        "gentraffic.io.export.gis:write_kepler",
        ".csv: Kepler.gl; of an ensemble mean and range",
        (".csv",),
        ("export kepler milan.nc -o milan.csv",),
        takes=("unit",),
        ranged=True,
        row_us=3.0,
        row_bytes=110.0,
        tells=True,
    ),
    "office": Format(
        "gentraffic.io.export.tables:write_office",
        ".csv or .xlsx: for spreadsheet programs, rounded to 6 digits; of an ensemble mean and range",
        (".csv", ".xlsx"),
        (
            "export office milan.nc -o milan.csv --decimal comma",
            "export office milan.nc -o milan.xlsx",
            "export office milan.nc -o milan.csv --unit GB",
        ),
        takes=("decimal", "unit"),
        ranged=True,
        readable=True,
        row_us=40.0,
        row_bytes=80.0,
        positions=False,
        tells=True,
    ),
    "influx": Format(
        "gentraffic.io.export.tables:write_influx",
        ".lp: InfluxDB line protocol; all members",
        (".lp", ".txt"),
        ("export influx milan.nc -o milan.lp",),
        takes=("unit",),
        row_us=10.0,
        row_bytes=110.0,
        positions=False,
        tells=True,
    ),
    "parquet": Format(
        "gentraffic.io.export.tables:write_parquet_by_day",
        "folder: Parquet partitioned by local day; all members",
        ("",),
        ("export parquet milan.nc -o milan",),
        takes=("unit",),
        row_us=0.5,
        row_bytes=10.0,
        positions=False,
        tells=True,
    ),
    "maveric": Format(
        "gentraffic.io.export.tables:write_maveric",
        "folder: the tables of Maveric's RADP: topology, config, ue_data, traffic",
        ("",),
        ("export maveric milan.nc -o maveric",),
        members=False,
        services=False,
    ),
    "frictionless": Format(
        "gentraffic.io.export.data_packages:write_frictionless",
        "folder: Frictionless data package (datapackage.json)",
        ("",),
        ("export frictionless milan.nc -o package",),
        takes=("unit",),
        row_us=3.0,
        row_bytes=90.0,
    ),
    "croissant": Format(
        "gentraffic.io.export.data_packages:write_croissant",
        "folder: Croissant card (croissant.json) for ML tools",
        ("",),
        ("export croissant milan.nc -o card",),
        takes=("unit",),
        row_us=3.0,
        row_bytes=90.0,
    ),
}
