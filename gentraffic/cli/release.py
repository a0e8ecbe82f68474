"""`gentraffic release`: a folder to publish, with what protects whom. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

import click

from gentraffic.cli.options import COMMON, COUNT, POSITIVE, Command, progress, report, with_options

FILE = click.Path(path_type=Path)


@click.command("release", cls=Command, short_help="Put synthetic traffic or a model into a folder to publish.")
@click.argument("what", type=FILE, metavar="TRAFFIC|MODEL")
@click.option("-o", "--out", type=FILE, required=True, metavar="DIR", help="The folder; it must not exist.")
@click.option("--ledger", type=FILE, required=True, metavar="FILE.json",
              help="All releases from the same private source; begun where it does not exist. Keep it.")  # fmt: skip
@click.option("--source", required=True, metavar="NAME", help="What the private source is called in the ledger.")
@click.option("--train", type=FILE, metavar="FILE", help="What the generator was made from: audit before release.")
@click.option("--holdout", type=FILE, metavar="FILE", help="Cells of the same network that it never saw.")
@click.option("--coarsen", type=POSITIVE, metavar="METRES", help="Move positions to the middle of such squares.")
@click.option("--no-positions", is_flag=True, help="Leave positions out.")
@click.option("--leak", is_flag=True, help="Release although the audit found a leak.")
@click.option("--seed", type=COUNT, default=0, show_default=True, help="Of the audit.")
@with_options(COMMON)
def release_(
    what: Path, out: Path, ledger: Path, source: str, train: Path | None, holdout: Path | None, coarsen: float | None,
    no_positions: bool, leak: bool, seed: int, as_json: bool, quiet: bool, debug: bool,
) -> None:  # fmt: skip
    """Put synthetic traffic, or a model, into a folder to publish: data, card, audit, ledger, checklist, Croissant.

    \b
    gentraffic release syn.nc --train t.nc --holdout h.nc --ledger ledger.json --source "our network" -o release
    gentraffic release private-model --ledger ledger.json --source "our network" -o release

    The ledger counts every release from one private source; epsilon adds up, but all that is drawn from one private
    model counts once. Nothing is written where the audit found a leak, but with --leak.
    """
    from gentraffic.api.language import speaks_options
    from gentraffic.api.privacy import release

    with progress("auditing", quiet=quiet) as tell:
        made = speaks_options(release)(
            what, out, ledger=ledger, source=source, train=train, holdout=holdout, coarsen=coarsen,
            no_positions=no_positions, leak=leak, seed=seed, progress=tell,
        )  # fmt: skip
    first, *lines = made.lines
    values = {"output": str(out), "ledger": made.ledger, "audit": made.audit, "files": list(made.files)}
    report(values, [f"{out}: {first}", *lines], as_json=as_json, quiet=quiet)
