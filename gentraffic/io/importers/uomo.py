"""The UoMo / FoMo data (tsinghua-fib-lab/UoMo, MIT): 4x4-cell patches of three Chinese cities, with users and POIs.

Two forms are read. The `.npz` holds whole series: `traffic`, `users` (series, steps, 4, 4), `poi` (series, classes,
4, 4), `poi_classes`, `location`, `week` (series,), `dow_tod` (steps, 2), `steps_per_day`. The upstream JSON
(`24_TrafficSD_short64.json` with `TrafficSD_user64.json` and `TrafficSD_poi64.json` beside it) holds every 64-step
window of every series, shuffled, in the layout that upstream's DataLoader_align.py reads; overlaps join them again.

What the source leaves out is filled so that nothing downstream can mistake it, and the attributes say so: positions
(patches 20 km apart, so no station graph joins two) and the calendar (an arbitrary week with the source's weekdays).
"""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.build import Places, local_utm_wkt, measured_context, measured_traffic, places_from_xy
from gentraffic.errors import BadInput
from gentraffic.io.guard import reads

if TYPE_CHECKING:
    import xarray as xr

TIMEZONE = "Asia/Shanghai"
CELL_M = 250.0  # upstream states no pitch; FoMo's paper speaks of cells of a few hundred metres
PATCH_M = 20_000.0  # far beyond the 1 km of the station graph
LATTICE = 10  # patches per row of the synthetic plane
MAX_BYTES = 4 * 2**30  # unpacked; the known files hold under 100 MB
WINDOW = 64  # steps of an upstream JSON window

CENTRES = {"uomo-sd": (117.0, 36.65), "uomo-nc": (115.89, 28.68), "uomo-nj": (118.80, 32.06)}  # lon, lat of the anchor
PLACES = {"uomo-sd": "Shandong, China", "uomo-nc": "Nanchang, China", "uomo-nj": "Nanjing, China"}
BY_CADENCE = {24: "uomo-sd", 48: "uomo-nc", 96: "uomo-nj"}
# The local date that stands for day index 0, in a month without holidays. The weekday was read off the data (two days
# with a late rise, a flat midday and a weak rush hour are Saturday and Sunday): sd days 1, 2 (clear); nc days 4, 5
# (5 weakly); nj days 3, 4 (3 weakly: Saturday is half a working day there).
DAY_0 = {"uomo-sd": "2021-03-05", "uomo-nc": "2021-03-02", "uomo-nj": "2021-03-03"}  # Friday, Tuesday, Wednesday
NOTES = {
    "uomo-sd": "week 1 copies week 0 with 0.6% jitter, the steps after 168 h copy the first ones with 0.2%: use week 0"
    " and 168 h; hour 04 is about 5% of its neighbours in every cell (an artefact)",
    "uomo-nc": "week 1 is another network; its days 3 to 6 all look like days off, so it may hold a holiday",
    "uomo-nj": "about half of the cells are dead (all zero)",
}
# AMap's top-level classes in upstream's order; sd lacks road_furniture, nj events and road_furniture
AMAP = (
    "events", "transport_facility", "accommodation", "sports_recreation", "public_facility", "enterprise", "medical",
    "commercial_residential", "place_address", "indoor_facility", "motorcycle", "government_org", "auto_service",
    "auto_repair", "auto_dealer", "daily_life", "science_education", "shopping", "pass_facility", "road_furniture",
    "finance_insurance", "tourist_attraction", "food_beverage",
)  # fmt: skip


@dataclass(frozen=True)
class Patches:
    """What both forms hold: S series of T steps over 4x4 cells."""

    traffic: NDArray[np.float32]  # (S, T, 4, 4)
    users: NDArray[np.float32]  # (S, T, 4, 4)
    poi: NDArray[np.int32]  # (S, classes, 4, 4)
    classes: list[str]
    location: NDArray[np.int32]  # (S,)
    week: NDArray[np.int32]  # (S,)
    day_slot: NDArray[np.int64]  # (T, 2) day index, slot of the day
    steps_per_day: int


@reads
def read_uomo(path: str | Path) -> tuple[xr.Dataset, xr.Dataset]:
    """(Traffic, Context) of a UoMo file: the `.npz` or the upstream traffic JSON.

    One cell per (series, row, col), named like `sd-L05-w0-r2c3`, the same in both and in the same order. Traffic has
    the variables `traffic` (units unknown: the source states none) and `users`; both datasets carry the per-cell
    coordinates `location`, `week`, `patch_row`, `patch_col` (0..3 inside the patch) and `row`, `col` (unique in the
    synthetic plane). Dead cells (all zero) are kept. Raises BadInput for anything that does not have this structure.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    patches = _from_json(path) if path.suffix.lower() == ".json" else _from_npz(path)
    network = _network(path, patches.steps_per_day)
    _check(patches, path)
    places, extra = _places(patches, network)
    time = _utc(patches, network, path)
    attrs = {
        "title": f"UoMo mobile traffic, {network}",
        "network": network,
        "place": PLACES[network],
        "positions": "synthetic: the source states none",
        "calendar": "arbitrary week; weekday and hour follow the source",
        "comment": NOTES[network],
        "attribution": "UoMo (FoMo), Chai et al., FIB Lab, Tsinghua University: github.com/tsinghua-fib-lab/UoMo",
        "license": "MIT",
    }
    series, steps = patches.traffic.shape[:2]

    def flat(values: NDArray[np.float32]) -> NDArray[np.float32]:  # (S, T, 4, 4) -> (S * 16, T)
        return np.ascontiguousarray(values.reshape(series, steps, 16).transpose(0, 2, 1).reshape(series * 16, steps))

    places = replace(places, extra=extra)
    traffic = measured_traffic(
        places,
        time,
        {"traffic": (flat(patches.traffic), "unknown"), "users": (flat(patches.users), "1")},
        timezone=TIMEZONE,
        attrs=attrs,
    )

    from poi.categories import counts_from_amap

    try:
        # the source's POI patches are transposed against its traffic: in sd the rank correlation of log POI total and
        # mean traffic is 0.80 when they are turned, 0.33 as they lie (within a location 0.68 and 0.06)
        counts = counts_from_amap(patches.poi.transpose(0, 3, 2, 1).reshape(series * 16, -1), patches.classes)
    except ValueError as error:
        raise BadInput(f"{path}: {error}") from error
    turned = "transposed: the source's POI patches are turned against its traffic"
    context = measured_context(places, counts.astype(np.int32), timezone=TIMEZONE, attrs=attrs | {"poi_axes": turned})
    return traffic, context


def _from_npz(path: Path) -> Patches:
    """Whole series from the `.npz`."""
    keys = ("traffic", "users", "poi", "poi_classes", "location", "week", "dow_tod", "steps_per_day")
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_BYTES:
            raise BadInput(
                f"{path}: unpacks to {size / 2**30:.1f} GiB, more than {MAX_BYTES / 2**30:.0f}; not a UoMo file"
            )
        with np.load(path, allow_pickle=False) as archive:
            missing = [key for key in keys if key not in archive.files]
            if missing:
                raise BadInput(f"{path}: no array {missing[0]!r} (found: {', '.join(archive.files)}); not a UoMo .npz")
            arrays = {key: archive[key] for key in keys}
    except (BadInput, MemoryError):
        raise
    except Exception as error:  # whatever a library raises on an input is the input's
        raise BadInput(f"{path}: not a whole .npz ({' '.join(str(error).split())}); copy it again") from error
    try:
        return Patches(
            traffic=arrays["traffic"].astype(np.float32),
            users=arrays["users"].astype(np.float32),
            poi=arrays["poi"].astype(np.int32),
            classes=[str(name) for name in arrays["poi_classes"]],
            location=arrays["location"].astype(np.int32),
            week=arrays["week"].astype(np.int32),
            day_slot=arrays["dow_tod"].astype(np.int64),
            steps_per_day=int(arrays["steps_per_day"]),
        )
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BadInput(f"{path}: an array has the wrong type ({error}); not a UoMo .npz") from error


def _check(patches: Patches, path: Path) -> None:
    """Shapes agree, and no two series claim the same place and week."""
    series, steps = patches.traffic.shape[0], patches.day_slot.shape[0]
    expected = {
        "traffic": (patches.traffic.shape, (series, steps, 4, 4)),
        "users": (patches.users.shape, (series, steps, 4, 4)),
        "poi": (patches.poi.shape, (series, len(patches.classes), 4, 4)),
        "location": (patches.location.shape, (series,)),
        "week": (patches.week.shape, (series,)),
        "dow_tod": (patches.day_slot.shape, (steps, 2)),
    }
    for name, (shape, wanted) in expected.items():
        if shape != wanted:
            raise BadInput(f"{path}: {name} has shape {shape}, expected {wanted}; not a UoMo file")
    if not series or steps < 2:
        raise BadInput(f"{path}: {series} series of {steps} steps; nothing to import")
    pairs, counts = np.unique(np.stack([patches.location, patches.week], 1), axis=0, return_counts=True)
    if counts.max() > 1:
        location, week = pairs[int(np.argmax(counts))]
        raise BadInput(f"{path}: location {location}, week {week} occurs {counts.max()} times; each may occur once")
    for name, values, low, high in (("location", patches.location, 0, 9_999), ("week", patches.week, 0, 1)):
        if values.min() < low or values.max() > high:
            raise BadInput(f"{path}: {name} reaches from {values.min()} to {values.max()}; {low} to {high} are known")


def _network(path: Path, steps_per_day: int) -> str:
    """Which city: from the file's name where it holds sd, nc or nj as a word, else from the cadence."""
    for word in re.split(r"[^a-z]+", path.stem.lower()):
        name = "uomo-" + word.removeprefix("traffic")
        if name in CENTRES:
            return name
    if steps_per_day not in BY_CADENCE:
        raise BadInput(f"{path}: {steps_per_day} steps per day, and no sd, nc or nj in its name; 24, 48, 96 are known")
    return BY_CADENCE[steps_per_day]


def _places(patches: Patches, network: str) -> tuple[Places, dict[str, NDArray[Any]]]:
    """Cells of each series on a plane of patches 20 km apart, from the city's centre; their extra coordinates."""
    from pyproj import Transformer

    series = len(patches.location)
    location, week = np.repeat(patches.location, 16), np.repeat(patches.week, 16)
    patch_row, patch_col = (np.tile(a.ravel(), series) for a in np.indices((4, 4)))
    stride = int(PATCH_M / CELL_M)
    row = (location // LATTICE * 2 + week) * stride + patch_row  # week 1 lies in a row of patches of its own
    col = location % LATTICE * stride + patch_col
    lon, lat = CENTRES[network]
    wkt = local_utm_wkt(lon, lat)
    x0, y0 = Transformer.from_crs("EPSG:4326", wkt, always_xy=True).transform(lon, lat)
    west, south = round(x0 / CELL_M) * CELL_M, round(y0 / CELL_M) * CELL_M
    short = network.removeprefix("uomo-")
    ids = np.array(
        [f"{short}-L{a:02d}-w{b}-r{r}c{c}" for a, b, r, c in zip(location, week, patch_row, patch_col, strict=True)]
    )
    extra: dict[str, NDArray[Any]] = {
        "row": row.astype(np.int32),
        "col": col.astype(np.int32),
        "location": location,
        "week": week,
        "patch_row": patch_row.astype(np.int32),
        "patch_col": patch_col.astype(np.int32),
    }
    x, y = west + (col + 0.5) * CELL_M, south + (row + 0.5) * CELL_M
    return places_from_xy(ids, x, y, wkt, kind="grid", cell_m=CELL_M), extra


def _utc(patches: Patches, network: str, path: Path) -> NDArray[np.datetime64]:
    """UTC times (steps,) of the day indices and slots, on the arbitrary week of `DAY_0`."""
    per_day = patches.steps_per_day
    if per_day <= 0 or 1440 % per_day:
        raise BadInput(f"{path}: {per_day} steps per day do not divide a day into whole minutes")
    at = patches.day_slot[:, 0] * per_day + patches.day_slot[:, 1]
    if ((np.diff(at) - 1) % (7 * per_day)).any() or not 0 <= at[0] < 7 * per_day:
        step = int(np.argmax((np.diff(at) - 1) % (7 * per_day) != 0))
        raise BadInput(
            f"{path}: dow_tod jumps after step {step} ({patches.day_slot[step]}); the steps must be consecutive"
        )
    local = datetime.fromisoformat(DAY_0[network]).replace(
        tzinfo=ZoneInfo(TIMEZONE)
    )  # no summer time: one offset for all
    start = np.datetime64(local.astimezone(UTC).replace(tzinfo=None), "ns")
    steps = (at[0] + np.arange(len(at))) * (1440 // per_day)
    return np.asarray(start + steps.astype("timedelta64[m]"))


def _from_json(path: Path) -> Patches:
    """Series from upstream's windows.

    `X_train`, `X_val`, `X_test`: lists whose element 0 is N x 64 x 4 x 4; `timestamps`: train, val, test, each N x 64 x
    (day, slot). Users alike; POIs `X_*`: N x classes x 4 x 4. All in the same order.
    """
    match = re.fullmatch(r"(?:\d+_)?(.+)_[a-z]+\d+", path.stem)
    if match is None or path.stem.endswith(("user64", "poi64")):
        raise BadInput(f"{path}: name the traffic file, e.g. 24_TrafficSD_short64.json, not {path.name}")
    name = match.group(1)
    traffic_json = _load_json(path)
    users_json = _load_json(path.with_name(f"{name}_user64.json"))
    poi_json = _load_json(path.with_name(f"{name}_poi64.json"))
    try:
        parts = ("train", "val", "test")
        traffic = np.concatenate([np.asarray(traffic_json[f"X_{p}"][0], dtype=np.float32) for p in parts])
        users = np.concatenate([np.asarray(users_json[f"X_{p}"][0], dtype=np.float32) for p in parts])
        poi = np.concatenate([np.asarray(poi_json[f"X_{p}"], dtype=np.int32) for p in parts])
        stamps = np.concatenate([np.asarray(traffic_json["timestamps"][p], dtype=np.int64) for p in parts])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise BadInput(f"{path}: not upstream's structure (X_train, X_val, X_test, timestamps; {error!r})") from error
    count = len(traffic)
    stamps = stamps.reshape(count, -1, 2)
    shapes = (traffic.shape[1:], users.shape, stamps.shape[1:], poi.shape[0], poi.shape[2:])
    if shapes != ((WINDOW, 4, 4), traffic.shape, (WINDOW, 2), count, (4, 4)):
        raise BadInput(
            f"{path}: windows of shape {traffic.shape}, users {users.shape}, POIs {poi.shape}; not upstream's"
        )
    lacking = {23: set(), 22: {"road_furniture"}, 21: {"road_furniture", "events"}}.get(poi.shape[1])
    if lacking is None:
        raise BadInput(f"{path}: {poi.shape[1]} POI classes; 21, 22 or 23 are known by name")
    per_day = int(stamps[..., 1].max()) + 1
    chains = _chains(traffic, users, poi, stamps, path)
    lengths = {len(chain) for chain in chains}
    if len(lengths) != 1:
        raise BadInput(
            f"{path}: the windows join to series of {min(lengths)} to {max(lengths)} windows; some are missing"
        )
    first = np.array([chain[0] for chain in chains])

    def series(windows: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.stack([np.concatenate([windows[chain, 0], windows[chain[-1], 1:]]) for chain in chains])

    ground = [poi[i].tobytes() for i in first]
    order = {key: n for n, key in enumerate(dict.fromkeys(ground))}  # the source numbers no ground: by first appearance
    week = [ground[:n].count(key) for n, key in enumerate(ground)]
    return Patches(
        traffic=series(traffic),
        users=series(users),
        poi=poi[first],
        classes=[c for c in AMAP if c not in lacking],
        location=np.array([order[key] for key in ground], dtype=np.int32),
        week=np.array(week, dtype=np.int32),
        day_slot=np.concatenate([stamps[chains[0], 0], stamps[chains[0][-1], 1:]]),
        steps_per_day=per_day,
    )


def _chains(
    traffic: NDArray[np.float32],
    users: NDArray[np.float32],
    poi: NDArray[np.int32],
    stamps: NDArray[np.int64],
    path: Path,
) -> list[list[int]]:
    """Windows in the order of each series: B follows A where A[1:] equals B[:-1] in traffic, users, stamps and POIs.

    A series begins at day 0, slot 0; dead ground (all zero) is the same in any order, so ties do not matter.
    """

    def key(i: int, steps: slice) -> bytes:
        return b"".join(a.tobytes() for a in (stamps[i, steps], traffic[i, steps], users[i, steps], poi[i]))

    heads: dict[bytes, list[int]] = {}
    starts = []
    for i in range(len(traffic)):
        if stamps[i, 0].any():
            heads.setdefault(key(i, slice(None, -1)), []).append(i)
        else:
            starts.append(i)
    chains = []
    for start in starts:
        chain = [start]
        while followers := heads.get(key(chain[-1], slice(1, None))):
            chain.append(followers.pop())
        chains.append(chain)
    used = sum(map(len, chains))
    if not chains or used != len(traffic):
        raise BadInput(
            f"{path}: {len(traffic) - used} of {len(traffic)} windows join no series that begins at day 0, slot 0"
        )
    return chains


def _load_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, or BadInput."""
    try:
        if path.stat().st_size > MAX_BYTES // 4:
            raise BadInput(f"{path}: {path.stat().st_size / 2**30:.1f} GiB of JSON; the known files are under 0.2")
        with path.open(encoding="utf-8") as file:
            loaded = json.load(file)
    except FileNotFoundError as error:
        raise BadInput(f"{path}: missing; upstream's traffic, user and poi JSON files must lie side by side") from error
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not whole JSON ({error}); unpack the archive again") from error
    if not isinstance(loaded, dict):
        raise BadInput(f"{path}: holds a {type(loaded).__name__}, not upstream's object of X_train, X_val, X_test")
    return loaded
