"""`gentraffic sample`: the main job."""

from __future__ import annotations

import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gentraffic import __version__
from gentraffic.cli_options import (
    COMMON,
    PLACE,
    command_line,
    find_context,
    peak_rss_mb,
    progress,
    report,
    with_options,
)
from gentraffic.errors import NoData, WrongUse

if TYPE_CHECKING:
    import xarray as xr

FILE = click.Path(path_type=Path)


@click.command(short_help="Draw a week (or any period) of traffic for a place.")
@with_options(PLACE)
@click.option("--context", type=FILE, metavar="FILE", help="A context file that `gentraffic fetch` wrote.")
@click.option(
    "--model", default="stouter-base", show_default=True, metavar="NAME|DIR", help="A bundled model or a folder."
)
@click.option("-o", "--out", type=FILE, required=True, metavar="OUT", help="Traffic: .nc .zarr .parquet .csv .tif.")
@click.option("--start", default="2026-01-05", show_default=True, metavar="DATE", help="First local day.")
@click.option("--days", default=7, show_default=True, help="Local days.")
@click.option("--freq", default="1h", show_default=True, help="Cadence: 1h, 30min, 15min or 10min.")
@click.option("--members", default=1, show_default=True, help="Ensemble members; the first has the most likely levels.")
@click.option("--seed", default=0, show_default=True, help="The same seed, model and place give the same bits.")
@click.option("--steps", type=int, help="Solver steps. [default: what the model's card recommends]")
@click.option("--solver", default="dpm++", show_default=True, help="ddpm, ddim, dpm++ or unipc.")
@click.option("--guidance", default=1.0, show_default=True, help="Classifier-free guidance; 1 is none.")
@click.option(
    "--habits", default="", metavar="NETWORK", help="Follow the daily rhythm of a measured network of the model."
)
@click.option("--device", default="cpu", show_default=True, help="A torch device, e.g. cuda.")
@click.option("--service", metavar="NAME", help="Name of the traffic variable. [default: that of --total, or traffic]")
@click.option("--total", metavar="SERVICE=AMOUNT/day",
              help="Scale so that the region carries exactly this in a mean day, e.g. traffic=5TB/day.")  # fmt: skip
@click.option(
    "--select", metavar="IDS|@FILE", help="Draw only these cells: ids with commas, or a file of one per line."
)
@click.option("--map", "map_file", type=FILE, metavar="FILE.html", help="A map that needs no network.")
@click.option("--plot", "plot_file", type=FILE, metavar="FILE.png", help="A picture of the region's traffic.")
@click.option("--dry-run", is_flag=True, help="Say what would be drawn, and stop.")
@with_options(COMMON)
def sample(out: Path, as_json: bool, quiet: bool, debug: bool, **options: Any) -> None:
    """Draw synthetic traffic for every cell or base station of a place.

    \b
    gentraffic sample --city milan --days 7 -o milan.nc --map milan.html --plot milan.png
    gentraffic sample --city "Trento, Italy" -o trento.nc --total traffic=40TB/day
    gentraffic sample --osm liechtenstein.osm.pbf --cell-size 500 --freq 15min -o li.zarr
    gentraffic sample --stations sites.csv --osm city.osm.pbf --members 20 -o sites.parquet

    Traffic is relative (units "1": 1 is what the mean cell carries in a mean hour) unless --total gives it units.
    Member 0 is the control: its levels are the most likely ones; further members spread over what is possible.
    """
    from gentraffic import atomic
    from gentraffic.calendar import make_calendar
    from gentraffic.files import check_writable

    check_writable(out, members=options["members"])
    for extra, suffix in ((options["map_file"], ".html"), (options["plot_file"], ".png")):
        if extra is not None:
            atomic.check_writable(extra, (suffix,))
    total = parse_total(options["total"], options["service"])
    options["service"] = options["service"] or (total[0] if total else "traffic")
    began = time.perf_counter()
    context = find_context(options, quiet=quiet, command=command_line())
    check_writable(out, kind=str(context.attrs.get("kind")), members=options["members"])
    calendar = make_calendar(options["start"], options["days"], options["freq"], str(context.attrs["timezone"]))
    chosen = select_cells(context, options["select"])
    cells = context.sizes["cell"] if chosen is None else len(chosen)
    values: dict[str, Any] = {
        "output": str(out),
        "place": context.attrs.get("place", ""),
        "cells": cells,
        "steps": len(calendar.utc),
        "members": options["members"],
        "timezone": context.attrs["timezone"],
    }
    if options["dry_run"]:
        size = cells * len(calendar.utc) * options["members"] * 4 / 2**20
        line = f"would draw {cells} cells x {len(calendar.utc)} steps x {options['members']} members ({size:.1f} MiB)"
        report({**values, "dry_run": True, "mib": round(size, 1)}, [line], as_json=as_json, quiet=quiet)
        return

    import numpy as np

    from gentraffic.bundle import load_bundle
    from gentraffic.files import write_traffic
    from gentraffic.sampling import Recipe, draw_traffic
    from gentraffic.schema import traffic_dataset

    bundle = load_bundle(options["model"])
    recipe = Recipe(
        seed=options["seed"],
        members=options["members"],
        steps=options["steps"] or int(bundle.provenance.get("recommended_steps", Recipe().steps)),
        solver=options["solver"],
        guidance=options["guidance"],
        device=options["device"],
        habits=options["habits"],
    )
    loaded = time.perf_counter()
    with progress("drawing", quiet=quiet) as tell:
        try:
            drawn = draw_traffic(bundle, context, calendar, recipe, cells=chosen, on_tile=tell)
        except ValueError as error:
            raise WrongUse(str(error)) from error
    sampled = time.perf_counter()
    units = "1"
    if total is not None:
        drawn, units = scale_to(drawn, total[1:], calendar.days)
    place = context if chosen is None else context.isel(cell=chosen)
    traffic = traffic_dataset(
        drawn if options["members"] > 1 else drawn[0],
        cells=place,
        time=calendar.utc,
        service=options["service"],
        units=units,
        timezone=str(context.attrs["timezone"]),
        attrs=provenance(bundle.provenance, bundle.sha256, context, options, recipe.steps),
    )
    write_traffic(traffic, out)
    if options["map_file"] is not None:
        from gentraffic.webmap import write_map

        write_map(traffic, options["map_file"])
    if options["plot_file"] is not None:
        from gentraffic.plot import write_plot

        write_plot(traffic, options["plot_file"])
    written = time.perf_counter()
    values |= {
        "solver_steps": recipe.steps,
        "seconds": {
            "load": round(loaded - began, 3),
            "sample": round(sampled - loaded, 3),
            "write": round(written - sampled, 3),
        },
        "peak_rss_mb": peak_rss_mb(),
        "units": units,
        "mean": float(np.mean(drawn, dtype=np.float64)),
        "model": options["model"],
        "warnings": [w for w in str(context.attrs.get("warnings", "")).splitlines() if w],
    }
    for name in ("map", "plot"):
        if options[f"{name}_file"] is not None:
            values[name] = str(options[f"{name}_file"])
    lines = [f"warning: {warning}" for warning in values["warnings"]]
    lines.append(
        f"{out}: {cells} cells x {len(calendar.utc)} steps x {options['members']} members of {values['place']}, "
        f"{values['timezone']}; drawn in {sampled - loaded:.1f} s"
    )
    lines += [f"{values[name]}" for name in ("map", "plot") if name in values]
    report(values, lines, as_json=as_json, quiet=quiet)


def parse_total(text: str | None, service: str | None) -> tuple[str, float, str] | None:
    """`SERVICE=AMOUNT[UNIT]/day` as (service, amount, unit); None for None. Raises WrongUse for anything else."""
    import math
    import re

    if text is None:
        return None
    match = re.fullmatch(r"([\w-]+)=([0-9.eE+-]+?)\s*([A-Za-z]*)/day", text.strip())
    try:
        amount = float(match.group(2)) if match else math.nan
    except ValueError:
        amount = math.nan
    if match is None or not (math.isfinite(amount) and amount > 0):
        raise WrongUse(
            f"--total {text}: give SERVICE=AMOUNT/day, such as {service or 'traffic'}=5TB/day, the amount above 0"
        )
    if service is not None and match.group(1) != service:
        raise WrongUse(f"--total names the service {match.group(1)!r}, --service names {service!r}: name one")
    return match.group(1), amount, match.group(3) or "unit"


def scale_to(drawn: Any, total: tuple[float, str], days: int) -> tuple[Any, str]:
    """Every member scaled so that the region carries the total in a mean day; the units are amounts per step."""
    import numpy as np

    amount, unit = total
    sums = drawn.sum(axis=(1, 2), dtype=np.float64)
    if not (sums > 0).all():
        raise NoData("the region carries no traffic, so no total can be reached")
    factors = amount * days / sums
    return (drawn * factors[:, None, None]).astype(np.float32), unit


def select_cells(context: xr.Dataset, text: str | None) -> list[int] | None:
    """Rows of the context for the ids that `--select` names, in that order; None for all. Raises WrongUse."""
    if text is None:
        return None
    if text.startswith("@"):
        try:
            names = Path(text[1:]).read_text(encoding="utf-8").split()
        except OSError as error:
            raise WrongUse(f"--select {text}: {error.strerror or error}") from error
    else:
        names = [name.strip() for name in text.split(",") if name.strip()]
    rows = {str(cell): row for row, cell in enumerate(context["cell_id"].values.tolist())}
    missing = [name for name in names if name not in rows]
    if missing or not names:
        raise WrongUse(f"--select: no cell {missing[0]!r} in this place" if missing else "--select names no cell")
    if len(set(names)) < len(names):
        raise WrongUse("--select names a cell twice")
    return [rows[name] for name in names]


def provenance(
    model: dict[str, Any], sha256: str, context: xr.Dataset, options: dict[str, Any], steps: int
) -> dict[str, str | int | float]:
    """The attributes that say where drawn traffic comes from."""
    import numpy
    import torch

    from gentraffic.card import credits_of

    carried = ("osm_source", "osm_snapshot", "osm_sha256", "warnings", "positions")
    credit = credits_of((str(context.attrs.get("attribution", "")), str(model.get("attribution", ""))))
    return {
        "title": f"Synthetic cellular traffic, {context.attrs.get('place', '')}",
        "source": "drawn by a generative model; not measured",
        "model": str(options["model"] if "/" not in str(options["model"]) else Path(options["model"]).name),
        "model_sha256": sha256,
        "seed": int(options["seed"]),
        "solver": str(options["solver"]),
        "steps": steps,
        "guidance": float(options["guidance"]),
        "command": command_line(),
        "gentraffic_version": __version__,
        "versions": f"python {platform.python_version()}, torch {torch.__version__}, numpy {numpy.__version__}",
        "attribution": credit,
        "license": "ODbL-1.0",
        **{name: str(context.attrs[name]) for name in carried if context.attrs.get(name)},
    }
