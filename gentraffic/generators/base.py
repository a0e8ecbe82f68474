"""The protocol of everything that draws traffic, the folder that a model lies in, and how a class is made known.

A generator says in `ModelInfo` what it can do, and prepares a `Draw` of a place and a period. Whoever runs it
(`gentraffic.generate.run`) asks these two alone, so that a generator of another package serves every command:
`gentraffic sample --model flat` draws with it, and `--model FOLDER` where the folder's provenance.json says
`"sampler": "flat"`.

Other packages register what they have by entry points:

    [project.entry-points."gentraffic.generators"]
    flat = "flat_generator:Flat"                     # a Family, see examples/own_generator

    [project.entry-points."gentraffic.samplers"]
    affine = "affine_sampler:Affine"                 # a samplers.sampler.Sampler, see examples/own_sampler

    [project.entry-points."gentraffic.forecasters"]
    weighted-mean = "mean_forecaster:weighted_mean"  # a forecasters.Recipe, see examples/own_forecaster

A name that gentraffic has itself, or that two packages register, is refused wherever it is asked for: nobody is given
another model than the one that was meant.

A model folder holds every file beside its SHA-256, is read once, and written whole or not at all. No pickle.

    provenance.json    format_version, family (`sampler`, or `forecaster`), data, licences, hashes of every file, ...
    README.md          the model card, which has no hash: a person may add to it
    *.json, *.safetensors, *.nc    what the family of the model keeps
"""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from gentraffic.errors import BadInput, BadModel, WrongUse, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from numpy.typing import NDArray

    from gentraffic.dataset.calendar import Calendar
    from gentraffic.generators.observed import Observations

LOG = logging.getLogger(__name__)
MODELS = Path(__file__).parents[1] / "assets" / "models"
FORMAT_VERSION = 2  # of what is written; folders of earlier versions are upgraded when they are read
T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """How a draw is made; together with the model, the context and the calendar it fixes every bit.

    habits: the measured network whose daily and weekly habits the cells follow, such as the nearest one; levels still
    come from the place. By default what the context names (`habits`, else its own `network`), else those of no network
    in particular. service: which of the model's services is drawn; "": the main one. precision: of PRECISIONS, in which
    the network's products are computed.
    holidays: day numbers, from 0 on, of public holidays, each with its level over that of a Sunday.
    """

    seed: int = 0
    members: int = 1
    steps: int = 3
    solver: str = "gaussian"
    guidance: float = 1.0
    device: str = "cpu"
    habits: str = ""
    service: str = ""
    precision: str = "fp32"
    holidays: tuple[tuple[int, float], ...] = ()


FOMO = Settings(steps=8, solver="dpm++")  # of a FoMo that does not say what it leaves open; its figures were made so
FOMO_STEPS = 2  # of one that does, with the solver `gaussian`
PROFILE_STEPS = 8  # of a model that follows a profile: the mean of what it draws is a forecast, which few steps blur


Tell = Callable[[int, int], None]

# What a request may ask of a generator beyond a place, a period, members and a seed; names of the options.
CAPABILITIES = (
    "history",  # earlier traffic of the cells, which they follow
    "known",  # measured traffic with gaps, kept as it is
    "users",  # active users at the steps to be drawn
    "change",  # before and after a change of the map, with the same noise
    "services",  # several, of which a request names some
    "holidays",  # public holidays, a kind of day
    "rhythm",  # the daily and weekly rhythm of a measured network that is named
    "steps",  # steps of the solver
    "solver",
    "guidance",
    "device",  # another than the CPU
    "precision",  # another than fp32 for the products of its network
    "workers",  # blocks that can be drawn in other processes
)


class Unsupported(WrongUse):
    """A request asks what a generator cannot do. capability: which of CAPABILITIES, or `freq`."""

    def __init__(self, capability: str, message: str) -> None:
        super().__init__(message)
        self.capability = capability


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a generator without drawing.

    location: what loads it again, a bundled name or a whole path; "" for a model that was never saved. family: key of
    its class among `gentraffic.generators`. networks: measured networks that it learned from. services: what it draws,
    the main one first; amounts: what the mean cell carries of each beside that, in a model of several. cadences: of
    steps, in minutes. supports: of CAPABILITIES. fixed: values of capabilities that it does not support but has, such
    as the one step of a distilled model: asking for exactly these is no mistake.
    recommended: steps, solver and guidance where none are asked for; its other fields are not looked at.
    continues_history: a history ends where the draw begins, instead of lying anywhere before it. graph_layers: over how
    many neighbourhoods a change of the map is felt. sha256: of its files. measured: network -> its time zone and how
    many locations it was measured at, where the model chooses whose rhythm a place follows
    (`gentraffic.modelling.expected_week`). service_networks: service -> the networks that it was measured in, for those
    beside the main one.
    """

    family: str
    location: str = ""
    networks: tuple[str, ...] = ()
    services: tuple[str, ...] = ("traffic",)
    amounts: Mapping[str, float] = field(default_factory=dict)
    cadences: tuple[int, ...] = (60, 30, 15, 10)
    supports: frozenset[str] = frozenset()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    recommended: Settings = field(default_factory=Settings)
    continues_history: bool = False
    graph_layers: int = 0
    sha256: str = ""
    measured: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    service_networks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise ValueError for a capability that nobody asks for."""
        for name in (*self.supports, *self.fixed):
            if name not in CAPABILITIES:
                raise ValueError(f"ModelInfo of {self.family}: no capability {name!r}: {', '.join(CAPABILITIES)}")

    @property
    def name(self) -> str:
        """What it is called in messages and attributes."""
        return Path(self.location).name or str(self.provenance.get("name", self.family))

    def check(self, capability: str, value: Any = None) -> None:
        """Raise Unsupported, naming the option and its value, for what this generator cannot do."""
        if capability in self.supports or (capability in self.fixed and value == self.fixed[capability]):
            return
        this = f"{self.name} ({self.family})"
        option = "--service" if capability == "services" else f"--{capability}"
        option += f" {value}" if isinstance(value, str | int | float) else ""
        if "distilled_from" in self.provenance and capability in self.fixed:
            only = self.fixed[capability]
            message = f"{option}: {self.name} was distilled for {only} alone; give --model stouter-base, or its teacher"
        elif capability in self.fixed:
            message = f"{option}: {this} draws with {self.fixed[capability]} alone"
        elif capability == "users":
            message = f"{option} needs a FoMo, and {this} is none: give --model fomo-base"
        elif capability == "known":
            message = f"{option}: {this} cannot be given measured traffic; give --model stouter-fast or fomo-base"
        elif capability == "history":
            message = f"{option}: {this} takes no past; give one of `gentraffic fit ... --profile`, or a FoMo"
        elif capability == "services":
            message = f"{option}: {this} draws one service; give one, or a model of several (`gentraffic fit stouter`)"
        elif capability == "change":
            message = f"{option}: {this} has no such option; give --model stouter-base"
        else:
            message = f"{option}: {this} has no such option; leave it out, or give another --model"
        raise Unsupported(capability, message)


def check_minutes(minutes: float, cadences: Sequence[float]) -> None:
    """Raise Unsupported for a cadence that a model does not draw; both in minutes a step."""
    if minutes not in cadences:
        names = ", ".join(f"{m} min" for m in cadences)
        raise Unsupported(
            "freq",
            f"this model draws {names}, not {minutes:g} min: give another --freq, or resample the measured file",
        )


@dataclass(frozen=True)
class Span:
    """Some cells of one member: rows `first` to `end` of what is drawn."""

    member: int
    first: int
    end: int


class Draw(Protocol):
    """The traffic of a place and a period, drawn when it is asked for."""

    @property
    def units(self) -> str:
        """Units of the values; "1" where 1 is the mean cell."""

    @property
    def calendar(self) -> Calendar:
        """The steps that are drawn."""

    @property
    def block(self) -> int:
        """How many cells one span is best given."""

    def blocks(
        self, spans: Sequence[Span], threads: int | None = None, tell: Tell | None = None
    ) -> Iterator[tuple[Span, NDArray[np.float32]]]:
        """The traffic of each span, in their order: (span, (cells, steps)). The same bits for any spans and threads.

        threads: by default one per core. tell(done, of): progress, counted as the draw likes.
        """

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that `Family.reopen` needs beside the model's files, for draws in other processes. Raises Unsupported."""


@dataclass
class Expected:
    """The spans that a draw is asked for, checked as blocks come. name: of the generator; steps: of the calendar."""

    name: str
    spans: Sequence[Span]
    steps: int
    given: int = 0

    def check(self, span: Span, values: NDArray[np.float32]) -> None:
        """Raise BadModel unless this is the span that is next, and values are an array (cells, steps) of amounts: of
        floats, finite, 0 or more."""
        wanted = self.spans[self.given] if self.given < len(self.spans) else "nothing more"
        if span != wanted:
            raise BadModel(f"the generator {self.name} gave {span}, not {wanted}: give each span once, in their order")
        import numpy as np

        shape, gave = (span.end - span.first, self.steps), f"the generator {self.name} gave"
        if not isinstance(values, np.ndarray):
            raise BadModel(f"{gave} a {type(values).__name__} for {span}: give a numpy array of shape {shape}")
        if values.shape != shape:
            raise BadModel(f"{gave} an array of shape {values.shape} for {span}: give {shape}")
        if values.dtype.kind != "f":
            raise BadModel(f"{gave} an array of {values.dtype} for {span}: give float32")
        if values.size and not (values.min() >= 0 and values.max() < float("inf")):  # nan is not >= 0
            raise BadModel(f"{gave} negative or infinite values, or no numbers (nan), for {span}: traffic is 0 or more")
        self.given += 1

    def check_end(self) -> None:
        """Raise BadModel where spans were not given."""
        if self.given < len(self.spans):
            raise BadModel(f"the generator {self.name} gave {self.given} of {len(self.spans)} spans: give each once")


class Generator(Protocol):
    """A trained thing that draws."""

    @property
    def info(self) -> ModelInfo:
        """What it is and can do."""

    def prepare(
        self,
        context: xr.Dataset,
        calendar: Calendar,
        settings: Settings,
        *,
        cells: Sequence[int] | None = None,
        observed: Observations | None = None,
        scratch: Path | None = None,
    ) -> Draw:
        """A draw of the rows `cells` of a context (all for None; features and levels come from the whole context).

        observed: what was measured, of the kinds that `info.supports` names. scratch: a folder for arrays too large for
        memory. Raises WrongUse, NoData or BadInput for what cannot be drawn.
        """


def bundled_models() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(p.parent.name for p in MODELS.glob("*/provenance.json"))


def default_model(steps: int | None, solver: str | None, guidance: float | None) -> str:
    """The quick student, or its teacher where something is asked for that a student never learned."""
    return "stouter-fast" if steps is None and solver is None and guidance in (None, 1.0) else "stouter-base"


@dataclass(frozen=True)
class ModelFolder:
    """A model folder whose files agree with their hashes. files: relative name -> content; sha256: of all of them."""

    path: Path
    provenance: Mapping[str, Any]
    sha256: str
    files: Mapping[str, bytes]

    @property
    def location(self) -> str:
        """What loads it again from any working folder: the name of a bundled model, or the whole path."""
        return self.path.name if self.path.parent == MODELS else str(self.path.resolve())

    def json(self, name: str) -> Any:
        """What a JSON file of the folder holds. Raises KeyError and ValueError; see `understanding`."""
        return json.loads(self.files[name])

    def network(self, kind: Callable[..., T], name: str) -> T:
        """The network of the class `kind` in the subfolder `name`, ready to use.

        Raises ValueError for a setting or a weight that the class does not know, or lacks; see `understanding`.
        """
        from safetensors.torch import load

        config = {key: value for key, value in self.json(f"{name}/config.json").items() if not key.startswith("_")}
        known = inspect.signature(kind).parameters
        for key in config:
            if key not in known:
                raise ValueError(f"{name}/config.json: unknown field {key!r}")
        network: Any = kind(**config)
        file = f"{name}/diffusion_pytorch_model.safetensors"
        weights = load(self.files[file]) if network.state_dict() or file in self.files else {}  # naive ones have none
        have = network.state_dict()
        for what, keys in (("missing", have.keys() - weights.keys()), ("unexpected", weights.keys() - have.keys())):
            if keys:
                raise ValueError(f"{name}: {what} weights: {min(keys)}")
        for key, values in weights.items():
            if values.shape != have[key].shape:
                raise ValueError(f"{name}: mismatched weights: {key}")
        network.load_state_dict(weights)
        network.eval()
        return network  # type: ignore[no-any-return]

    @contextmanager
    def understanding(self) -> Iterator[None]:
        """Turn what a foreign or damaged content raises into BadModel."""
        from safetensors import SafetensorError

        try:
            yield
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise BadModel(f"{self.path}: not a model of this version ({error})") from error


def fields_of(kind: type[T], values: Mapping[str, Any], **more: Any) -> T:
    """A dataclass from JSON. Raises ValueError, naming a field that it does not know."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise ValueError(f"unknown field {name!r} of {kind.__name__}")
    return kind(**values, **more)


def read_folder(name: str | Path) -> ModelFolder:
    """A model folder, or the bundled model of that name; each file is read once and checked against its hash.

    Raises BadModel for a name or folder that does not exist, a missing or changed file, or one of a later version.
    """
    folder = MODELS / name if isinstance(name, str) and (MODELS / name / "provenance.json").is_file() else Path(name)
    if not (folder / "provenance.json").is_file():
        known = [*bundled_models(), *map(str, plug_ins(GENERATOR))]
        near = did_you_mean(name, known)
        raise BadModel(f"no model {str(name)!r}: give one of {', '.join(known) or 'none'}, or a model folder{near}")
    try:
        provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
        hashes = dict(provenance["files"])
        version = int(provenance.get("format_version", 1))
        if version < 1:
            raise ValueError(f"format_version {version}: the first is 1")
        if provenance.pop("seal", None) not in (None, _seal(provenance)):  # None: from before there were seals
            raise ValueError("it does not fit its own SHA-256")
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:  # JSON has numbers without end
        raise BadModel(f"{folder}/provenance.json: not readable ({error}); copy the model folder again") from error
    if version > FORMAT_VERSION:
        raise BadModel(
            f"{folder} has format_version {version}, this gentraffic reads up to {FORMAT_VERSION}: "
            "pip install --upgrade gentraffic"
        )
    _refuse_unlisted(folder, hashes)
    LOG.info("model folder %s: %d files", folder, len(hashes))
    files = {}
    for file, digest in hashes.items():
        path = folder / file
        if not path.is_file():
            raise BadModel(f"{folder}: {file} is missing; copy the model folder again")
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise BadModel(f"{folder}: {file} differs from its SHA-256 in provenance.json; copy the model folder again")
        files[file] = content
    sha256 = hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()
    for number in range(version, FORMAT_VERSION):
        files = UPGRADES[number](files)
    return ModelFolder(folder, provenance, sha256, files)


def _refuse_unlisted(folder: Path, files: Mapping[str, str]) -> None:
    """Raise BadModel for a file that provenance.json does not list: a library might load it. Hidden files never are."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        known = name.as_posix() in files or path.name == "README.md" or str(name) == "provenance.json"
        hidden = any(part.startswith(".") for part in name.parts)
        if not (known or hidden or (path.is_dir() and not path.is_symlink())):
            raise BadModel(f"{folder}: {name} is not listed in provenance.json; remove it, or copy the folder again")


def check_replaceable(folder: Path) -> None:
    """Raise BadInput where a model folder that is to be replaced holds files that are not of the model."""
    from gentraffic.io.atomic import check_nothing_lost

    try:
        files = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return  # none stands there, or it does not say what it holds
    known = {*files, "README.md", "provenance.json"}
    there = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or path.is_file()]
    check_nothing_lost(folder, [name for name in there if name not in known])


def _from_1(files: dict[str, bytes]) -> dict[str, bytes]:
    """Version 2 keeps the same files; it only names its version."""
    return files


UPGRADES = {1: _from_1}  # files of version N -> files of version N + 1


@contextmanager
def writing_folder(folder: Path, provenance: Mapping[str, Any], card: str) -> Iterator[Path]:
    """Yield a temporary folder; when the block ends well, it becomes the model folder, with card and hashes.

    Raises BadInput where another folder stands there, or it cannot be written.
    """
    from gentraffic.io.atomic import replacing

    if folder.is_dir() and any(folder.iterdir()) and not (folder / "provenance.json").is_file():
        raise BadInput(f"{folder} exists and is not a model folder; take another name")
    check_replaceable(folder)
    with replacing(folder, (folder.suffix,), folder=True) as temporary:
        yield temporary
        # diffusers notes where a part was read from: a path of this machine
        for path in temporary.rglob("config.json"):
            config = json.loads(path.read_text(encoding="utf-8"))
            config.pop("_name_or_path", None)
            write_json(path, config)
        (temporary / "README.md").write_text(card, encoding="utf-8")
        hashes = {
            str(path.relative_to(temporary)): _sha256(path)
            for path in sorted(temporary.rglob("*"))
            if path.is_file() and path.name != "README.md"
        }
        whole = json.loads(json.dumps({**provenance, "format_version": FORMAT_VERSION, "files": hashes}))
        write_json(temporary / "provenance.json", {**whole, "seal": _seal(whole)})


def _seal(provenance: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(provenance, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON for people to read and compare."""
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


class Family:
    """How models of one kind are loaded. Subclass it; override `load`, and the rest where there is reason to.

    A folder is None where a user names the family itself instead of a model folder.
    """

    @staticmethod
    def load(folder: ModelFolder | None) -> Generator:
        """The generator in a model folder. Raises BadModel."""
        raise NotImplementedError

    @classmethod
    def describe(cls, folder: ModelFolder | None) -> ModelInfo:
        """The same as `load(folder).info`; override it where that can be had without loading."""
        return cls.load(folder).info

    @classmethod
    def reopen(
        cls, folder: ModelFolder, arrays: Mapping[str, NDArray[Any]], calendar: Calendar, settings: Settings
    ) -> Draw:
        """A draw from what `Draw.arrays` gave, perhaps mapped from files, in another process.

        arrays: name -> array (any shape).
        """
        raise Unsupported("workers", f"--workers: {folder.path.name} cannot be drawn in other processes")


GENERATOR, SAMPLER, FORECASTER = "generator", "sampler", "forecaster"
GROUPS = {kind: f"gentraffic.{kind}s" for kind in (GENERATOR, SAMPLER, FORECASTER)}
WEEKLY = "gentraffic.generators.folder:Weekly"  # of every sampler of weeks
OTHERS = {  # families beside the samplers of weeks: the subclass of Family that loads each
    "fomo": "gentraffic.generators.fomo.generator:FoMoFamily",
    **dict.fromkeys(("bootstrap", "knn", "climatology"), "gentraffic.generators.naive:Naive"),
}
KINDS = {WEEKLY: "weekly", OTHERS["fomo"]: "fomo", OTHERS["knn"]: "naive"}  # how cards and audits call a family


@dataclass(frozen=True)
class PlugIn:
    """A name that an installed package registers. kind: a key of GROUPS. package: its name and version."""

    kind: str
    name: str
    package: str
    point: EntryPoint

    def __str__(self) -> str:
        return f"{self.name} ({self.kind} of {self.package})"

    def load(self) -> Any:
        """What is registered. Raises BadModel where that cannot be imported."""
        try:
            return self.point.load()
        except (ImportError, AttributeError) as error:
            raise BadModel(
                f"{self.name}: {self.package} registers {self.point.value}, which cannot be loaded ({error})"
            ) from error


def plug_ins(*kinds: str) -> tuple[PlugIn, ...]:
    """All that are installed of some kinds, by name."""
    every = entry_points()
    found = [
        PlugIn(kind, point.name, _package(point), point) for kind in kinds for point in every.select(group=GROUPS[kind])
    ]
    return tuple(sorted(found, key=lambda plug_in: (plug_in.name, plug_in.package)))


def named(name: str, installed: Sequence[PlugIn], own: Collection[str]) -> PlugIn | None:
    """The plug-in of a name, None where there is none. own: the names that gentraffic has itself.

    Raises WrongUse, naming the packages, where it is one of `own`, or two packages register it.
    """
    found = [plug_in for plug_in in installed if plug_in.name == name]
    if found and name in own:
        raise WrongUse(
            f"{name}: {found[0].package} registers a {found[0].kind} of this name, which gentraffic has itself: "
            "uninstall that package, or register it under another name"
        )
    if len(found) > 1:
        raise WrongUse(f"{name}: {found[0].package} and {found[1].package} both register it: uninstall one of them")
    return found[0] if found else None


def _package(point: EntryPoint) -> str:
    return "a package without a name" if point.dist is None else f"{point.dist.name} {point.dist.version}"


def families() -> dict[str, str]:
    """Key of provenance.json's `sampler` -> the subclass of Family that loads it, as module:class; without plug-ins."""
    from samplers import SAMPLERS

    return dict.fromkeys(SAMPLERS, WEEKLY) | OTHERS


def own_names() -> frozenset[str]:
    """Names that no generator or sampler of another package can have: the bundled models, and the families."""
    return frozenset((*bundled_models(), *families()))


def load_model(name: str | Path) -> Generator:
    """The generator of a bundled name, a model folder, or a family that another package registers.

    Raises BadModel.
    """
    folder, family = find(name)
    return family.load(folder)


def describe(name: str | Path) -> ModelInfo:
    """What the model of a name or folder is and can do, without loading its networks where its family can tell so."""
    folder, family = find(name)
    return family.describe(folder)


def find(name: str | Path) -> tuple[ModelFolder | None, type[Family]]:
    """The checked folder of a model, and what loads it; no folder where `name` is a family of another package.

    Raises BadModel, and WrongUse for a name that a package registers which gentraffic has itself.
    """
    installed = plug_ins(GENERATOR, SAMPLER)
    if isinstance(name, str) and not (Path(name) / "provenance.json").is_file():
        plug_in = named(name, installed, own_names())
        if plug_in is not None and plug_in.kind == GENERATOR:
            return None, plug_in.load()
        if plug_in is not None:
            raise BadModel(f"{plug_in}: train it, `gentraffic fit {name}`, and give the folder that this writes")
    folder = read_folder(name)
    return folder, family_of(folder, installed)


def family_of(folder: ModelFolder, installed: Sequence[PlugIn] | None = None) -> type[Family]:
    """What loads a model folder. installed: the generators and samplers of other packages, where they are known.

    Raises BadModel for a family that nobody has registered, WrongUse for one that several have."""
    kind, own = str(folder.provenance.get("forecaster") or folder.provenance.get("sampler", "stouter")), families()
    if "forecaster" not in folder.provenance:
        plug_in = named(kind, plug_ins(GENERATOR, SAMPLER) if installed is None else installed, own_names())
        if plug_in is not None and plug_in.kind == GENERATOR:
            return plug_in.load()  # type: ignore[no-any-return]
        if plug_in is not None or kind in own:
            module, _, cls = (WEEKLY if plug_in is not None else own[kind]).partition(":")
            found: Any = getattr(import_module(module), cls)
            return found  # type: ignore[no-any-return]
    raise BadModel(
        f"{folder.path} holds the model {kind!r}: give one of {', '.join(own)}, or install the package that has it"
    )
