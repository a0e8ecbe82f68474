"""The formats that traffic is exported to, as the command line and the documentation list them. Loads nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """What a format is for people. suffixes: what the output's name may end in; "" is a folder.

    members, services: whether it holds several. takes: which fields of ExportOptions it has. ranged: an ensemble is
    written as its mean and range unless all members are asked for. readable: amounts are written in a unit that reads
    well. row_us, row_bytes: microseconds and bytes of a row of the long table on one core, 0 where there is none.
    """

    about: str
    suffixes: tuple[str, ...]
    examples: tuple[str, ...]
    members: bool = True
    services: bool = True
    takes: tuple[str, ...] = ()
    ranged: bool = False
    readable: bool = False
    row_us: float = 0.0
    row_bytes: float = 0.0


@dataclass(frozen=True)
class ExportOptions:
    """What only some formats take; None is what the format does without.

    unit: what 1 is in a step, "3.2GB", where units are 1; of tables and maps also the unit to write, "GB". counter,
    form: the measurement and the specification of 3gpp. release: of Simu5G. capacity: how often it is exceeded is
    written too, "40Mbit/s"; a bare number is in the file's units. decimal: "point" or "comma", of office.
    statistic: "mean", "peak" or "busy_mean", of planning.
    """

    unit: str | None = None
    counter: str | None = None
    capacity: str | None = None
    form: str | None = None
    release: str | None = None
    decimal: str | None = None
    statistic: str | None = None

    def given(self) -> dict[str, str]:
        """Those that are not None, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


FORMATS = {
    "3gpp": Format(
        ".xml: 3GPP TS 32.435 or TS 28.532 measurement XML, whole Mbit; or a folder, a file per period",
        (".xml", ""),
        (
            "export 3gpp milan.nc -o milan.xml --unit 3.2GB",
            "export 3gpp ensemble.nc -o measurements --member p95",
            "export 3gpp milan.nc -o milan.xml --form 28.532",
        ),
        members=False,
        takes=("unit", "counter", "form"),
    ),
    "simu5g": Format(
        ".ini: Simu5G 1.4.3 and later (OMNeT++), one UE per cell, run k = step k",
        (".ini",),
        (
            "export simu5g sites.nc -o traffic.ini --member 0",
            "export simu5g sites.nc -o traffic.ini --release 1.3",
        ),
        members=False,
        services=False,
        takes=("unit", "release"),
    ),
    "sionna": Format(
        ".npz: tensor (batch, cell, service, time) and positions",
        (".npz",),
        ("export sionna milan.nc -o milan.npz",),
        takes=("unit",),
    ),
    "matlab": Format(
        ".mat: one file; or a folder with a CSV per cell",
        ("", ".mat"),
        ("export matlab milan.nc -o milan.mat",),
        takes=("unit",),
    ),
    "gridded": Format(
        ".nc: NetCDF (time, y, x) for cdo, GDAL and QGIS's time slider",
        (".nc",),
        ("export gridded milan.nc -o maps.nc", "export gridded ensemble.nc -o maps.nc --member mean"),
        members=False,
        takes=("unit",),
    ),
    "geotiff": Format(
        ".tif: a COG with a band per step; of an ensemble its maps: mean, peak, quantiles, probabilities",
        (".tif",),
        ("export geotiff ensemble.nc -o maps.tif --capacity 5Mbit/s",),
        services=False,
        takes=("capacity", "unit"),
    ),
    "geopackage": Format(
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
    ),
    "planning": Format(
        "folder: traffic.bil and traffic.grd, rasters of planning tools",
        ("",),
        ("export planning milan.nc -o rasters --statistic busy_mean",),
        members=False,
        services=False,
        takes=("statistic", "unit"),
    ),
    "kepler": Format(
        ".csv: Kepler.gl; of an ensemble mean and range",
        (".csv",),
        ("export kepler milan.nc -o milan.csv",),
        takes=("unit",),
        ranged=True,
        row_us=3.0,
        row_bytes=110.0,
    ),
    "office": Format(
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
    ),
    "influx": Format(
        ".lp: InfluxDB line protocol; all members",
        (".lp", ".txt"),
        ("export influx milan.nc -o milan.lp",),
        takes=("unit",),
        row_us=10.0,
        row_bytes=110.0,
    ),
    "parquet": Format(
        "folder: Parquet partitioned by local day; all members",
        ("",),
        ("export parquet milan.nc -o milan",),
        takes=("unit",),
        row_us=0.5,
        row_bytes=10.0,
    ),
    "maveric": Format(
        "folder: the tables of Maveric's RADP: topology, config, ue_data, traffic",
        ("",),
        ("export maveric milan.nc -o maveric",),
        members=False,
        services=False,
    ),
    "frictionless": Format(
        "folder: Frictionless data package (datapackage.json)",
        ("",),
        ("export frictionless milan.nc -o package",),
        takes=("unit",),
        row_us=3.0,
        row_bytes=90.0,
    ),
    "croissant": Format(
        "folder: Croissant card (croissant.json) for ML tools",
        ("",),
        ("export croissant milan.nc -o card",),
        takes=("unit",),
        row_us=3.0,
        row_bytes=90.0,
    ),
}
