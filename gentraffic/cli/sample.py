"""`gentraffic sample`: the main job."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gentraffic.cli.options import (
    AT_LEAST_1,
    COMMON,
    COUNT,
    NOT_NEGATIVE,
    PLACE,
    command_line,
    find_context,
    peak_rss_mb,
    progress,
    report,
    with_options,
)
from gentraffic.errors import WrongUse
from gentraffic.places.find import PLACES

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.generate.request import Request
    from gentraffic.generators.fomo.observations import Observations

FILE = click.Path(path_type=Path)


@click.command(short_help="Draw a week (or any period) of traffic for a place.")
@with_options(PLACE)
@click.option("--context", type=FILE, metavar="FILE", help="A context file that `gentraffic fetch` wrote.")
@click.option("--model", metavar="NAME|DIR", help="A bundled model or a folder. [default: stouter-fast; stouter-base"
                                                  " where --steps, --solver or --guidance are given]")  # fmt: skip
@click.option("-o", "--out", type=FILE, required=True, metavar="OUT", help="Traffic: .nc .zarr .parquet .csv .tif.")
@click.option("--start", default="2026-01-05", show_default=True, metavar="DATE", help="First local day.")
@click.option("--days", default=7, show_default=True, help="Local days.")
@click.option("--freq", default="1h", show_default=True, help="Cadence: 1h, 30min, 15min or 10min.")
@click.option("--members", default=1, show_default=True, help="Ensemble members; the first has the most likely levels.")
@click.option(
    "--seed", type=COUNT, default=0, show_default=True, help="The same seed, model and place give the same bits."
)
@click.option("--steps", type=AT_LEAST_1, help="Solver steps. [default: what the model's card recommends]")
@click.option(
    "--solver", help="ddpm, ddim, dpm++, unipc or gaussian. [default: gaussian, or what the model's card recommends]"
)
@click.option(
    "--guidance", type=NOT_NEGATIVE, default=1.0, show_default=True, help="Classifier-free guidance; 1 is none."
)
@click.option(
    "--rhythm", "--habits", "habits", default="auto", show_default=True, metavar="auto|NETWORK",
    help="Whose day and week the cells follow: a measured network; auto draws it per member, nearest first.",
)  # fmt: skip
@click.option("--device", default="cpu", show_default=True, help="A torch device, e.g. cuda.")
@click.option("--service", metavar="NAME", help="Name of the traffic variable. [default: that of --total, or traffic]")
@click.option("--total", multiple=True, metavar="SERVICE=AMOUNT/day",
              help="Scale so that the region carries exactly this in a mean day, e.g. traffic=5TB/day; /busyhour or"
                   " /18h for an hour, @FILE[#NAME] for a district. Several hold together.")  # fmt: skip
@click.option(
    "--change", type=FILE, metavar="FILE", help="What-if: POIs or sites added or removed; draws before and after."
)
@click.option(
    "--select", metavar="IDS|@FILE", help="Draw only these cells: ids with commas, or a file of one per line."
)
@click.option(
    "--history",
    type=FILE,
    metavar="FILE",
    help="Earlier weeks of the same cells, which they follow; FoMo goes on where they end.",
)
@click.option("--known", type=FILE, metavar="FILE",
              help="FoMo: keep this measured traffic and draw what it lacks (NaN, absent cells or hours).")  # fmt: skip
@click.option("--users", type=FILE, metavar="FILE", help="FoMo: active users of the cells at the steps to be drawn.")
@click.option("--map", "map_file", type=FILE, metavar="FILE.html",
              help="A map that needs no network; with --change, a page with the map of the difference.")  # fmt: skip
@click.option("--plot", "plot_file", type=FILE, metavar="FILE.png", help="A picture of the region's traffic.")
@click.option("--workers", type=int, metavar="N", help="Draw a .zarr on N processes; run the command again to resume.")
@click.option("--scheduler", metavar="ADDRESS", help="Draw a .zarr on the Dask workers of tcp://HOST:PORT, likewise.")
@click.option("--chunk-cells", type=int, metavar="N", help="Cells per chunk of a .zarr. [default: 4 MiB of values]")
@click.option("--dry-run", is_flag=True, help="Say what would be drawn, and stop.")
@with_options(COMMON)
def sample(out: Path, as_json: bool, quiet: bool, debug: bool, **options: Any) -> None:
    """Draw synthetic traffic for every cell or base station of a place.

    \b
    gentraffic sample --city milan --days 7 -o milan.nc --map milan.html --plot milan.png
    gentraffic sample --city "Trento, Italy" -o trento.nc --total traffic=40TB/day
    gentraffic sample --osm liechtenstein.osm.pbf --cell-size 500 --freq 15min -o li.zarr
    gentraffic sample --stations sites.csv --osm city.osm.pbf --members 20 -o sites.parquet
    gentraffic sample --city milan --total traffic=40TB/day --total traffic=3TB/busyhour@centre.geojson -o milan.nc
    gentraffic sample --osm country.osm.pbf -o country.zarr --workers 16
    gentraffic sample --city milan --change mall.geojson -o what-if.nc --map difference.html
    gentraffic sample --model fomo-base --history measured.nc --days 2 -o next.nc
    gentraffic sample --model fomo-base --known gaps.nc --context city.nc -o filled.nc

    Traffic is relative (units "1": 1 is what the mean cell carries in a mean hour) unless --total gives it units.
    Member 0 is the control: its levels are the most likely ones; further members spread over what is possible.
    A .zarr is written as it is drawn, in little memory; other formats are drawn first.
    """
    from gentraffic.generate.request import Request, read_select
    from gentraffic.generators.registry import default_model

    options["model"] = options["model"] or default_model(options["steps"], options["solver"], options["guidance"])
    streams = _streams(out, options)
    _check_files(out, options)
    names = [name for name in Request.__dataclass_fields__ if name != "select"]
    request = Request(**{name: options[name] for name in names}, select=read_select(options["select"]))
    request.totals()
    began = time.perf_counter()
    task = _task(out, options, request, quiet=quiet)
    if options["dry_run"]:
        size = task.numbers * 4 / 2**20
        line = f"would draw {task.cells} cells x {task.steps} steps x {request.members} members ({size:.1f} MiB)"
        report({**task.told, "dry_run": True, "mib": round(size, 1)}, [line], as_json=as_json, quiet=quiet)
        return
    if task.fomo and (engine := _engine(options)):
        raise WrongUse(f"{engine[0]} does not go with {options['model']}, a FoMo, whose blocks need their neighbours")
    drawn = _stream(task, options, quiet) if streams and not task.fomo else _draw(task, options, quiet)
    _draw_pictures(drawn.traffic, options)
    written = time.perf_counter()
    pictures = {name: str(options[f"{name}_file"]) for name in ("map", "plot") if options[f"{name}_file"] is not None}
    told = task.told | drawn.told
    told["solver_steps"] = drawn.traffic.attrs["steps"]
    told["seconds"] = {
        "load": round(drawn.loaded - began, 3),
        "sample": round(drawn.sampled - drawn.loaded, 3),
        "write": round(written - drawn.sampled, 3),
    }
    told["peak_rss_mb"] = peak_rss_mb()
    told["units"] = drawn.traffic[_last(drawn.traffic)].attrs["units"]
    told |= {"mean": drawn.mean, "model": options["model"]}
    told["warnings"] = [w for w in str(task.context.attrs.get("warnings", "")).splitlines() if w]
    lines = [f"warning: {warning}" for warning in told["warnings"]]
    if rhythm := drawn.traffic.attrs.get("rhythm"):
        told["rhythm"] = rhythm
        lines.append(f"rhythm: {rhythm}")
    lines.append(
        f"{out}: {task.cells} cells x {task.steps} steps x {request.members} members of {told['place']}, "
        f"{told['timezone']}; drawn in {drawn.sampled - drawn.loaded:.1f} s"
    )
    report(told | pictures, [*lines, *pictures.values()], as_json=as_json, quiet=quiet)


@dataclass(frozen=True)
class _Task:
    """What is drawn, and where it goes. told: of it, in the report. given: what a FoMo continues or fills, if any."""

    out: Path
    request: Request
    context: xr.Dataset
    fomo: bool
    given: Observations | None
    cells: int
    steps: int

    @property
    def services(self) -> int:
        """Traffic variables of the output: before and after a change are two."""
        return 1 if self.request.change is None else 2

    @property
    def numbers(self) -> int:
        """Values of the output."""
        return self.cells * self.steps * self.request.members * self.services

    @property
    def told(self) -> dict[str, Any]:
        return {
            "output": str(self.out),
            "place": self.context.attrs.get("place", ""),
            "cells": self.cells,
            "steps": self.steps,
            "members": self.request.members,
            "timezone": self.context.attrs["timezone"],
        }


@dataclass(frozen=True)
class _Drawn:
    """Traffic that is written. loaded, sampled: clock readings after loading and after drawing. told: in the report."""

    traffic: xr.Dataset
    mean: float
    loaded: float
    sampled: float
    told: dict[str, Any] = field(default_factory=dict)


def _engine(options: dict[str, Any]) -> list[str]:
    """The options of the streaming engine that were given, as they are typed."""
    names = ("workers", "scheduler", "chunk_cells")
    return [f"--{name.replace('_', '-')}" for name in names if options[name] is not None]


def _streams(out: Path, options: dict[str, Any]) -> bool:
    """Whether the traffic is written as it is drawn. Raises WrongUse for engine options that cannot be followed."""
    asked, zarr = _engine(options), out.suffix.lower() == ".zarr"
    if asked and options["history"] is not None:
        raise WrongUse(f"{asked[0]} does not go with --history: draw without it")
    if asked and not zarr:
        raise WrongUse(f"{asked[0]} goes with -o NAME.zarr, not with {out}")
    return zarr and options["history"] is None and (bool(asked) or options["change"] is None)


def _check_files(out: Path, options: dict[str, Any]) -> None:
    """Raise, before any work, where an output cannot be written."""
    from gentraffic.io import atomic
    from gentraffic.io.files import check_writable

    check_writable(out, members=options["members"], services=1 if options["change"] is None else 2)
    for extra, suffix in ((options["map_file"], ".html"), (options["plot_file"], ".png")):
        if extra is not None:
            atomic.check_writable(extra, (suffix,))


def _task(out: Path, options: dict[str, Any], request: Request, *, quiet: bool) -> _Task:
    """The place and the period that the options mean. Raises as what it calls does, and WrongUse."""
    from gentraffic.generators.folder import read_folder
    from gentraffic.generators.fomo.folder import is_fomo
    from gentraffic.generators.fomo.observations import context_of, period_of, read_observations
    from gentraffic.io.files import check_writable

    fomo = is_fomo(read_folder(options["model"])[1])
    if not fomo and (options["known"] is not None or options["users"] is not None):
        name = options["model"]
        raise WrongUse(f"--known and --users need a FoMo, and {name} is none: give --model fomo-base")
    given = read_observations(options) if fomo else None
    if given is None or any(options[place] is not None for place in (*PLACES, "osm")):
        context = find_context(options, quiet=quiet, command=command_line(), held=fomo or not _streams(out, options))
    else:
        context = context_of(given)
    utc, _ = period_of(given, request.calendar(context).utc, request.days, request.freq, typed())
    chosen = request.rows(context)
    cells = context.sizes["cell"] if chosen is None else len(chosen)
    task = _Task(out, request, context, fomo, given, cells, len(utc))
    check_writable(out, kind=str(context.attrs.get("kind")), members=request.members, services=task.services)
    return task


def _stream(task: _Task, options: dict[str, Any], quiet: bool) -> _Drawn:
    """Draw into a .zarr, chunk after chunk."""
    from gentraffic.generate.store import draw_store
    from gentraffic.io.files import open_traffic

    engine = {name: options[name] for name in ("workers", "scheduler", "chunk_cells")}
    with progress("drawing", quiet=quiet) as tell:
        try:
            done = draw_store(
                options["model"], task.context, task.request, task.out, command=command_line(), tell=tell, **engine
            )
        except ValueError as error:
            raise WrongUse(str(error)) from error
    told = {"tasks": done.tasks, "tasks_kept": done.kept}
    return _Drawn(open_traffic(task.out), done.mean, done.began, done.drawn, told)


def _draw(task: _Task, options: dict[str, Any], quiet: bool) -> _Drawn:
    """Draw everything, then write it."""
    import numpy as np

    from gentraffic.generate.fill import fill_place
    from gentraffic.generate.request import draw_place
    from gentraffic.generate.run import check_fits
    from gentraffic.generators.fomo.folder import FoMoBundle, load_any
    from gentraffic.generators.naive import load_model
    from gentraffic.io.files import write_traffic

    check_fits(task.numbers, task.out)
    name, command = str(options["model"]), command_line()
    bundle = load_any(name) if task.fomo else load_model(name)
    loaded = time.perf_counter()
    with progress("drawing", quiet=quiet) as tell:
        if task.given is not None and isinstance(bundle, FoMoBundle):
            traffic = fill_place(
                bundle, task.context, task.request, task.given, typed(), name=name, command=command, tell=tell
            )
        else:
            traffic = draw_place(bundle, task.context, task.request, name=name, command=command, tell=tell)
    sampled = time.perf_counter()
    write_traffic(traffic, task.out)
    mean = float(np.mean(traffic[_last(traffic)].values, dtype=np.float64))
    return _Drawn(traffic, mean, loaded, sampled)


def _draw_pictures(traffic: xr.Dataset, options: dict[str, Any]) -> None:
    """The map, or the page of a change, and the plot, where they were asked for."""
    if options["map_file"] is not None and options["change"] is not None:
        from gentraffic.reports.traffic import write_report

        write_report(traffic, options["map_file"], model=options["model"])
    elif options["map_file"] is not None:
        from gentraffic.reports.webmap import write_map

        write_map(traffic, options["map_file"])
    if options["plot_file"] is not None:
        from gentraffic.reports.plot import write_plot

        write_plot(traffic, options["plot_file"], service=_last(traffic))


def _last(traffic: xr.Dataset) -> str:
    """The traffic variable that counts: that of after a change, where there are two."""
    return str(list(traffic.data_vars)[-1])


def typed() -> set[str]:
    """Names of the options of the running command that were typed rather than left at their default."""
    from click.core import ParameterSource

    now = click.get_current_context()
    return {name for name in now.params if now.get_parameter_source(name) == ParameterSource.COMMANDLINE}
