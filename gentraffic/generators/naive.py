"""The naive generators as models: fitted to a folder and drawn from like STOUTER, so that both are judged alike.

bootstrap: the series of a random training cell. knn: those of the NEIGHBOURS training cells nearest in standardised log
POI counts, one per member. climatology: the mean week of the same cell. See metrics.md, "Naive rows".

series.nc          one group per measured network: relative traffic of its cells, ids, standardised POI counts
provenance.json    sampler, data, licences, hashes     README.md   the card
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.calendar import Calendar
from gentraffic.errors import WrongUse
from gentraffic.generators.base import (
    Family,
    ModelFolder,
    ModelInfo,
    Settings,
    Span,
    Tell,
    check_minutes,
    writing_folder,
)
from gentraffic.modelling.features import Floats, fit_scale, read_places
from gentraffic.modelling.history import mean_week
from gentraffic.modelling.levels import stack_features
from gentraffic.modelling.measured import CADENCES
from gentraffic.modelling.random_streams import shape_seeds

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.generators.observed import Observations
    from gentraffic.modelling.measured import Source

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
    location: str = ""

    @property
    def info(self) -> ModelInfo:
        """What it is and can do."""
        return ModelInfo(
            location=self.location,
            family=self.sampler,
            networks=tuple(part.network for part in self.series),
            services=tuple(self.provenance.get("services", ("traffic",))),
            cadences=tuple(60 // k for k in CADENCES if any(part.per_hour % k == 0 for part in self.series)),
            supports=frozenset({"workers"}),
            recommended=Settings(steps=1, solver=""),
            sha256=self.sha256,
            provenance=self.provenance,
        )

    def usable(self, calendar: Calendar) -> tuple[Series, ...]:
        """The series that have a calendar's cadence; mean weeks, for climatology."""
        series = (part for part in self.series if part.per_hour % calendar.per_hour == 0)
        return tuple(map(_mean_week, series) if RULES[self.sampler].mean_week else series)

    def prepare(
        self, context: xr.Dataset, calendar: Calendar, settings: Settings, *, cells: Sequence[int] | None = None,
        observed: Observations | None = None, scratch: Path | None = None,
    ) -> NaiveDraw:  # fmt: skip
        """As `gentraffic.generators.base.Generator`."""
        check_minutes(60 / calendar.per_hour, self.info.cadences)
        if settings.members < 1:
            raise WrongUse(f"--members {settings.members}: give 1 or more")
        series = self.usable(calendar)
        rows = np.arange(context.sizes["cell"]) if cells is None else np.asarray(cells, dtype=np.int64)
        pick = RULES[self.sampler].pick(series, context, rows, settings)
        found = [[pick(member, i) for i in range(len(rows))] for member in range(settings.members)]
        return NaiveDraw(series, np.array(found, dtype=np.int64).reshape(settings.members, len(rows)), calendar)


def fit_naive(sampler: str, sources: Sequence[Source]) -> NaiveModel:
    """What a naive generator keeps of its sources. Raises WrongUse for `knn` without any context."""
    kept = []
    for s in sources:
        features = None
        if s.places is not None:
            own = stack_features(s.places.counts, s.places.around)
            features = fit_scale(own[s.rows])(own[s.rows])
        traffic = s.ratio * (s.level / s.level.mean()).astype(np.float32)[:, None, None]
        kept.append(Series(s.network, traffic, s.weekday, s.cell_id, features))
    if RULES[sampler].needs_places:
        kept = [s for s in kept if s.features is not None]
        if not kept:
            raise WrongUse(f"{sampler} needs the POIs of the cells: give the --context that belongs to the traffic")
    return NaiveModel(sampler, tuple(kept))


def draw_naive(
    model: NaiveModel,
    context: xr.Dataset,
    calendar: Calendar,
    settings: Settings,
    *,
    cells: Sequence[int] | None = None,
) -> NDArray[np.float32]:
    """Relative traffic (1 = the mean cell): (members, cells, steps). A cell's draw depends on nothing beside it.

    Raises WrongUse for a cadence that no series has, or, for climatology, cells that were not measured.
    """
    drawn = model.prepare(context, calendar, settings, cells=cells)
    members, count = drawn.pick.shape
    spans = [Span(member, 0, count) for member in range(members)]
    return np.stack([values for _, values in drawn.blocks(spans)])


@dataclass(frozen=True)
class NaiveDraw:
    """What `gentraffic.generators.base.Draw` says. pick: (members, cells) row of the series of all networks."""

    series: tuple[Series, ...]
    pick: NDArray[np.int64]
    calendar: Calendar
    units: str = "1"
    block: int = 1024

    def blocks(
        self, spans: Sequence[Span], threads: int | None = None, tell: Tell | None = None
    ) -> Iterator[tuple[Span, NDArray[np.float32]]]:
        """The traffic of each span, in their order: (span, (cells, steps)), float32."""
        ends = np.cumsum([len(part.traffic) for part in self.series])
        for done, span in enumerate(spans, start=1):
            out = np.empty((span.end - span.first, len(self.calendar.utc)), dtype=np.float32)
            for i, row in enumerate(self.pick[span.member, span.first : span.end].tolist()):
                at = int(np.searchsorted(ends, row, side="right"))
                part = self.series[at]
                sheet = part.read(row - int(ends[at]) + len(part.traffic), self.calendar).reshape(1, -1)
                out[i] = self.calendar.read(sheet)[0]
            yield span, out
            if tell is not None:
                tell(done, len(spans))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What was picked; the series are in the model's folder."""
        return {"pick": self.pick}


class Naive(Family):
    """Loads `NaiveModel`."""

    @staticmethod
    def load(folder: ModelFolder | None) -> NaiveModel:
        """The model in a folder. Raises BadModel."""
        import io

        import xarray as xr

        if folder is None:
            raise WrongUse("naive generators draw from a model folder of `gentraffic fit`: give one with --model")
        with folder.understanding():
            parts: list[Series] = []
            content = folder.files["series.nc"]
            while True:
                try:
                    group = f"network{len(parts)}"
                    with xr.open_dataset(io.BytesIO(content), group=group, engine="h5netcdf") as ds:
                        features = ds["features"].values if "features" in ds else None
                        traffic, ids = ds["traffic"].values, ds["cell_id"].values
                        parts.append(Series(ds.attrs["network"], traffic, int(ds.attrs["weekday"]), ids, features))
                except OSError:
                    break
            if not parts:
                raise ValueError("series.nc holds no network")
            sampler = str(folder.provenance["sampler"])
            return NaiveModel(sampler, tuple(parts), dict(folder.provenance), folder.sha256, folder.location)

    @classmethod
    def reopen(
        cls, folder: ModelFolder, arrays: Mapping[str, NDArray[Any]], calendar: Calendar, settings: Settings
    ) -> NaiveDraw:
        """The draw of `NaiveDraw.arrays`. arrays: name -> array (any shape)."""
        model = cls.load(folder)
        return NaiveDraw(model.usable(calendar), arrays["pick"], calendar)


Pick = Callable[[int, int], int]  # member, cell -> row of all series


def _bootstrap(series: Sequence[Series], context: xr.Dataset, rows: NDArray[np.int64], settings: Settings) -> Pick:
    count = sum(len(part.traffic) for part in series)
    ids = context["cell_id"].values[rows].tolist()

    @lru_cache(maxsize=1)
    def keys(member: int) -> NDArray[np.uint64]:
        return shape_seeds(settings.seed, ids, member, 0)

    return lambda member, i: int(np.random.Generator(np.random.Philox(key=keys(member)[i])).integers(count))


def _knn(series: Sequence[Series], context: xr.Dataset, rows: NDArray[np.int64], settings: Settings) -> Pick:
    from scipy.spatial import cKDTree

    places = read_places(context)
    own = stack_features(places.counts, places.around)
    wanted = fit_scale(own)(own)[rows]
    known = np.concatenate([part.features for part in series if part.features is not None])
    k = min(NEIGHBOURS, len(known))
    near = cKDTree(known).query(wanted, k=np.arange(1, k + 1))[1]
    return lambda member, i: int(near[i, member % k])


def _climatology(series: Sequence[Series], context: xr.Dataset, rows: NDArray[np.int64], settings: Settings) -> Pick:
    ids = context["cell_id"].values[rows].tolist()
    at = {cell: row for row, cell in enumerate(cell for part in series for cell in part.cell_id.tolist())}
    missing = [cell for cell in ids if cell not in at]
    if missing:
        raise WrongUse(
            f"climatology knows the past of the cells that it was fitted on, not of {missing[0]!r} ({len(missing)} of "
            f"{len(ids)} cells): give the --context of the same cells, or another model"
        )
    return lambda member, i: at[ids[i]]


@dataclass(frozen=True)
class Rule:
    """A naive generator: which training cell a drawn one repeats. mean_week: its mean week instead of its series.
    needs_places: training cells without POIs are of no use."""

    pick: Callable[[Sequence[Series], xr.Dataset, NDArray[np.int64], Settings], Pick]
    mean_week: bool = False
    needs_places: bool = False


RULES = {
    "bootstrap": Rule(_bootstrap),
    "knn": Rule(_knn, needs_places=True),
    "climatology": Rule(_climatology, mean_week=True),
}
NAIVE = tuple(RULES)


def _mean_week(part: Series) -> Series:
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
