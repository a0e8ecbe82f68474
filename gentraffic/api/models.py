"""Models: `gentraffic.fit`, `finetune`, `distil`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentraffic.api.arguments import annotations_of, taken
from gentraffic.api.fitted import Files, FitResult
from gentraffic.api.inputs import check_threads, check_whole
from gentraffic.api.language import speaks_python
from gentraffic.api.private_fit import PRIVATE, check_private, fit_private
from gentraffic.errors import WrongUse, did_you_mean

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.generators.base import Tell
    from gentraffic.generators.folder import Bundle
    from gentraffic.generators.fomo.folder import FoMoBundle
    from gentraffic.modelling.measured import Source

HOLDOUT = 0.2
_GRAPHS = {"temporal_layer", "station_layer", "no_temporal_graph", "no_station_graph", "profile", "level"}
_TRAINING = {"steps", "batch", "holdout", "evidence"}
_FURTHER = {  # option -> name in `samplers.sampler.FURTHER`; STOUTER as published needs embeddings that enter directly
    "fusion": "fusion", "prediction": "prediction_type", "paper": "direct", "channels": "channels",
    "diffusion_steps": "num_train_timesteps", "loss": "loss_type",
}  # fmt: skip
_FOMO = {"size", "patch", "bare_steps"}
_EVERY = _GRAPHS | _TRAINING | _FURTHER.keys() | _FOMO


def can_be_fitted() -> tuple[str, ...]:
    """What `fit` fits; samplers of other packages, too."""
    from samplers import sampler_names

    return (*sampler_names(), *FITTERS)


def options_of(sampler: str) -> set[str]:
    """The design options that one of `can_be_fitted()` takes; others are refused by name. Raises WrongUse, BadModel."""
    from gentraffic.training.fitting import Design, class_of

    if sampler in FITTERS:
        return set(FITTERS[sampler].options)
    further = class_of(Design(sampler)).further
    return _GRAPHS | _TRAINING | {option for option, argument in _FURTHER.items() if argument in further}


def is_trained(sampler: str) -> bool:
    """Whether there is anything to train; naive generators only remember."""
    return sampler not in FITTERS or FITTERS[sampler].trained


@dataclass(frozen=True)
class FitOptions:
    """How a sampler is fitted; None for what is not asked, False for flags. See `fit`."""

    holdout: float | None = None
    steps: int | None = None
    batch: int | None = None
    seed: int = 0
    threads: int = 0
    device: str = "cpu"
    precision: str = "fp32"
    service: str | None = None
    fusion: str | None = None
    temporal_layer: str | None = None
    station_layer: str | None = None
    size: str | None = None
    patch: str | None = None
    bare_steps: int | None = None
    prediction: str | None = None
    paper: bool = False
    channels: str | None = None
    diffusion_steps: int | None = None
    loss: str | None = None
    no_temporal_graph: bool = False
    no_station_graph: bool = False
    profile: bool = False
    level: str | None = None
    evidence: Path | None = None

    def check(self, sampler: str) -> None:
        """Raise WrongUse for an option that this sampler does not take, and for numbers out of range."""
        from gentraffic.generators.base import GENERATOR, SAMPLER, named, own_names, plug_ins

        if sampler not in can_be_fitted():
            raise WrongUse(
                f"no sampler {sampler!r}: give one of {', '.join(can_be_fitted())}"
                f"{did_you_mean(sampler, can_be_fitted())}"
            )
        named(sampler, plug_ins(GENERATOR, SAMPLER), own_names())
        takes = options_of(sampler)
        for name in sorted(_EVERY - takes):
            value = getattr(self, name)
            if value not in (None, False):
                option = f"--{name.replace('_', '-')}" + (f" {value}" if not isinstance(value, bool) else "")
                if not is_trained(sampler):
                    raise WrongUse(f"{option}: {sampler} is not trained; leave it out")
                raise WrongUse(f"{option}: {sampler} has no such option; leave it out, or fit another sampler")
        for option, given in (("device", self.device), ("precision", self.precision)):
            if given not in ("cpu", "fp32") and not is_trained(sampler):
                raise WrongUse(f"--{option} {given}: {sampler} is not trained; leave it out")
        for name in ("steps", "batch", "bare_steps"):
            check_whole(1, **{name: getattr(self, name)})
        if self.holdout is not None and not 0 <= self.holdout <= 0.5:
            raise WrongUse(f"--holdout {self.holdout}: give 0 (none) to 0.5")

    @property
    def share(self) -> float:
        """The share of locations that is held out."""
        return HOLDOUT if self.holdout is None else self.holdout


@speaks_python
def fit(
    sampler: str,
    traffic: str | Path | Sequence[str | Path],
    context: str | Path | Sequence[str | Path] = (),
    *,
    out: str | Path,
    command: str = "gentraffic.fit",
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> FitResult | None:
    """Train a sampler on traffic files and the contexts of their cells, and write the model folder `out`.

    To resume after an interruption, call it again: the result is the same to the last bit. What is kept is a
    checkpoint beside `out`, every 250 steps (fomo: 100); the graphs before them are trained anew. Under `accelerate
    launch` several processes train one model; all but the first return None.

    Parameters
    ----------
    sampler : str
        stouter, fomo; the baselines vae, tcn-gan, diffwave; bootstrap, knn, climatology, which only remember; or one
        that another package registers.
    traffic : path or sequence of path
        Files of measured traffic (cell, time), of one network or several. Write a Dataset first
        (`gentraffic.write_traffic`): the model's provenance keeps the hashes of files.
    context : path or sequence of path
        What stands around the cells of `traffic`, as `fetch` writes it, or a bundled city by its name; places without
        traffic train the station graph too.
    out : path
        The model folder.
    command : str
        What the provenance says made the model.
    progress : callable, optional
        Is told (steps done, of): of the graphs first, then of the training.
    **options
        Of the training:

        holdout : float, 0 to 0.5
            Share of the locations of each network, 0.2 by default, that stop the training in time and score the model.
            A location is what the file says, else a square of 2 km: of a small place, a location may hold a third of
            the cells. 0 holds nothing out, and scores nothing.
        steps, batch : int
            Training steps, and weeks in each; by default what the sampler's plan says.
        seed : int
            Of weights, batches and held-out locations; 0 by default.
        threads : int
            Of torch; 0, the default, for as many as it has.
        device : {"cpu", "cuda"}
            Where it trains.
        precision : {"fp32", "bf16"}
            Of the network's products.
        service : str
            The variable to learn. stouter learns several, with commas between, by default all of Internet, calls and
            SMS that the files hold.
        evidence : path
            Finished rows for the model card.

        Of the design, of stouter and the baselines:

        level : {"model", "network"}
            What draws how much traffic a cell carries in all: the level model, by default, or the network itself, by
            default of the baselines (`samplers.Sampler.draws_level`).
        profile : bool
            The model follows the past of a cell (`sample(history=...)`).
        fusion, temporal_layer, station_layer, prediction : str
            As `gentraffic fit --help` lists them.
        no_temporal_graph, no_station_graph : bool
            Ablations of the graphs.
        paper, channels, diffusion_steps, loss : bool, str, int, str
            Of stouter: as published; widths such as "64,128,256"; steps of the noise; "mse" or "l1".
        size : str
            Of fomo: 0.3m, 1m, 5m, 35m, 100m, 150m or 200m weights; 12x128, 16x256 or 20x768, layers x width.
        patch : str
            Of fomo: cells, cells and steps of a token, "1,1,16" by default.
        bare_steps : int
            Of fomo: how many of the steps come first in which neither users nor POIs are told, none by default; all of
            them for a model that `finetune` shows the context.

        Of stouter with differential privacy: dp_epsilon and dp_delta, and where wanted dp_clip, dp_level_range,
        dp_suppress_below, dp_user_cap and start.

    Returns
    -------
    FitResult or None

    Raises
    ------
    WrongUse
        Naming an option that the sampler does not take, or a number out of its bounds.
    BadInput
        For a file that is missing or breaks its schema.
    """
    from gentraffic.dataset.services import split_names

    private = {name: options.pop(name, None) for name in PRIVATE}
    _check_options(options)
    asked = FitOptions(**{**options, "service": ",".join(split_names(options.get("service"))) or None})
    asked = replace(asked, **taken(annotations_of(FitOptions), vars(asked)))
    check_whole(0, seed=asked.seed)
    files = Files(_paths("traffic", traffic), _paths("context", context))
    tell = progress or (lambda done, of: None)
    if check_private(sampler, {**private, "evidence": asked.evidence}):
        if asked.device != "cpu":
            raise WrongUse(f"--device {asked.device}: a private fit is computed on the CPU; leave it out")
        if asked.precision != "fp32":
            raise WrongUse(f"--precision {asked.precision}: a private fit is computed in fp32; leave it out")
        return _with_networks(_fit_private(sampler, files, Path(out), asked, private, command, tell))
    asked.check(sampler)
    if is_trained(sampler):
        _set_threads(asked.threads)
    fitting = FITTERS[sampler].fit if sampler in FITTERS else _fit_weekly
    fitted = fitting(sampler, files, Path(out), asked, command, tell)
    return None if fitted is None else _with_networks(fitted)


def _with_networks(fitted: FitResult) -> FitResult:
    """A fit with the networks that it knows as its first fact."""
    return replace(fitted, facts={"networks": list(fitted.networks), **fitted.facts})


def _check_options(given: Iterable[str]) -> None:
    """Raise WrongUse for an option that no fit has, naming the most similar one."""
    known = [*(field.name for field in fields(FitOptions)), *PRIVATE]
    for name in given:
        if name not in known:
            similar = get_close_matches(name, known, 1)
            raise WrongUse(
                f"fit has no option {name}: " + (f"did you mean {similar[0]}?" if similar else ", ".join(known))
            )


def _fit_private(
    sampler: str, files: Files, out: Path, options: FitOptions, private: dict[str, Any], command: str, tell: Tell
) -> FitResult:
    """Train a sampler with differential privacy."""
    from gentraffic.training.options import design_of
    from gentraffic.training.processes import join

    if join().size > 1:
        raise WrongUse("--dp-epsilon is trained by one process: start it without `accelerate launch`")
    design = replace(options, steps=None, batch=None)  # a private fit may have no steps: it then releases levels
    design.check(sampler)
    _set_threads(options.threads)
    every = {**vars(options), **private}
    return fit_private(files, out, design_of(sampler, design), every, command=command, tell=tell)


def _fit_naive(sampler: str, files: Files, out: Path, options: FitOptions, command: str, tell: Tell) -> FitResult:
    """Keep what a naive generator remembers; no location is held out."""
    from gentraffic.generators.cards import card, origins_of
    from gentraffic.generators.naive import fit_naive, save_naive
    from gentraffic.training.processes import join

    _check_one_service(sampler, options.service)
    if join().size > 1:
        raise WrongUse(f"{sampler} is trained by one process: start it without `accelerate launch`")
    sources = files.sources(files.contexts(), options.service)
    origins = origins_of((*files.traffic, *files.context))
    services = [main_service(files, options.service, several=False)]
    metadata = origins | {"command": command, "services": services, "sampler": sampler, "held_out_cells": {}}
    save_naive(replace(fit_naive(sampler, sources), provenance=metadata), out, card(out.name, metadata))
    networks = tuple(sorted(s.network for s in sources))
    facts, title = {"cells": sum(len(s.level) for s in sources)}, f"{sampler}, {out.name}"
    return FitResult(out, networks, facts, title=title, made=f"{sampler} of {facts['cells']} cells")


def _fit_weekly(
    sampler: str, files: Files, out: Path, options: FitOptions, command: str, tell: Tell
) -> FitResult | None:
    """Train STOUTER or a sampler that takes its place."""
    from gentraffic.evaluation.holdout import in_words, read_rows, table
    from gentraffic.generators.cards import card, provenance_of
    from gentraffic.generators.folder import save_bundle
    from gentraffic.modelling.features import read_places
    from gentraffic.training.checkpoint import checkpoint_beside
    from gentraffic.training.fitting import class_of, fit_sampler, takes_services
    from gentraffic.training.options import design_of, plan_of, rules_of
    from gentraffic.training.processes import join
    from gentraffic.training.trainer import Run

    checkpoint, group = checkpoint_beside(out), join(options.device, options.precision)
    evidence = read_rows(options.evidence) if options.evidence else {}
    contexts = files.contexts()
    design = design_of(sampler, options)
    plan = plan_of(design, options)
    if "services" not in class_of(design).further:
        _check_one_service(sampler, options.service)
    several = takes_services(design) or options.service is not None
    sources = files.every_service(contexts, options.service) if several else files.sources(contexts, None)
    used = {s.network for s in sources if s.places is not None}
    if not used:
        raise WrongUse(
            f"no context holds the cells of {files.traffic[0]}: give the --context that belongs to the traffic"
        )
    main = main_service(files, options.service, several=any(s.service for s in sources))
    cells = {cell for s in sources for cell in s.cell_id.tolist()}
    spare = [read_places(c) for c in contexts if not cells & set(c["cell_id"].values.tolist())]
    parts = _hold_out(sources, options.share, plan.seed) if options.share else {}

    def told(step: int, of: int, loss: float) -> None:
        tell(step, of)

    bundle, metadata = fit_sampler(
        [parts[s.network][0] if s.network in parts else s for s in sources],
        extra_places=spare,
        held_out=[held for _, held in parts.values()],
        design=design,
        plan=plan,
        run=Run(checkpoint, told, on_graph_step=told),
        group=group,
    )
    if not group.first:
        return None
    bundle = replace(bundle, services=replace(bundle.services, main=main))
    metadata["services"] = list(bundle.services.names)
    scores = _score(sampler, bundle, parts, contexts, plan.seed) if parts else {}
    judged = table(scores) if scores else ""
    held_out = {network: held.cell_id.tolist() for network, (_, held) in parts.items() if not held.service}
    metadata |= {"command": command, "seed": plan.seed, "held_out": options.share, "held_out_cells": held_out}
    provenance = provenance_of(files.traffic, files.context, metadata, {**evidence, **scores})
    tables = {"held_out": judged, "evidence": table(evidence) if evidence else ""}
    provenance |= {"sampler": bundle.sampler, "tables": tables}
    save_bundle(replace(bundle, provenance=provenance), out, card(out.name, provenance))
    checkpoint.unlink(missing_ok=True)
    facts = {name: metadata[name] for name in ("minutes", "steps", "best_step", "parameters")}
    facts |= {"services": metadata["services"]} if bundle.services.further else {}
    rules = rules_of(design, len(bundle.services.names))
    words = in_words(scores, f"{sampler} (this model)") if scores else []
    title, made = f"{sampler}, {out.name}", _trained(facts)
    notes = (*words, rules, *_unnamed(sources, contexts, files.context))
    return FitResult(out, tuple(sorted(used)), facts, held_out, judged, title, notes, made)


def _unnamed(sources: Sequence[Source], contexts: Sequence[xr.Dataset], paths: Sequence[Path]) -> list[str]:
    """A sentence for each context of measured cells that names no network: what is drawn with it later does not know
    that its cells were measured."""
    out = []
    for context, path in zip(contexts, paths, strict=True):
        ids = set(context["cell_id"].values.tolist())
        mine = [s.network for s in sources if not s.service and s.places is not None and ids.issuperset(s.cell_id)]
        if mine and not context.attrs.get("network"):
            out.append(
                f"{path.name} names no network, so what is drawn with it is a place that nobody measured; to draw it "
                f"as the network {mine[0]}, fetch it with --network {mine[0]}"
            )
    return out


def _trained(facts: Mapping[str, Any]) -> str:
    """How much a fit trained, in words."""
    return f"{facts['parameters']} weights, {facts['steps']} steps in {facts['minutes']} min"


def _check_one_service(sampler: str, service: str | None) -> None:
    """Raise WrongUse where several are named."""
    if service is not None and "," in service:
        raise WrongUse(f"--service {service}: {sampler} learns one service; name one, or fit stouter")


def main_service(files: Files, service: str | None, *, several: bool) -> str:
    """The name of the main service of a model: that of the files, or `traffic` where they call it differently.

    several: whether the model has others. Raises WrongUse where files have different ones that are known apart.
    """
    from gentraffic.dataset.schema import MAIN, one_service
    from gentraffic.dataset.services import DIRECTIONS, split_names
    from gentraffic.io.files import read_traffic

    named = split_names(service)
    names = {named[0] if named else one_service(read_traffic(path), None) for path in files.traffic}
    if len(names) > 1 and names & set(DIRECTIONS):
        raise WrongUse(f"the traffic files hold {', '.join(sorted(names))}: these are different services; name one")
    if len(names) == 1 and (several or names & set(DIRECTIONS)):
        return names.pop()
    return MAIN[0]


def _fit_fomo(sampler: str, files: Files, out: Path, options: FitOptions, command: str, tell: Tell) -> FitResult | None:
    """Pre-train FoMo."""
    from gentraffic.evaluation import fomo_tasks
    from gentraffic.generators.base import FOMO_STEPS
    from gentraffic.generators.cards import card, provenance_of
    from gentraffic.generators.fomo.folder import save_fomo
    from gentraffic.io.guard import text_of
    from gentraffic.training.checkpoint import checkpoint_beside
    from gentraffic.training.fomo_fitting import FoMoDesign, fit_fomo, parse_patch, split
    from gentraffic.training.fomo_task import FoMoPlan
    from gentraffic.training.options import check_prediction
    from gentraffic.training.processes import join
    from gentraffic.training.trainer import Run

    _check_one_service(sampler, options.service)
    evidence = "" if options.evidence is None else text_of(options.evidence)
    checkpoint, group = checkpoint_beside(out), join(options.device, options.precision)
    named = ("steps", "batch", "bare_steps")
    given = {name: value for name in named if (value := getattr(options, name)) is not None}
    plan = replace(FoMoPlan(), seed=options.seed, **given)
    if plan.bare_steps > plan.steps:
        raise WrongUse(f"--bare-steps {plan.bare_steps}: they are of the {plan.steps} --steps; give at most as many")
    prediction, patch = check_prediction(options.prediction), parse_patch(options.patch or "1,1,16")
    data = files.pairs(options.service)
    folds = round(1 / options.share) if options.share else 0
    parts = {}
    for source, region in data if folds else ():
        if source.places is not None and len(set(source.location.tolist())) >= folds:
            parts[region.network] = split((source, region), folds, 0, plan.seed)
    if folds and not parts:
        raise WrongUse(f"no network has {folds} locations, so none can be held out: give --holdout 0 or more data")
    bundle, metadata = fit_fomo(
        [parts[r.network][0] if r.network in parts else (s, r) for s, r in data],
        design=FoMoDesign(size=options.size or "1m", token=patch, prediction_type=prediction),
        plan=plan,
        run=Run(checkpoint, lambda step, of, loss: tell(step, of)),
        group=group,
    )
    if not group.first:
        return None
    rows = fomo_tasks.rows_of(bundle, parts, members=6) if parts else {}
    held_out = {network: held[0].cell_id.tolist() for network, (_, held) in parts.items()}
    metadata |= {"command": command, "seed": plan.seed, "held_out": options.share, "validation": metadata["loss"]}
    metadata |= {"metrics_p3": fomo_tasks.means(rows), "held_out_cells": held_out}
    metadata["services"] = [main_service(files, options.service, several=False)]
    judged = fomo_tasks.table(rows) if rows else ""
    provenance = provenance_of(files.traffic, files.context, metadata, {}) | {
        "recommended_steps": FOMO_STEPS, "recommended_solver": "gaussian", "sampler": sampler,
        "tables": {"held_out": judged, "evidence": evidence},
    }  # fmt: skip
    save_fomo(replace(bundle, provenance=provenance), out, card(out.name, provenance))
    checkpoint.unlink(missing_ok=True)
    facts = {name: metadata[name] for name in ("minutes", "steps", "parameters")}
    title, made = f"fomo, {out.name}", _trained(facts)
    return FitResult(out, tuple(bundle.networks), facts, held_out, judged, title, made=made)


@dataclass(frozen=True)
class Fitter:
    """How models beside the samplers of weeks are fitted. options: those of the design and the training that it takes.
    trained: False for what only remembers."""

    fit: Callable[[str, Files, Path, FitOptions, str, Tell], FitResult | None]
    options: frozenset[str] = frozenset()
    trained: bool = True


FITTERS = {
    "fomo": Fitter(_fit_fomo, frozenset(_TRAINING | _FOMO | {"prediction"})),
    **dict.fromkeys(("bootstrap", "knn", "climatology"), Fitter(_fit_naive, trained=False)),
}


@speaks_python
def finetune(
    model: str | Path,
    traffic: str | Path | Sequence[str | Path],
    context: str | Path | Sequence[str | Path] = (),
    *,
    out: str | Path,
    few: str | float | None = None,
    service: str | None = None,
    steps: int = 200,
    learning_rate: float = 3e-4,
    contrast: float = 0.05,
    all_weights: bool = False,
    seed: int = 0,
    threads: int = 0,
    device: str = "cpu",
    command: str = "gentraffic.finetune",
    progress: Callable[[int, int], None] | None = None,
) -> FitResult:
    """Align a pre-trained FoMo with the users and POIs of a city (contrastive, most weights frozen; FoMo eq. 16).

    model: name or folder of the FoMo. few: share of the locations that are learned from, such as "5%" or 5.
    contrast: weight of the negatives, 0 for none. all_weights: train everything, not only adaLN, context and decoder.
    device: cpu or cuda, where it trains.
    Raises WrongUse, BadInput, BadModel.
    """
    from gentraffic.generators.base import FOMO_STEPS
    from gentraffic.generators.cards import card, provenance_of
    from gentraffic.generators.fomo.folder import load_fomo, save_fomo
    from gentraffic.training.checkpoint import checkpoint_beside
    from gentraffic.training.fomo_fitting import few as some_of
    from gentraffic.training.fomo_fitting import finetune_fomo, parse_share
    from gentraffic.training.fomo_task import FoMoPlan
    from gentraffic.training.processes import check_device
    from gentraffic.training.trainer import Run

    for name, value, least in (("steps", steps, 1), ("learning-rate", learning_rate, 1e-12), ("contrast", contrast, 0)):
        if value < least:
            raise WrongUse(f"--{name} {value:g}: give {'more than 0' if least == 1e-12 else f'{least} or more'}")
    out, files = Path(out), Files(_paths("traffic", traffic), _paths("context", context))
    checkpoint, share = checkpoint_beside(out), None if few is None else parse_share(str(few))
    _set_threads(threads)
    check_device(device)
    bundle = load_fomo(model)
    data = files.pairs(service)
    every = {source.network: source.cell_id.tolist() for source, _ in data}
    if share is not None:
        data = [some_of(pair, share, seed) for pair in data]
    plan = FoMoPlan(
        steps=steps, learning_rate=learning_rate, warmup=min(20, steps), contrast=contrast, frozen=not all_weights,
        ema=0.98, seed=seed,
    )  # fmt: skip
    tell = progress or (lambda done, of: None)
    tuned, metadata = finetune_fomo(
        bundle, data, plan=plan, run=Run(checkpoint, lambda step, of, loss: tell(step, of), device)
    )
    held_out = _never_seen(bundle, every, data)
    metadata |= {"command": command, "seed": plan.seed, "held_out": 0, "validation": metadata["loss"]}
    metadata |= {"design": bundle.provenance.get("design", {}), "few": share or 1.0, "held_out_cells": held_out}
    fresh = provenance_of(files.traffic, files.context, metadata, {})
    before = {key: value for key, value in bundle.provenance.items() if key != "files"}
    provenance = {
        **fresh,
        "sampler": "fomo",
        "recommended_steps": FOMO_STEPS,
        "recommended_solver": "gaussian",
        "data": [*before.get("data", []), *fresh["data"]],
        "fine_tuned_from": {"sha256": bundle.sha256, "command": before.get("command", "")},
    }
    save_fomo(replace(tuned, provenance=provenance), out, card(out.name, provenance))
    checkpoint.unlink(missing_ok=True)
    facts = {"cells": sum(len(region.values) for _, region in data)}
    facts |= {key: metadata[key] for key in ("minutes", "steps", "parameters", "trained_parameters", "few")}
    made = f"{facts['trained_parameters']} of {facts['parameters']} weights trained on {facts['cells']} cells, "
    made += f"{facts['steps']} steps in {facts['minutes']} min"
    return FitResult(out, tuple(tuned.networks), facts, held_out, "", f"fomo, fine-tuned, {out.name}", made=made)


@speaks_python
def distil(
    model: str | Path = "stouter-base",
    context: str | Path | Sequence[str | Path] = (),
    *,
    out: str | Path,
    steps: int = 1,
    teacher_steps: int = 16,
    train_steps: int | None = None,
    batch: int | None = None,
    seed: int = 0,
    threads: int = 0,
    device: str = "cpu",
    evidence: str | Path | None = None,
    command: str = "gentraffic.distil",
    progress: Callable[[int, int], None] | None = None,
) -> FitResult:
    """Train a student that gives, from the same noise, the week that its teacher gives in many solver steps.

    model: name or folder of the teacher. context: files of places to practise on, by default the bundled cities; no
    traffic is needed. steps, teacher_steps: of the solver, student's and teacher's. train_steps, batch: of training.
    device: cpu or cuda, where it trains. evidence: finished rows of benchmarks/steps.py, for the card. Raises WrongUse,
    BadInput, BadModel.
    """
    from gentraffic.evaluation.solver_steps import read_steps, steps_table
    from gentraffic.generators.cards import card
    from gentraffic.generators.folder import load_bundle, save_bundle
    from gentraffic.io.files import read_context
    from gentraffic.modelling.features import read_places
    from gentraffic.places.find import CONTEXTS, bundled_cities
    from gentraffic.training.checkpoint import checkpoint_beside
    from gentraffic.training.distilling import DISTIL_PLAN, Lesson
    from gentraffic.training.distilling import distil as teach
    from gentraffic.training.processes import check_device
    from gentraffic.training.trainer import Run

    check_device(device)
    out = Path(out)
    checkpoint = checkpoint_beside(out)
    _set_threads(threads)
    table = steps_table(read_steps(Path(evidence))) if evidence else ""
    teacher = load_bundle(model)
    paths = _paths("context", context) or tuple(CONTEXTS / f"{city}.nc" for city in bundled_cities())
    places = [read_places(read_context(path)) for path in paths]
    plan = replace(DISTIL_PLAN, seed=seed, steps=train_steps or DISTIL_PLAN.steps, batch=batch or DISTIL_PLAN.batch)
    tell = progress or (lambda done, of: None)
    student, metadata = teach(
        teacher, places, lesson=Lesson(steps=steps, teacher_steps=teacher_steps), plan=plan,
        run=Run(checkpoint, lambda step, of, loss: tell(step, of), device),
    )  # fmt: skip
    metadata |= {"command": command, "teacher": Path(model).name}
    metadata |= {"teacher_command": student.provenance.get("command", "")}
    tables = {**student.provenance.get("tables", {}), "distilled": table}
    provenance = {**student.provenance, **metadata, "tables": tables, "sampler": student.sampler}
    save_bundle(replace(student, provenance=provenance), out, card(out.name, provenance))
    checkpoint.unlink(missing_ok=True)
    facts = {"teacher": str(model), "steps": steps, "minutes": metadata["distil_minutes"]}
    title, made = f"A student of {Path(model).name}, {out.name}", f"draws in {steps} steps, distilled in "
    return FitResult(out, tuple(student.networks), facts, title=title, made=f"{made}{facts['minutes']} min")


def _paths(name: str, given: str | Path | Sequence[str | Path]) -> tuple[Path, ...]:
    """The files that an argument names; of contexts also bundled cities. Raises WrongUse for a Dataset."""
    from gentraffic.places.find import context_file

    several: tuple[Any, ...] = (given,)
    if not isinstance(given, str | Path) and not hasattr(given, "data_vars"):
        several = tuple(given)
    if not all(isinstance(path, str | Path) for path in several):
        write = "gentraffic.write_traffic" if name == "traffic" else "gentraffic.fetch(..., out=)"
        raise WrongUse(
            f"--{name}: models are fitted on files, whose hashes their provenance keeps: write the Dataset first, "
            f'`{write}(ds, "{name}.nc")`, and give that'
        )
    return tuple(context_file(path) if name == "context" else Path(path) for path in several)


def _set_threads(threads: int) -> None:
    check_threads(threads)
    if threads:
        import torch

        torch.set_num_threads(threads)


def _hold_out(sources: list[Source], share: float, seed: int) -> dict[str, tuple[Source, Source]]:
    """network -> (training, held-out), of those that have locations enough. Raises WrongUse where none has."""
    import numpy as np

    from gentraffic.training.fitting import split_source

    folds = round(1 / share)
    able = [s for s in sources if s.places is not None and len(set(s.location.tolist())) >= folds]
    if not able:
        raise WrongUse(f"no network has {folds} locations, so none can be held out: give --holdout 0 or more data")
    parts = {s.network: split_source(s, folds, 0, seed) for s in able if not s.service}
    for s in able:  # further services: the same cells as of the main one
        if s.service and s.place_network in parts:
            held = np.isin(s.cell_id, parts[s.place_network][1].cell_id)
            parts[s.network] = (s.only(np.flatnonzero(~held)), s.only(np.flatnonzero(held)))
    return parts


def _score(
    name: str, bundle: Bundle, parts: dict[str, tuple[Source, Source]], contexts: list[xr.Dataset], seed: int
) -> dict[str, Any]:
    """The rows of P1 on the held-out cells: the naive ones, and the model's."""
    from gentraffic.evaluation.holdout import as_measured, holdout_rows, model_row, score

    places = {
        network: context
        for network, (_, held) in parts.items()
        for context in contexts
        if set(held.cell_id.tolist()) <= set(context["cell_id"].values.tolist())
    }
    scores = {row: [score(members, parts)] for row, members in holdout_rows(parts, seed).items()}
    members = model_row(bundle, as_measured(places, parts), parts, seed, None)
    return scores | {f"{name} (this model)": [score(members, parts)]}


def _never_seen(bundle: FoMoBundle, every: dict[str, list[Any]], data: list[Any]) -> dict[str, list[Any]]:
    """By network, the cells that neither the model at the start nor the fine-tuning learned from.

    every: the cells of the files; data: sources and regions of those that are learned from now."""
    seen = {source.network: set(source.cell_id.tolist()) for source, _ in data}
    before = bundle.provenance.get("held_out_cells", {})
    known = {name: before.get(name, []) for name in bundle.networks}  # of a network that it learned: what it held out
    left = {name: [c for c in cells if c not in seen.get(name, ())] for name, cells in {**every, **known}.items()}
    return {name: cells for name, cells in left.items() if cells}
