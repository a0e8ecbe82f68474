"""`gentraffic release`: a folder to publish, with what protects whom. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gentraffic.cli.options import COUNT, FILE, POSITIVE, Printed, call, out_option, prints


@click.command("release", short_help="Put synthetic traffic or a model into a folder to publish.")
@click.argument("what", type=FILE, metavar="TRAFFIC|MODEL")
@out_option("The folder; it must not exist.", "DIR")
@click.option("--ledger", type=FILE, required=True, metavar="FILE.json",
              help="All releases from the same private source; begun where it does not exist. Keep it.")  # fmt: skip
@click.option("--source", required=True, metavar="NAME", help="What the private source is called in the ledger.")
@click.option("--train", type=FILE, metavar="FILE", help="What the generator was made from: audit before release.")
@click.option("--holdout", type=FILE, metavar="FILE", help="Cells of the same network that it never saw.")
@click.option("--coarsen", type=POSITIVE, metavar="METRES", help="Move positions to the middle of such squares.")
@click.option("--no-positions", is_flag=True, help="Leave positions out.")
@click.option("--leak", is_flag=True, help="Release although the audit found a leak.")
@click.option("--seed", type=COUNT, default=0, help="Of the audit.")
@prints
def release_(what: Path, out: Path, **options: Any) -> Printed:
    """Put synthetic traffic, or a model, into a folder to publish: data, card, audit, ledger, checklist, Croissant.

    \b
    gentraffic release syn.nc --train t.nc --holdout h.nc --ledger ledger.json --source "our network" -o release
    gentraffic release private-model --ledger ledger.json --source "our network" -o release

    The ledger counts every release from one private source; epsilon adds up, but all that is drawn from one private
    model counts once. Nothing is written where the audit found a leak, but with --leak.
    """
    from gentraffic.api.privacy import release

    made = call(release, what, out, bar="auditing", **options)
    first, *lines = made.lines
    values = {"output": str(out), "ledger": made.ledger, "audit": made.audit, "files": list(made.files)}
    return values, [f"{out}: {first}", *lines]
