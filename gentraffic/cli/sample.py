"""`gentraffic sample`: the main job."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gentraffic.api.outputs import check_outputs
from gentraffic.cli.options import (
    AT_LEAST_1,
    COMMON,
    COUNT,
    NOT_NEGATIVE,
    PLACE,
    command_line,
    place_of,
    progress,
    report,
    with_options,
)
from gentraffic.errors import WrongUse
from gentraffic.io.process import peak_rss_mb

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.generate.run import File
    from gentraffic.generate.store import Store

FILE = click.Path(path_type=Path)


@click.command(short_help="Draw a week (or any period) of traffic for a place.")
@with_options(PLACE)
@click.option("--context", type=FILE, metavar="FILE", help="A context file that `gentraffic fetch` wrote.")
@click.option("--model", metavar="NAME|DIR", help="A bundled model or a folder. [default: stouter-fast; stouter-base"
                                                  " where --steps, --solver or --guidance are given]")  # fmt: skip
@click.option("-o", "--out", type=FILE, required=True, metavar="OUT", help="Traffic: .nc .zarr .parquet .csv .tif.")
@click.option("--start", metavar="DATE", help="First local day. [default: 2026-01-05, or that of --known]")
@click.option("--days", type=int, help="Local days. [default: 7, or those of --known]")
@click.option("--freq", help="Cadence: 1h, 30min, 15min or 10min. [default: 1h, or that of --history or --known]")
@click.option("--members", default=1, show_default=True, help="Ensemble members; the first has the most likely levels.")
@click.option("--seed", type=COUNT, help="The same seed, model and place give the same bits. [default: 0]")
@click.option("--steps", type=AT_LEAST_1, help="Solver steps. [default: what the model's card recommends]")
@click.option(
    "--solver", help="ddpm, ddim, dpm++, unipc or gaussian. [default: gaussian, or what the model's card recommends]"
)
@click.option("--guidance", type=NOT_NEGATIVE, help="Classifier-free guidance; 1 is none. [default: 1]")
@click.option(
    "--rhythm",
    "--habits",
    "rhythm",
    default="auto",
    show_default=True,
    metavar="auto|NETWORK",
    help="Whose day and week the cells follow: a measured network; auto draws it per member, nearest first.",
)
@click.option("--holidays", metavar="auto|none|IT|FILE",
              help="Public holidays, drawn as a kind of day: of the place's country, none, of a country, or dates of a"
                   " file, one a line. [default: auto; none for the usual week]")  # fmt: skip
@click.option("--device", help="A torch device, e.g. cuda. [default: cpu]")
@click.option("--service", metavar="NAMES", help="What is drawn, one variable each: internet,call_in; calls and sms are"
                                                 " the sums of in and out. Of a model of one service, what its variable"
                                                 " is called. [default: that of --total, or the main one]")  # fmt: skip
@click.option("--total", multiple=True, metavar="SERVICE=AMOUNT/day",
              help="Scale so that the region carries exactly this in a mean day, e.g. traffic=5TB/day; /busyhour or"
                   " /18h for an hour, @FILE[#NAME] for a district. Several hold together.")  # fmt: skip
@click.option(
    "--change",
    type=FILE,
    metavar="FILE",
    help="What-if: a mall, stadium, quarter, offices, station or event"
    " with a size, or POIs or sites added or removed; draws before and after.",
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
    gentraffic sample --city milan --model my-model --service internet,calls,sms -o milan.nc
    gentraffic sample --city milan --change mall.geojson -o what-if.nc --map difference.html
    gentraffic sample --model fomo-base --history measured.nc --days 2 -o next.nc
    gentraffic sample --model fomo-base --known gaps.nc --context city.nc -o filled.nc

    Traffic is relative (units "1": 1 is what the mean cell carries in a mean hour) unless --total gives it units.
    Member 0 is the control: its levels are the most likely ones; further members spread over what is possible.
    A .zarr is written as it is drawn, in little memory; other formats are drawn first.

    
    What `--change` knows, as "what" of a feature, and how large it is:
      mall     floor_area (m2) or visitors a day       quarter  dwellings or residents; like: a place on the map
      stadium  seats; times for a match                offices  jobs or floor_area
      event    visitors and times, Sat 18:00-23:00     station  passengers a day
    """
    from gentraffic.generate.request import Request, read_select
    from gentraffic.generate.run import prepare
    from gentraffic.generators.base import default_model, find
    from gentraffic.generators.observed import context_of
    from gentraffic.places.find import find_context

    check_outputs({"out": out, **options})
    model = options["model"] or default_model(options["steps"], options["solver"], options["guidance"])
    given = {name: options[name] for name in Request.__dataclass_fields__}
    request = Request(**{**given, "seed": options["seed"] or 0, "select": read_select(options["select"])})
    began = time.perf_counter()
    folder, family = find(model)
    info = family.describe(folder)
    sink = _sink(out, options)
    request.check(info)
    request.totals()
    sink.check(info, request)
    _check_pictures(options)
    observed = request.observed()
    query = place_of(options)
    if observed is None or not query.is_empty:
        held = options["dry_run"] or not sink.streams(info, request)
        with progress("Overpass", quiet=quiet) as tell:
            context = find_context(query, command=command_line(), held=held, progress=tell)
    else:
        context = context_of(observed)
    calendar, rows = request.calendar(info, observed, str(context.attrs["timezone"])), request.rows(context)
    cells, steps = context.sizes["cell"] if rows is None else len(rows), len(calendar.utc)
    values: dict[str, Any] = {
        "output": str(out), "place": context.attrs.get("place", ""), "cells": cells, "steps": steps,
        "members": request.members, "timezone": context.attrs["timezone"],
    }  # fmt: skip
    sink.check(info, request, str(context.attrs.get("kind")))
    if options["dry_run"]:
        size = cells * steps * request.members * (1 if request.change is None else 2) * 4 / 2**20
        line = f"would draw {cells} cells x {steps} steps x {request.members} members ({size:.1f} MiB)"
        report({**values, "dry_run": True, "mib": round(size, 1)}, [line], as_json=as_json, quiet=quiet)
        return
    job = prepare(request, family.load(folder), context, observed, command_line())
    loaded = time.perf_counter()
    with progress("drawing", quiet=quiet) as tell:
        drawn = sink.write(job, tell)
    pictures = _draw_pictures(drawn.traffic, options, model)
    services = [str(name) for name in drawn.traffic.data_vars]
    service = drawn.traffic[_last(drawn.traffic) if request.change is not None else services[0]]
    seconds = {"load": loaded - began + drawn.prepared_s, "sample": drawn.drawn_s}
    seconds["write"] = time.perf_counter() - began - sum(seconds.values())
    warnings = [w for w in str(drawn.traffic.attrs.get("warnings", "")).splitlines() if w]
    values |= {
        "solver_steps": drawn.traffic.attrs.get("steps"),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "services": services, "peak_rss_mb": peak_rss_mb(), "units": service.attrs["units"], "mean": drawn.mean,
        "model": model, "warnings": warnings, **pictures,
    }  # fmt: skip
    if drawn.tasks:
        values |= {"tasks": drawn.tasks, "tasks_kept": drawn.kept}
    line = (
        f"{out}: {cells} cells x {steps} steps x {request.members} members of {values['place']}, "
        f"{values['timezone']}; drawn in {drawn.drawn_s:.1f} s"
    )
    lines = [f"warning: {warning}" for warning in warnings]
    if rhythm := drawn.traffic.attrs.get("rhythm"):
        values["rhythm"] = rhythm
        lines.append(f"rhythm: {rhythm}")
    if other := drawn.traffic.attrs.get("rhythm_services"):
        values["rhythm_services"] = other
        lines.append(f"rhythm of other services: {other}")
    for name in ("holidays", "not_drawn", "water"):
        if told := drawn.traffic.attrs.get(name):
            values[name] = told
            lines.append(f"{name.replace('_', ' ')}: {told}")
    if request.change is not None:
        from gentraffic.reports.change import effect_lines

        values["effect"] = effect_lines(drawn.traffic)
        lines += values["effect"]
    lines += [line, *pictures.values()]
    report(values, lines, as_json=as_json, quiet=quiet)


def _sink(out: Path, options: dict[str, Any]) -> Store | File:
    """Where the traffic goes. Raises WrongUse for options of the streaming engine with another format than .zarr."""
    from gentraffic.generate.run import File

    if out.suffix.lower() == ".zarr":
        from gentraffic.generate.store import Store

        return Store(out, options["chunk_cells"], options["workers"], options["scheduler"])
    for name in ("workers", "scheduler", "chunk_cells"):
        if options[name] is not None:
            raise WrongUse(f"--{name.replace('_', '-')} goes with -o NAME.zarr, not with {out}")
    return File(out)


def _check_pictures(options: dict[str, Any]) -> None:
    """Raise, before any work, where a picture cannot be written."""
    from gentraffic.io import atomic

    for extra, suffix in ((options["map_file"], ".html"), (options["plot_file"], ".png")):
        if extra is not None:
            atomic.check_writable(extra, (suffix,))


def _draw_pictures(traffic: xr.Dataset, options: dict[str, Any], model: str) -> dict[str, str]:
    """The map, or the page of a change, and the plot, where they were asked for: their files."""
    if options["map_file"] is not None and options["change"] is not None:
        from gentraffic.reports.traffic import write_report

        write_report(traffic, options["map_file"], model=model)
    elif options["map_file"] is not None:
        from gentraffic.reports.webmap import write_map

        write_map(traffic, options["map_file"])
    if options["plot_file"] is not None:
        from gentraffic.reports.plot import write_plot

        service = _last(traffic) if options["change"] is not None else None
        write_plot(traffic, options["plot_file"], service=service)
    return {name: str(options[f"{name}_file"]) for name in ("map", "plot") if options[f"{name}_file"] is not None}


def _last(traffic: xr.Dataset) -> str:
    """The traffic variable that counts: that of after a change, where there are two."""
    return str(list(traffic.data_vars)[-1])
