"""What the three plans share: loads of the same cells and hours from several files, one scale, and the written plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.amounts import at_cadence, conversion, how_combined, per_hour, step_seconds
from gentraffic.dataset.misplaced import check_same_places
from gentraffic.dataset.schema import local_time, one_service, services, traffic_dataset
from gentraffic.errors import BadInput, NoData, WrongUse

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr

Floats = NDArray[np.float64]
WEEK_S = 7 * 86400


@dataclass(frozen=True)
class Load:
    """values: (members, cells, steps) in `units`; ds: where they come from, cut to the same cells and steps.

    cut: whether the file has more steps."""

    values: Floats
    units: str
    ds: xr.Dataset
    service: str
    cut: bool = False

    @property
    def ids(self) -> list[Any]:
        """The cells, as the file names them."""
        cell_ids: list[Any] = self.ds["cell_id"].values.tolist()
        return cell_ids

    @property
    def hour(self) -> NDArray[np.int64]:
        """Local hour of the day of each step."""
        return np.asarray(local_time(self.ds).hour, dtype=np.int64)

    @property
    def hour_factor(self) -> float:
        """What a mean over steps is multiplied by to be that of an hour: 4 for GB in steps of 15 min, 1 for rates."""
        return per_hour(self.units, self.step_s)

    @property
    def step_s(self) -> float:
        """Seconds of a step; an hour where there is one step alone."""
        times = self.ds["time"].values
        return float((times[1] - times[0]) / np.timedelta64(1, "s")) if len(times) > 1 else 3600.0


def read_load(
    ds: xr.Dataset, name: str, *, service: str | None = None, start: str | None = None, steps: int | None = None
) -> Load:
    """The traffic to plan for. start: first local time, ISO; steps: how many, all that follow by default. Steps without
    a start are those in a row that carry most.

    Raises WrongUse for a service or times that the file does not have, NoData where it carries nothing."""
    service, whole = one_service(ds, service), ds.sizes["time"]
    if start is not None or steps is not None:
        first = 0 if steps is None else busiest_window(ds[service].values, steps)
        if start is not None:
            import pandas as pd

            try:
                at = pd.Timestamp(start)
                if pd.isna(at):
                    raise ValueError("no date")
                at = at.tz_localize(str(ds.attrs["timezone"])) if at.tzinfo is None else at
            except ValueError as error:
                raise WrongUse(f"--start {start}: not a time ({error}); give e.g. 2026-01-05T18:00") from error
            first = int(np.searchsorted(local_time(ds).asi8, at.as_unit("ns").value))
        if steps is not None and steps < 1:
            raise WrongUse(f"--slots {steps}: give 1 or more")
        last = ds.sizes["time"] if steps is None else first + steps
        if first >= ds.sizes["time"] or last > ds.sizes["time"]:
            ends = f"{local_time(ds)[-1]:%Y-%m-%d %H:%M}"
            raise WrongUse(f"{name} has no {steps or 1} steps there, it ends at {ends}: change --start or --slots")
        ds = ds.isel(time=slice(first, last))
    values = ds[service].values.astype(np.float64)
    values = values if values.ndim == 3 else values[None]
    if not np.isfinite(values).all():
        raise BadInput(f"{name} has missing values: fill or cut them first")
    if not values.any():
        raise NoData(f"{name}: {service} carries nothing in these hours")
    return Load(values, str(ds[service].attrs["units"]), ds, service, ds.sizes["time"] < whole)


def busiest_window(values: NDArray[Any], steps: int) -> int:
    """The first of the `steps` steps in a row that carry most, of values (..., steps); 0 where there are fewer."""
    total: NDArray[np.float64] = np.nansum(values.reshape(-1, values.shape[-1]), axis=0, dtype=np.float64)
    if not 0 < steps < len(total):
        return 0
    sums = np.concatenate([[0.0], np.cumsum(total)])
    return int(np.argmax(sums[steps:] - sums[:-steps]))


def matching(load: Load, ds: xr.Dataset, name: str, *, scale: bool = True) -> tuple[Load, str]:
    """What another file says about the cells and hours of `load`, as a load of its own, and in words how it was taken.

    A finer cadence is brought to that of `load` first (volumes added up, rates averaged). At the same times where the
    file has them all, else the mean of the same slots of the local week. Other units of volume are converted; where
    units differ otherwise the values are scaled to the mean of `load`. Raises WrongUse for missing cells or hours."""
    service = load.service if load.service in services(ds) else one_service(ds, None)
    ds, how = _at_cadence_of(load, ds, service, name)
    row = {str(cell): k for k, cell in enumerate(ds["cell_id"].values.tolist())}
    missing = [cell for cell in load.ids if str(cell) not in row]
    if missing:
        raise WrongUse(f"{name} lacks {len(missing)} of {len(load.ids)} cells, the first is {missing[0]!r}")
    rows = np.array([row[str(cell)] for cell in load.ids])
    check_same_places(load.ds, ds, np.arange(len(rows)), rows, name)
    ds = ds.isel(cell=rows)
    every = ds[service].values.astype(np.float64)
    every = every if every.ndim == 3 else every[None]
    if not np.isfinite(every).all():
        raise BadInput(f"{name} has missing values: fill or cut them first")
    times, wanted = ds["time"].values, load.ds["time"].values
    at = np.searchsorted(times, wanted)
    if (at < len(times)).all() and (times[np.minimum(at, len(times) - 1)] == wanted).all():
        values, how = every[..., at], f"at the same times{how}"
    else:
        values = _same_slots(every, _slots(ds), _slots(load.ds), name)
        how = f"mean of the same slots of the week{how}"
    units = str(ds[service].attrs["units"])
    factor = conversion(units, load.units, int(load.step_s))
    if factor is not None and factor != 1:
        values, units = values * factor, load.units
    if scale and units != load.units:
        mean = values.mean()
        if mean <= 0:
            raise NoData(f"{name}: {service} carries nothing in these hours")
        values, units = values * (load.values.mean() / mean), load.units
        how += ", scaled to the mean of the plan's"
    return replace(load, values=values, units=units), how


def _at_cadence_of(load: Load, ds: xr.Dataset, service: str, name: str) -> tuple[xr.Dataset, str]:
    """`ds` in steps as long as those of `load`, and in words what was done. Raises WrongUse for longer steps."""
    ours, theirs = int(load.step_s), step_seconds(ds)
    if ours == theirs or ds.sizes["time"] < 2:
        return ds, ""
    if theirs > ours:
        raise WrongUse(f"{name} has steps of {theirs / 60:g} min, the plan {ours / 60:g} min: draw or resample to "
                       f"{theirs / 60:g} min")  # fmt: skip
    start = int(load.ds["time"].values[0].astype("datetime64[s]").astype(np.int64))
    try:
        coarse = at_cadence(ds[[service]], ours, start)
    except WrongUse as error:
        raise WrongUse(f"{name}: {error}") from None
    return coarse, f", {how_combined(str(ds[service].attrs['units']))} from steps of {theirs / 60:g} min"


def scaled(load: Load, other: Load) -> Load:
    """`load` multiplied so that its mean is that of `other`, in its units."""
    return replace(load, values=load.values * (other.values.mean() / load.values.mean()), units=other.units)


def plan_dataset(
    load: Load, values: NDArray[Any], variable: str, units: str, title: str, attrs: dict[str, Any]
) -> xr.Dataset:
    """A plan over cells and hours as a traffic Dataset, so that every format, map and reader serves it.

    values: (cells, steps) of the plan, in `units`. load: what was planned for, whose cells and times they are of.
    """
    place = str(load.ds.attrs.get("place", ""))
    kept = ("attribution", "license", "model", "model_sha256", "seed", "osm_source", "osm_snapshot", "usual_week")
    carried = {name: load.ds.attrs[name] for name in kept if name in load.ds.attrs}
    return traffic_dataset(
        values,
        cells=load.ds,
        time=load.ds["time"].values,
        service=variable,
        units=units,
        timezone=str(load.ds.attrs["timezone"]),
        attrs={
            **carried,
            "title": f"{title}{place and f', {place}'}",
            "source": "a plan, computed from traffic",
            **attrs,
        },
    )


def frame_of(shapes: Sequence[Any], rows: Sequence[dict[str, Any]]) -> gpd.GeoDataFrame:
    """A table with geometry in longitude and latitude (EPSG:4326), one shape per row."""
    import geopandas as gpd
    import pandas as pd

    return gpd.GeoDataFrame(pd.DataFrame(list(rows)), geometry=list(shapes), crs="EPSG:4326")


def write_frame(frame: gpd.GeoDataFrame, path: Path) -> None:
    """A FeatureCollection (RFC 7946), one feature per row; .parquet writes GeoParquet. Raises WrongUse, BadInput."""
    from gentraffic.io.atomic import replacing

    with replacing(path, (".geojson", ".json", ".parquet")) as temporary:
        if path.suffix.lower() == ".parquet":
            frame.to_parquet(temporary)
        else:
            temporary.write_text(frame.to_json(drop_id=True), encoding="utf-8")


def table_text(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, its head the first of them: the first column to the left, numbers to the right."""
    widths = [max(len(line[i]) for line in rows) for i in range(len(rows[0]))]
    return [
        "  ".join([line[0].ljust(widths[0]), *(t.rjust(w) for t, w in zip(line[1:], widths[1:], strict=True))])
        for line in rows
    ]


def _slots(ds: xr.Dataset) -> NDArray[np.int64]:
    """Seconds since Monday 00:00 of the local clock, per step."""
    local = local_time(ds)
    return np.asarray((local.day_of_week * 24 + local.hour) * 3600 + local.minute * 60 + local.second, dtype=np.int64)


def _same_slots(every: Floats, have: NDArray[np.int64], want: NDArray[np.int64], name: str) -> Floats:
    out = np.empty((*every.shape[:2], len(want)))
    for slot in np.unique(want):
        of = have == slot
        if not of.any():
            day, second = divmod(int(slot), 86400)
            names = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
            clock = f"{second // 3600:02d}:{second % 3600 // 60:02d}"
            raise WrongUse(f"{name} has no {names[day]} {clock}, which the plan needs: give a file with whole weeks")
        out[..., want == slot] = every[..., of].mean(axis=-1, keepdims=True)
    return out
