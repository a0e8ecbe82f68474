"""`gentraffic sample`: the main job."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from gentraffic.cli_options import (
    AT_LEAST_1,
    COMMON,
    COUNT,
    NOT_NEGATIVE,
    PLACE,
    PLACES,
    command_line,
    find_context,
    peak_rss_mb,
    progress,
    report,
    with_options,
)
from gentraffic.errors import WrongUse

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
@click.option("--solver", help="ddpm, ddim, dpm++ or unipc. [default: dpm++, or what the model's card recommends]")
@click.option(
    "--guidance", type=NOT_NEGATIVE, default=1.0, show_default=True, help="Classifier-free guidance; 1 is none."
)
@click.option(
    "--habits", default="", metavar="NETWORK", help="Follow the daily rhythm of a measured network of the model."
)
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
    from gentraffic import atomic
    from gentraffic.bundle import read_folder
    from gentraffic.drawing import Request, draw_place, read_select
    from gentraffic.files import check_writable
    from gentraffic.fomo_bundle import is_fomo
    from gentraffic.fomo_given import context_of, period_of, read_given
    from gentraffic.model_list import default_model

    options["model"] = options["model"] or default_model(options["steps"], options["solver"], options["guidance"])
    members, services = options["members"], 1 if options["change"] is None else 2
    engine = {name: options[name] for name in ("workers", "scheduler", "chunk_cells")}
    asked = [f"--{name.replace('_', '-')}" for name, value in engine.items() if value is not None]
    streams = out.suffix.lower() == ".zarr" and (bool(asked) or options["change"] is None)
    streams = streams and options["history"] is None
    if asked and options["history"] is not None:
        raise WrongUse(f"{asked[0]} does not go with --history: draw without it")
    if asked and not streams:
        raise WrongUse(f"{asked[0]} goes with -o NAME.zarr, not with {out}")
    check_writable(out, members=members, services=services)
    for extra, suffix in ((options["map_file"], ".html"), (options["plot_file"], ".png")):
        if extra is not None:
            atomic.check_writable(extra, (suffix,))
    names = [name for name in Request.__dataclass_fields__ if name != "select"]
    request = Request(**{name: options[name] for name in names}, select=read_select(options["select"]))
    request.totals()
    began = time.perf_counter()
    fomo, name = is_fomo(read_folder(options["model"])[1]), str(options["model"])
    if not fomo and (options["known"] is not None or options["users"] is not None):
        raise WrongUse(f"--known and --users need a FoMo, and {name} is none: give --model fomo-base")
    given = read_given(options) if fomo else None
    if given is None or any(options[place] is not None for place in (*PLACES, "osm")):
        context = find_context(options, quiet=quiet, command=command_line())
    else:
        context = context_of(given)
    check_writable(out, kind=str(context.attrs.get("kind")), members=members, services=services)
    utc, _ = period_of(given, request.calendar(context).utc, request.days, request.freq, typed())
    chosen = request.rows(context)
    cells = context.sizes["cell"] if chosen is None else len(chosen)
    values: dict[str, Any] = {
        "output": str(out),
        "place": context.attrs.get("place", ""),
        "cells": cells,
        "steps": len(utc),
        "members": members,
        "timezone": context.attrs["timezone"],
    }
    if options["dry_run"]:
        size = cells * len(utc) * members * services * 4 / 2**20
        line = f"would draw {cells} cells x {len(utc)} steps x {members} members ({size:.1f} MiB)"
        report({**values, "dry_run": True, "mib": round(size, 1)}, [line], as_json=as_json, quiet=quiet)
        return

    import numpy as np

    from gentraffic.files import write_traffic
    from gentraffic.naive_model import load_model
    from gentraffic.producing import check_fits

    if fomo and asked:
        raise WrongUse(f"{asked[0]} does not go with {name}, a FoMo, whose blocks need their neighbours")
    if streams and not fomo:
        from gentraffic.drawing_store import draw_store
        from gentraffic.files import open_traffic

        with progress("drawing", quiet=quiet) as tell:
            try:
                done = draw_store(options["model"], context, request, out, command=command_line(), tell=tell, **engine)
            except ValueError as error:
                raise WrongUse(str(error)) from error
        loaded, sampled, mean = done.began, done.drawn, done.mean
        traffic = open_traffic(out)
        values |= {"tasks": done.tasks, "tasks_kept": done.kept}
    else:
        check_fits(cells * len(utc) * members * services, out)
        from gentraffic.fomo_bundle import FoMoBundle, load_any
        from gentraffic.fomo_filling import fill_place

        bundle = load_any(options["model"]) if fomo else load_model(options["model"])
        command = command_line()
        loaded = time.perf_counter()
        with progress("drawing", quiet=quiet) as tell:
            if given is not None and isinstance(bundle, FoMoBundle):
                traffic = fill_place(bundle, context, request, given, typed(), name=name, command=command, tell=tell)
            else:
                traffic = draw_place(bundle, context, request, name=name, command=command, tell=tell)
        sampled = time.perf_counter()
        write_traffic(traffic, out)
        mean = float(np.mean(traffic[str(list(traffic.data_vars)[-1])].values, dtype=np.float64))
    last = str(list(traffic.data_vars)[-1])
    if options["map_file"] is not None:
        if request.change is not None:
            from gentraffic.report import write_report

            write_report(traffic, options["map_file"], model=options["model"])
        else:
            from gentraffic.webmap import write_map

            write_map(traffic, options["map_file"])
    if options["plot_file"] is not None:
        from gentraffic.plot import write_plot

        write_plot(traffic, options["plot_file"], service=last)
    written = time.perf_counter()
    values |= {
        "solver_steps": traffic.attrs["steps"],
        "seconds": {
            "load": round(loaded - began, 3),
            "sample": round(sampled - loaded, 3),
            "write": round(written - sampled, 3),
        },
        "peak_rss_mb": peak_rss_mb(),
        "units": traffic[last].attrs["units"],
        "mean": mean,
        "model": options["model"],
        "warnings": [w for w in str(context.attrs.get("warnings", "")).splitlines() if w],
    }
    for name in ("map", "plot"):
        if options[f"{name}_file"] is not None:
            values[name] = str(options[f"{name}_file"])
    lines = [f"warning: {warning}" for warning in values["warnings"]]
    lines.append(
        f"{out}: {cells} cells x {len(utc)} steps x {options['members']} members of {values['place']}, "
        f"{values['timezone']}; drawn in {sampled - loaded:.1f} s"
    )
    lines += [f"{values[name]}" for name in ("map", "plot") if name in values]
    report(values, lines, as_json=as_json, quiet=quiet)


def typed() -> set[str]:
    """Names of the options of the running command that were typed rather than left at their default."""
    from click.core import ParameterSource

    now = click.get_current_context()
    return {name for name in now.params if now.get_parameter_source(name) == ParameterSource.COMMANDLINE}
