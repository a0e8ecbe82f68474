"""The attempts at a private model: how many were begun and ended, and no seed of their noise left behind.

Beside the model folder NAME lies NAME.attempts.json, which counts. The seed of the noise is in the checkpoint, which a
run that was interrupted or killed needs to go on; it goes with success and with failure, and what a killed process left
half written goes when the next run begins.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gentraffic.errors import BadModel, WrongUse
from gentraffic.io.atomic import replacing


@dataclass
class Attempts:
    """Counts of the private fits under one name: begun, ended. notes: what was swept, in words."""

    checkpoint: Path
    counts: dict[str, int]
    notes: list[str] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """Where the counts are kept."""
        return counts_beside(self.checkpoint)

    def begin(self) -> None:
        """Count a fit that draws new noise."""
        self.counts["begun"] += 1
        self._keep()

    def end(self) -> None:
        """The model is written: count it, and leave no seed."""
        self.counts["ended"] += 1
        self._keep()
        self.checkpoint.unlink(missing_ok=True)
        sweep(self.checkpoint)

    def _keep(self) -> None:
        with replacing(self.path, (".json",)) as temporary:
            temporary.write_text(json.dumps(self.counts), encoding="utf-8")


def attempts_text(counts: Mapping[str, int]) -> str:
    """How many private fits were begun under this name, and how many of them never ended."""
    aborted = counts["begun"] - counts["ended"]
    text = f"{counts['begun']} begun, {aborted} of them aborted"
    return text if not aborted else f"{text}; what anyone saw of those spends an epsilon of its own for each"


def counts_beside(checkpoint: Path) -> Path:
    """NAME.attempts.json for NAME.checkpoint.safetensors."""
    return checkpoint.with_name(checkpoint.name.removesuffix(".checkpoint.safetensors") + ".attempts.json")


def sweep(checkpoint: Path) -> list[Path]:
    """Delete what killed processes left of this checkpoint, half written: it holds the seed of the noise."""
    left = sorted(checkpoint.parent.glob(f".{checkpoint.name}.*.part"))
    for path in left:
        path.unlink(missing_ok=True)
    return left


@contextmanager
def counted_attempt(checkpoint: Path) -> Iterator[Attempts]:
    """Count a private fit; after a failure nothing is left that holds the seed, after an interruption the checkpoint.

    A fit that goes on from a checkpoint is the attempt that wrote it. Raises what the block raises.
    """
    resumed = checkpoint.exists()
    attempts = Attempts(checkpoint, _read(counts_beside(checkpoint)))
    swept = sweep(checkpoint)
    if swept:
        attempts.notes.append(
            f"swept {len(swept)} half-written checkpoint(s) of a killed run, which held the seed of its noise"
        )
    if not resumed:
        attempts.begin()
    try:
        yield attempts
    except KeyboardInterrupt:
        sweep(checkpoint)
        if checkpoint.exists():
            raise KeyboardInterrupt(
                f"interrupted; {checkpoint} holds the seed of the noise: run the same command again to go on, or "
                "delete it"
            ) from None
        raise
    except Exception as error:
        sweep(checkpoint)
        if not (resumed and isinstance(error, WrongUse | BadModel)):  # else it is another run's, or to be looked at
            checkpoint.unlink(missing_ok=True)
        raise


def _read(path: Path) -> dict[str, int]:
    try:
        payload = json.loads(path.read_text(encoding="utf-8"))
        return {"begun": int(payload["begun"]), "ended": int(payload["ended"])}
    except FileNotFoundError:
        return {"begun": 0, "ended": 0}
    except (OSError, ValueError, KeyError, TypeError):
        raise WrongUse(f"{path}: no counts of attempts; delete it, and say so where the model is published") from None
