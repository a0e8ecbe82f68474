"""Whose rhythm a place follows that nobody measured: a measured network's, nearest first, drawn per member.

Day, week, roughness and how places differ are a network's: people eat at other hours in another country. Networks of
the same time zone come first, and alone where there are any; else those of the same continent count NEARER times as
often as others. Each counts with the root of the locations it was measured at. Where there is a doubt, the members of
an ensemble hold it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

AUTO = "auto"
NEARER = 8.0
STREAM = 7_331  # of the random numbers that choose
Measured = Mapping[str, tuple[str, int]]  # network -> the IANA name of its time zone, and locations measured


def rhythm_weights(timezone: str, networks: Sequence[str], measured: Measured) -> list[float]:
    """How often each network is followed at a place in `timezone` (an IANA name), of sum 1; [] without networks."""
    told = [measured.get(name, ("", 1)) for name in networks]
    root = np.sqrt([float(locations) for _, locations in told])
    same = np.array([zone not in ("", "UTC") and zone == timezone for zone, _ in told], dtype=bool)
    continent = timezone.split("/")[0]
    near = np.array([zone != "" and zone.split("/")[0] == continent for zone, _ in told], dtype=bool)
    weight = root * (same if same.any() else np.where(near, NEARER, 1.0))
    return [float(w) for w in weight / weight.sum()] if len(told) else []


def choose_rhythms(timezone: str, networks: Sequence[str], measured: Measured, members: int, seed: int) -> list[str]:
    """The network that each member follows: the most likely one for the control, member 0; then drawn, two members
    at a time, which are an antithetic pair. "" where no network is known."""
    weight = rhythm_weights(timezone, networks, measured)
    if not weight:
        return [""] * members
    chosen = [networks[int(np.argmax(weight))]]
    for pair in range(1, members // 2 + 1):
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, STREAM, pair))))
        chosen += [networks[int(rng.choice(len(networks), p=weight))]] * 2
    return chosen[:members]


def rhythms_of(
    networks: Sequence[str], measured: Measured, attrs: Mapping[Any, Any], asked: str, members: int, seed: int
) -> tuple[str, ...]:
    """The network whose rhythm each member follows: as asked, as a context of these attributes says (`habits`), its own
    `network`, or the nearest. measured: {} for a model of before rhythms were chosen: "" then stands for none."""
    named = ("" if asked == AUTO else asked) or str(attrs.get("habits", "")) or str(attrs.get("network", ""))
    if named in networks:
        return (named,) * members
    known = networks if measured else ()
    return tuple(choose_rhythms(str(attrs.get("timezone", "")), known, measured, members, seed))


def in_words(rhythms: Sequence[str]) -> str:
    """Networks that members follow, the most frequent first: "milan (7 members), uomo-sd (1 member)"."""
    count = {name: rhythms.count(name) for name in dict.fromkeys(rhythms)}
    if len(count) == 1:
        return next(iter(count)) or "of no network in particular"
    order = sorted(count, key=lambda name: -count[name])
    return ", ".join(f"{name} ({count[name]} member{'s' if count[name] > 1 else ''})" for name in order)
