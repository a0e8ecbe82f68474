"""A map of traffic as one HTML file that needs no network.

The page carries Leaflet (BSD-2, gentraffic/assets/vendor/leaflet) and the numbers, and its Content-Security-Policy
forbids every request. Traffic v is carried as q = round(levels asinh(v / s) / asinh(top / s)): nearly linear below s,
logarithmic above, so the relative error is the same for quiet and busy cells; q = 0 is kept for no traffic at all.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.basemap import basemap_of
from gentraffic.dataset.geometry import cell_shapes, sectors_apart
from gentraffic.dataset.schema import (
    MEASURED,
    check_traffic,
    is_usual_week,
    local_time,
    member_band,
    one_service,
    units_words,
)
from gentraffic.dataset.services import with_sum
from gentraffic.dataset.units import readable
from gentraffic.io.templates import asset, render
from gentraffic.reports.change import change_of, change_pair, effect
from gentraffic.reports.map_layers import COLOURS, map_layers
from gentraffic.reports.model_summary import find_model
from gentraffic.reports.page import (
    badge_of,
    credit_line,
    is_plan,
    period_words,
    privacy_line,
    title_of,
    traffic_words,
    write_html,
)
from gentraffic.reports.traffic_text import rhythm_words

if TYPE_CHECKING:
    import xarray as xr

LEVELS = 4095  # of the shown value: steps of 0.3% over six decades
BAND_BITS = 4  # that the band's edges leave off
MAX_VALUES = 24_000_000  # about 40 MB of HTML; beyond it the map shows every second, third, ... step
MAX_VERTICES = 400_000  # beyond it outlines are thinned to what a screen can show


@dataclass(frozen=True)
class Marker:
    """A point on the map, in degrees, and what it says when pointed at. kind: "new" or "existing". radius_m: of the
    circle around it, 0 for none."""

    lon: float
    lat: float
    text: str
    kind: str = "new"
    radius_m: float = 0.0


def write_map(
    ds: xr.Dataset, path: str | Path, *, service: str | None = None, markers: Sequence[Marker] = (), title: str = ""
) -> None:
    """Write one service of `ds` (the first unless named) as a page with a map, a time slider and the cells' series.

    Layers show the mean, the busy hour and the members' range; of a file of a what-if what comes after the change
    plays, and layers show the difference, before and after. title: of the page, by default that of the place.
    Several members are shown as their mean, with their band in the series; small volumes in a smaller unit. `path` ends
    in .html.
    Raises WrongUse for the suffix or an unknown service, BadInput where `ds` breaks the schema or cannot be written.
    """
    write_html(path, page(ds, service=service, markers=markers, title=title))


def page(ds: xr.Dataset, *, service: str | None = None, markers: Sequence[Marker] = (), title: str = "") -> str:
    """The page that `write_map` writes."""
    check_traffic(ds)
    ds = readable(with_sum(ds, service))
    pair = change_pair(ds, service)
    chosen = pair[1] if pair else one_service(ds, service)
    data = map_data(ds, chosen) | {"markers": [[m.lat, m.lon, m.text, m.kind, m.radius_m] for m in markers]}
    data["base"] = _basemap(ds)
    change = change_of(ds, pair) if pair else None
    data["layers"] = [layer.to_json() for layer in map_layers(ds, chosen, change)]
    if pair:
        data["title"] += ": what a change does"
    if title:
        data["title"] = title
    parts: dict[str, Any] = {
        "title": str(data["title"]),
        "privacy": privacy_line(ds),
        "effect": effect(ds, change) if change else [],
        "badge": badge_of(ds),
        "data": _script_json(data),
        "leaflet_license": asset("vendor/leaflet/LICENSE"),
        # Pictures of controls that the map does not have would be requests.
        "leaflet_css": re.sub(r"[^{}]*\{[^{}]*url\([^{}]*\}", "", asset("vendor/leaflet/leaflet.css")),
        "leaflet_js": re.sub(r"//# sourceMappingURL=.*", "", asset("vendor/leaflet/leaflet.js")),
        "page_css": asset("templates/page/colours.css") + asset("webmap/page.css"),
        "page_js": asset("webmap/page.js"),
    }
    for kind in ("js", "css"):
        digests = [hashlib.sha256(parts[f"{name}_{kind}"].encode()).digest() for name in ("leaflet", "page")]
        parts[f"{kind}_hashes"] = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return render("page/map.html", **parts)


def map_data(ds: xr.Dataset, service: str) -> dict[str, Any]:
    """What the page reads from its JSON block; arrays as base64 of zlib of bytes in planes."""
    measured, stride = _measured(ds), -(-ds.sizes["cell"] * ds.sizes["time"] // MAX_VALUES)
    ds = ds.isel(time=slice(None, None, stride))
    values = ds[service].values
    members = len(values) if values.ndim == 3 else 1
    mean = values.mean(axis=0) if values.ndim == 3 else values  # (cells, steps)
    total = {"mean": mean.sum(axis=0, dtype=np.float64)}
    edges: dict[str, NDArray[np.float32]] = {}
    band = None
    if members > 1:
        quantiles, band = member_band(members)
        sums = values.sum(axis=1, dtype=np.float64)
        for name, quantile in zip(("low", "high"), quantiles, strict=True):
            edges[name] = _quantile(values, quantile)
            total[name] = np.quantile(sums, quantile, axis=0)
    scale = _scale(mean, float(max(v.max() for v in (mean, *edges.values()))))
    q = encode(mean, scale)
    blobs = {"values": _pack(q, 2)}
    for name, edge in edges.items():
        # Differences to the mean, modulo 256, take half the room.
        blobs[name] = _pack(((encode(edge, scale) >> BAND_BITS) - (q >> BAND_BITS)).astype(np.uint8), 1)
    times = ds["time"].values.astype("datetime64[s]").astype(np.int64)
    ids = ds["cell_id"].values
    units, named = units_words(ds, service), service.removesuffix("_before").removesuffix("_after")
    return {
        "title": title_of(ds, traffic_words(ds, named)),
        "subtitle": _subtitle(ds, members, stride),
        "warnings": str(ds.attrs.get("warnings", "")),
        "credit": _credit(ds),
        "label": f"{traffic_words(ds, service) if is_plan(ds) or service != named else service}, {units}",
        "none": "none" if is_plan(ds) else "no traffic",
        "usual": is_usual_week(ds),
        "units": "" if ds[service].attrs["units"] == "1" else units,
        "kind": ds.attrs["kind"],
        "cells": ds.sizes["cell"],
        "steps": ds.sizes["time"],
        "start": int(times[0]),
        "every": int(times[1] - times[0]) if len(times) > 1 else 3600,
        "offsets": _offsets(ds),
        "ids": ids.tolist(),
        "measured": measured,
        "first": int(np.argmax(total["mean"][times < times[0] + 86400])),  # the busiest step of the first day
        "levels": LEVELS,
        "bandBits": BAND_BITS,
        "scale": scale,
        "colours": COLOURS,
        "band": band,
        "total": {name: [float(f"{v:.6g}") for v in series] for name, series in total.items()},
        "blobs": blobs,
        "outlines": _outlines(ds),
    }


def encode(values: NDArray[np.float32], scale: dict[str, float]) -> NDArray[np.uint16]:
    """Traffic as whole numbers 0..LEVELS; 0 only where there is none. values: (any shape)."""
    span = np.arcsinh(scale["top"] / scale["s"])
    q = np.rint(np.arcsinh(values / np.float32(scale["s"])) * np.float32(LEVELS / span)).clip(0, LEVELS)
    return np.where(values > 0, np.maximum(q, 1), 0).astype(np.uint16)


def _scale(values: NDArray[np.float32], top: float) -> dict[str, float]:
    """`s` and `top` of the numbers; `low` and `high`, between which colours run, robust against single odd cells."""
    sample = values.reshape(-1)[:: max(1, values.size // 4_000_000)]
    positive = sample[sample > 0]
    if not positive.size:
        return {"s": 1.0, "top": top or 1.0, "low": 0.0, "high": top or 1.0}
    low, high = (float(v) for v in np.quantile(positive, (0.02, 0.995)))
    return {"s": max(low, top * 1e-6), "top": top, "low": min(low, high / 10), "high": high}


def _quantile(values: NDArray[np.float32], quantile: float) -> NDArray[np.float32]:
    """Quantile over the members, (cells, steps), in blocks of cells: numpy sorts a copy."""
    out = np.empty(values.shape[1:], dtype=np.float32)
    block = max(1, 2**22 // values[:, 0].size)
    for start in range(0, len(out), block):
        out[start : start + block] = np.quantile(values[:, start : start + block], quantile, axis=0)
    return out


def _measured(ds: xr.Dataset) -> list[list[int]]:
    """[cell, 1 where all of its steps were measured, else 0] of each cell that was measured, given to the draw."""
    if MEASURED not in ds.coords:
        return []
    count = ds[MEASURED].values
    return [[int(c), int(count[c] >= ds.sizes["time"])] for c in np.flatnonzero(count > 0)]


def _pack(numbers: NDArray[Any], width: int) -> str:
    planes = np.ascontiguousarray(numbers).reshape(-1).view(np.uint8).reshape(-1, width).T
    return base64.b64encode(zlib.compress(planes.tobytes(), 6)).decode()


def _offsets(ds: xr.Dataset) -> list[list[int]]:
    """Minutes east of UTC as [first step, minutes], one pair per change: a week with a change of clocks has two."""
    local = local_time(ds)
    minutes = [int(m) for m in (local.tz_localize(None) - local.tz_convert(None)).total_seconds() // 60]
    return [[i, m] for i, m in enumerate(minutes) if i == 0 or m != minutes[i - 1]]


def _outlines(ds: xr.Dataset) -> dict[str, Any]:
    """Cells as rings of points: differences of 1e-6 degrees from point to point, all longitudes, then all latitudes."""
    import shapely

    shapes = cell_shapes(ds)
    if bool((shapely.get_type_id(shapes) == shapely.GeometryType.POINT).all()):
        kind, points = "points", np.stack(sectors_apart(ds), axis=1)
        rings_per_cell = points_per_ring = np.ones(len(shapes), dtype=np.int64)
    else:
        if shapely.get_num_coordinates(shapes).sum() > MAX_VERTICES:
            west, south, east, north = shapely.total_bounds(shapes)
            shapes = shapely.simplify(shapes, max(east - west, north - south) / 8000, preserve_topology=True)
        parts, of_cell = shapely.get_parts(shapes, return_index=True)
        # Normalised, outer rings run one way and holes the other, as the canvas's nonzero rule wants them.
        rings, of_part = shapely.get_rings(shapely.normalize(parts), return_index=True)
        kind, (points, of_ring) = "polygons", shapely.get_coordinates(rings, return_index=True)
        repeated = np.append(of_ring[1:] != of_ring[:-1], True)  # the last point of a ring is its first
        points, of_ring = points[~repeated], of_ring[~repeated]
        rings_per_cell = np.bincount(of_cell[of_part], minlength=len(shapes))
        points_per_ring = np.bincount(of_ring, minlength=len(rings))
    lon, lat = points.T
    if np.ptp(lon) > 180:  # a place on both sides of the date line
        lon = np.where(lon < 0, lon + 360, lon)
    origin = [float(lon.min()), float(lat.min())]
    steps = [
        np.diff(np.rint((v - v0) * 1e6).astype(np.int32), prepend=np.int32(0))
        for v, v0 in zip((lon, lat), origin, strict=True)
    ]
    return {
        "shapes": kind,
        "ringsPerCell": _runs(rings_per_cell),
        "pointsPerRing": _runs(points_per_ring),
        "origin": origin,
        "points": _pack(np.concatenate(steps), 4),
    }


def _basemap(ds: xr.Dataset) -> dict[str, Any] | None:
    """The map beneath: sizes of its shapes class by class, points as in `_outlines` in units of 1e-5 degrees, names."""
    from poi.basemap import CLASSES, NAMES

    base = basemap_of(ds)
    if base is None:
        return None
    steps = np.diff(base.at, axis=0, prepend=base.at[:1]).astype(np.int32)
    order = sorted(range(len(base.name)), key=lambda i: (int(base.name_kind[i]), i))  # the largest places first
    return {
        "classes": [[CLASSES[k], int((base.kind == k).sum())] for k in np.unique(base.kind).tolist()],
        "sizes": _pack(base.size[np.argsort(base.kind, kind="stable")].astype(np.int32), 4),
        "origin": base.at[0].tolist() if len(base.at) else [0, 0],
        "points": _pack(np.concatenate([steps[:, 0], steps[:, 1]]), 4),
        "names": [[base.name[i], NAMES[base.name_kind[i]], *base.name_at[i].round(5).tolist()] for i in order],
    }


def _runs(sizes: NDArray[np.int64]) -> list[list[int]]:
    """Run lengths as [size, how often]."""
    starts = np.flatnonzero(np.append(True, sizes[1:] != sizes[:-1]))
    often = np.diff(np.append(starts, len(sizes)))
    return np.stack([sizes[starts], often], axis=1).tolist()  # type: ignore[no-any-return]


def _subtitle(ds: xr.Dataset, members: int, stride: int) -> str:
    times = local_time(ds)
    every = int((times[1] - times[0]).total_seconds() // 60) if len(times) > 1 else 60
    cadence = {60: "hourly", 1440: "daily"}.get(
        every, f"every {every // 60} h" if every % 60 == 0 else f"every {every} min"
    )
    what = ("station" if ds.attrs["kind"] == "stations" else "cell") + ("s" if ds.sizes["cell"] > 1 else "")
    parts = [period_words(ds), cadence, f"{ds.sizes['cell']:,} {what}", str(ds.attrs["timezone"])]
    if members > 1:
        parts.insert(3, f"mean of {members} members")
    if stride > 1:
        parts.insert(2, f"thinned: one step in {stride} is shown")
    return " · ".join(parts)


def _credit(ds: xr.Dataset) -> str:
    credits = [line] if (line := credit_line(ds)) else []
    credits += [f"model: {ds.attrs['model']}"] if ds.attrs.get("model") else []
    credits += [f"rhythm: {rhythm_words(ds, find_model(ds))}"] if ds.attrs.get("rhythm") else []
    return " · ".join([*credits, "map: Leaflet"])


def _script_json(data: dict[str, Any]) -> str:
    """JSON that cannot end its script block, whatever text the data hold."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
