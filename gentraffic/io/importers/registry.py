"""Public data sets by name: what `gentraffic import NAME` and `gentraffic.import_dataset` read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentraffic.errors import WrongUse, did_you_mean
from gentraffic.io.guard import reading

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class DataSet:
    """about: a line of help. read: module:function that takes a path, and `options`, and returns traffic, or traffic
    and the context of its cells. example: a command. places: whether there is a context."""

    about: str
    read: str
    example: str
    places: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


DATA_SETS = {
    "uomo": DataSet(
        "UoMo: 4x4-cell patches with traffic, users and POIs (.npz, or the upstream JSON)",
        "gentraffic.io.importers.uomo:read_uomo",
        "import uomo uomo_sd.npz -o traffic.nc --context context.nc",
        places=True,
    ),
    "milan-week": DataSet(
        "Milan, up to 348 cells, a week of five services by hour: a folder with the .npz files",
        "gentraffic.io.importers.public_sets:read_milan_week",
        "import milan-week telecom-italia -o milan.nc",
        options={"services": ("internet", "call_in", "call_out", "sms_in", "sms_out")},
    ),
    "milan-5x5": DataSet(
        "Milan, 25 cells, 30 days of Internet activity every 10 minutes (.csv without a header)",
        "gentraffic.io.importers.public_sets:read_milan_5x5",
        "import milan-5x5 milan_5x5_internet_10min.csv -o milan-5x5.nc",
    ),
    "beijing": DataSet(
        "Beijing, 768 base stations, a week by hour, made-up positions (.npz)",
        "gentraffic.io.importers.public_sets:read_beijing",
        "import beijing beijing_stations_168h.npz -o beijing.nc",
    ),
}


def read_data_set(name: str, path: Path) -> tuple[xr.Dataset, xr.Dataset | None]:
    """Traffic (cell, time) of a data set, and the context of its cells where it has one.

    Raises WrongUse for a name that is not of DATA_SETS, BadInput for another file, whatever its reader raises of it.
    """
    if name not in DATA_SETS:
        raise WrongUse(f"no data set {name!r}: give one of {', '.join(DATA_SETS)}{did_you_mean(name, DATA_SETS)}")
    known = DATA_SETS[name]
    module, _, function = known.read.partition(":")
    with reading(path):
        found = getattr(import_module(module), function)(path, **known.options)
    return found if known.places else (found, None)
