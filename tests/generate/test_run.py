"""What `run` asks of a generator that somebody else wrote, and what it says of what was drawn."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from fomo_examples import world

from gentraffic.dataset.calendar import Calendar
from gentraffic.errors import BadModel
from gentraffic.generate.run import Request, privacy_attrs, run
from gentraffic.generators.base import ModelInfo, Settings, Span
from gentraffic.generators.observed import Observations

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_generator" / "flat_generator.py"
PLACE = world("here", 12)[1]
REQUEST = Request(days=1, members=2)


@dataclass(frozen=True)
class Own:
    """A generator whose `blocks` are a function of the spans and of the steps."""

    give: Callable[[Sequence[Span], int], Iterator[tuple[Span, Any]]]
    info: ModelInfo = field(default_factory=lambda: ModelInfo(family="own"))
    calendar: Any = None
    units: str = "1"
    block: int = 5

    def prepare(self, context: Any, calendar: Calendar, settings: Settings, **more: Any) -> Own:
        return replace(self, calendar=calendar)

    def blocks(self, spans: Sequence[Span], threads: Any = None, tell: Any = None) -> Iterator[tuple[Span, Any]]:
        return self.give(spans, len(self.calendar.utc))

    def arrays(self) -> dict[str, Any]:
        return {}


def whole(spans: Sequence[Span], steps: int) -> Iterator[tuple[Span, Any]]:
    for span in spans:
        yield span, np.full((span.end - span.first, steps), 1.0 + span.member, dtype=np.float32)


def flat(spans: Sequence[Span], steps: int) -> Iterator[tuple[Span, Any]]:
    for span, values in whole(spans, steps):
        yield span, values[0]  # numpy would spread one series over all cells


def changed(change: Callable[[Any], Any]) -> Callable[[Sequence[Span], int], Iterator[tuple[Span, Any]]]:
    """What gives something else than amounts."""

    def give(spans: Sequence[Span], steps: int) -> Iterator[tuple[Span, Any]]:
        for span, values in whole(spans, steps):
            yield span, change(values)

    return give


def put(value: float) -> Callable[[Any], Any]:
    """Values of which one is another."""

    def change(values: Any) -> Any:
        values[2, 3] = value
        return values

    return change


def short(spans: Sequence[Span], steps: int) -> Iterator[tuple[Span, Any]]:
    yield from whole(spans[:-1], steps)


def twice(spans: Sequence[Span], steps: int) -> Iterator[tuple[Span, Any]]:
    yield from whole([spans[0], *spans[:-1]], steps)


@pytest.mark.parametrize(
    ("give", "message"),
    [
        (flat, r"the generator own gave an array of shape \(24,\) for Span.*: give \(5, 24\)"),
        (changed(lambda v: v.tolist()), r"the generator own gave a list for Span.*: give a numpy array of shape \(5,"),
        (changed(torch.from_numpy), "the generator own gave a Tensor for"),
        (changed(lambda v: v.astype(int)), "the generator own gave an array of int64 for .*: give float32"),
        (changed(put(np.nan)), "the generator own gave negative or infinite values, or no numbers"),
        (changed(put(np.inf)), "the generator own gave negative or infinite values"),
        (changed(put(-1e-6)), "the generator own gave negative or infinite values"),
        (short, "the generator own gave 5 of 6 spans"),
        (twice, "the generator own gave Span.member=0, first=0.*, not Span.member=0, first=5"),
    ],
)
def test_what_a_generator_gives_is_checked(give: Any, message: str) -> None:
    with pytest.raises(BadModel, match=message):
        run(REQUEST, Own(give), PLACE)


def test_a_mistake_in_a_generator_is_not_the_users() -> None:
    def broken(spans: Sequence[Span], steps: int) -> Iterator[tuple[Span, Any]]:
        yield spans[0], np.ones(3).reshape(2, 2)

    with pytest.raises(ValueError, match="cannot reshape"):
        run(REQUEST, Own(broken), PLACE)


def test_attributes_say_nothing_of_what_a_generator_does_not_have() -> None:
    attrs = run(REQUEST, Own(whole), PLACE).traffic.attrs
    assert {"solver", "steps", "guidance"} & attrs.keys() == set()
    solving = ModelInfo(family="own", supports=frozenset({"steps"}), fixed={"solver": "ddim"})
    attrs = run(replace(REQUEST, steps=4), Own(whole, solving), PLACE).traffic.attrs
    assert (attrs["steps"], attrs["solver"], "guidance" in attrs) == (4, "ddim", False)


def test_a_generator_recommends_its_guidance_too() -> None:
    info = ModelInfo(family="own", supports=frozenset({"guidance"}), recommended=Settings(guidance=1.5, seed=9))
    drawn = run(REQUEST, Own(whole, info), PLACE).traffic.attrs
    assert (drawn["guidance"], drawn["seed"]) == (1.5, 0)
    assert run(replace(REQUEST, guidance=1.0), Own(whole, info), PLACE).traffic.attrs["guidance"] == 1.0


def test_a_capability_that_nobody_asks_for_is_refused() -> None:
    with pytest.raises(ValueError, match="ModelInfo of own: no capability 'chnage'"):
        ModelInfo(family="own", supports=frozenset({"chnage"}))


def test_members_that_are_all_alike_are_said() -> None:
    def same(spans: Sequence[Span], steps: int) -> Iterator[tuple[Span, Any]]:
        return whole([replace(span, member=0) for span in spans], steps)

    def alike(spans: Sequence[Span], steps: int) -> Iterator[tuple[Span, Any]]:
        return ((span, values) for span, (_, values) in zip(spans, same(spans, steps), strict=True))

    warned = run(REQUEST, Own(alike), PLACE).traffic.attrs["warnings"]
    assert warned == "all 2 members are the same: own draws no spread"
    assert "warnings" not in run(REQUEST, Own(whole), PLACE).traffic.attrs


def test_members_of_the_example_differ_and_belong_to_the_seed() -> None:
    spec = importlib.util.spec_from_file_location("flat_generator", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    generator = module.Flat.load(None)

    def level(seed: int, select: tuple[str, ...] | None = None) -> Any:
        drawn = run(Request(days=1, members=20, seed=seed, select=select), generator, PLACE).traffic
        return drawn["traffic"].values.mean(axis=2)

    one = level(1)
    spread = np.log(one).std(axis=0)
    assert 0.15 < spread.mean() < 0.45, "20 members of a spread of 0.3"
    assert (one != level(2)).all()
    few = tuple(map(str, PLACE["cell_id"].values[[7, 2]]))
    np.testing.assert_array_equal(level(1, few), one[:, [7, 2]])


def test_measured_traffic_leaves_a_private_model_without_its_promise() -> None:
    """What was given is in what is drawn, and no epsilon holds it back."""
    spent = {"epsilon": 8.0, "delta": 1e-5, "unit": "a cell", "adjacency": "add", "cells_listed": 3}
    told = {"privacy_epsilon": 8.0, "privacy_delta": 1e-5, "privacy_unit": "a cell", "privacy_adjacency": "add"}
    assert privacy_attrs(spent) == privacy_attrs(spent, Observations(None, None, None, None)) == told
    measured = xr.Dataset()
    for given in ((measured, None, None), (None, measured, None), (None, None, measured)):
        assert privacy_attrs(spent, Observations(*given, "traffic")) == {}
    assert privacy_attrs(None) == {}
