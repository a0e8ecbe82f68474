"""Traffic and context files as training windows: one week of one cell, scaled, with what is known of the place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.misplaced import check_same_places
from gentraffic.dataset.panel import DAY_S, Panel, read_panel
from gentraffic.dataset.services import known_services
from gentraffic.dataset.splits import BLOCK_M, block_locations
from gentraffic.errors import BadInput, WrongUse
from gentraffic.modelling.features import Floats, Places, read_places

if TYPE_CHECKING:
    import xarray as xr

CADENCES = (1, 2, 4, 6)  # steps per hour that a model can learn and draw: 60, 30, 15 and 10 minutes


@dataclass(frozen=True)
class Source:
    """The live cells of one traffic file, from its first local midnight on.

    ratio: (cells, days, 24 k) traffic over the cell's mean (or over one for all: `over`). clean: the same with
    recording gaps that recur at one hour of every day filled in. level: (cells,) mean traffic in the source's unit, or
    what ratios are over. per_hour: k. weekday: of day 0, Monday 0.
    places: features of the whole context and rows: (cells,) where each cell stands in it; None without a context.
    location: (cells,) cells with the same number share their ground.
    service: "" for the main service, or the only one; else its name, and network is then NETWORK:SERVICE.
    """

    network: str
    ratio: NDArray[np.float32]
    clean: NDArray[np.float32]
    level: Floats
    per_hour: int
    weekday: int
    places: Places | None
    rows: NDArray[np.int64]
    location: NDArray[np.int64]
    cell_id: NDArray[Any]
    timezone: str = ""
    service: str = ""

    @property
    def place_network(self) -> str:
        """The measured network that the cells belong to, whatever the service."""
        return self.network.removesuffix(f":{self.service}") if self.service else self.network

    @property
    def cadences(self) -> tuple[int, ...]:
        """The steps per hour that this source can teach: divisors of its own."""
        return tuple(k for k in CADENCES if self.per_hour % k == 0)

    def only(self, keep: NDArray[np.int64]) -> Source:
        """The same source with some of its cells. keep: (kept,) positions of cells."""
        parts = {name: getattr(self, name)[keep] for name in ("ratio", "clean", "level", "rows", "location", "cell_id")}
        return replace(self, **parts)

    def centred(self) -> Source:
        """The same source with ratios over the mean of the days it holds; cells that are silent on all are left out."""
        mean = self.ratio.mean(axis=(1, 2), dtype=np.float64)
        kept, mean = self.only(np.flatnonzero(mean > 0)), mean[mean > 0]
        ratio, clean = ((part / mean[:, None, None]).astype(np.float32) for part in (kept.ratio, kept.clean))
        return replace(kept, ratio=ratio, clean=clean, level=kept.level * mean)

    def over(self, traffic: float) -> Source:
        """The same source with ratios over one traffic, the same for all cells, in place of each cell's own mean."""
        times = (self.level / traffic).astype(np.float32)[:, None, None]
        return replace(
            self, ratio=self.ratio * times, clean=self.clean * times, level=np.full_like(self.level, traffic)
        )

    def hourly(self) -> Floats:
        """Traffic in the source's unit: (cells, hours)."""
        cells = len(self.ratio)
        series = self.ratio.reshape(cells, -1, self.per_hour).mean(axis=2, dtype=np.float64)
        out: Floats = series * self.level[:, None]
        return out


def read_source(
    traffic: xr.Dataset, contexts: Sequence[xr.Dataset], service: str | None = None, *, alone: bool = False
) -> Source:
    """A training source from a Traffic Dataset and the context, among those given, that holds all its cells.

    Dead cells are left out. alone: nothing that is done to a cell looks at another one, as privacy needs it. Raises
    WrongUse when several services or contexts could be meant, BadInput for a series shorter than a week, a cadence that
    does not divide the hour, or no live cell.
    """
    from gentraffic.dataset.schema import need_positions

    if len(contexts):
        need_positions(traffic, "fitting to the POIs of a context")
    live = read_live(traffic, service, alone=alone)
    context, rows = match(live.cell_id, contexts)
    if context is not None:
        order = {cell: row for row, cell in enumerate(traffic["cell_id"].values.tolist())}
        at = np.array([order[cell] for cell in live.cell_id.tolist()], dtype=np.int64)
        check_same_places(traffic, context, at, rows, "the context")
    named = "" if context is None else context.attrs.get("network")
    network = str(traffic.attrs.get("network") or named or live.service)
    places = None if context is None else read_places(context)
    if places is not None and not named:  # it holds the cells that were measured
        places = replace(places, network=network)
    return _source(live, network, places, rows, alone=alone)


def read_sources(
    traffic: xr.Dataset, contexts: Sequence[xr.Dataset], services: Sequence[str] | None = None
) -> list[Source]:
    """The sources of several services of a file, the main one first. Raises as `read_source`.

    services: their names, the main one first; None for all that are known (`services.known_services`), or the one that
    `read_source` takes where there are not several. A cell that is silent in one service is left out of that alone.
    """
    names = list(known_services([str(v) for v in traffic.data_vars]) if services is None else services)
    if len(names) < 2:
        return [read_source(traffic, contexts, names[0] if services else None)]
    main = read_source(traffic, contexts, names[0])
    out = [main]
    for name in names[1:]:
        live = read_live(traffic, name)
        _, rows = match(live.cell_id, contexts)
        out.append(_source(live, f"{main.network}:{name}", main.places, rows, service=name))
    return out


def _source(
    live: Panel, network: str, places: Places | None, rows: NDArray[np.int64], *, alone: bool = False, service: str = ""
) -> Source:
    """The source of live cells."""
    per_hour = live.per_day // 24
    values = live.values[0]
    level = values.mean(axis=1, dtype=np.float64)
    ratio = (values / level[:, None]).astype(np.float32).reshape(len(values), -1, 24 * per_hour)
    assert live.location is not None
    return Source(
        network=network,
        ratio=ratio,
        clean=np.concatenate([fill_recurring_gaps(r[None], per_hour) for r in ratio])
        if alone
        else fill_recurring_gaps(ratio, per_hour),
        level=level,
        per_hour=per_hour,
        weekday=int(live.weekday[0]),
        places=places,
        rows=rows,
        location=live.location,
        cell_id=live.cell_id,
        timezone=live.timezone,
        service=service,
    )


def read_live(traffic: xr.Dataset, service: str | None = None, *, alone: bool = False) -> Panel:
    """The live cells of measured traffic over whole days from the first local midnight on, `location` filled in.

    service: None for the main one, else the first. alone: as in `read_source`, whose errors it raises.
    """
    panel = read_panel(traffic, service)
    if "member" in traffic.dims:
        raise WrongUse("the traffic to fit on has members: give measured traffic, (cell, time)")
    minutes = panel.step_s // 60
    if not minutes or 60 % minutes or 60 // minutes not in CADENCES:
        raise BadInput(f"cadence of {minutes} min: models learn 60, 30, 15 and 10 min; resample the traffic first")
    day = panel.per_day
    first = int(np.argmax(panel.clock % DAY_S < 60))
    days = (panel.steps - first) // day
    if days < 7:
        raise BadInput(f"{days} whole days of traffic: a week or more is needed to fit on")
    panel = replace(panel.cut(first, days * day), location=locations(panel))
    values = panel.values[0]
    if days > 7 and not alone and repeats(values, 7 * day):
        panel = panel.cut(0, 7 * day)  # uomo_sd: what follows the first week is the first week again
    live = (panel.values[0].max(axis=1) > 0) & counted(traffic)
    if not live.any():
        raise BadInput("every cell is dead (all zero): there is nothing to fit on")
    return panel.only(np.flatnonzero(live))


def locations(panel: Panel, block_m: float = BLOCK_M) -> NDArray[np.int64]:
    """(cells,) cells of one number share their ground: what the file says, else squares of `block_m` metres."""
    if panel.location is not None:
        return panel.location.astype(np.int64)
    if panel.kind == "unplaced":
        return np.arange(len(panel.cell_id))
    return block_locations(panel.xy_m[:, 0], panel.xy_m[:, 1], block_m)


def counted(traffic: xr.Dataset) -> NDArray[np.bool_]:
    """Which cells of a Traffic Dataset count: not week 1 of `uomo_sd`, a copy of its week 0 with 0.6% jitter."""
    if str(traffic.attrs.get("network", "")).startswith("uomo-sd") and "week" in traffic.coords:
        return np.asarray(traffic["week"].values == 0)
    return np.ones(traffic.sizes["cell"], dtype=np.bool_)


def fill_recurring_gaps(ratio: NDArray[np.float32], per_hour: int, share: float = 0.15) -> NDArray[np.float32]:
    """Fill an hour of the day that is nearly empty in every cell and on every day, between two that are not.

    Such an hour is a fault of the recording (04:00 in `uomo_sd` holds about 5% of its neighbours), and a place that
    nobody measured must not inherit it. ratio (cells, days, 24 k) -> the same, the hour interpolated from both sides.
    """
    hours = ratio.reshape(*ratio.shape[:2], 24, per_hour)
    mean = hours.mean(axis=(0, 1, 3))
    around = (np.roll(mean, 1) + np.roll(mean, -1)) / 2
    out = hours.copy()
    for hour in np.flatnonzero(mean < share * around):
        before, after = hours[:, :, hour - 1], hours[:, :, (hour + 1) % 24]
        out[:, :, hour] = (before + after) / 2
    return out.reshape(ratio.shape)


def repeats(values: NDArray[np.float32], week: int) -> bool:
    """True when the steps after one week copy the steps before them. values: (cells, steps)."""
    tail = values[:, week:]
    head = values[:, : tail.shape[1]][:, :week]
    tail = tail[:, :week]
    return bool(np.corrcoef(head.ravel(), tail.ravel())[0, 1] > 0.9995)


def copied_week(values: NDArray[np.float32], per_day: int) -> bool:
    """True when a series goes on with its first week over again: two days or more of it. values: (cells, steps)."""
    week = 7 * per_day
    known = np.isfinite(values).all(axis=1)
    some = values[known]
    if some.shape[1] < week + 2 * per_day or not len(some) or some[:, :week].std() == 0 or some[:, week:].std() == 0:
        return False
    return repeats(some, week)


COPIED_WEEK = (
    "the second week repeats the first: what knows last week scores too well on it; `fit` and `validate` use the first "
    "week alone, for `forecast` cut the copy off with `gentraffic split --by time`"
)


def match(ids: NDArray[Any], contexts: Sequence[xr.Dataset]) -> tuple[xr.Dataset | None, NDArray[np.int64]]:
    """The context, among those given, that holds all cells, and where each stands there; None, zeros for none.

    Raises WrongUse where several do.
    ids: (cells,).
    """
    matches = []
    for context in contexts:
        order = {str(cell): row for row, cell in enumerate(context["cell_id"].values.tolist())}
        rows = [order.get(str(cell), -1) for cell in ids.tolist()]
        if min(rows) >= 0:
            matches.append((context, np.array(rows, dtype=np.int64)))
    if len(matches) > 1:
        raise WrongUse(f"{len(matches)} of the contexts hold cell {ids[0]!r}: give one context per traffic file")
    return matches[0] if matches else (None, np.zeros(len(ids), dtype=np.int64))
