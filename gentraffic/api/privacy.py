"""`gentraffic.audit` and `gentraffic.release`: what synthetic traffic gives away, and how it is published."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentraffic.api.inputs import traffic_source
from gentraffic.api.language import speaks_python
from gentraffic.api.result import Shown
from gentraffic.errors import BadModel, WrongUse

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.generators.base import Tell
    from gentraffic.privacy.audit.models import Subject
    from gentraffic.privacy.audit.run import Audit, Target

PAGES = (".html", ".htm")


@dataclass(frozen=True)
class AuditResult(Shown):
    """What attacks found: `audit` has every figure, `verdict` one sentence.

    sources: the audited Datasets. files: what they and the model are called, by role.
    """

    audit: Audit
    sources: tuple[xr.Dataset, ...]
    files: Mapping[str, str]

    @property
    def verdict(self) -> str:
        """The whole audit in a sentence."""
        return self.audit.verdict

    @property
    def title(self) -> str:  # type: ignore[override]
        """The verdict, above the table."""
        return self.verdict

    def rows(self) -> list[tuple[str, ...]]:
        """The attacks, with their figures and intervals."""
        from gentraffic.reports.audit_table import attack_rows

        head, rows = attack_rows(self.audit)
        return [tuple(map(str, head)), *(tuple(map(str, row)) for row in rows)]

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints: the files and every figure."""
        return {**self.files, **self.audit.to_json()}

    def text(self, width: int = 100) -> list[str]:
        """Lines for a terminal: the files, the verdict and every table."""
        from gentraffic.reports.audit_table import text

        return [*(f"{role:<10} {name}" for role, name in self.files.items()), "", *text(self.audit, width)]

    def save(self, path: str | Path) -> None:
        """Write the page (.html). Raises WrongUse, BadInput."""
        from gentraffic.reports.audit import write_page

        write_page(self.audit, path, files=self.files, attributions=self.sources)


@speaks_python
def audit(
    train: str | Path | xr.Dataset,
    holdout: str | Path | xr.Dataset,
    synthetic: str | Path | xr.Dataset,
    *,
    model: str | Path | None = None,
    context: str | Path | None = None,
    shadows: int = 0,
    shadow_steps: int = 300,
    shadow_dir: str | Path | None = None,
    plants: int = 20,
    service: str | None = None,
    seed: int = 0,
    device: str = "cpu",
    html: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> AuditResult:
    """Attack synthetic traffic ([member,] cell, time), as somebody would who wants to know what it was made from.

    train: what the generator was made from. holdout: cells of the same network and period that it never saw. synthetic:
    what is to be published. model, context: the model that drew it (a sampler, a FoMo or a forecaster), whose loss is
    attacked as well. shadows: shadow models for LiRA, 16 or more; shadow_steps: of each training; shadow_dir: where
    their scores are kept. plants: copies of every kind that are planted, one at a time, to say what share would be
    found. device: cpu or cuda, where the model's losses are taken and shadow models are fitted. html: where a page with
    plots is written, if anywhere. Raises WrongUse, BadInput, BadModel.
    """
    from gentraffic.io import atomic
    from gentraffic.places.find import context_file
    from gentraffic.privacy.audit.run import audit as run_audit

    if html is not None:
        atomic.check_writable(html, PAGES)

    target = _target(
        None if model is None else str(model), None if context is None else context_file(context), shadows,
        shadow_steps, None if shadow_dir is None else Path(shadow_dir), device,
    )  # fmt: skip
    given = {"train": train, "holdout": holdout, "synthetic": synthetic}
    sources = {role: traffic_source(one, role) for role, one in given.items()}
    known, unseen, drawn = (source.ds for source in sources.values())
    tell = progress or (lambda done, of: None)
    findings = run_audit(known, unseen, drawn, target=target, service=service, seed=seed, plants=plants, progress=tell)
    files = {role: source.name for role, source in sources.items()} | ({"model": str(model)} if model else {})
    result = AuditResult(findings, (known, unseen, drawn), files)
    if html is not None:
        result.save(html)
    return result


def _target(
    model: str | None, context: Path | None, shadows: int, steps: int, folder: Path | None, device: str
) -> Target | None:
    """What is attacked besides the samples. Raises WrongUse for options that do not go together."""
    if device != "cpu":
        from gentraffic.training.processes import check_device

        check_device(device)
    if model is None:
        elsewhere = device != "cpu"
        options = ((context, "--context"), (shadows, "--shadows"), (folder, "--shadow-dir"), (elsewhere, "--device"))
        for given, name in options:
            if given:
                raise WrongUse(f"{name} goes with --model: give the model that drew the synthetic traffic")
        return None
    if context is None:
        raise WrongUse("--model needs --context, the POIs of the cells: the model's loss depends on them")
    if steps < 1:
        raise WrongUse(f"--shadow-steps {steps}: give 1 or more")
    from gentraffic.io.files import read_context
    from gentraffic.privacy.audit.run import FEWEST_SHADOWS, Target

    if shadows and shadows < FEWEST_SHADOWS:
        raise WrongUse(f"--shadows {shadows}: LiRA needs {FEWEST_SHADOWS} or more shadow models")
    name = Path(model).name
    where = read_context(context)
    return Target(_subject(model, where, device), shadows, steps, folder or Path(f"{name}.shadows"))


def _subject(name: str, context: xr.Dataset, device: str) -> Callable[[xr.Dataset, str], Subject]:
    """What puts the model of a name or folder beside the joined real cells of a service. Raises BadModel."""
    from gentraffic.generators.base import KINDS, families, read_folder

    provenance = read_folder(name).provenance
    sampler = str(provenance.get("sampler", "stouter"))
    kind = "forecaster" if "forecaster" in provenance else KINDS.get(families().get(sampler, ""), "")
    if kind not in SUBJECTS:
        raise BadModel(f"--model {name}: a {sampler!r} has no loss that could be attacked; leave --model away")
    return SUBJECTS[kind](name, context, device)


def _forecaster(name: str, context: xr.Dataset, device: str) -> Callable[[xr.Dataset, str], Subject]:
    from functools import partial

    from gentraffic.forecasting.folder import load_fitted
    from gentraffic.forecasting.membership import forecaster_subject

    return partial(forecaster_subject, load_fitted(name, device)[0], device=device)


def _fomo(name: str, context: xr.Dataset, device: str) -> Callable[[xr.Dataset, str], Subject]:
    from gentraffic.generators.fomo.folder import load_fomo
    from gentraffic.privacy.audit.fomo import fomo_subject

    bundle = load_fomo(name)
    return lambda both, service: fomo_subject(bundle, both, context, service, device)


def _weekly(name: str, context: xr.Dataset, device: str) -> Callable[[xr.Dataset, str], Subject]:
    from gentraffic.generators.folder import load_bundle
    from gentraffic.privacy.audit.weekly import weekly_subject

    sampler = load_bundle(name)
    return lambda both, service: weekly_subject(sampler, both, context, service, device)


SUBJECTS = {"forecaster": _forecaster, "fomo": _fomo, "weekly": _weekly}  # what can be attacked, by kind


@dataclass(frozen=True)
class Released(Shown):
    """A folder to publish. lines: what it promises. ledger, audit: as in its JSON files. files: what it holds."""

    path: Path
    lines: tuple[str, ...]
    ledger: Mapping[str, Any]
    audit: Mapping[str, Any] | None
    files: tuple[str, ...]
    title: str = "A release"

    def rows(self) -> list[tuple[str, ...]]:
        """What the release promises, and its files."""
        return [("", str(self.path)), *(("promise", line) for line in self.lines), ("files", ", ".join(self.files))]

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints: output, promise, ledger, audit, files."""
        values = {"output": str(self.path), "promise": list(self.lines), "ledger": self.ledger, "audit": self.audit}
        return values | {"files": list(self.files)}

    def text(self) -> list[str]:
        """Lines for a terminal: what it promises."""
        return [f"{self.path}: {self.lines[0]}", *self.lines[1:]]


@speaks_python
def release(
    what: str | Path,
    out: str | Path,
    *,
    ledger: str | Path,
    source: str,
    train: str | Path | None = None,
    holdout: str | Path | None = None,
    coarsen: float | None = None,
    no_positions: bool = False,
    leak: bool = False,
    service: str | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Released:
    """Put synthetic traffic, or a model, into a folder to publish: data, card, audit, ledger, checklist, Croissant.

    what: a traffic file or a model folder. out: the folder, which must not be there yet. ledger: the JSON file that
    counts every release from one private `source`, whose epsilons add up. train, holdout: for the audit. coarsen:
    metres that positions are rounded to; no_positions: they are left out; both number the cells anew. leak: publish
    although a leak was found.
    service: which traffic is audited, where --train holds several.
    Raises WrongUse, BadInput, BadModel.
    """
    what, out, ledger = Path(what), Path(out), Path(ledger)
    train = None if train is None else Path(train)
    holdout = None if holdout is None else Path(holdout)
    tell = progress or (lambda done, of: None)
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
    judged: dict[str, Any] | None = None
    published: xr.Dataset | None = None
    with replacing(out, (out.suffix.lower(),), folder=True) as folder:
        if model:
            from gentraffic.generators.base import read_folder

            known = read_folder(what)
            rooms.copy_model(what, folder / "model")
            digest, drawn_by, positions = rooms.digest_of(folder / "model"), known.sha256, ""
            privacy = dict(known.provenance.get("privacy") or {})
            files = ["model/"]
        else:
            judged, published, positions = _traffic(
                what, folder, train, holdout, coarsen, no_positions, service, seed, tell=tell, allowed=leak
            )
            privacy, drawn_by = rooms.privacy_of(published), str(published.attrs.get("model_sha256", ""))
            digest = rooms.digest_of(folder / "traffic.nc")
            files = ["traffic.nc", "croissant/"]
        entry = rooms.entry_of(what.name, date, digest, privacy, drawn_by if privacy else "")
        after = rooms.Ledger(source, (*before.releases, entry))
        files += ["ledger.json", "CHECKLIST.md", *(["audit.json", "audit.html"] if judged is not None else [])]
        rooms.keep_ledger(folder / "ledger.json", after)
        if not model:
            rooms.add_rai(folder / "croissant" / "croissant.json", entry, after, judged)
        pages = {"README.md": rooms.release_card(entry, after, judged, files, published)}
        totals = "" if published is None else str(published.attrs.get("totals", ""))
        pages["CHECKLIST.md"] = rooms.checklist(entry, after, judged, positions, totals)
        for name, text in pages.items():
            (folder / name).write_text(text, encoding="utf-8")
    rooms.keep_ledger(ledger, after)
    verdict = "not audited: give --train and --holdout" if judged is None else str(judged["verdict"])
    lines = (
        rooms.bound_text(entry),
        after.sentence,
        verdict,
        f"for a memo: {rooms.memo_sentence(entry, model, after)}",
    )
    return Released(out, lines, after.to_json(), judged, ("README.md", *files))


def _traffic(
    what: Path, folder: Path, train: Path | None, holdout: Path | None, coarsen: float | None, no_positions: bool,
    service: str | None, seed: int, *, tell: Tell, allowed: bool,
) -> tuple[dict[str, Any] | None, xr.Dataset, str]:  # fmt: skip
    """Audit traffic and write it as traffic.nc and as a Croissant folder: (audit, what was written, positions)."""
    from gentraffic.io.export.data_packages import write_croissant
    from gentraffic.io.files import read_traffic, write_traffic
    from gentraffic.privacy.release import blurred, entry_of, memo_sentence, privacy_of

    ds = read_traffic(what)
    if measured := ds.attrs.get("measured_cells"):
        raise WrongUse(
            f"nothing was written: {what.name} holds measured values ({measured}), which nothing protects; draw it "
            "without --known"
        )
    findings = None
    if train is not None and holdout is not None:
        from gentraffic.privacy.audit.run import audit as run_audit
        from gentraffic.reports.audit import write_page

        known, unseen = read_traffic(train), read_traffic(holdout)
        result = run_audit(known, unseen, ds, service=service, seed=seed, progress=tell)
        if result.leak and not allowed:
            raise WrongUse(f"nothing was written: {result.verdict} Look at `gentraffic audit`, or give --leak")
        findings = result.to_json()
        files = {"train": train.name, "holdout": holdout.name, "synthetic": what.name}
        write_page(result, folder / "audit.html", files=files, attributions=[known, unseen, ds])
        (folder / "audit.json").write_text(json.dumps(findings, indent=1, default=str), encoding="utf-8")
    if coarsen is not None or no_positions:
        ds = blurred(ds, coarsen)
    ds = ds.assign_attrs(privacy_statement=memo_sentence(entry_of("", "", "", privacy_of(ds), "")))
    write_traffic(ds, folder / "traffic.nc")
    write_croissant(ds, folder / "croissant")
    moved = str(ds.attrs["positions"]) if coarsen is not None or no_positions else ""
    return findings, ds, moved
