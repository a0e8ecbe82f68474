"""Whose rhythm a place follows that nobody measured: a measured network's, nearest first, drawn per member.

Day, week, roughness and how places differ are a network's: people eat at other hours in another country. Networks of
the same time zone come first, and alone where there are any; else those of the same continent count NEARER times as
often as others. Each counts with the root of the locations it was measured at. Where there is a doubt, the members of
an ensemble hold it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gentraffic.modelling.expected_week import ExpectedWeek

AUTO = "auto"
NEARER = 8.0
STREAM = 7_331  # of the random numbers that choose


def rhythm_weights(timezone: str, networks: Sequence[str], weeks: Mapping[str, ExpectedWeek]) -> list[float]:
    """How often each network is followed at a place in `timezone` (an IANA name), of sum 1; [] without networks."""
    zones = [weeks[name].timezone if name in weeks else "" for name in networks]
    root = np.array([np.sqrt(weeks[name].locations) if name in weeks else 1.0 for name in networks])
    same = np.array([zone != "" and zone == timezone for zone in zones], dtype=bool)
    near = np.array([zone != "" and zone.split("/")[0] == timezone.split("/")[0] for zone in zones], dtype=bool)
    weight = root * (same if same.any() else np.where(near, NEARER, 1.0))
    return [float(w) for w in weight / weight.sum()] if len(weight) else []


def choose_rhythms(
    timezone: str, networks: Sequence[str], weeks: Mapping[str, ExpectedWeek], members: int, seed: int
) -> list[str]:
    """The network that each member follows: the most likely one for the control, member 0; then drawn, two members
    at a time, which are an antithetic pair. "" where no network is known."""
    weight = rhythm_weights(timezone, networks, weeks)
    if not weight:
        return [""] * members
    chosen = [networks[int(np.argmax(weight))]]
    for pair in range(1, members // 2 + 1):
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, STREAM, pair))))
        chosen += [networks[int(rng.choice(len(networks), p=weight))]] * 2
    return chosen[:members]
