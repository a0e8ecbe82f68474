"""`gentraffic release`: a folder to publish, with what protects whom. Imports nothing heavy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from gentraffic.cli.options import COMMON, COUNT, POSITIVE, progress, report, with_options
from gentraffic.errors import WrongUse

FILE = click.Path(path_type=Path)


@click.command(short_help="Put synthetic traffic or a model into a folder to publish.")
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
def release(
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
    from datetime import UTC, datetime

    from gentraffic.io.atomic import check_writable, replacing
    from gentraffic.privacy import release as rooms

    if out.exists():
        raise WrongUse(f"{out} exists: a release is written once; give another -o")
    if (train is None) != (holdout is None):
        raise WrongUse("--train and --holdout go together: an audit needs both")
    if coarsen is not None and no_positions:
        raise WrongUse("--coarsen and --no-positions exclude each other: give one")
    check_writable(ledger, (".json",))
    before = rooms.read_ledger(ledger, source)
    model = (what / "provenance.json").is_file()
    if model and (train is not None or coarsen is not None or no_positions):
        raise WrongUse("--train, --holdout, --coarsen and --no-positions are for traffic: leave them away for a model")
    date = datetime.now(UTC).date().isoformat()
    audit: dict[str, Any] | None = None
    with replacing(out, (out.suffix.lower(),), folder=True) as folder:
        if model:
            from gentraffic.generators.model_folder import read_folder

            known = read_folder(what)
            rooms.copy_model(what, folder / "model")
            digest, drawn_by, positions = rooms.digest_of(folder / "model"), known.sha256, ""
            privacy = dict(known.provenance.get("privacy") or {})
            files = ["model/"]
        else:
            audit, privacy, drawn_by, positions = _traffic(
                what, folder, train, holdout, coarsen, no_positions, seed, quiet=quiet, allowed=leak
            )
            digest = rooms.digest_of(folder / "traffic.nc")
            files = ["traffic.nc", "croissant/"]
        entry = rooms.entry_of(what.name, date, digest, privacy, drawn_by if privacy else "")
        after = rooms.Ledger(source, (*before.releases, entry))
        files += ["ledger.json", "CHECKLIST.md", *(["audit.json", "audit.html"] if audit is not None else [])]
        rooms.keep_ledger(folder / "ledger.json", after)
        if not model:
            rooms.add_rai(folder / "croissant" / "croissant.json", entry, after, audit)
        pages = {"README.md": rooms.release_card(entry, after, audit, files)}
        pages["CHECKLIST.md"] = rooms.checklist(entry, after, audit, positions)
        for name, text in pages.items():
            (folder / name).write_text(text, encoding="utf-8")
    rooms.keep_ledger(ledger, after)
    lines = [f"{out}: {rooms.bound_text(entry)}", after.sentence]
    lines.append("not audited: give --train and --holdout" if audit is None else str(audit["verdict"]))
    values = {"output": str(out), "ledger": after.to_json(), "audit": audit, "files": ["README.md", *files]}
    report(values, lines, as_json=as_json, quiet=quiet)


def _traffic(
    what: Path, folder: Path, train: Path | None, holdout: Path | None, coarsen: float | None, no_positions: bool,
    seed: int, *, quiet: bool, allowed: bool,
) -> tuple[dict[str, Any] | None, dict[str, Any], str, str]:  # fmt: skip
    """Audit traffic and write it as traffic.nc and as a Croissant folder: (audit, privacy, model, positions)."""
    from gentraffic.io.export.data_packages import write_croissant
    from gentraffic.io.files import read_traffic, write_traffic
    from gentraffic.privacy.release import blurred, privacy_of

    ds = read_traffic(what)
    found = None
    if train is not None and holdout is not None:
        from gentraffic.privacy.audit.run import audit
        from gentraffic.reports.audit import write_page

        known, unseen = read_traffic(train), read_traffic(holdout)
        with progress("auditing", quiet=quiet) as tell:
            result = audit(known, unseen, ds, seed=seed, progress=tell)
        if result.leak and not allowed:
            raise WrongUse(f"nothing was written: {result.verdict} Look at `gentraffic audit`, or give --leak")
        found = result.to_json()
        files = {"train": train.name, "holdout": holdout.name, "synthetic": what.name}
        write_page(result, folder / "audit.html", files=files, attributions=[known, unseen, ds])
        (folder / "audit.json").write_text(json.dumps(found, indent=1, default=str), encoding="utf-8")
    if coarsen is not None or no_positions:
        ds = blurred(ds, coarsen)
    write_traffic(ds, folder / "traffic.nc")
    write_croissant(ds, folder / "croissant")
    moved = str(ds.attrs["positions"]) if coarsen is not None or no_positions else ""
    return found, privacy_of(ds), str(ds.attrs.get("model_sha256", "")), moved
