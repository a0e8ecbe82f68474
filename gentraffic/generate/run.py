"""`run(request, generator, context, sink)`: the one way from a request to traffic, for every generator and every sink.

A sink is where the traffic goes: `Memory`, `File`, or `Store` (`gentraffic.generate.store`), a Zarr store that is
written as it is drawn, here or on other processes. All give the same bits.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gentraffic import __version__
from gentraffic.dataset.calendar import Calendar
from gentraffic.dataset.schema import credits_of, traffic_dataset
from gentraffic.errors import BadInput, WrongUse
from gentraffic.generate.request import Request
from gentraffic.generate.totals import Total, districts, fit_totals
from gentraffic.generators.base import Block, Draw, Generator, ModelInfo, Settings, Tell
from gentraffic.generators.observed import Observations
from gentraffic.modelling.expected_week import in_words, rhythms_of

if TYPE_CHECKING:
    import xarray as xr

GIB = 2**30


@dataclass(frozen=True)
class Job:
    """A request, a generator and a place, checked against each other: all that a sink needs.

    rows: of the context that are drawn, None for all; place: those of its cells. sets: (totals, cells) which cells each
    total speaks of.
    """

    request: Request
    generator: Generator
    context: xr.Dataset
    place: xr.Dataset
    rows: list[int] | None
    calendar: Calendar
    settings: Settings
    observed: Observations | None
    totals: tuple[Total, ...]
    sets: NDArray[np.bool_] | None
    service: str
    attrs: Mapping[str, Any]

    @property
    def timezone(self) -> str:
        """The IANA zone of the place."""
        return str(self.context.attrs["timezone"])

    @property
    def cells(self) -> int:
        """How many cells are drawn."""
        return self.place.sizes["cell"]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(members, cells, steps) of one service."""
        return self.settings.members, self.cells, len(self.calendar.utc)

    def prepare(self, context: xr.Dataset) -> Callable[..., Draw]:
        """What prepares the draw of the place, or of a changed context of the same cells; it takes `scratch`."""
        return partial(
            self.generator.prepare, context, self.calendar, self.settings, cells=self.rows, observed=self.observed
        )

    def dataset(self, values: NDArray[np.float32], service: str, units: str) -> xr.Dataset:
        """Traffic values (members, cells, steps) as a checked Dataset with its provenance."""
        return traffic_dataset(
            values if self.settings.members > 1 else values[0],
            cells=self.place,
            time=self.calendar.utc,
            service=service,
            units=units,
            timezone=self.timezone,
            attrs=dict(self.attrs),
        )


@dataclass(frozen=True)
class Drawn:
    """traffic: the Dataset, or its file opened. mean: of all values of the last service. seconds: of loading place and
    levels, of drawing. tasks, kept: of a resumable store, all and those of an earlier run."""

    traffic: xr.Dataset
    mean: float
    prepared_s: float
    drawn_s: float
    tasks: int = 0
    kept: int = 0


class Sink(Protocol):
    """Where traffic goes."""

    def check(self, info: ModelInfo, request: Request, kind: str | None = None) -> None:
        """Raise WrongUse for what cannot go there, before any work. kind: of the cells, where it is known."""

    def write(self, job: Job, tell: Tell) -> Drawn:
        """Draw, and put it there. tell(done, of): progress."""


@dataclass(frozen=True)
class Memory:
    """Traffic as a Dataset in memory."""

    def check(self, info: ModelInfo, request: Request, kind: str | None = None) -> None:
        """Nothing to check."""

    def write(self, job: Job, tell: Tell) -> Drawn:
        """Draw everything. Raises as `run`."""
        return draw_all(job, tell)


@dataclass(frozen=True)
class File:
    """Traffic in a file of any format that `gentraffic.io.files.write_traffic` knows, drawn first."""

    path: Path

    def streams(self, info: ModelInfo, request: Request) -> bool:
        """Whether traffic is written as it is drawn."""
        return False

    def check(self, info: ModelInfo, request: Request, kind: str | None = None) -> None:
        """Raise WrongUse or BadInput where it cannot be written."""
        from gentraffic.io.files import check_writable

        check_writable(self.path, kind=kind or "", members=request.members, services=1 if request.change is None else 2)

    def write(self, job: Job, tell: Tell) -> Drawn:
        """Draw everything, then write the file whole or not at all. Raises as `run`, BadInput for memory and disk."""
        from gentraffic.io.files import write_traffic

        check_fits(int(np.prod(job.shape)) * (1 if job.request.change is None else 2), self.path)
        drawn = draw_all(job, tell)
        write_traffic(drawn.traffic, self.path)
        return drawn


def run(
    request: Request, generator: Generator, context: xr.Dataset, sink: Sink | None = None, *,
    observed: Observations | None = None, command: str = "", tell: Tell | None = None,
) -> Drawn:  # fmt: skip
    """Draw what is requested of a place with a generator, into a sink (Memory).

    With `request.change` the traffic has two services, NAME_before and NAME_after, drawn with the same noise: their
    difference is the effect of the change. Totals then hold before, and the same factors apply after.
    observed: what `request.observed()` gave, where that is read already. command: for the attributes.
    Raises WrongUse (Unsupported for what the generator cannot do), NoData, BadInput, BadModel.
    """
    sink = Memory() if sink is None else sink
    sink.check(generator.info, request, str(context.attrs.get("kind", "")))
    return sink.write(prepare(request, generator, context, observed, command), tell or (lambda done, of: None))


def prepare(
    request: Request, generator: Generator, context: xr.Dataset, observed: Observations | None = None, command: str = ""
) -> Job:
    """Check a request against a generator and a place. Raises as `run`."""
    info = generator.info
    request.check(info)
    if observed is None:
        observed = request.observed()
    totals, rows = request.totals(), request.rows(context)
    calendar = request.calendar(info, observed, str(context.attrs["timezone"]))
    if rows is not None:
        context = context.compute()  # picking cells from a file is slow
    place = context if rows is None else context.isel(cell=rows)
    settings = request.settings(info)
    attrs = provenance(info, context, settings, command, observed)
    if totals:
        attrs["totals"] = "; ".join(total.text for total in totals)
    return Job(
        request=request,
        generator=generator,
        context=context,
        place=place,
        rows=rows,
        calendar=calendar,
        settings=settings,
        observed=observed,
        totals=totals,
        sets=districts(totals, place) if totals else None,
        service=request.named(observed),
        attrs=attrs,
    )


def draw_all(job: Job, tell: Tell) -> Drawn:
    """The traffic of a job in memory. Raises as `run`."""
    began = time.perf_counter()
    change, places, names = job.request.change, [job.context], [job.service]
    if change is not None:
        import pandas as pd

        from gentraffic.places.scenario import about, apply_changes

        changed = apply_changes(job.context, change)
        places, names = [job.context, changed.context], [f"{job.service}_before", f"{job.service}_after"]
        job = replace(job, attrs={**job.attrs, **about(changed, change, job.generator.info.graph_layers)})
    drawn, prepared_s, units = [], 0.0, "1"
    try:
        for part, place in enumerate(places):
            asked = time.perf_counter()
            draw = job.prepare(place)()
            prepared_s += time.perf_counter() - asked
            values = np.empty(job.shape, dtype=np.float32)
            progress = partial(_part_done, tell, part, len(places))
            for span, block in draw.blocks(spans(job, draw.block), tell=progress):
                values[span.member, span.first : span.end] = block
            drawn.append(values)
            units = draw.units
    except ValueError as error:
        raise WrongUse(str(error)) from error
    if change is not None:
        local = pd.DatetimeIndex(job.calendar.utc).tz_localize("UTC").tz_convert(job.timezone)
        drawn[1] = changed.mixed(drawn[0], drawn[1], local, job.rows)
    if job.sets is not None:
        factors = fit_totals(drawn[0], job.totals, job.sets, job.calendar, job.timezone)
        drawn, units = [factors.apply(values) for values in drawn], job.totals[0].unit
    services = [job.dataset(values, name, units) for name, values in zip(names, drawn, strict=True)]
    out = services[0]
    for more in services[1:]:
        out = out.assign({str(name): variable for name, variable in more.data_vars.items()})
    mean = float(np.mean(drawn[-1], dtype=np.float64))
    return Drawn(out, mean, prepared_s, time.perf_counter() - began - prepared_s)


def spans(job: Job, size: int) -> list[Block]:
    """All of a draw, a block of `size` cells at a time."""
    members, cells, _ = job.shape
    return [Block(m, at, min(at + size, cells)) for m in range(members) for at in range(0, cells, size)]


def _part_done(tell: Tell, part: int, parts: int, done: int, of: int) -> None:
    tell(part * of + done, parts * of)


def provenance(
    info: ModelInfo, context: xr.Dataset, settings: Settings, command: str, observed: Observations | None = None
) -> dict[str, str | int | float]:
    """The attributes that say where drawn traffic comes from."""
    import torch

    carried = ("osm_source", "osm_snapshot", "osm_sha256", "warnings", "positions")
    credit = credits_of((str(context.attrs.get("attribution", "")), str(info.provenance.get("attribution", ""))))
    source = "drawn by a generative model; not measured"
    if observed is not None and observed.main is not None and info.continues_history:
        theirs = str(observed.main.attrs.get("attribution", ""))
        credit = "; ".join(part for part in (theirs, credit) if part)
        source = "drawn by a generative model, given measured traffic; measured values are kept as they are"
    return {
        "title": f"Synthetic cellular traffic, {context.attrs.get('place', '')}",
        "source": source,
        "model": info.name,
        "model_sha256": info.sha256,
        "seed": int(settings.seed),
        **({"solver": settings.solver} if settings.solver else {}),
        "steps": settings.steps,
        "guidance": float(settings.guidance),
        "command": command,
        "gentraffic_version": __version__,
        "versions": f"python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}",
        "attribution": credit,
        "license": "ODbL-1.0",
        **rhythm_attrs(info, context, settings),
        **privacy_attrs(info.provenance.get("privacy")),
        **{name: str(context.attrs[name]) for name in carried if context.attrs.get(name)},
    }


def rhythm_attrs(info: ModelInfo, context: xr.Dataset, settings: Settings) -> dict[str, str]:
    """Whose rhythm the members follow, where the model chooses it."""
    if not info.measured:
        return {}
    chosen = rhythms_of(info.networks, info.measured, context.attrs, settings.habits, settings.members, settings.seed)
    named = {settings.habits, *(str(context.attrs.get(k, "")) for k in ("habits", "network"))}
    reason = "as asked, or as the place says" if set(chosen) <= named else "the nearest that was measured"
    return {"rhythm": in_words(chosen), "rhythm_reason": reason}


def privacy_attrs(spent: Mapping[str, Any] | None) -> dict[str, str | float]:
    """What a private model's budget says of traffic that is drawn from it: epsilon, delta, unit, adjacency."""
    names = ("epsilon", "delta", "unit", "adjacency")
    return {} if spent is None else {f"privacy_{name}": spent[name] for name in names if name in spent}


def check_fits(values: int, out: Path) -> None:
    """Raise BadInput where a format that is written at once does not fit the memory."""
    need, free = values * 4 * 3, free_memory()
    if need > free:
        raise BadInput(
            f"{out.name}: {values:.3g} values need {need / GIB:.1f} GiB of memory, {free / GIB:.1f} GiB are free: "
            "write .zarr, which is written as it is drawn, or draw fewer cells, days or members"
        )


def free_memory() -> int:
    """Bytes that can be had without swapping."""
    import psutil  # type: ignore[import-untyped]

    return int(psutil.virtual_memory().available)
