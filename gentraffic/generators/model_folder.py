"""A model folder: every file beside its SHA-256, read once; written whole or not at all. No pickle.

provenance.json    format_version, family (`sampler`, or `forecaster`), data, licences, hashes of every file, ...
README.md          the model card, which has no hash: a person may add to it
*.json, *.safetensors, *.nc    what the family of the model keeps
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from gentraffic.errors import BadInput, BadModel

MODELS = Path(__file__).parents[1] / "assets" / "models"


def bundled_models() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(p.parent.name for p in MODELS.glob("*/provenance.json"))


def default_model(steps: int | None, solver: str | None, guidance: float | None) -> str:
    """The quick student, or its teacher where something is asked for that a student never learned."""
    return "stouter-fast" if steps is None and solver is None and guidance in (None, 1.0) else "stouter-base"


FORMAT_VERSION = 2  # of what is written; folders of earlier versions are upgraded when they are read
T = TypeVar("T")


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
        bundled = ", ".join(bundled_models()) or "none"
        raise BadModel(f"no model {str(name)!r}: give one of {bundled}, or a model folder")
    try:
        provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
        hashes = dict(provenance["files"])
        version = int(provenance.get("format_version", 1))
        if provenance.pop("seal", None) not in (None, _seal(provenance)):  # None: from before there were seals
            raise ValueError("it does not fit its own SHA-256")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadModel(f"{folder}/provenance.json: not readable ({error}); copy the model folder again") from error
    if version > FORMAT_VERSION:
        raise BadModel(
            f"{folder} has format_version {version}, this gentraffic reads up to {FORMAT_VERSION}: "
            "pip install --upgrade gentraffic"
        )
    _refuse_unlisted(folder, hashes)
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
