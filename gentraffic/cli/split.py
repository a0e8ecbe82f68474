"""`gentraffic split`: traffic to train on, and the rest to test on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gentraffic.cli.options import COUNT, FILE, TRAFFIC, Printed, call, out_option, prints


@click.command(short_help="Split a traffic file into training and test.")
@TRAFFIC
@click.option("--test", metavar="SHARE", help="What the test holds, e.g. 20% or 0.2.")
@click.option("--model", metavar="DIR", help="Instead of --test: the test holds the cells that this model held out.")
@click.option("--by", type=click.Choice(("cell", "location", "time")), default="cell")
@click.option("--seed", type=COUNT, default=0, help="Which cells or locations.")
@out_option("The training part.", "FILE")
@click.option("--rest", type=FILE, required=True, metavar="FILE", help="The test part.")
@prints
def split(traffic: Path, test: str | None, model: str | None, by: str, seed: int, out: Path, rest: Path) -> Printed:
    """Split a traffic file by cells, locations or local days (the last are the test).

    \b
    gentraffic split traffic.nc --test 20% -o train.nc --rest test.nc
    gentraffic split traffic.nc --test 25% --by time -o train.nc --rest test.nc
    gentraffic split traffic.nc --model my-model -o seen.nc --rest test.nc
    """
    from gentraffic.api.files import split as split_file

    parts = call(split_file, traffic, test=test, model=model, by=by, seed=seed, out=out, rest=rest)
    sizes = [dict(part.sizes) for part in parts]
    values: dict[str, Any] = {"train": str(out), "test": str(rest)}
    values |= {"by": by, "seed": seed} if model is None else {"model": model}
    lines = [f"{p}: {s['cell']} cells x {s['time']} steps" for p, s in zip((out, rest), sizes, strict=True)]
    return values | {"sizes": sizes}, lines
