"""Membership inference from a model: its loss on every cell, and LiRA, which compares that with shadow models.

What a model's loss on a cell is, the model's own kind knows (`Subject`): a sampler's mean loss over fixed noise (the
same for every cell, so that only the cell makes the difference), a GAN's critic, a forecaster's error. Members and
others lie in one network of all real cells, so that nothing but the training tells them apart.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gentraffic.errors import BadInput, WrongUse
from gentraffic.io.atomic import replacing
from gentraffic.privacy.audit.records import Material
from gentraffic.privacy.audit.statistics import Attack, Floats, auc_of, judge

if TYPE_CHECKING:
    import xarray as xr

LOSS, LIRA = "model loss", "LiRA"
FOUND = 0.05  # p of an attack on a shadow model that counts as found


class Subject(Protocol):
    """A trained model beside the real cells that it may have seen, as the attacks ask it.

    about: what its loss is, with its source. cell_id: (cells,) the cells that it can be asked about.
    """

    @property
    def about(self) -> str:
        """What its loss is."""

    @property
    def cell_id(self) -> NDArray[Any]:
        """(cells,)."""

    def scores(self, seed: int) -> Floats:
        """How well the model takes each cell, on noise that is the seed's: (cells,), higher = more likely a member.

        On a scale on which LiRA's normal laws fit: minus the log of a loss, or a log density as it is.
        """

    def shadow(self, seen: NDArray[np.bool_], steps: int, number: int, seed: int) -> Floats:
        """`scores` of the shadow model `number` of the same kind, design and plan, `steps` steps long, fitted on the
        cells that are seen (cells,)."""

    def identity(self, steps: int, seed: int) -> str:
        """What the shadow models depend on: data, design and plan."""


@dataclass(frozen=True)
class Cells:
    """The real cells of both sides as a model takes them. member: (n,) True for those of --train. rows: (n,) which of
    the subject's cells each is; groups: (n,) what was drawn together, or None."""

    rows: NDArray[np.intp]
    member: NDArray[np.bool_]
    groups: NDArray[Any] | None

    def split(self, scores: Floats) -> tuple[Floats, Floats]:
        """Scores of members and of non-members. scores: (all cells of the subject,)."""
        mine = scores[self.rows]
        return mine[self.member], mine[~self.member]

    def split_groups(self) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """The groups of members and of non-members."""
        return None if self.groups is None else (self.groups[self.member], self.groups[~self.member])


def join(train: xr.Dataset, holdout: xr.Dataset, service: str) -> xr.Dataset:
    """Both real files as one. Raises WrongUse where they share no times, or ids."""
    import xarray as xr

    parts = []
    for ds in (train, holdout):
        kept = [c for c in ds.coords if c in train.coords and c in holdout.coords]
        parts.append(ds[[service]].drop_vars([c for c in ds.coords if c not in kept]))
    first = np.intersect1d(parts[0]["time"].values, parts[1]["time"].values)
    if len(first) < 2:
        raise WrongUse("--train and --holdout share no time: with --model they must be cells of one period")
    parts = [part.sel(time=first) for part in parts]
    ids = [part["cell_id"].values.astype(str) for part in parts]
    if len(np.intersect1d(ids[0], ids[1])):
        raise WrongUse("--train and --holdout have cell ids in common: with --model every cell needs an id of its own")
    return xr.concat(parts, "cell", coords="minimal", compat="override", combine_attrs="override", join="outer")


def cells_of(material: Material, subject: Subject) -> Cells:
    """Which of a subject's cells are members, and which are not."""
    row_of = {cell: row for row, cell in enumerate(subject.cell_id.astype(str).tolist())}
    rows, member, groups = [], [], []
    for part, side in ((material.train, True), (material.holdout, False)):
        for k, cell in enumerate(part.ids.tolist()):
            if cell in row_of:
                rows.append(row_of[cell])
                member.append(side)
                groups.append("" if part.groups is None else part.groups[k])
    named = None if material.train.groups is None else np.array(groups)
    return Cells(np.array(rows), np.array(member), named)


def loss_attack(subject: Subject, cells: Cells, rng: np.random.Generator, seed: int = 0) -> Attack:
    """Score: minus the cell's loss (Yeom et al. 2018)."""
    members, others = cells.split(subject.scores(seed))
    return judge(LOSS, subject.about, members, others, rng, cells.split_groups())


def lira_attack(
    subject: Subject,
    cells: Cells,
    rng: np.random.Generator,
    *,
    shadows: int,
    steps: int,
    folder: Path,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Attack:
    """The likelihood-ratio attack with shadow models (Carlini et al. 2022, algorithm 1, one variance for all cells).

    Shadow models are `steps` steps long, each fitted on half of all real cells (two halves of one draw at a time, so
    that every cell is in half of them). They are kept in `folder`, and a later run goes on from there. Each is also
    attacked as if it were the target: of that is said in how many cases it was found. Raises WrongUse for a folder of
    another audit.
    """
    target = subject.scores(seed)
    inside, scores = shadow_scores(subject, shadows=shadows, steps=steps, folder=folder, seed=seed, progress=progress)
    members, others = cells.split(likelihood_ratio(target, scores, inside))
    power = shadow_power(scores, inside)
    about = (
        f"loss against that of {shadows} shadow models of {steps} steps (Carlini et al. 2022); each of these taken as "
        f"the target: found in {power.lira} of {shadows} (p <= {FOUND:g}), by its loss alone in {power.loss}, mean AUC "
        f"{power.auc:.2f}"
    )
    return judge(LIRA, about, members, others, rng, cells.split_groups())


@dataclass(frozen=True)
class ShadowPower:
    """How many shadow models were found by LiRA and by their loss alone, and the mean AUC of LiRA."""

    lira: int
    loss: int
    auc: float


def shadow_power(scores: Floats, inside: NDArray[np.bool_]) -> ShadowPower:
    """What the attacks find of models of which the members are known: every shadow model, by the others.

    Its twin, which saw the other half of the cells, is left out with it, so that each cell is in half of the others.
    scores, inside: (shadows, cells) as `likelihood_ratio` takes them.
    """
    lira = loss = 0
    areas = []
    for number in range(len(scores)):
        rest = np.arange(len(scores)) // 2 != number // 2
        seen = inside[number]
        ratio = likelihood_ratio(scores[number], scores[rest], inside[rest])
        found, alone = (auc_of(values[seen], values[~seen]) for values in (ratio, scores[number]))
        lira, loss = lira + (found.p <= FOUND), loss + (alone.p <= FOUND)
        areas.append(found.value)
    return ShadowPower(lira, loss, float(np.mean(areas)))


def likelihood_ratio(target: Floats, shadow: Floats, inside: NDArray[np.bool_]) -> Floats:
    """log N(target; cell trained on) - log N(target; cell not trained on): target (cells,).

    shadow, inside: (shadows, cells) scores of the shadow models, and whether each was trained on the cell.
    The means are the cell's own, the variances those of all cells together: with few shadows a cell's own variance is
    mostly chance (Carlini et al. 2022, section VI-D).
    """
    means, spreads = [], []
    for side in (inside, ~inside):
        count = side.sum(axis=0)
        mean = np.where(side, shadow, 0.0).sum(axis=0) / count
        means.append(mean)
        spreads.append(np.sqrt(np.where(side, (shadow - mean) ** 2, 0.0).sum() / (count - 1).sum()))
    z = [(target - mean) / max(spread, 1e-12) for mean, spread in zip(means, spreads, strict=True)]
    ratio: Floats = (z[1] ** 2 - z[0] ** 2) / 2 + np.log(max(spreads[1], 1e-12) / max(spreads[0], 1e-12))
    return ratio


def shadow_scores(
    subject: Subject,
    *,
    shadows: int,
    steps: int,
    folder: Path,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[NDArray[np.bool_], Floats]:
    """(which cells each shadow model saw, its score of every cell), (shadows, cells) each."""
    tell = progress or (lambda done, of: None)
    mark = hashlib.sha256(subject.identity(steps, seed).encode()).hexdigest()
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder} is not a folder: give another --shadow-dir")
    folder.mkdir(parents=True, exist_ok=True)
    inside, scores = [], []
    for number in range(shadows):
        tell(number, shadows)
        path = folder / f"shadow-{number:03d}.json"
        if path.exists():
            seen, own = _read_shadow(path, mark)
        else:
            seen = _half(len(subject.cell_id), number, seed)
            own = subject.shadow(seen, steps, number, seed)
            found = {"mark": mark, "seen": seen.astype(int).tolist(), "scores": own.tolist()}
            with replacing(path, (".json",)) as temporary:
                temporary.write_text(json.dumps(found), encoding="utf-8")
        inside.append(seen)
        scores.append(own)
    tell(shadows, shadows)
    return np.stack(inside), np.stack(scores)


def _half(cells: int, number: int, seed: int) -> NDArray[np.bool_]:
    """Which half of the cells a shadow model sees: shadows 2 k and 2 k + 1 see the two halves of one draw."""
    order = np.random.default_rng((seed, 3, number // 2)).permutation(cells)
    seen = np.zeros(cells, dtype=bool)
    seen[order[: cells // 2] if number % 2 == 0 else order[cells // 2 :]] = True
    return seen


def _read_shadow(path: Path, mark: str) -> tuple[NDArray[np.bool_], Floats]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["mark"] != mark:
            raise WrongUse(f"{path} belongs to another audit: give another --shadow-dir, or delete the folder")
        return np.array(found["seen"], dtype=bool), np.array(found["scores"], dtype=np.float64)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise BadInput(f"{path}: not a shadow model's scores ({error}); delete it to fit it again") from error
