"""Points that cannot be where they are said to be: at 0,0, where unknown places are put, or far from all others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gentraffic.dataset.build import Places, places_from_lonlat
from gentraffic.dataset.schema import has_positions
from gentraffic.errors import BadInput

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

FAR_M = 50_000.0  # no network of one city has a site so far from the others
FAR_SPREADS = 10.0  # and none of a country so many times farther than three quarters of its sites lie from the middle
NEAR_M, FAR_TIMES = 2.0, 5.0  # what stands at one place in two files, and what does not
ELSEWHERE_M = 5_000.0  # no file has a cell so far from where another has it
FEW = 0.05  # share of points above which they are another region, not mistakes


@dataclass(frozen=True)
class Misplaced:
    """Which points are at 0,0 and which far from all others, (n,); how far each is from the middle, in metres."""

    null: NDArray[np.bool_]
    far: NDArray[np.bool_]
    away_m: NDArray[np.float64]

    @property
    def any(self) -> NDArray[np.bool_]:
        """Either of the two, (n,)."""
        return self.null | self.far


def misplaced(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> Misplaced:
    """Which points lon, lat (n,), in degrees, cannot be meant.

    Where all are at 0,0 none is told. Far is a point whose distance from the median position is more than FAR_M, and
    more than FAR_SPREADS times what three quarters of the points have, while no more than FEW of the points (or one)
    are so; of three points or fewer none is far.
    """
    from poi.points import earth_metres

    lon, lat = np.asarray(lon, dtype=np.float64), np.asarray(lat, dtype=np.float64)
    null = (np.abs(lon) < 1e-6) & (np.abs(lat) < 1e-6)
    if null.all():
        null = np.zeros(len(lon), dtype=bool)
    far, away = np.zeros(len(lon), dtype=bool), np.zeros(len(lon))
    rest = np.flatnonzero(~null)
    if len(rest) > 3:
        at = earth_metres(lon[rest], lat[rest])
        away[rest] = np.linalg.norm(at - np.median(at, axis=0), axis=1)
        spread = float(np.quantile(away[rest], 0.75, method="lower"))
        beyond = away[rest] > max(FAR_M, FAR_SPREADS * spread)
        if 0 < beyond.sum() <= max(1, FEW * len(rest)):
            far[rest[beyond]] = True
    return Misplaced(null, far, away)


def check_same_places(ours: xr.Dataset, theirs: xr.Dataset, at: NDArray[Any], rows: NDArray[Any], name: str) -> None:
    """Raise BadInput where ids that two files share name other places in each: one of them has numbered its rows.

    at, rows: (n,) positions in `ours` and in `theirs` of the same ids. name: of theirs. That is so where, for most of
    them, another cell of theirs stands where ours does, and the one of the same id far off; or where most lie
    kilometres apart."""
    if not (has_positions(ours) and has_positions(theirs)) or not len(at):
        return
    from scipy.spatial import cKDTree

    from poi.points import earth_metres

    here, there = (earth_metres(ds["lon"].values, ds["lat"].values) for ds in (ours, theirs))
    near, which = cKDTree(there).query(here[at])
    away = np.linalg.norm(here[at] - there[rows], axis=1)
    apart = away > ELSEWHERE_M
    if apart.sum() * 2 > len(at):
        k = int(np.argmax(apart))
        raise BadInput(
            f"cell {ours['cell_id'].values[at[k]]} lies {away[k] / 1000:.0f} km from where {name} has a cell of this"
            f" id, and so for {int(apart.sum())} of {len(at)} ids: these are two places"
        )
    wrong = (which != rows) & (near <= NEAR_M) & (away > FAR_TIMES * NEAR_M)
    if len(at) > 1 and wrong.sum() * 2 > len(at):
        k = int(np.argmax(wrong))
        own, other = ours["cell_id"].values[at[k]], theirs["cell_id"].values[which[k]]
        raise BadInput(f"cell {own} stands where {name} has cell {other}, and so for {int(wrong.sum())} of {len(at)}"
                       " ids: these are no ids there but numbers of rows; read it again with --id-column")  # fmt: skip


def check_shared_ids(ours: xr.Dataset, theirs: xr.Dataset, name: str) -> None:
    """`check_same_places` for all ids that two files share."""
    row = {str(cell): k for k, cell in enumerate(theirs["cell_id"].values.tolist())}
    pairs = [(k, row[str(cell)]) for k, cell in enumerate(ours["cell_id"].values.tolist()) if str(cell) in row]
    at = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    check_same_places(ours, theirs, at[:, 0], at[:, 1], name)


def notes_of(found: Misplaced, names: NDArray[np.object_] | list[str], what: str) -> list[str]:
    """A warning for each kind, with the first names (n,) of what is left out. what: the file."""
    lines = []
    for mask, why in ((found.null, "at 0,0, where nothing is"), (found.far, "far from all others")):
        rows = np.flatnonzero(mask)
        if not len(rows):
            continue
        first = ", ".join(
            f"{names[i]} ({found.away_m[i] / 1000:.0f} km away)" if mask is found.far else str(names[i])
            for i in rows[:5]
        )
        more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
        lines.append(f"{what}: {first}{more} {'is' if len(rows) == 1 else 'are'} {why}: left out")
    return lines


def well_placed(places: Places, names: list[str], what: str) -> tuple[NDArray[np.bool_], Places, list[str]]:
    """(which cells lie where they can be meant, (cells,), their Places, a warning for those that are left out).

    names: (cells,) how a warning calls each. what: the file. Raises BadInput where all of several cells are at 0,0.
    """
    null = (np.abs(places.lon) < 1e-6) & (np.abs(places.lat) < 1e-6)
    if len(null) > 1 and null.all():
        raise BadInput(f"{what}: all of it lies at 0,0, where nothing is: give the true positions")
    found = misplaced(places.lon, places.lat)
    kept = ~found.any
    if kept.all():
        return kept, places, []
    extra: dict[str, NDArray[Any]] = {name: values[kept] for name, values in places.extra.items()}
    lonlat = places.lon[kept], places.lat[kept]
    rest = places_from_lonlat(places.ids[kept], *lonlat, kind=places.kind, cell_m=places.cell_m, extra=extra)
    return kept, rest, notes_of(found, names, what)
