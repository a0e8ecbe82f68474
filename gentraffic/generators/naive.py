"""The naive generators as models: fitted to a folder and drawn from like STOUTER, so that both are judged alike.

bootstrap: the series of a random training cell. knn: those of the NEIGHBOURS training cells nearest in standardised log
POI counts, one per member. climatology: the mean week of the same cell. See METRICS.md, "Naive rows".

series.nc          one group per measured network: relative traffic of its cells, ids, standardised POI counts
provenance.json    sampler, data, licences, hashes     README.md   the card
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.calendar import Calendar
from gentraffic.errors import BadModel, WrongUse
from gentraffic.generators.folder import Bundle, load_bundle, read_folder, writing_folder
from gentraffic.generators.registry import MODELS
from gentraffic.modelling.features import Floats, fit_scale, read_places
from gentraffic.modelling.history import mean_week
from gentraffic.modelling.levels import both
from gentraffic.modelling.random_streams import shape_seeds

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.generators.weekly import Settings
    from gentraffic.modelling.measured import Source

NAIVE = ("bootstrap", "knn", "climatology")
NEIGHBOURS = 20


@dataclass(frozen=True)
class Series:
    """The cells of one measured network: traffic (cells, days, 24 k) over that of its mean cell, from `weekday` on.

    features: (cells, 16) log POI counts of and around the cells, standardised in their network; None without a context.
    """

    network: str
    traffic: NDArray[np.float32]
    weekday: int
    cell_id: NDArray[Any]
    features: Floats | None

    @property
    def per_hour(self) -> int:
        """Steps an hour, k."""
        return int(self.traffic.shape[2]) // 24

    def read(self, row: int, calendar: Calendar) -> NDArray[np.float32]:
        """The days of one cell that have the weekdays of a calendar, whole weeks over and over: (days, 24 k)."""
        whole = self.traffic.shape[1] // 7 * 7
        first = (calendar.weekday - self.weekday) % 7
        days = self.traffic[row][(first + np.arange(calendar.days)) % whole]
        out: NDArray[np.float32] = days.reshape(calendar.days, 24 * calendar.per_hour, -1).mean(axis=2)
        return out


@dataclass(frozen=True)
class NaiveModel:
    """A naive generator: a name of NAIVE and the series that it knows."""

    sampler: str
    series: tuple[Series, ...]
    provenance: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""


def fit_naive(sampler: str, sources: Sequence[Source]) -> NaiveModel:
    """What a naive generator keeps of its sources. Raises WrongUse for `knn` without any context."""
    kept = []
    for s in sources:
        features = None
        if s.places is not None:
            own = both(s.places.counts, s.places.around)
            features = fit_scale(own[s.rows])(own[s.rows])
        traffic = s.ratio * (s.level / s.level.mean()).astype(np.float32)[:, None, None]
        kept.append(Series(s.network, traffic, s.weekday, s.cell_id, features))
    if sampler == "knn":
        kept = [s for s in kept if s.features is not None]
        if not kept:
            raise WrongUse("knn needs the POIs of the cells: give the --context that belongs to the traffic")
    return NaiveModel(sampler, tuple(kept))


def draw_naive(
    model: NaiveModel, context: xr.Dataset, calendar: Calendar, recipe: Settings, *, cells: Sequence[int] | None = None
) -> NDArray[np.float32]:
    """Relative traffic (1 = the mean cell): (members, cells, steps). A cell's draw depends on nothing beside it.

    Raises WrongUse for a cadence that no series has, or, for climatology, cells that were not measured.
    """
    series = [s for s in model.series if s.per_hour % calendar.per_hour == 0]
    if not series:
        raise WrongUse(f"{model.sampler} knows no series at {60 // calendar.per_hour} min: give another --freq")
    if recipe.members < 1:
        raise WrongUse(f"--members {recipe.members}: give 1 or more")
    rows = np.arange(context.sizes["cell"]) if cells is None else np.asarray(cells, dtype=np.int64)
    ids = context["cell_id"].values[rows].tolist()
    of = {"bootstrap": _bootstrap, "knn": _knn, "climatology": _climatology}[model.sampler]
    pick = of(series, context, rows, recipe)
    out = np.empty((recipe.members, len(rows), len(calendar.utc)), dtype=np.float32)
    for i in range(len(ids)):
        for member in range(recipe.members):
            part, row = pick(member, i)
            sheet = part.read(row, calendar).reshape(1, -1)
            out[member, i] = calendar.read(sheet)[0]
    return out


Pick = Callable[[int, int], tuple[Series, int]]


def _bootstrap(series: list[Series], context: xr.Dataset, rows: NDArray[np.int64], recipe: Settings) -> Pick:
    where = [(part, row) for part in series for row in range(len(part.traffic))]
    ids = context["cell_id"].values[rows].tolist()

    @lru_cache(maxsize=1)
    def keys(member: int) -> NDArray[np.uint64]:
        return shape_seeds(recipe.seed, ids, member, 0)

    def pick(member: int, i: int) -> tuple[Series, int]:
        return where[int(np.random.Generator(np.random.Philox(key=keys(member)[i])).integers(len(where)))]

    return pick


def _knn(series: list[Series], context: xr.Dataset, rows: NDArray[np.int64], recipe: Settings) -> Pick:
    from scipy.spatial import cKDTree

    places = read_places(context)
    own = both(places.counts, places.around)
    wanted = fit_scale(own)(own)[rows]
    where = [(part, row) for part in series for row in range(len(part.traffic))]
    known = np.concatenate([part.features for part in series if part.features is not None])
    k = min(NEIGHBOURS, len(known))
    near = cKDTree(known).query(wanted, k=np.arange(1, k + 1))[1]
    return lambda member, i: where[int(near[i, member % k])]


def _climatology(series: list[Series], context: xr.Dataset, rows: NDArray[np.int64], recipe: Settings) -> Pick:
    ids = context["cell_id"].values[rows].tolist()
    where = {cell: (part, row) for part in series for row, cell in enumerate(part.cell_id.tolist())}
    missing = [cell for cell in ids if cell not in where]
    if missing:
        raise WrongUse(
            f"climatology knows the past of the cells that it was fitted on, not of {missing[0]!r} ({len(missing)} of "
            f"{len(ids)} cells): give the --context of the same cells, or another model"
        )
    weeks = {id(part): _mean_weeks(part) for part in series}
    return lambda member, i: (weeks[id(where[ids[i]][0])], where[ids[i]][1])


def _mean_weeks(part: Series) -> Series:
    """The mean week of every cell, Monday first."""
    week, _ = mean_week(part.traffic, part.weekday, np.ones(part.traffic.shape[1], dtype=bool))
    return Series(part.network, week.astype(np.float32), 0, part.cell_id, part.features)


def save_naive(model: NaiveModel, folder: Path, card: str) -> None:
    """Write the folder whole, or not at all. Raises BadInput."""
    import xarray as xr

    with writing_folder(folder, {**model.provenance, "sampler": model.sampler}, card) as temporary:
        for number, part in enumerate(model.series):
            ds = xr.Dataset(
                {"traffic": (("cell", "day", "slot"), part.traffic), "cell_id": ("cell", part.cell_id)},
                attrs={"network": part.network, "weekday": part.weekday},
            )
            if part.features is not None:
                ds["features"] = (("cell", "feature"), part.features)
            mode: Any = "a" if number else "w"
            ds.to_netcdf(temporary / "series.nc", mode=mode, group=f"network{number}", engine="h5netcdf")


def load_model(name: str | Path) -> Bundle | NaiveModel:
    """A trained or a naive model, by name or folder; every file is checked. Raises BadModel."""
    import json

    import xarray as xr

    folder = MODELS / name if isinstance(name, str) and (MODELS / name).is_dir() else Path(name)
    told = folder / "provenance.json"
    try:
        sampler = json.loads(told.read_text(encoding="utf-8")).get("sampler") if told.is_file() else None
    except (OSError, ValueError, AttributeError):
        sampler = None
    if sampler not in NAIVE:
        return load_bundle(name)
    path, provenance, sha256 = read_folder(name)
    try:
        parts: list[Series] = []
        while True:
            try:
                with xr.open_dataset(path / "series.nc", group=f"network{len(parts)}", engine="h5netcdf") as ds:
                    features = ds["features"].values if "features" in ds else None
                    traffic, ids = ds["traffic"].values, ds["cell_id"].values
                    parts.append(Series(ds.attrs["network"], traffic, int(ds.attrs["weekday"]), ids, features))
            except OSError:
                break
        if not parts:
            raise ValueError("series.nc holds no network")
        return NaiveModel(str(sampler), tuple(parts), provenance, sha256)
    except (KeyError, ValueError, TypeError) as error:
        raise BadModel(f"{path}: not a model of this version ({error})") from error
