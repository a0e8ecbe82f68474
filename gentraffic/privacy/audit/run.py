"""Does synthetic traffic give away what it was made from? Attacks, a search for copies, and one verdict.

The unit of privacy is a cell with all its days. Nothing is said about single users.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gentraffic.dataset.panel import DAY_S
from gentraffic.errors import WrongUse
from gentraffic.privacy.audit import attacks as audit_attacks
from gentraffic.privacy.audit import copy_search as audit_copies
from gentraffic.privacy.audit.power import Power, measure_power
from gentraffic.privacy.audit.records import Material, Records, read_material
from gentraffic.privacy.audit.searches import (
    ABOUT,
    SHIFT,
    Likeness,
    Searches,
    equal_above,
    name_of_test,
    stretched,
    tail_of,
    unstretched,
)
from gentraffic.privacy.audit.statistics import LEVEL, PROMISED, Attack, Floats, permutation_p, significant

if TYPE_CHECKING:
    import xarray as xr

    from gentraffic.privacy.audit.models import Subject

UNIT = "a cell with all its days"
USERS = "users: not guaranteed"
SHARE, COPIES = "closest-record share", "copy search"
FEWEST_SHADOWS = 16  # with fewer, LiRA's two laws per cell are guesses (Carlini et al. 2022, figure 7)
LIMITS = (
    "that nothing was found is no proof that there is nothing: other attacks may find more, and this is one draw of "
    "one generator",
    "a record is compared as hourly means or coarser, a week at a time; what share of single copies of each kind is "
    "found at these sizes stands above, other disguises and mixtures of three cells or more were not tried",
    "a generator with a proven bound is another thing: gentraffic fit --dp-epsilon",
)
DRIFT = 0.01  # below this p the two real files are said to differ
TWIN = 0.99  # real records that are more alike than this are nearly equal
ALIKE = 0.99  # likeness to a hold-out cell that a generator which has not seen it hardly draws
MOST_COPIES = 50  # that a report lists
PLANTS = 20  # copies of each kind that are planted to see how many are found


@dataclass(frozen=True)
class Target:
    """The model that drew the synthetic traffic, and what the attacks on it need. shadows: 0 for no LiRA.

    subject: puts the model beside the joined real cells of a service; raises WrongUse where they do not go together.
    """

    subject: Callable[[xr.Dataset, str], Subject]
    shadows: int = 0
    shadow_steps: int = 300
    shadow_dir: Path = Path("shadows")


@dataclass(frozen=True)
class CopySearch:
    """What one search for copies says. All likenesses lie between 0 and 1.

    threshold: the likeness that `level` of as many unrelated records would reach on average. train, holdout, real: the
    largest likeness of a synthetic record to training and to hold-out, and of two real records. p: of the first.
    """

    name: str
    threshold: float
    train: float
    holdout: float
    real: float
    p: float


@dataclass(frozen=True)
class Audit:
    """What an audit found. tests: name -> p, all that go into the verdict. found: those that stand after Bonferroni's
    correction, and the copy search where it lists exact copies. searches: every search for copies by itself. missing:
    attack -> why it did not run. drift: p of "both real files are of one population". power: what share of planted
    copies is found, None where that was not tried."""

    material: Material
    attacks: tuple[Attack, ...]
    share: audit_attacks.Share
    nearest: audit_attacks.Nearest
    search: audit_copies.Search
    searches: tuple[CopySearch, ...]
    tests: dict[str, float]
    found: tuple[str, ...]
    missing: dict[str, str]
    drift: float
    notes: tuple[str, ...]
    power: Power | None = None

    @property
    def leak(self) -> bool:
        """True when any test found a leak."""
        return bool(self.found)

    @property
    def verdict(self) -> str:
        """The verdict in one sentence."""
        ran = f"{len(self.tests)} tests ({', '.join(self.names)})"
        if not self.leak:
            power = "What they would have found was not measured." if self.power is None else self.power.sentence
            nothing = (
                f"None of the attacks run here found a leak: {ran}, {PROMISED:.0%} false alarms at most in all. {power}"
            )
            blind = "" if self.power is None else self.power.blindness
            return f"{blind} {nothing}" if blind else nothing
        reasons = []
        if COPIES in self.found or set(map(name_of_test, ABOUT)) & set(self.found):
            n, of = len(self.search.copies), len(self.search.train)
            predicate = (
                "is a copy of a training series" if n == 1 else "are copies of training series, or of parts of them"
            )
            reasons.append(
                f"{n:,} of {of:,} synthetic records {predicate}"
                if n
                else "synthetic records are more alike to training series, shifted or rescaled, than chance allows"
            )
        for attack in self.attacks:
            if set(attack.p_values) & set(self.found):
                reasons.append(f"{attack.name} tells members from non-members (AUC {attack.auc.value:.3f}; threshold "
                               f"{attack.fisher.members_found} of {attack.fisher.members} members against "
                               f"{attack.fisher.others_found} of {attack.fisher.others} others)")  # fmt: skip
        if SHARE in self.found:
            reasons.append(f"{self.share.value:.1%} of the synthetic records are closer to training than to hold-out")
        return f"A leak was found: {'; '.join(reasons)}. Run: {ran}."

    @property
    def names(self) -> tuple[str, ...]:
        """The attacks that ran."""
        return (*(attack.name for attack in self.attacks), SHARE, COPIES)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        m, search = self.material, self.search
        return {
            "verdict": self.verdict,
            "leak_found": self.leak,
            "unit_of_privacy": UNIT,
            "users": "not guaranteed",
            "service": m.service,
            "units": m.units,
            "step_minutes": m.step_s / 60,
            "common_scale": m.scale,
            **m.counts,
            "false_alarms_at_most": PROMISED,
            "level": LEVEL,
            "correction": "Bonferroni",
            "tests": {n: {"p": p, "stands": n in self.found} for n, p in self.tests.items()},
            "attacks": {a.name: _attack(a) for a in self.attacks},
            SHARE: {
                "share": self.share.value,
                "by_chance": 0.5,
                "cells_each": self.share.cells,
                "records": self.share.records,
                "ties": self.share.ties,
                "p": self.share.p,
            },
            COPIES: {
                "copies": len(search.copies),
                "threshold": search.threshold,
                "false_alarm": search.level,
                "p": search.p,
                "largest_to_train": float(search.train.max()),
                "largest_to_holdout": float(search.holdout.max()),
                "searches": {
                    f.name: {
                        "about": ABOUT[f.name],
                        "threshold": f.threshold,
                        "p": f.p,
                        "largest_to_train": f.train,
                        "largest_to_holdout": f.holdout,
                        "largest_between_real": f.real,
                    }
                    for f in self.searches
                },
                "listed": [
                    {k: v for k, v in vars(c).items() if k not in ("row", "train_row")} | {"kind": c.kind}
                    for c in search.copies[:MOST_COPIES]
                ],
            },
            "power": None if self.power is None else self.power.to_json(),
            "not_run": self.missing,
            "train_against_holdout_p": self.drift,
            "notes": list(self.notes),
            "limits": list(LIMITS),
        }


def audit(
    train: xr.Dataset,
    holdout: xr.Dataset,
    synthetic: xr.Dataset,
    *,
    target: Target | None = None,
    service: str | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    plants: int = PLANTS,
) -> Audit:
    """Run every attack that the files allow.

    progress is told (done, of all) of the shadow models, then of the records searched, once for either side.
    train: what the generator saw. holdout: cells of the same population that it did not see. synthetic: what is to be
    published. plants: copies of each kind planted to measure power, 0 for none.
    Raises WrongUse for files that do not belong together, BadInput for too few live cells.
    """
    material = read_material(train, holdout, synthetic, service=service, seed=seed)
    missing: dict[str, str] = {}
    attacks: list[Attack] = []
    if target is not None and 0 < target.shadows < FEWEST_SHADOWS:
        raise WrongUse(f"--shadows {target.shadows}: LiRA needs {FEWEST_SHADOWS} or more shadow models")
    if target is None:
        missing = dict.fromkeys(("model loss", "LiRA"), "needs --model and --context")
    else:
        from gentraffic.privacy.audit import models as audit_model

        subject = target.subject(audit_model.join(train, holdout, material.service), material.service)
        cells = audit_model.cells_of(material, subject)
        attacks.append(audit_model.loss_attack(subject, cells, _rng(seed, 7), seed))
        if target.shadows:
            attacks.append(
                audit_model.lira_attack(
                    subject, cells, _rng(seed, 8), shadows=target.shadows, steps=target.shadow_steps,
                    folder=target.shadow_dir, seed=seed, progress=progress,
                )
            )  # fmt: skip
        else:
            missing["LiRA"] = f"needs --shadows, {FEWEST_SHADOWS} or more"
    return conclude(material, tuple(attacks), missing, seed, progress, plants)


def conclude(
    material: Material,
    attacks: tuple[Attack, ...],
    missing: dict[str, str],
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    plants: int = PLANTS,
) -> Audit:
    """The attacks from samples, the verdict on them and on the given `attacks` on the model, and its power.

    plants: copies of each kind that are planted, one at a time, to see how many are found; 0 for none.
    """
    m = material
    searches = Searches(m.train, m.holdout, m.synthetic, DAY_S // m.step_s, seed)
    verdict = judge_all(material, searches.likeness(m.synthetic, progress), attacks, missing, seed)
    if not plants:
        return verdict
    return replace(verdict, power=measure_power(searches, m.synthetic, verdict.search.level, plants, _rng(seed, 10)))


def judge_all(
    material: Material,
    likeness: dict[str, Likeness],
    attacks: tuple[Attack, ...] = (),
    missing: dict[str, str] | None = None,
    seed: int = 0,
) -> Audit:
    """As `conclude`, what the searches for copies reach being known, and without the power."""
    m = material
    both = (
        audit_attacks.nearest_attack(m.train, m.holdout, m.synthetic, _rng(seed, 4)),
        audit_attacks.density_attack(m.train, m.holdout, m.synthetic, _rng(seed, 5)),
    )
    every = (*both, *attacks)
    share, nearest = audit_attacks.closest_share(m.train, m.holdout, m.synthetic, _rng(seed, 6))
    level = LEVEL / (2 * len(every) + 2 + len(likeness))
    search, searches = _copies(m, likeness, level, _rng(seed, 11))
    tests = {name: p for attack in every for name, p in attack.p_values.items()}
    tests |= {SHARE: share.p, COPIES: search.p} | {name_of_test(f.name): f.p for f in searches}
    stand = significant(tests)
    if search.copies and COPIES not in stand and not set(map(name_of_test, likeness)) & set(stand):
        stand.append(COPIES)
    drift = _drift(m.train, m.holdout, _rng(seed, 9))
    return Audit(
        m, every, share, nearest, search, searches, tests, tuple(stand), dict(missing or {}), drift,
        (*m.notes, *_notes(drift, likeness, search)),
    )  # fmt: skip


def _copies(
    m: Material, likeness: dict[str, Likeness], level: float, rng: np.random.Generator
) -> tuple[audit_copies.Search, tuple[CopySearch, ...]]:
    """The copies that any search names, and what every search says.

    A record is named where `level` of as many unrelated records would come so near in one of the searches, or where the
    sum over all records stands out and no hold-out record comes so near, or where it is equal to a training record and
    no two real records are equal.
    """
    whole = likeness[SHIFT]
    n = len(m.synthetic.cell)
    base = audit_copies.search(m.train, m.holdout, m.synthetic, whole.match, whole.match_holdout, level, rng)
    named = {copy.row: (0.0, copy) for copy in base.copies}
    sentences = []
    for name, like in likeness.items():
        tail = tail_of(like)
        values = like.train
        expected = tail.expected(values, n)
        real = float(max(like.usual.max(), like.usual_holdout.max()))
        sentences.append(
            CopySearch(
                name,
                unstretched(tail.reached_by(level, n)),
                unstretched(float(values.max())),
                unstretched(float(like.holdout.max())),
                unstretched(real),
                float(min(1.0, expected.min())),
            )
        )
        equal = values > equal_above(like)
        exact = (like.match.likeness > audit_copies.EXACT) & (name == SHIFT)
        rank = np.where(exact, -1.0, expected)  # what equals a series is called so, whatever else it is like
        for row in np.flatnonzero((expected <= level) | (equal & (name == SHIFT))):
            if int(row) not in named or named[int(row)][0] > rank[row]:
                copy = audit_copies.copy_of(m.train, m.synthetic, like.match, int(row), name)
                named[int(row)] = (float(rank[row]), copy)
    copies = sorted((copy for _, copy in named.values()), key=lambda copy: (-round(copy.likeness, 6), copy.row))
    return replace(base, copies=tuple(copies)), tuple(sentences)


def _notes(drift: float, likeness: dict[str, Likeness], search: audit_copies.Search) -> list[str]:
    notes = []
    if drift < DRIFT:
        notes.append(
            f"--train and --holdout differ by themselves (levels or restlessness, p = {drift:.2g}): attacks then see "
            "that difference; the hold-out should be a random part of the same cells"
        )
    alike = int((search.holdout > ALIKE).sum())
    if alike:
        notes.append(
            f"{alike} synthetic records are nearly equal to hold-out cells (likeness above {ALIKE}): if the generator "
            "saw the hold-out, this audit sees nothing"
        )
    whole = likeness[SHIFT]
    real = np.concatenate([whole.usual, whole.usual_holdout])
    twins = int((real > stretched(np.array(audit_copies.EXACT))).sum())
    near = int((real > stretched(np.array(TWIN))).sum())
    if near and not twins:
        notes.append(
            f"{near} real records are nearly equal to another real one (likeness above {TWIN}), as interpolated cells "
            "and sectors of one mast are: a copy that is changed as little as that cannot be told from such a twin; "
            "keep one of them to look closer"
        )
    if twins:
        notes.append(
            f"{twins} real records equal another real one (likeness above {audit_copies.EXACT}): equal records are "
            "then no evidence, and copies are told from chance by what is left"
        )
    return notes


def _rng(seed: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng((seed, purpose))


def _drift(train: Records, holdout: Records, rng: np.random.Generator) -> float:
    """p of "levels and restlessness of both real files are of one law", two two-sided tests, Bonferroni."""
    from scipy.stats import mannwhitneyu, rankdata

    p_values = []
    for measure in (_level, _restless):
        a, b = (measure(part) for part in (train, holdout))
        if train.groups is None or holdout.groups is None:
            p_values.append(float(mannwhitneyu(a, b).pvalue))
            continue
        rank = rankdata(np.concatenate([a, b]))
        member, groups = np.arange(len(rank)) < len(a), np.concatenate([train.groups, holdout.groups])
        p_values.append(min(1.0, 2 * min(permutation_p(sign * rank, member, groups, rng) for sign in (1, -1))))
    return min(1.0, 2 * min(p_values))


def _level(part: Records) -> Floats:
    return audit_attacks.per_cell(part.log.mean(axis=1, dtype=np.float64), part, most=True)


def _restless(part: Records) -> Floats:
    return audit_attacks.per_cell(np.abs(np.diff(part.log, axis=1)).mean(axis=1, dtype=np.float64), part, most=True)


def _attack(attack: Attack) -> dict[str, Any]:
    return {
        "about": attack.about,
        "members": attack.members,
        "non_members": attack.others,
        "auc": {"value": attack.auc.value, "low": attack.auc.low, "high": attack.auc.high, "p": attack.auc.p},
        "tpr": {f"{rate.at:g}": {"value": rate.value, "low": rate.low, "high": rate.high} for rate in attack.rates}
        or None,
        **({"tpr_refused": attack.refused} if attack.refused else {}),
        **({"tpr_warning": attack.warned} if attack.warned else {}),
        "threshold": {
            "value": attack.fisher.threshold,
            "members_found": attack.fisher.members_found,
            "members": attack.fisher.members,
            "non_members_found": attack.fisher.others_found,
            "non_members": attack.fisher.others,
            "p": attack.fisher.p,
        },
    }
