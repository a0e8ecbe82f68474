"""Traffic for network simulators: Simu5G (OMNeT++ .ini), Sionna-style tensors (.npz), a CSV per cell for MATLAB."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.build import plain_text
from gentraffic.dataset.schema import local_time, services, utc_offset_s
from gentraffic.errors import WrongUse
from gentraffic.io.atomic import replacing
from gentraffic.io.export.columns import own_columns
from gentraffic.io.export.counters import bits_per_value, step_seconds, whole_numbers
from gentraffic.io.export.folder import folder

if TYPE_CHECKING:
    import xarray as xr

PACKET_B = 1250  # 10 kbit: below the usual MTU, and a round number
SIM_S = 10
MAX_UES = 60_000  # each has a port of the server
MARGIN_M = 500
BIT_SCALES = {"bit": 1.0, "kbit": 1e3}

_INI_HEAD = """\
# Traffic of {place}, written by gentraffic for Simu5G {version}.
# {credit}
#
# One gNB in the middle serves all: sites and sectors of the traffic are UEs here, not gNBs.
# One UE per cell, at its centre, receives the cell's whole downlink as constant bit rate from the server. Run k of this
# configuration is step k: `simu5g -u Cmdenv -c Traffic -r 17 {name}` simulates {sim_s} s at the rates of step 17.
# The lists hold {unit} per step of {step_s} s, whole numbers whose sums are those of the traffic: {total} in all.
# With a topology of your own: `include {name}`, and `extends = Traffic` in your configuration.
"""
_INI_BODY = """\
[General]
sim-time-limit = {sim_s}s
seed-set = ${{repetition}}
output-scalar-file = ${{resultdir}}/${{configname}}/step-${{step = 0..{last}}}.sca
output-vector-file = ${{resultdir}}/${{configname}}/step-${{step}}.vec
**.routingRecorder.enabled = false

[Config Traffic]
description = "{cells} cells, {steps} steps of {step_s} s from {first}"
network = {network}
**.mobility.initFromDisplayString = false
**.mobility.constraintAreaMinX = 0m
**.mobility.constraintAreaMinY = 0m
**.mobility.constraintAreaMinZ = 0m
**.mobility.constraintAreaMaxX = {width}m
**.mobility.constraintAreaMaxY = {height}m
**.mobility.constraintAreaMaxZ = 0m
*.gnb.mobility.initialX = {centre_x}m
*.gnb.mobility.initialY = {centre_y}m
*.numUe = {cells}
{serving}
*.ue[*].numApps = 1
*.ue[*].app[0].typename = "CbrReceiver"
*.ue[*].app[0].localPort = 3000
*.server.numApps = {cells}
*.server.app[*].typename = "CbrSender"
*.server.app[*].packetSize = {packet}B
*.server.app[*].destAddress = "ue[" + string(ancestorIndex(0)) + "]"
*.server.app[*].destPort = 3000
*.server.app[*].localPort = 3088 + ancestorIndex(0)
*.server.app[*].finishTime = {sim_s}s
"""


@dataclass(frozen=True)
class _Simu5G:
    """How a version of Simu5G calls things. serving: the lines that tie all users to the one cell."""

    network: str
    interval: str
    serving: tuple[str, ...]
    about: str


VERSIONS = {
    "1.4": _Simu5G(
        "simu5g.simulations.nr.networks.SingleCell_Standalone", "samplingTime",
        ("*.ue[*].servingNodeId = 0", "*.ue[*].nrServingNodeId = 1"), "1.4.3 and later",
    ),
    "1.3": _Simu5G(
        "simu5g.simulations.NR.networks.SingleCell_Standalone", "sampling_time",
        ("*.ue[*].macCellId = 0", "*.ue[*].masterId = 0", "*.ue[*].nrMacCellId = 1", "*.ue[*].nrMasterId = 1"),
        "1.2 to 1.3 (--release 1.3)",
    ),
}  # fmt: skip


def write_simu5g(ds: xr.Dataset, path: str | Path, *, unit: str | None = None, release: str = "1.4") -> dict[str, Any]:
    """Write one service and member as an OMNeT++ configuration for Simu5G: parallel iteration over the steps.

    The network is Simu5G's own of one gNB; each cell, site or sector is a UE of it.

    release: "1.4" for Simu5G 1.4.3 and later, or "1.3"; parameters and the network were renamed between the two.
    Volumes are whole kbit per step (`whole_numbers`). y runs southwards, as on OMNeT++'s canvas. A cell that is silent
    in a step sends nothing then. Returns the kbit written and what rounding left. Raises WrongUse where the service is
    no volume, or for more cells than the server has ports.
    """
    if release not in VERSIONS:
        raise WrongUse(f"--release {release}: give one of {', '.join(VERSIONS)}")
    simu5g = VERSIONS[release]
    (service,) = services(ds)
    cells, steps = ds.sizes["cell"], ds.sizes["time"]
    if cells > MAX_UES:
        raise WrongUse(f"{cells} cells: Simu5G takes one UE per cell, at most {MAX_UES}; draw some with --select")
    step_s = step_seconds(ds)
    whole, left = whole_numbers(
        ds[service].values, bits_per_value(ds, service, unit) / BIT_SCALES["kbit"], f"kbit of {service}", unit
    )
    x, y = (ds[axis].values for axis in ("x", "y"))
    east, south = x - x.min() + MARGIN_M, y.max() - y + MARGIN_M
    times = local_time(ds)
    total = int(whole.sum())
    place = " ".join(str(ds.attrs.get("place", "")).split())
    values = {
        "place": place, "name": plain_text(Path(path).name), "sim_s": SIM_S, "step_s": step_s, "total": total,
        "cells": cells, "unit": "kbit", "steps": steps, "last": steps - 1, "first": times[0].isoformat(),
        "packet": PACKET_B,
        "credit": " ".join(f"{ds.attrs.get('attribution', '')} {ds.attrs.get('license', '')}".split()),
        "width": f"{east.max() + MARGIN_M:.1f}", "height": f"{south.max() + MARGIN_M:.1f}",
        "network": simu5g.network, "serving": "\n".join(simu5g.serving), "version": simu5g.about,
        "centre_x": f"{np.median(east):.1f}", "centre_y": f"{np.median(south):.1f}",
    }  # fmt: skip
    with replacing(path, (".ini",)) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as out:
        out.write(_INI_HEAD.format(**values))
        out.writelines(f"# step {i}: {when.isoformat()}\n" for i, when in enumerate(times))
        out.write(_INI_BODY.format(**values))
        _senders(out, ds["cell_id"].values.tolist(), east, south, whole, step_s, simu5g.interval)
    return {"simu5g": simu5g.about, "kbit": {service: total}, "kbit_left": {service: round(left, 9)}, "runs": steps}


def _senders(
    out: TextIO, ids: list[Any], east: NDArray[Any], south: NDArray[Any], whole: NDArray[np.int64], step_s: int,
    interval: str,
) -> None:  # fmt: skip
    packet_kbit = PACKET_B * 8 // 1000
    for i, cell in enumerate(ids):
        volumes = ", ".join(map(str, whole[i].tolist()))
        out.write(f"# cell {' '.join(str(cell).split())}\n")
        out.write(f"*.ue[{i}].mobility.initialX = {east[i]:.1f}m\n*.ue[{i}].mobility.initialY = {south[i]:.1f}m\n")
        # Seconds between packets; of a silent step so long that none falls into the simulation.
        every = f"{packet_kbit * step_s}s / max(1e-6, ${{volume{i}%s}})"
        out.write(f"*.server.app[{i}].{interval} = {every % f' = {volumes} ! step'}\n")
        out.write(f"*.server.app[{i}].startTime = uniform(0s, {every % ''})\n")


AXES = ("batch (member)", "cell", "service", "time")


def write_sionna(ds: xr.Dataset, path: str | Path) -> dict[str, Any]:
    """Write all services and members as a tensor with the batch first, as Sionna's system-level simulations order it.

    traffic        (batch, cell, service, time) float32, batch = ensemble member, in `units` per service
    bs_loc         (batch, cell, 3) float32, metres: x east, y north of `origin_lonlat`, z = 0 (add antenna heights)
    time_utc       (time,) int64, seconds since 1970, start of the step; utc_offset_s (time,) int64, local minus UTC
    step_s         () int64;  member (batch,) int64;  cell_id (cell,) text;  lonlat (cell, 2) float64, degrees
    service, units (service,) text;  axes (4,) text;  about () text: JSON of provenance and attribution
    site, azimuth, height, band, ... (cell,) numbers or text, where they are told of the cells

    Open with `numpy.load(path, allow_pickle=False)`.
    """
    names = services(ds)
    stacked = np.stack([ds[name].values for name in names])  # (services, [members,] cells, steps)
    traffic = stacked[None] if stacked.ndim == 3 else stacked.transpose(1, 0, 2, 3)  # (members, services, cells, steps)
    traffic = np.ascontiguousarray(traffic.transpose(0, 2, 1, 3))
    xy = np.stack([ds["x"].values, ds["y"].values], axis=1)
    middle = int(np.argmin(((xy - xy.mean(axis=0)) ** 2).sum(axis=1)))  # a cell, so that the origin has degrees
    loc = np.zeros((len(traffic), len(xy), 3), dtype=np.float32)
    loc[..., :2] = xy - xy[middle]
    utc = ds["time"].values.astype("datetime64[s]").astype(np.int64)
    about = {str(key): str(value) for key, value in ds.attrs.items() if key not in ("crs_wkt",)}
    arrays = {
        "traffic": traffic,
        "bs_loc": loc,
        "origin_lonlat": np.array([ds["lon"].values[middle], ds["lat"].values[middle]]),
        "time_utc": utc,
        "utc_offset_s": utc_offset_s(ds),
        "step_s": np.int64(step_seconds(ds)),
        "member": ds["member"].values.astype(np.int64) if "member" in ds.coords else np.zeros(1, dtype=np.int64),
        "cell_id": ds["cell_id"].values.astype(str),
        "lonlat": np.stack([ds["lon"].values, ds["lat"].values], axis=1),
        "service": np.array(names),
        "units": np.array([str(ds[name].attrs["units"]) for name in names]),
        "axes": np.array(AXES),
        "about": np.array(json.dumps(about, ensure_ascii=False)),
    }
    arrays |= {name: v if v.dtype.kind in "iuf" else v.astype(str) for name, v in own_columns(ds, arrays).items()}
    with replacing(path, (".npz",)) as temporary, temporary.open("wb") as out:
        np.savez_compressed(out, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for allow_pickle
    return {"shape": list(traffic.shape), "axes": list(AXES)}


def write_matlab(ds: xr.Dataset, path: str | Path) -> dict[str, Any]:
    """Write a .mat file (see `_write_mat`), or a folder for `readtimetable`.

    The folder: cells.csv (file, cell_id, lon, lat, x_m, y_m, columns of the cells), and a CSV per cell that
    `readtimetable` takes.

    Columns of a cell's file: time_utc, time_local (yyyy-MM-dd HH:mm:ss), utc_offset_min, then SERVICE, or of several
    members SERVICE_m0, SERVICE_m1, ... Names are valid MATLAB identifiers; numbers read back as the same float32.
    """
    import csv

    if Path(path).suffix.lower() == ".mat":
        return _write_mat(ds, path)
    times = local_time(ds)
    stamps = [
        f"{u:%Y-%m-%d %H:%M:%S},{t:%Y-%m-%d %H:%M:%S},{offset // 60}"
        for u, t, offset in zip(times.tz_convert("UTC"), times, utc_offset_s(ds).tolist(), strict=True)
    ]
    columns: list[str] = []
    series: list[NDArray[np.float32]] = []
    for name in services(ds):
        values = ds[name].values
        if "member" in ds.dims:
            columns += [f"{name}_m{number}" for number in ds["member"].values.tolist()]
            series += list(values)
        else:
            columns.append(name)
            series.append(values)
    head = ",".join(["time_utc", "time_local", "utc_offset_min", *columns])
    ids = ds["cell_id"].values.tolist()
    width = len(str(len(ids)))
    own = own_columns(ds, {"file", "cell_id", "lon", "lat", "x_m", "y_m"})
    with folder(path, ds, "matlab") as temporary:
        with (temporary / "cells.csv").open("w", encoding="utf-8", newline="") as out:
            table = csv.writer(out, lineterminator="\n")
            table.writerow(["file", "cell_id", "lon", "lat", "x_m", "y_m", *own])
            at = [ds[name].values.tolist() for name in ("lon", "lat", "x", "y")]
            told = [values.tolist() for values in own.values()]
            for i, (cell, *where) in enumerate(zip(ids, *at, strict=True), start=1):
                row = [f"cell_{i:0{width}d}.csv", cell, *map(repr, where)]
                table.writerow([*row, *(column[i - 1] for column in told)])
        for i in range(len(ids)):
            rows = np.stack([values[i] for values in series], axis=1)  # (steps, columns)
            _cell_csv(temporary / f"cell_{i + 1:0{width}d}.csv", head, stamps, rows)
    return {"files": len(ids) + 1, "columns": columns}


_MAT_NAMES = ("lon", "lat", "x_m", "y_m", "time_utc", "utc_offset_s", "member", "cell_id", "units", "about")


def _write_mat(ds: xr.Dataset, path: str | Path) -> dict[str, Any]:
    """A MATLAB 5 file, which `load` reads, Octave as well.

    SERVICE        (cells, steps[, members]) single, in units.SERVICE; of the names of services
    time_utc       (steps, 1) double, seconds since 1970: datetime(time_utc, 'ConvertFrom', 'posixtime')
    utc_offset_s   (steps, 1) double; cell_id (cells, 1) cell of text; lon, lat, x_m, y_m (cells, 1) double
    units, about   structs of text
    site, azimuth, ...  where they are told of the cells: (cells, 1) double, or cell of text
    """
    from scipy.io import savemat

    names = services(ds)
    taken = [name for name in names if len(name) > 31 or name in _MAT_NAMES]
    if taken:
        raise WrongUse(f"a variable of MATLAB cannot be called {taken[0]!r} here: name another service with --service")
    column = {"lon": "lon", "lat": "lat", "x": "x_m", "y": "y_m"}
    arrays: dict[str, Any] = {
        name: np.ascontiguousarray(v.transpose(1, 2, 0) if v.ndim == 3 else v)
        for name, v in ((name, ds[name].values) for name in names)
    }
    arrays |= {theirs: ds[ours].values.astype(np.float64)[:, None] for ours, theirs in column.items()}
    arrays["time_utc"] = ds["time"].values.astype("datetime64[s]").astype(np.float64)[:, None]
    arrays["utc_offset_s"] = utc_offset_s(ds).astype(np.float64)[:, None]
    if "member" in ds.coords:
        arrays["member"] = ds["member"].values.astype(np.float64)[:, None]
    arrays["cell_id"] = np.array([str(cell) for cell in ds["cell_id"].values], dtype=object)[:, None]
    for name, values in own_columns(ds, {*arrays, *_MAT_NAMES}).items():
        arrays[name[:31]] = values.astype(np.float64 if values.dtype.kind in "iuf" else object)[:, None]
    arrays["units"] = {name: str(ds[name].attrs["units"]) for name in names}
    arrays["about"] = {str(k)[:31]: str(v) for k, v in ds.attrs.items() if k != "crs_wkt"}
    with replacing(path, (".mat",)) as temporary, temporary.open("wb") as out:
        savemat(out, arrays, do_compression=True, oned_as="column")
    return {"variables": sorted(arrays), "shape": list(arrays[names[0]].shape)}


def _cell_csv(path: Path, head: str, stamps: list[str], rows: NDArray[np.float32]) -> None:
    digits = 9 if rows.dtype == np.float32 else None  # ten, as `text_number` has it
    text = [
        [np.format_float_scientific(v, precision=digits, unique=True, trim="-") for v in row]
        for row in rows.astype(np.float64)
    ]
    lines = [head, *(",".join([stamp, *row]) for stamp, row in zip(stamps, text, strict=True))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
