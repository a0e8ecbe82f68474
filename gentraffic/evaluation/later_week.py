"""P2 of METRICS.md: a later week of cells whose earlier weeks were measured, beside climatology and usual weeks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.calendar import make_calendar
from gentraffic.evaluation import naive_rows as naive
from gentraffic.evaluation.metrics.summary import (
    coverage_cells,
    crps_cells,
    jsd_softmax24_cells,
    mae_minmax_cells,
    mse_minmax_cells,
    p9999,
)
from gentraffic.modelling.features import Floats
from gentraffic.modelling.history import History, history_of
from gentraffic.modelling.measured import Source

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.generators.folder import Bundle

HOURS = 168
POINT = ("mae_minmax", "rmse_minmax", "jsd_softmax24")  # of the ensemble mean
SPREAD = ("crps", "coverage_90")


@dataclass(frozen=True)
class Later:
    """One network of P2: the earlier days of cells, and their later week.

    past: the cells' earlier days. real: (cells, 168) their later week, in the same unit and order. weekday, start: of
    its first day. context: holds the cells of `past`. ground: (cells,) for intervals.
    """

    past: Source
    real: Floats
    start: str
    context: xr.Dataset
    ground: NDArray[np.int64]

    def history(self) -> History:
        """What the models are told."""
        return history_of(self.past)


def last_week(traffic: xr.Dataset, context: xr.Dataset) -> tuple[Source, Later]:
    """A network of several weeks: the training source, hourly, without the last seven days, and those days."""
    from gentraffic.modelling.measured import read_source

    whole = hourly(read_source(traffic, [context]))
    days = whole.ratio.shape[1] - 7
    past = replace(whole, ratio=whole.ratio[:, :days], clean=whole.clean[:, :days]).centred()
    date = str(traffic["time"].values[0].astype("datetime64[h]") + np.timedelta64(12, "h"))[:10]
    start = str(np.datetime64(date) + days)
    return past, Later(past, whole.hourly()[:, days * 24 :], start, context, whole.location)


def two_weeks(traffic: xr.Dataset, context: xr.Dataset, folds: int, fold: int) -> tuple[Source, Later]:
    """A network whose coordinate `week` tells two weeks of the same ground apart: what trains, and what is drawn.

    Cells of both weeks are paired by location and place within it; pairs that are dead in either week are left out.
    What trains are both weeks, one after the other, of the locations outside the fold; what is drawn is week 1 of those
    inside, whose week 0 is their past: nothing of their ground was trained on.
    """
    from gentraffic.dataset.splits import p1_folds
    from gentraffic.modelling.measured import read_source

    both = hourly(read_source(traffic, [context]))
    row = {cell: i for i, cell in enumerate(traffic["cell_id"].values.tolist())}
    at = np.array([row[cell] for cell in both.cell_id.tolist()])
    week, location = traffic["week"].values, traffic["location"].values
    place = np.zeros(len(week), dtype=np.int64)  # the place of a cell within its location and week
    for ground, number in set(zip(location.tolist(), week.tolist(), strict=True)):
        mine = np.flatnonzero((location == ground) & (week == number))
        place[mine] = np.arange(len(mine))
    keys = list(zip(location[at].tolist(), place[at].tolist(), strict=True))
    second = {key: i for i, key in enumerate(keys) if week[at[i]] == 1}
    pairs = np.array([(i, second[key]) for i, key in enumerate(keys) if week[at[i]] == 0 and key in second])
    days = both.ratio[:, :7] * both.level[:, None, None]
    joined = np.concatenate([days[pairs[:, 0]], days[pairs[:, 1]]], axis=1).astype(np.float32)
    whole = replace(both.only(pairs[:, 0]), ratio=joined, clean=joined, level=np.ones(len(pairs)))
    keep, held = p1_folds(whole.location, folds, 0)[fold]
    past = replace(whole, ratio=joined[:, :7], clean=joined[:, :7]).only(held).centred()
    start = f"2021-03-{1 + both.weekday:02d}"  # 1 March is a Monday
    real = joined[held, 7:].reshape(len(held), HOURS).astype(np.float64)
    return whole.only(keep).centred(), Later(past, real, start, context, past.location)


def hourly(source: Source) -> Source:
    """The same source at one step per hour."""
    cells, days, _ = source.ratio.shape
    means = {k: getattr(source, k).reshape(cells, days, 24, -1).mean(axis=3) for k in ("ratio", "clean")}
    return replace(source, **means, per_hour=1)


def later_week_rows(later: Later) -> dict[str, NDArray[Any]]:
    """`climatology`, and each earlier week as a member: name -> (members, cells, 168)."""
    past = later.past.hourly()
    weekday = np.datetime64(later.start).astype("datetime64[D]").item().weekday()
    hour = (weekday * 24 + np.arange(HOURS)) % HOURS
    before = (later.past.weekday * 24 + np.arange(past.shape[1])) % HOURS
    weeks = [np.flatnonzero(before == h) for h in hour]
    number = min(len(w) for w in weeks)
    members = np.stack([past[:, [w[i] for w in weeks]] for i in range(number)])
    return {"climatology": naive.climatology(past, before, hour), "earlier weeks": members}


def usual_row(train: Sequence[Source], later: Later) -> NDArray[Any]:
    """`usual week`: what the models are told of the past, fitted on the training sources, alone: (1, cells, 168)."""
    from gentraffic.modelling.weekly_profile import fit_weekly_profile, profile_week

    usual, history = fit_weekly_profile(train), later.history()
    week = profile_week(history.week, history.days, usual, later.past.network)
    weekday = np.datetime64(later.start).astype("datetime64[D]").item().weekday()
    series = np.roll(week, -weekday, axis=1).reshape(len(week), HOURS)
    level = history.now(usual.memory) / series.mean(axis=1)
    return np.asarray((series * level[:, None])[None])


def model_row(
    bundle: Bundle, later: Later, seed: int, members: int, *, steps: int | None = None, guidance: float = 1.0
) -> NDArray[Any]:
    """Members that a model draws for the later week, in the unit of the past: (members, cells, 168)."""
    from gentraffic.generators.base import PROFILE_STEPS, Settings
    from gentraffic.generators.weekly import draw_traffic
    from gentraffic.modelling.features import read_places

    history = later.history()
    calendar = make_calendar(later.start, 7, "1h", str(later.context.attrs["timezone"]))
    settings = Settings(seed=seed, members=members, steps=steps or PROFILE_STEPS, guidance=guidance)
    rows = later.past.rows.tolist()
    drawn = draw_traffic(bundle, later.context, calendar, settings, cells=rows, history=history)
    unit = history.unit(bundle.levels, read_places(later.context), later.context["cell_id"].values)
    return drawn.astype(np.float64) * unit


def score(members: NDArray[Any], later: Later) -> dict[str, Any]:
    """Lists over cells: the metrics of POINT of the ensemble mean (squares for rmse), SPREAD of the members.

    members: (members, cells, 168) hourly, in the unit of `later.real`.
    """
    real, mean = later.real, members.mean(axis=0)
    ensemble = np.repeat(members, 2, axis=0) if len(members) == 1 else members  # a single series: an ensemble of equals
    cells = {
        "mae_minmax": mae_minmax_cells(real, mean),
        "rmse_minmax": mse_minmax_cells(real, mean),
        "jsd_softmax24": jsd_softmax24_cells(real, mean) * 1e4,
        "crps": crps_cells(real, ensemble) / p9999(later.past.hourly()),
        "coverage_90": coverage_cells(real, ensemble, 0.9),
    }
    figures = {key: np.asarray(v).round(6).tolist() for key, v in cells.items()}
    return figures | {"location": later.ground.tolist(), "members": len(members)}


def table(rows: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Markdown: row -> network -> `score`; means over cells, for rmse the root of the mean; jsd_softmax24 x 1e4."""
    lines = ["| row | network | cells | members | " + " | ".join(POINT + SPREAD) + " |"]
    lines.append("|---|---|---|---|" + "---|" * len(POINT + SPREAD))
    for row, networks in rows.items():
        for network, figures in networks.items():
            means = {key: float(np.mean(figures[key])) for key in POINT + SPREAD}
            means["rmse_minmax"] = means["rmse_minmax"] ** 0.5
            texts = [f"{means[key]:.2f}" if key == "coverage_90" else f"{means[key]:.4f}" for key in means]
            lines.append(
                f"| {row} | {network} | {len(figures['crps'])} | {figures['members']} | " + " | ".join(texts) + " |"
            )
    return "\n".join(lines)
