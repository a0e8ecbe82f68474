"""The formats that traffic is exported to, as the command line and the documentation list them. Loads nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """What a format is for people. suffixes: what the output's name may end in; "" is a folder.

    members, services: whether it holds several. takes: which fields of ExportOptions its writer has.
    """

    about: str
    suffixes: tuple[str, ...]
    examples: tuple[str, ...]
    members: bool = True
    services: bool = True
    takes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExportOptions:
    """What only some formats take; None is what the format does without.

    unit: what 1 is in a step, "3.2GB", where units are 1. counter, form: the measurement and the specification of 3gpp.
    release: of Simu5G. capacity: how often it is exceeded is written too, "40Mbit/s"; a bare number is in the file's
    units. decimal: "point" or "comma", of office. statistic: "mean", "peak" or "busy_mean", of planning.
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
        ".npz: tensor (batch, cell, service, time) and positions", (".npz",), ("export sionna milan.nc -o milan.npz",)
    ),
    "matlab": Format(
        ".mat: one file; or a folder with a CSV per cell", ("", ".mat"), ("export matlab milan.nc -o milan.mat",)
    ),
    "gridded": Format(
        ".nc: NetCDF (time, y, x) for cdo, GDAL and QGIS's time slider",
        (".nc",),
        ("export gridded milan.nc -o maps.nc", "export gridded ensemble.nc -o maps.nc --member mean"),
        members=False,
    ),
    "geotiff": Format(
        ".tif: a COG with a band per step; of an ensemble its maps: mean, peak, quantiles, probabilities",
        (".tif",),
        ("export geotiff ensemble.nc -o maps.tif --capacity 40Mbit/s",),
        services=False,
        takes=("capacity",),
    ),
    "geopackage": Format(
        ".gpkg: cells with statistics, and the series with geometry and time, for QGIS",
        (".gpkg",),
        ("export geopackage ensemble.nc -o milan.gpkg --capacity 18GB",),
        takes=("capacity",),
    ),
    "planning": Format(
        "folder: traffic.bil and traffic.grd, rasters of planning tools",
        ("",),
        ("export planning milan.nc -o rasters --statistic busy_mean",),
        members=False,
        services=False,
        takes=("statistic",),
    ),
    "kepler": Format(".csv: Kepler.gl", (".csv",), ("export kepler milan.nc -o milan.csv",)),
    "office": Format(
        ".csv or .xlsx: for spreadsheet programs",
        (".csv", ".xlsx"),
        ("export office milan.nc -o milan.csv --decimal comma", "export office milan.nc -o milan.xlsx"),
        takes=("decimal",),
    ),
    "influx": Format(".lp: InfluxDB line protocol", (".lp", ".txt"), ("export influx milan.nc -o milan.lp",)),
    "parquet": Format("folder: Parquet partitioned by local day", ("",), ("export parquet milan.nc -o milan",)),
    "maveric": Format(
        "folder: the tables of Maveric's RADP: topology, config, ue_data, traffic",
        ("",),
        ("export maveric milan.nc -o maveric",),
        members=False,
        services=False,
    ),
    "frictionless": Format(
        "folder: Frictionless data package (datapackage.json)", ("",), ("export frictionless milan.nc -o package",)
    ),
    "croissant": Format(
        "folder: Croissant card (croissant.json) for ML tools", ("",), ("export croissant milan.nc -o card",)
    ),
}
