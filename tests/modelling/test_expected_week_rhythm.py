"""Whose rhythm is followed: shares over many draws against the stated weights, and the order of who decides."""

from __future__ import annotations

import numpy as np
import pytest

from gentraffic.modelling.expected_week import NEARER, choose_rhythms, in_words, rhythm_weights, rhythms_of

NETWORKS = ("sd", "milan", "block", "nc")
MEASURED = {
    "sd": ("Asia/Shanghai", 25), "milan": ("Europe/Rome", 49), "block": ("Europe/Rome", 1),
    "nc": ("Asia/Shanghai", 16),
}  # fmt: skip


def test_the_same_zone_comes_first_then_the_continent() -> None:
    assert rhythm_weights("Europe/Rome", NETWORKS, MEASURED) == pytest.approx([0, 7 / 8, 1 / 8, 0])
    france = np.array([5, 7 * NEARER, NEARER, 4])
    assert rhythm_weights("Europe/Paris", NETWORKS, MEASURED) == pytest.approx(list(france / france.sum()))
    lima = np.array([5, 7, 1, 4]) / 17
    assert rhythm_weights("America/Lima", NETWORKS, MEASURED) == pytest.approx(list(lima))
    assert rhythm_weights("Europe/Rome", (), {}) == []


def test_members_hold_the_doubt_in_the_stated_shares_and_pairs_stay_together() -> None:
    chosen = choose_rhythms("America/Lima", NETWORKS, MEASURED, 8001, 5)
    assert chosen[0] == "milan"  # the control follows the most likely one
    assert chosen[1::2] == chosen[2::2]  # antithetic pairs
    share = [chosen.count(name) / 8001 for name in NETWORKS]
    np.testing.assert_allclose(share, rhythm_weights("America/Lima", NETWORKS, MEASURED), atol=0.03)
    assert chosen[:5] == choose_rhythms("America/Lima", NETWORKS, MEASURED, 5, 5)  # further members change nothing
    assert chosen != choose_rhythms("America/Lima", NETWORKS, MEASURED, 8001, 6)
    assert choose_rhythms("Europe/Rome", (), {}, 3, 0) == ["", "", ""]


def test_who_decides() -> None:
    at = {"timezone": "Europe/Rome"}
    assert rhythms_of(NETWORKS, MEASURED, at, "nc", 2, 0) == ("nc", "nc")
    assert rhythms_of(NETWORKS, MEASURED, at | {"habits": "sd"}, "auto", 1, 0) == ("sd",)
    assert rhythms_of(NETWORKS, MEASURED, at | {"network": "nc"}, "", 1, 0) == ("nc",)
    assert set(rhythms_of(NETWORKS, MEASURED, at | {"network": "elsewhere"}, "", 9, 0)) <= {"milan", "block"}
    assert rhythms_of(NETWORKS, {}, at, "", 2, 0) == ("", "")  # a model of before rhythms were chosen


def test_in_words() -> None:
    assert in_words(["milan"] * 3) == "milan"
    assert in_words(["sd", "milan", "milan"]) == "milan (2 members), sd (1 member)"
    assert in_words([""]) == "of no network in particular"
