"""`gentraffic.sample` and `gentraffic.load_model`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentraffic.api.files import context_of
from gentraffic.api.inputs import path_given
from gentraffic.api.language import speaks_python
from gentraffic.api.places import query_of
from gentraffic.api.result import WARNING, Shown
from gentraffic.dataset.misplaced import check_shared_ids
from gentraffic.dataset.schema import warnings_in
from gentraffic.errors import WrongUse
from gentraffic.io.process import peak_rss_mb

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.generate.run import Request, Sink
    from gentraffic.generators.base import Generator, ModelInfo
    from gentraffic.places.query import PlaceQuery

LOG = logging.getLogger(__name__)
NOTES = {  # attribute of drawn traffic -> its name in a sentence
    "rhythm": "rhythm",
    "rhythm_services": "rhythm of other services",
    "measured_cells": "measured, at least in part",
    "usual_week": "a usual week",
    "holidays": "holidays",
    "not_drawn": "not drawn",
    "water": "water",
}


@dataclass(frozen=True, eq=False, repr=False)
class Sampling(Shown):
    """What was drawn, or, where `traffic` is None, what would be.

    Attributes
    ----------
    model : str
        Its name, or its folder.
    place, timezone : str
        What the place is called, and its IANA zone.
    cells, steps, members : int
        How much.
    out : path, optional
        The file that holds it.
    changes : bool
        Whether a change was asked for: SERVICE_before and SERVICE_after.
    traffic : Dataset, optional
        ([member,] cell, time), or its file opened.
    mean : float
        Of all values of the last service.
    seconds : mapping of str to float
        Of loading, of drawing and of writing.
    tasks, tasks_kept : int
        Of a resumable store: all, and those of an earlier run.
    pictures : mapping of str to path
        "map" and "plot", where they were asked for.
    attrs : mapping
        Of traffic that would be drawn (a dry run), attributes that say which of its cells were measured.
    """

    model: str
    place: str
    timezone: str
    cells: int
    steps: int
    members: int
    out: Path | None = None
    changes: bool = False
    traffic: xr.Dataset | None = None
    mean: float = 0.0
    seconds: Mapping[str, float] = field(default_factory=dict)
    tasks: int = 0
    tasks_kept: int = 0
    pictures: Mapping[str, Path] = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)

    title = "Synthetic traffic"
    __repr__ = Shown.__str__

    @property
    def drawn(self) -> xr.Dataset:
        """The traffic. Raises WrongUse where it would only be drawn."""
        if self.traffic is None:
            raise WrongUse("nothing was drawn: leave --dry-run out")
        return self.traffic

    @property
    def services(self) -> list[str]:
        """The variables."""
        return [str(name) for name in self.drawn.data_vars]

    @property
    def units(self) -> str:
        """Of the first service; of a change, of that after it."""
        return str(self.drawn[self.services[-1 if self.changes else 0]].attrs["units"])

    @property
    def mib(self) -> float:
        """MiB of all values in memory, of a change before and after."""
        return self.cells * self.steps * self.members * (2 if self.changes else 1) * 4 / 2**20

    @property
    def size(self) -> str:
        """How much, in words."""
        return f"{self.cells} cells x {self.steps} steps x {self.members} members"

    @property
    def warnings(self) -> list[str]:
        """What a user should know."""
        return warnings_in(self.drawn)

    @cached_property
    def effect(self) -> list[str]:
        """What a change does, in a few lines; nothing where there is none."""
        from gentraffic.reports.change import effect_lines

        return [] if self.traffic is None or not self.changes else effect_lines(self.traffic)

    def rows(self) -> list[tuple[str, ...]]:
        """Name and value of what `--json` prints."""
        return [("", "value"), *((name, str(value)) for name, value in self.to_json().items() if value)]

    def sentences(self) -> list[str]:
        """Whose rhythm was drawn, which holidays, what was not drawn, and what a change does."""
        known = self.attrs if self.traffic is None else self.traffic.attrs
        return [*(f"{words}: {known[name]}" for name, words in NOTES.items() if known.get(name)), *self.effect]

    def text(self) -> list[str]:
        """Lines for a terminal: warnings, `sentences`, how much was drawn and in how long, and the pictures."""
        if self.traffic is None:
            return [*self.sentences(), f"would draw {self.size} ({self.mib:.1f} MiB)"]
        line = f"{self.out}: {self.size} of {self.place}, {self.timezone}; drawn in {self.seconds['sample']:.1f} s"
        warnings = [f"{WARNING}{warning}" for warning in self.warnings]
        return [*warnings, *self.sentences(), line, *map(str, self.pictures.values())]

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        values: dict[str, Any] = {
            "output": None if self.out is None else str(self.out), "place": self.place, "cells": self.cells,
            "steps": self.steps, "members": self.members, "timezone": self.timezone,
        }  # fmt: skip
        if self.traffic is None:
            notes = {name: self.attrs[name] for name in NOTES if self.attrs.get(name)}
            return values | {"dry_run": True, "mib": round(self.mib, 1)} | notes
        known = self.traffic.attrs
        values |= {
            "solver_steps": known.get("steps"), "seconds": {name: round(s, 3) for name, s in self.seconds.items()},
            "services": self.services, "peak_rss_mb": peak_rss_mb(), "units": self.units, "mean": self.mean,
            "model": self.model, "warnings": self.warnings,
            **{name: str(path) for name, path in self.pictures.items()},
        }  # fmt: skip
        if self.tasks:
            values |= {"tasks": self.tasks, "tasks_kept": self.tasks_kept}
        values |= {name: known[name] for name in NOTES if known.get(name)}
        return values | ({"effect": self.effect} if self.changes else {})


@speaks_python
def sample(
    place: str | Path | xr.Dataset | None = None,
    *,
    bbox: Sequence[float] | None = None,
    polygon: str | Path | None = None,
    cells: str | Path | None = None,
    stations: str | Path | None = None,
    osm: str | Path | None = None,
    cell_size: float | None = None,
    radius: float | None = None,
    id_column: str | None = None,
    columns: str | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    name: str | None = None,
    layer: str | None = None,
    water: str | None = None,
    timezone: str | None = None,
    offline: bool = False,
    population: str | Path | None = None,
    model: str | Path | Generator | None = None,
    start: str | None = None,
    days: int | None = None,
    freq: str | None = None,
    members: int = 1,
    seed: int = 0,
    steps: int | None = None,
    solver: str | None = None,
    guidance: float | None = None,
    rhythm: str | None = None,
    device: str | None = None,
    precision: str | None = None,
    service: str | Sequence[str] | None = None,
    total: str | Sequence[str] = (),
    select: str | Sequence[object] | None = None,
    change: str | Path | None = None,
    history: str | Path | xr.Dataset | None = None,
    known: str | Path | xr.Dataset | None = None,
    users: str | Path | xr.Dataset | None = None,
    holidays: str | bool | None = None,
    like: str | Path | xr.Dataset | None = None,
    out: str | Path | None = None,
    chunk_cells: int | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    map_file: str | Path | None = None,
    plot_file: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Draw synthetic traffic for every cell or base station of a place: dimensions ([member,] cell, time), float32.

    Parameters
    ----------
    place : str, path or Dataset, optional
        A bundled city or a name in OpenStreetMap; or a context, as a Dataset or a file (.nc, .zarr); or nothing, where
        one of the next five names it, or the measured traffic of `history` or `known`.
    bbox : sequence of float, optional
        West, south, east, north in degrees.
    polygon, cells, stations, osm : path, optional
        The area of a vector file; polygons of your own cells; a table of base stations (lon, lat[, id]); an
        OpenStreetMap extract, alone the area of the file.
    cell_size : float, optional
        Side of the square cells in metres; 250 by default.
    radius : float, optional
        What a station covers, in metres; 500 by default.
    id_column, columns, layer : str, optional
        The column with the ids; names of columns of a table, "id=CELL_NAME,lon=X"; the layer of a file with several.
    name : str, optional
        What the place is called in titles; by default as its source calls it.
    decimal, thousands : str, optional
        Marks in the numbers of a table, "point" or "comma", where they leave a doubt.
    water : {"keep", "leave-out"}, optional
        Of square cells that lie wholly in the sea, a lake or a river of the map; they are kept by default.
    timezone : str, optional
        An IANA zone; by default that of the place.
    offline : bool
        Use no network: bundled places, files and the cache only.
    population : path, optional
        Residents of the place, which the levels follow: a GeoTIFF of residents per pixel, or a table (lon, lat,
        residents).
    model : str, path or Generator, optional
        A bundled name, a model folder, or what `load_model` returned. By default stouter-fast; stouter-base where
        steps, solver or guidance are given.
    start : str, optional
        The first local day, YYYY-MM-DD; by default 2026-01-05, or that of `known`.
    days : int, optional
        Local days; 7 by default, or those of `known`.
    freq : {"1h", "30min", "15min", "10min"}, optional
        The cadence; by default 1h, or that of `history` or `known`.
    members : int
        How many draws; the first has the most likely levels. With more than one there is a dimension `member`.
    seed : int
        The same seed, model and place give the same bits.
    steps : int, optional
        Steps of the solver, 1 to 1000 (network calls for each week); by default what the model recommends.
    solver : {"ddpm", "ddim", "dpm++", "unipc", "gaussian"}, optional
        By default what the model recommends.
    guidance : float, optional
        Classifier-free guidance; 1, the default, is none.
    rhythm : str, optional
        Whose day and week the cells follow: a measured network (`model.info.networks`), or auto, the nearest.
    device : str, optional
        A torch device; "cpu" by default.
    precision : {"fp32", "bf16"}, optional
        Of the network's products; fp32 by default. bf16 is for GPUs.
    service : str or sequence of str, optional
        "internet,call_in" or names, of what the model draws (`model.info.services`).
    total : str or sequence of str
        What the region carries, "traffic=5TB/day", "traffic=0.3TB/busyhour", or several. Without it traffic is
        relative: 1 is what the mean cell carries in a mean hour. With `known`, in its units: what was measured is
        kept and counts towards it, and the other cells carry the rest.
    select : sequence or str, optional
        Ids of the cells to draw: a list, "a,b", or "@FILE" with one id per line.
    change : path, optional
        Points of interest or sites that are added or removed; SERVICE_before and SERVICE_after are drawn.
    history, known, users : path or Dataset (cell, time), optional
        Earlier weeks that the cells follow; measured traffic that is kept, whose gaps are filled and whose weeks and
        levels the cells around follow; active users.
    holidays : str or bool, optional
        "auto" or True, "none" or False, a country such as "IT", or a file of dates.
    like : path or Dataset (cell, time), optional
        Traffic whose period, cadence and cells are drawn, where no others are given: to compare with it.
    out : path, optional
        Where it is also written: .nc .zarr .parquet .csv .tif; a .zarr is written as it is drawn, in little memory.
    chunk_cells : int, optional
        Cells per chunk of a .zarr; by default 4 MiB of values.
    workers, scheduler : int, str, optional
        Draw a .zarr on that many processes, or on the Dask workers of "tcp://HOST:PORT"; the same call resumes it.
    map_file, plot_file : path, optional
        Where a map (.html), of a change with before, after and the difference, and a picture (.png) are written.
    progress : callable, optional
        Is told (done, of).

    Returns
    -------
    Dataset
        A variable for each service, ([member,] cell, time) float32, and where and how it was drawn in `attrs`.

    Raises
    ------
    WrongUse, NoData, BadInput, BadModel
        Of `gentraffic.errors`; NetworkFailed of `poi.errors`.
    """
    import xarray as xr

    from gentraffic.dataset.services import split_names
    from gentraffic.generate.run import Request, read_select

    history, known, users = (Path(x) if isinstance(x, str) else x for x in (history, known, users))
    query = query_of(
        None if isinstance(place, xr.Dataset) else place, bbox, polygon=polygon, cells=cells, stations=stations,
        osm=osm, cell_size=cell_size, radius=radius, id_column=id_column, columns=columns, decimal=decimal,
        thousands=thousands, layer=layer, water=water, timezone=timezone, offline=offline, population=population,
    )  # fmt: skip
    request = Request(
        start=start, days=days, freq=freq, members=members, seed=seed, steps=steps, solver=solver, guidance=guidance,
        rhythm=rhythm, device=device, precision=precision, service=",".join(split_names(service)) or None,
        total=(total,) if isinstance(total, str) else tuple(total),
        select=read_select(select) if isinstance(select, str | None) else tuple(map(str, select)),
        change=path_given(change), history=history, known=known, users=users, holidays=_holidays(holidays),
        like=Path(like) if isinstance(like, str) else like,
    )  # fmt: skip
    context = None
    if isinstance(place, xr.Dataset):
        from gentraffic.places.find import names_of

        if names_of(query):
            raise WrongUse(f"two places given, a context and {names_of(query)[0]}: give one")
        context = context_of(place)
        context = context if timezone is None else context.assign_attrs(timezone=timezone)
    result = draw(
        query, request, model, context=context, out=path_given(out), chunk_cells=chunk_cells, workers=workers,
        scheduler=scheduler, map_file=path_given(map_file), plot_file=path_given(plot_file), progress=progress,
        name=name,
    )  # fmt: skip
    return result.drawn


def draw(
    query: PlaceQuery,
    request: Request,
    model: str | Path | Generator | None = None,
    *,
    context: xr.Dataset | None = None,
    out: Path | None = None,
    name: str | None = None,
    chunk_cells: int | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    map_file: Path | None = None,
    plot_file: Path | None = None,
    dry_run: bool = False,
    command: str = "gentraffic.sample",
    fetching: Callable[[int, int], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Sampling:
    """What `sample` and the command line do: draw a request of a place, and say what was drawn, and how long it took.

    query: names the place; empty where `context` is it, or measured traffic of the request. name: what the place is
    called, by default as its source calls it. dry_run: check everything,
    and say what would be drawn. fetching, progress: are told (done, of), of the map and of the draw. The rest is as of
    `sample`, but errors name options, as the command line does. No output may be an input: callers check that.
    """
    from gentraffic.dataset.memmap import Disk
    from gentraffic.dataset.schema import IN_MEMORY
    from gentraffic.generate.run import draw_into, prepare
    from gentraffic.generators.base import default_model
    from gentraffic.generators.observed import context_of as context_of_measured
    from gentraffic.generators.observed import measured_steps, told_of
    from gentraffic.places.find import find_context, names_of, with_population

    began = time.perf_counter()
    request = request.filled()
    model = default_model(request.steps, request.solver, request.guidance) if model is None else model
    info, load = _model_of(model)
    sink = _sink(out, chunk_cells, workers, scheduler)
    request.check(info)
    request.totals()
    sink.check(info, request)
    _check_pictures(map_file, plot_file)
    observed = request.observed()
    if context is None and observed is not None and not names_of(query):
        context = with_population(context_of_measured(observed), query)
    elif context is None:
        streams = out is not None and not dry_run and sink.streams(info, request)
        store = Disk(out.resolve().parent) if streams and out is not None else IN_MEMORY
        context = find_context(query, command=command, store=store, progress=fetching)
    else:
        context = with_population(context, query)
    for measured in () if observed is None else (observed.history, observed.known, observed.users):
        if measured is not None:
            check_shared_ids(measured, context, "the context")
    if name:
        context = context.assign_attrs(place=name)
    calendar, rows = request.calendar(info, observed, str(context.attrs["timezone"])), request.rows(context)
    sink.check(info, request, str(context.attrs.get("kind", "")))
    sampling = Sampling(
        str(model) if isinstance(model, str | Path) else str(info.location or info.name),
        place=str(context.attrs.get("place", "")),
        timezone=str(context.attrs["timezone"]),
        cells=context.sizes["cell"] if rows is None else len(rows),
        steps=len(calendar.utc),
        members=request.members,
        out=out,
        changes=request.change is not None,
    )
    variables = max(1, len(request.named())) * (2 if sampling.changes else 1)
    sink.check_size(info, request, sampling.cells * sampling.steps * sampling.members * variables)
    if dry_run:
        if observed is not None:
            ids = context["cell_id"].values[slice(None) if rows is None else rows]
            counts = measured_steps(observed, ids, calendar.utc)
            sampling = replace(sampling, attrs=told_of(observed, context, counts, calendar.utc))
        return sampling
    LOG.info("place %s: %d cells, %s", sampling.place, sampling.cells, sampling.timezone)
    job = prepare(request, load(), context, observed, command)
    loaded = time.perf_counter()
    LOG.info("model %s: %d steps of %d members are drawn", sampling.model, sampling.steps, sampling.members)
    drawn = draw_into(sink, job, progress or (lambda done, of: None))
    LOG.info("%s: prepared in %.2f s, drawn in %.2f s", out or "traffic", drawn.prepared_s, drawn.drawn_s)
    sampling = replace(sampling, traffic=drawn.traffic, mean=drawn.mean, tasks=drawn.tasks, tasks_kept=drawn.kept)
    pictures = _draw_pictures(sampling, map_file, plot_file)
    seconds = {"load": loaded - began + drawn.prepared_s, "sample": drawn.drawn_s}
    seconds["write"] = time.perf_counter() - began - sum(seconds.values())
    return replace(sampling, pictures=pictures, seconds=seconds)


def request_of(options: Mapping[str, Any]) -> Request:
    """The request of options of these names, of which others are left alone. Raises WrongUse for unreadable ids."""
    from gentraffic.generate.run import Request, read_select

    asked = {name: options[name] for name in Request.__dataclass_fields__}
    return Request(**asked | {"seed": options["seed"] or 0, "select": read_select(options["select"])})


def _holidays(given: str | bool | None) -> str | None:
    """What a request takes: words for True and False."""
    from gentraffic.dataset.public_holidays import AUTO, NONE

    return (AUTO if given else NONE) if isinstance(given, bool) else given


def _model_of(model: str | Path | Generator) -> tuple[ModelInfo, Callable[[], Generator]]:
    """What a model is, and what loads it. Raises BadModel."""
    from gentraffic.generators.base import find

    if not isinstance(model, str | Path):
        return model.info, lambda: model
    folder, family = find(model)
    return family.describe(folder), partial(family.load, folder)


def _sink(out: Path | None, chunk_cells: int | None, workers: int | None, scheduler: str | None) -> Sink:
    """Where the traffic goes. Raises WrongUse for options of the streaming engine with another format than .zarr."""
    from gentraffic.generate.run import File, Memory

    if out is not None and out.suffix.lower() == ".zarr":
        from gentraffic.generate.store import Store

        return Store(out, chunk_cells, workers, scheduler)
    for name, given in (("workers", workers), ("scheduler", scheduler), ("chunk-cells", chunk_cells)):
        if given is not None:
            raise WrongUse(f"--{name} goes with -o NAME.zarr" + ("" if out is None else f", not with {out}"))
    return Memory() if out is None else File(out)


def _check_pictures(map_file: Path | None, plot_file: Path | None) -> None:
    """Raise, before any work, where a picture cannot be written."""
    from gentraffic.io import atomic

    for picture, suffix in ((map_file, ".html"), (plot_file, ".png")):
        if picture is not None:
            atomic.check_writable(picture, (suffix,))


def _draw_pictures(sampling: Sampling, map_file: Path | None, plot_file: Path | None) -> dict[str, Path]:
    """The map and the plot, where they are asked for: their files."""
    pictures: dict[str, Path] = {}
    if map_file is not None:
        pictures["map"] = map_file
        from gentraffic.reports.webmap import write_map

        write_map(sampling.drawn, map_file)
    if plot_file is not None:
        from gentraffic.reports.plot import write_plot

        pictures["plot"] = plot_file
        write_plot(sampling.drawn, plot_file, service=sampling.services[-1] if sampling.changes else None)
    return pictures


@speaks_python
def load_model(name: str | Path = "stouter-fast") -> Generator:
    """A bundled model by its name, a model folder, every file checked against its hash, or a registered family.

    Raises BadModel.
    """
    from gentraffic.generators.base import load_model as load

    return load(name)
