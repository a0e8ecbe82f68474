"""`gentraffic fetch`, `import`, `split`: places and measured traffic become files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import gentraffic
from gentraffic.api.files import split_facts, traffic_facts
from gentraffic.api.places import context_facts
from gentraffic.api.result import Facts, warned
from gentraffic.cli import options as shared
from gentraffic.cli.options import FILE, call, file_option, out_option, prints, with_options
from gentraffic.io.importers.registry import DATA_SETS

if TYPE_CHECKING:
    import xarray as xr


@click.command(short_help="POIs, cells and stations of a place, once, into a context file.")
@with_options(shared.PLACE)
@file_option("--sites", help="Known base-station sites (CSV or Parquet: lon, lat[, n_cells]).")
@click.option("--sites-credit", metavar="TEXT", help="Who made the sites, for the attribution.")
@file_option("--streets", help="Where streets and the names of the map come from, if --osm has none: an OpenStreetMap"
                               " extract.")  # fmt: skip
@click.option("--place", "name", metavar="NAME", help="What the place is called. [default: from its source]")
@click.option(
    "--rhythm", "--habits", "rhythm", metavar="NETWORK", help="Whose daily rhythm the place follows, e.g. milan."
)
@click.option("--network", metavar="NAME", help="The measured network that the cells belong to, if any.")
@out_option("Context: .nc or .zarr.")
@prints
def fetch(city: str | None, out: Path, **options: Any) -> Facts:
    """Count the points of interest around every cell or station of a place and write them to a context file.

    \b
    gentraffic fetch --city "Trento, Italy" -o trento.nc
    gentraffic fetch --osm malta.osm.pbf --cell-size 500 -o malta.nc
    gentraffic fetch --cells telecom-grid.geojson --osm pois.csv --sites lte.csv -o milan.nc
    gentraffic fetch --osm malta.osm.pbf --population residents.tif -o malta.nc

    With --sites the model also knows where base stations stand already: traffic follows them closely.
    """
    return context_facts(call(gentraffic.fetch, city, bar="Overpass", out=out, **options), out)


@click.group("import", short_help="Operators' and public measurements into a traffic file.")
def import_() -> None:
    """Read measured traffic into the format that every other command takes."""


TRAFFIC_OUT = out_option("Traffic: .nc .zarr .parquet .csv.")


def _imported(traffic: xr.Dataset, out: Path, context: Path | None = None) -> Facts:
    """What is printed of imported traffic; its warnings at once, also beside JSON."""
    facts = traffic_facts(traffic, out, context)
    if not shared.is_quiet():
        click.echo("".join(f"{line}\n" for line in warned(facts.values["warnings"])), err=True, nl=False)
    return facts


def _data_set(name: str) -> click.Command:
    known = DATA_SETS[name]

    def read(src: Path, context: Path | None, out: Path) -> Facts:
        traffic, _ = call(gentraffic.import_dataset, name, src, out=out, context_out=context)
        return _imported(traffic, out, context)

    read.__doc__ = f"{known.about}.\n\n    \b\n    gentraffic {known.example}"
    help_ = "Also write the context: the POIs of the same cells."
    context = click.option("--context", type=FILE, metavar="FILE", help=help_, hidden=not known.places)
    own = (click.argument("src", type=FILE), context, TRAFFIC_OUT)
    return click.command(name, short_help=known.about)(with_options(own)(prints(read)))


for _name in DATA_SETS:
    import_.add_command(_data_set(_name))


@import_.command("telecom-italia", short_help="Telecom Italia's raw TSV files.")
@click.argument("src", type=FILE, nargs=-1, required=True)
@file_option("--cells", help="The grid of the cells. [default: Milan's]")
@shared.LAYER
@click.option("--service", metavar="NAMES", help="Which of internet,call_in,call_out,sms_in,sms_out. [default: all]")
@TRAFFIC_OUT
@prints
def telecom_italia(src: tuple[Path, ...], out: Path, **options: Any) -> Facts:
    """Read raw days of the Telecom Italia Big Data Challenge: five services, 10 minutes, local time Europe/Rome.

    \b
    gentraffic import telecom-italia sms-call-internet-mi-2013-11-*.txt -o milan.zarr
    """
    return _imported(call(gentraffic.import_telecom_italia, src, out=out, **options), out)


@import_.command(short_help="A table: CSV, Excel or Parquet with cell, time and a value per service.")
@click.argument("src", type=FILE)
@click.option("--timezone", metavar="ZONE", help="The zone of times without one.")
@click.option("--service", metavar="NAME", help="What the column `value` holds. [default: traffic]")
@click.option("--unit", metavar="UNIT", help="Of the values: GB, Mbit/s, ...; or internet=GB,users=1. Volumes (GB) are"
              " amounts per step and add up, rates are averaged. [default: unknown]")  # fmt: skip
@file_option("--cells", help="Where the table has no lon and lat: polygons of the cells, or"
              " a table of stations (lon, lat, id).")  # fmt: skip
@shared.LAYER
@with_options(shared.TABLE)
@click.option("--id-column", metavar="NAME", help="The column of the cells' ids, or several with commas"
              " between. [default: by its usual name]")  # fmt: skip
@click.option("--network", metavar="NAME", help="A name for the measured network: models that learn from it keep it,"
              " and `evaluate` says where a model knew it.")  # fmt: skip
@click.option("--keep-gaps", is_flag=True, help="NaN where a cell has no value, in place of an error: `sample --known`"
              " fills it.")  # fmt: skip
@TRAFFIC_OUT
@prints
def table(src: Path, out: Path, **options: Any) -> Facts:
    """Read a table with columns cell, time, one per service (or `value`), and lon, lat (or --cells; without both the
    series have no positions). Ids are text. CSV in any usual encoding, packed or not, .xlsx and Parquet.

    \b
    gentraffic import table measured.csv --timezone Europe/Rome --unit GB -o traffic.nc
    gentraffic import table counters.xlsx --cells sites.csv --columns id=CELL_NAME,internet=DL_GB -o traffic.nc
    """
    return _imported(call(gentraffic.import_table, src, out=out, **options), out)


@click.command(short_help="Split a traffic file into training and test.")
@shared.TRAFFIC
@click.option("--test", metavar="SHARE", help="What the test holds, e.g. 20% or 0.2.")
@click.option("--model", metavar="DIR", help="Instead of --test: the test holds the cells that this model held out.")
@click.option("--by", type=click.Choice(("cell", "location", "time")), default="cell")
@shared.seed_option("Which cells or locations.")
@out_option("The training part.", "FILE")
@file_option("--rest", required=True, help="The test part.")
@prints
def split(traffic: Path, test: str | None, model: str | None, by: str, seed: int, out: Path, rest: Path) -> Facts:
    """Split a traffic file by cells, locations or local days (the last are the test).

    \b
    gentraffic split traffic.nc --test 20% -o train.nc --rest test.nc
    gentraffic split traffic.nc --test 25% --by time -o train.nc --rest test.nc
    gentraffic split traffic.nc --model my-model -o seen.nc --rest test.nc
    """
    parts = call(gentraffic.split, traffic, test=test, model=model, by=by, seed=seed, out=out, rest=rest)
    return split_facts(parts, (out, rest), {"by": by, "seed": seed} if model is None else {"model": model})
