"""`gentraffic sample`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gentraffic.cli import options as shared
from gentraffic.cli.options import bundled, file_option, out_option, with_options
from gentraffic.io.atomic import check_outputs

# As `api.sampling.draw` calls them.
HOW = ("name", "chunk_cells", "workers", "scheduler", "map_file", "plot_file", "dry_run")


@click.command(cls=shared.listing("generator"), short_help="Draw a week (or any period) of traffic for a place.")
@with_options(shared.PLACE)
@file_option("--context", help="A context file that `gentraffic fetch` wrote.")
@click.option("--model", metavar="NAME|DIR", shell_complete=bundled("models"),
                                             help="A bundled model, a folder, or a generator of an installed package."
                                                  " [default: stouter-fast; stouter-base where --steps, --solver or"
                                                  " --guidance are given]")  # fmt: skip
@click.option("--place", "name", metavar="NAME", help="What the place is called, in titles. [default: from its source]")
@out_option("Traffic: .nc .zarr .parquet .csv .tif.")
@click.option("--start", metavar="DATE", help="First local day, e.g. 2026-01-05, with its public holidays. [default: a"
                                               " usual week, without; or that of --known]")  # fmt: skip
@click.option("--days", type=int, help="Local days. [default: 7, or those of --known]")
@click.option("--freq", help="Cadence: 1h, 30min, 15min or 10min. [default: 1h, or that of --history or --known]")
@click.option("--members", default=1, help="Ensemble members; the first has the most likely levels.")
@click.option("--seed", type=shared.COUNT, help="The same seed, model and place give the same bits. [default: 0]")
@click.option("--steps", type=shared.AT_LEAST_1, help="Solver steps. [default: what the model's card recommends]")
@click.option("--solver", help="ddpm, ddim, dpm++, unipc or gaussian. [default: gaussian, or as the card recommends]")
@click.option("--guidance", type=shared.NOT_NEGATIVE, help="Classifier-free guidance; 1 is none. [default: 1]")
@click.option("--rhythm", "--habits", "rhythm", default="auto", metavar="auto|NETWORK",
              help="Whose day and week the cells follow; auto: of the measured networks, nearest first.")  # fmt: skip
@click.option("--holidays", metavar="auto|none|IT|FILE",
              help="Public holidays, drawn as a kind of day: of the place's country, none, of a country, or dates of a"
                   " file, one a line. [default: auto with --start or more than 7 --days, else none]")  # fmt: skip
@click.option("--device", help="A torch device, e.g. cuda. [default: cpu]")
@click.option("--precision", metavar="fp32|bf16", help="Of the network's products; bf16 is for GPUs. [default: fp32]")
@click.option("--service", metavar="NAMES", help="What is drawn, one variable each: internet,call_in; calls and sms are"
                                                 " the sums of in and out. Of a model of one service, what its variable"
                                                 " is called. [default: that of --total, or the main one]")  # fmt: skip
@click.option("--total", multiple=True, metavar="SERVICE=AMOUNT/day",
              help="Scale so that the region carries exactly this in a mean day, e.g. traffic=5TB/day; /busyhour or"
                   " /18h for an hour, @FILE[#NAME] for a district. Several hold. Cells of --known stay.")  # fmt: skip
@file_option("--change", help="What-if: a mall, stadium, quarter, offices, station or event with a size, or POIs or"
                              " sites added or removed; draws before and after.")  # fmt: skip
@click.option("--select", metavar="IDS|@FILE", help="Only these cells: ids with commas, or a file of one per line.")
@file_option("--history", help="Earlier weeks of the same cells, which they follow; FoMo goes on where they end.")
@file_option("--known", help="Keep this measured traffic; what it lacks (NaN, cells, hours) follows it.")
@file_option("--like", help="Draw the period, cadence and cells of this traffic file, to compare with it.")
@file_option("--users", help="FoMo: active users of the cells at the steps to be drawn.")
@file_option("--map", "map_file", metavar="FILE.html",
             help="A map that needs no network; with --change of before, after and the difference.")  # fmt: skip
@file_option("--plot", "plot_file", metavar="FILE.png", help="A picture of the region's traffic.")
@click.option("--workers", type=int, metavar="N", help="Draw a .zarr on N processes; run the command again to resume.")
@click.option("--scheduler", metavar="ADDRESS", help="Draw a .zarr on the Dask workers of tcp://HOST:PORT, likewise.")
@click.option("--chunk-cells", type=int, metavar="N", help="Cells per chunk of a .zarr. [default: 4 MiB of values]")
@click.option("--dry-run", is_flag=True, help="Say what would be drawn, and stop.")
@with_options(shared.COMMON)
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
    gentraffic sample --known measured.nc --context city.nc --members 10 -o filled.nc

    Traffic is relative (units "1": 1 is what the mean cell carries in a mean hour) unless --total gives it units.
    Member 0 is the control: its levels are the most likely ones; further members spread over what is possible.
    A .zarr is written as it is drawn, in little memory; other formats are drawn first.

    
    What `--change` knows, as "what" of a feature, and how large it is:
      mall     floor_area (m2) or visitors a day       quarter  dwellings or residents; like: a place on the map
      stadium  seats; times for a match                offices  jobs or floor_area
      event    visitors and times, Sat 18:00-23:00     station  passengers a day
      dwellings, residents: homes or people without shops, where the place knows floor area or --population
    times of mall, quarter, offices, station: opening hours, Mon-Sat 9:00-21:00
    """
    from gentraffic.api.sampling import draw, request_of
    from gentraffic.places.find import query_from

    check_outputs({"out": out, **options})
    with shared.progress("Overpass", "drawing", quiet=quiet) as (fetching, drawing):
        sampling = draw(
            query_from(options), request_of(options), options["model"], out=out, fetching=fetching, progress=drawing,
            command=shared.command_line(), **{name: options[name] for name in HOW},
        )  # fmt: skip
    shared.report(sampling, as_json=as_json, quiet=quiet)
