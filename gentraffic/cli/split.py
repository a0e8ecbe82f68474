"""`gentraffic split`: traffic to train on, and the rest to test on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gentraffic.cli.options import COMMON, COUNT, Command, report, with_options
from gentraffic.errors import WrongUse

FILE = click.Path(path_type=Path)


@click.command(cls=Command, short_help="Split a traffic file into training and test.")
@click.argument("traffic", type=FILE)
@click.option("--test", metavar="SHARE", help="What the test holds, e.g. 20% or 0.2.")
@click.option("--model", metavar="DIR", help="Instead of --test: the test holds the cells that this model held out.")
@click.option("--by", type=click.Choice(("cell", "location", "time")), default="cell", show_default=True)
@click.option("--seed", type=COUNT, default=0, show_default=True, help="Which cells or locations.")
@click.option("-o", "--out", type=FILE, required=True, metavar="FILE", help="The training part.")
@click.option("--rest", type=FILE, required=True, metavar="FILE", help="The test part.")
@with_options(COMMON)
def split(
    traffic: Path, test: str | None, model: str | None, by: str, seed: int, out: Path, rest: Path, as_json: bool,
    quiet: bool, debug: bool,
) -> None:  # fmt: skip
    """Split a traffic file by cells, locations or local days (the last are the test).

    \b
    gentraffic split traffic.nc --test 20% -o train.nc --rest test.nc
    gentraffic split traffic.nc --test 25% --by time -o train.nc --rest test.nc
    gentraffic split traffic.nc --model my-model -o seen.nc --rest test.nc
    """
    from gentraffic.dataset.splits import split_like_model, split_traffic
    from gentraffic.generators.model_folder import read_folder
    from gentraffic.io.files import check_writable, read_traffic, write_traffic

    if len({path.resolve() for path in (traffic, out, rest)}) < 3:
        raise WrongUse(f"--rest {rest}: -o, --rest and the input must be three files; give another name")
    if (test is None) == (model is None):
        raise WrongUse("give --test SHARE, or --model DIR for the cells that a model held out")
    check_writable(out)
    check_writable(rest)
    whole = read_traffic(traffic)
    values: dict[str, Any]
    if model is not None:
        parts, values = split_like_model(whole, read_folder(model).provenance), {"model": model}
    else:
        parts, values = split_traffic(whole, test=str(test), by=by, seed=seed), {"by": by, "seed": seed}
    for part, path in zip(parts, (out, rest), strict=True):
        write_traffic(part, path)
    sizes = [dict(part.sizes) for part in parts]
    lines = [f"{p}: {s['cell']} cells x {s['time']} steps" for p, s in zip((out, rest), sizes, strict=True)]
    report({"train": str(out), "test": str(rest), **values, "sizes": sizes}, lines, as_json=as_json, quiet=quiet)
