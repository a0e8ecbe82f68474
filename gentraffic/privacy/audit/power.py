"""What would the searches for copies have found? Copies of every kind are planted in the user's own files.

Training records are changed in the ways of `disguises` and put, one at a time, among the synthetic records; a copy
counts as found where one search names it at the level that it has in the verdict, or as equal. How often innocent
records are accused is tried on the hold-out: one half stands for the synthetic records, the other is the hold-out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gentraffic.privacy.audit.disguises import KINDS, planted
from gentraffic.privacy.audit.records import Records
from gentraffic.privacy.audit.searches import SHIFT, Likeness, Searches, equal_above, stretched, tail_of, units_of

HALVINGS = 10  # of the hold-out, each of which is judged as if it were synthetic
FEWEST_HALVED = 40  # hold-out records: half of them are compared with the other half
BLIND = 0.5  # share of planted copies below which the searches are called blind to a kind
QUARTER = 0.25  # of the records into which two days are pasted
MOST_REAL_HERE = 200  # training records that say how alike real records are to half of the hold-out


@dataclass(frozen=True)
class Power:
    """What single copies the searches find at these sizes. found: kind of copy -> how many of `plants`.

    alarms: how many of `halvings` of the hold-out were accused; no halvings where the hold-out is too small.
    """

    plants: int
    found: dict[str, int]
    train: int
    holdout: int
    records: int
    halvings: int
    alarms: int

    def share(self, kind: str) -> float:
        """Share of single copies of a kind that are found."""
        return self.found[kind] / self.plants

    @property
    def quarter(self) -> float:
        """Chance that two days pasted into a quarter of the records are found, each record found on its own or not."""
        return float(1 - (1 - self.share("two days")) ** max(1, round(QUARTER * self.records)))

    @property
    def sentence(self) -> str:
        """What "nothing was found" is worth."""
        shares = ", ".join(f"{kind} {self.share(kind):.0%}" for kind in ("exact", "two days", "5% noise", "10% noise"))
        return (
            f"At {self.train:,} training, {self.holdout:,} hold-out and {self.records:,} synthetic records the copy "
            f"search finds a single copy in these shares of {self.plants} tries: {shares}."
        )

    @property
    def blindness(self) -> str:
        """What the searches would miss, before what they did not find; "" where they find most of what is planted."""
        if self.share("exact") < BLIND:
            return "This audit is blind on these files: most exact copies would not be found, so it clears nothing."
        missed = [kind for kind in ("5% noise", "10% noise", "two days") if self.share(kind) < BLIND]
        return f"This audit finds whole copies, but would miss most with {', '.join(missed)}." if missed else ""

    @property
    def alarm_short(self) -> str:
        """0 of 10, or why not."""
        return f"{self.alarms} of {self.halvings}" if self.halvings else "not tried"

    @property
    def alarm_text(self) -> str:
        """How often innocents were accused."""
        if not self.halvings:
            return f"fewer than {FEWEST_HALVED} hold-out records, too few to take half of them as synthetic"
        return f"{self.alarms} of {self.halvings} random halves of the hold-out, taken as synthetic, were accused"

    def rows(self) -> list[tuple[str, str, float, float, float]]:
        """(kind, what it is, share found, its 95% interval) of every kind."""
        return [(kind, about, self.share(kind), *_interval(self.found[kind], self.plants))
                for kind, (_, about) in KINDS.items()]  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "training_records": self.train,
            "holdout_records": self.holdout,
            "synthetic_records": self.records,
            "planted_one_at_a_time": self.plants,
            "share_found": {
                kind: {"value": share, "low": low, "high": high, "about": about}
                for kind, about, share, low, high in self.rows()
            },
            "two_days_in_a_quarter_of_the_records": self.quarter,
            "false_alarms": {"halves_of_the_holdout": self.halvings, "accused": self.alarms},
        }


def measure_power(
    searches: Searches, drawn: Records, level: float, plants: int, rng: np.random.Generator, halvings: int = HALVINGS
) -> Power:
    """Plant `plants` copies of every kind, and judge halves of the hold-out. level: that of each search."""
    train, holdout = searches.sides["train"], searches.sides["holdout"]
    likeness = searches.likeness(drawn)
    tails = {name: tail_of(reached) for name, reached in likeness.items()}
    equal = equal_above(likeness[SHIFT])
    n = len(drawn.cell)
    detected = {}
    for kind in KINDS:
        chosen = rng.choice(len(train.cell), plants, replace=plants > len(train.cell))
        base = drawn.values[rng.integers(n, size=plants)]
        copies = planted(train.values[chosen], kind, rng, day=searches.day, base=base)
        matches = searches.match(copies, "train")
        least = np.min([tails[k].expected(stretched(match.likeness), n) for k, match in matches.items()], axis=0)
        detected[kind] = int(((least <= level) | (stretched(matches[SHIFT].likeness) > equal)).sum())
    halvings = halvings if len(holdout.cell) >= FEWEST_HALVED else 0
    alarms = sum(_accused(searches, level, rng) for _ in range(halvings))
    return Power(plants, detected, len(train.cell), len(holdout.cell), n, halvings, alarms)


def _accused(searches: Searches, level: float, rng: np.random.Generator) -> bool:
    """Whether half of the hold-out, taken as synthetic, is accused; the other half is the hold-out then."""
    holdout = searches.sides["holdout"]
    order = rng.permutation(holdout.cells)
    drawn, kept = (holdout.only(np.sort(part)) for part in np.array_split(order, 2))
    to_train = searches.match(drawn.values, "train")
    target = searches.target(kept)
    to_kept = searches.match(drawn.values, "holdout", target=target)
    likenesses = searches.usual["train"]
    mine = np.isin(searches.usual_units, units_of(kept, "holdout")) | (searches.usual_side == "train")
    some = searches.sides["train"].values[rng.permutation(len(searches.sides["train"].cell))[:MOST_REAL_HERE]]
    units = np.concatenate([np.full(len(some), ""), units_of(kept, "holdout")])
    excluded = units[:, None] == units_of(kept, "holdout")[None, :]
    usual_kept = searches.match(np.concatenate([some, kept.values]), "holdout", excluded, target=target)
    for name, match in to_train.items():
        likeness = Likeness(
            name,
            match,
            to_kept[name],
            stretched(likenesses[name].likeness[mine]),
            stretched(usual_kept[name].likeness),
        )
        if (tail_of(likeness).expected(likeness.train, len(drawn.cell)) <= level).any():
            return True
        if name == SHIFT and (likeness.train > equal_above(likeness)).any():
            return True
    return False


def _interval(detected: int, of: int) -> tuple[float, float]:
    """Clopper and Pearson (1934), 95%."""
    from scipy.stats import beta

    low = 0.0 if detected == 0 else float(beta.ppf(0.025, detected, of - detected + 1))
    high = 1.0 if detected == of else float(beta.ppf(0.975, detected + 1, of - detected))
    return low, high
