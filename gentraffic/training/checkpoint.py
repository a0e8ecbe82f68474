"""The checkpoint of a training run: one safetensors file with a note of where the run stands, and a digest of both.

safetensors itself has no checksum and would load most flipped bits. The file is written as a whole or not at all, and
holds all that the run needs to end in the bits of one that was never stopped.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentraffic.errors import BadInput, BadModel, WrongUse
from gentraffic.generators.base import check_replaceable
from gentraffic.io.atomic import check_own, check_writable, open_own, replacing

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

PLAIN, PRIVATE = "training", "private"  # the two kinds; the name is where in the file the note is
LOOP = 2  # what the notes and the tensors of `Trainer` mean; a run that another version began cannot be taken up
MOMENTS = ("step", "exp_avg", "exp_avg_sq", "momentum_buffer")  # what Adam, AdamW and SGD remember of a weight
OF_THE_OTHER_KIND = {
    PLAIN: "belongs to a run with --dp-epsilon: give another -o, or delete it",
    PRIVATE: "belongs to a run without --dp-epsilon: give another -o, or delete it",
}
OF_ANOTHER_RUN = {
    PLAIN: "belongs to a run with other data or settings: give the same command, another -o, or delete it",
    PRIVATE: "belongs to a private run with other data, settings or privacy parameters, and noise must not serve "
    "twice: give the same command, another -o, or delete it",
}


@dataclass(frozen=True)
class Checkpoint:
    """What a training run is, and where it is kept. path: None for nowhere. identity: whatever the weights depend on,
    JSON: the plan, a fingerprint of the data. kind: PLAIN, or PRIVATE where the identity holds the secret of noise."""

    path: Path | None
    identity: Mapping[str, Any]
    kind: str = PLAIN

    @property
    def exists(self) -> bool:
        """Whether there is a run to take up."""
        return self.path is not None and self.path.exists()

    def save(self, note: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Write where the run stands, if it is kept. tensors: name -> tensor (any shape)."""
        if self.path is not None:
            save_checkpoint(self.path, {**self.identity, "loop": LOOP, **note}, tensors, self.kind)

    def read(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The note and the tensors. Raises as `resume`, and WrongUse for a run that an earlier version began."""
        assert self.path is not None
        note, tensors = resume(self.path, self.identity, self.kind)
        if note.get("loop") != LOOP:
            raise WrongUse(f"{self.path} was begun by another version of gentraffic: delete it to start again")
        return note, tensors


def checkpoint_beside(out: Path) -> Path:
    """Where the run that will write the model folder `out` keeps its checkpoint; to be called before long work.

    Raises WrongUse where something else than a model folder is in the way, BadInput where `out` could not be written.
    """
    if out.exists() and not (out / "provenance.json").is_file():
        raise WrongUse(f"{out} exists and is not a model folder: give another -o")
    check_replaceable(out)
    check_writable(out, (out.suffix.lower(),), folder=True)
    path = out.with_name(f"{out.name}.checkpoint.safetensors")
    check_own(path)
    return path


def save_checkpoint(path: Path, note: Mapping[str, Any], tensors: Mapping[str, Tensor], kind: str = PLAIN) -> None:
    """Write a note (JSON) and tensors; a PRIVATE one, which holds the secret of its noise, is its owner's to read.

    tensors: name -> tensor (any shape).
    """
    from safetensors.torch import save

    payload = json.dumps(note)
    whole = save({k: v.contiguous() for k, v in tensors.items()}, {kind: payload, "sha256": _digest(payload, tensors)})
    check_own(path)
    with replacing(path, (".safetensors",)) as temporary:
        if kind == PRIVATE:
            temporary.chmod(0o600)
        temporary.write_bytes(whole)


def resume(path: Path, identity: Mapping[str, Any], kind: str = PLAIN) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The note and the tensors of a checkpoint, whose note must hold all of `identity`: plan, fingerprint of the data.

    Raises BadModel for a file that is not whole, WrongUse for one of another run or of the other kind.
    """
    note, tensors = _read(path, kind)
    if {k: note.get(k) for k in identity} != json.loads(json.dumps(identity)):  # as it comes back: tuples are lists
        raise WrongUse(f"{path} {OF_ANOTHER_RUN[kind]}")
    return note, tensors


def _read(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    handle = open_own(path)
    try:
        with safe_open(f"/dev/fd/{handle}" if os.path.isdir("/dev/fd") else path, "pt") as file:
            metadata = file.metadata() or {}
            if kind not in metadata and metadata.keys() & {PLAIN, PRIVATE}:
                raise WrongUse(f"{path} {OF_THE_OTHER_KIND[kind]}")
            payload, digest = metadata[kind], metadata["sha256"]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        note: dict[str, Any] = json.loads(payload)
        if _digest(payload, tensors) != digest:
            raise ValueError("its bytes do not fit its SHA-256")
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise BadModel(f"{path}: not a whole checkpoint ({error}); delete it to start again") from error
    finally:
        os.close(handle)
    return note, tensors


def finite(loss: float, step: int) -> float:
    """The loss of a step, so that no checkpoint is written of a run that is lost. Raises BadInput."""
    if not math.isfinite(loss):
        raise BadInput(
            f"the loss is not finite at step {step}: lower the learning rate, or look for wild values in the traffic"
        )
    return loss


def numbered(**lists: Sequence[Tensor]) -> dict[str, Tensor]:
    """Lists of tensors under the names of a checkpoint: `weight.0`, `weight.1`, ...

    lists: name -> tensors (any shape).
    """
    return {f"{name}.{i}": t.detach() for name, tensors in lists.items() for i, t in enumerate(tensors)}


def moments(optimiser: torch.optim.Optimizer, weights: Sequence[nn.Parameter]) -> dict[str, Tensor]:
    """What the optimiser remembers, under the names of a checkpoint; nothing yet of a weight that no step has used."""
    state = [optimiser.state.get(p, {}) for p in weights]
    return {f"{name}.{i}": kept[name] for i, kept in enumerate(state) for name in MOMENTS if name in kept}


def put_moments(
    optimiser: torch.optim.Optimizer, weights: Sequence[nn.Parameter], tensors: Mapping[str, Tensor]
) -> None:
    """The mirror of `moments`; the count of steps stays on the CPU, where the optimiser wants it.

    tensors: name -> tensor (any shape).
    """
    for i, p in enumerate(weights):
        kept = {name: tensors[f"{name}.{i}"] for name in MOMENTS if f"{name}.{i}" in tensors}
        optimiser.state[p] = {name: t if name == "step" else t.to(p.device) for name, t in kept.items()}


def _digest(note: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of a note and of tensors, by name."""
    sha = hashlib.sha256(note.encode())
    for name in sorted(tensors):
        sha.update(name.encode() + tensors[name].contiguous().cpu().numpy().tobytes())
    return sha.hexdigest()
