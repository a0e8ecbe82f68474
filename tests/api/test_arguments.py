"""Arguments of public functions against their annotations: NumPy numbers become plain, other types are named."""

from __future__ import annotations

import decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from traffic_examples import traffic

import gentraffic
from gentraffic.api.arguments import annotations_of, taken
from gentraffic.errors import WrongUse

TYPES = {"members": "int", "days": "int | None", "radius": "float", "few": "float | str", "offline": "bool",
         "bbox": "str | Sequence[float] | None", "total": "str | Sequence[str]", "osm": "str | Path | None",
         "like": "str | Path | xr.Dataset | None", "tell": "Callable[[int, int], None] | None",
         "select": "str | Sequence[object] | None"}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("members", np.int64(3), 3),
        ("members", np.uint64(2**63 - 1), 2**63 - 1),
        ("members", np.float32(2), 2),
        ("days", None, None),
        ("days", np.array(4), 4),
        ("radius", np.float32(0.5), 0.5),
        ("radius", 3, 3),
        ("few", "5%", "5%"),
        ("few", decimal.Decimal("2.5"), 2.5),
        ("offline", np.True_, True),
        ("bbox", np.array([7.0, 43.5, 8.0, 44.0]), [7.0, 43.5, 8.0, 44.0]),
        ("total", ("a=1/day",), ["a=1/day"]),
        ("osm", Path("a.pbf"), Path("a.pbf")),
        ("select", np.array([7, 8]), [7, 8]),
    ],
)
def test_what_fits_is_taken_as_plain_values(name: str, given: Any, expected: Any) -> None:
    found = taken(TYPES, {name: given})[name]
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("members", 1.5, "members=1.5: give a whole number"),
        ("members", "x", "members='x': give a whole number"),
        ("members", None, "members=None: give a whole number"),
        ("members", True, "members=True: give a whole number"),
        ("members", float("nan"), "members=nan: give a whole number"),
        ("members", 2**63, "members=9223372036854775808: give at most 9223372036854775807"),
        ("days", object(), "days=object: give a whole number"),
        ("radius", "3", "radius='3': give a number"),
        ("offline", 1, "offline=1: give True or False"),
        ("bbox", ("a", 1), "bbox=('a', 1): give text or a list, each a number"),
        ("total", 5, "total=5: give text or a list, each text"),
        ("total", {"a": 1}, "total={'a': 1}: give text"),
        ("osm", b"x", "osm=b'x': give text or a path"),
        ("osm", "a" * 600, "a name of 600 bytes, of which a file has 255 at most"),
        ("osm", "a\0b", "the name holds a zero byte"),
        ("like", {}, "like is given as a dict: give the path of a file, or an xarray Dataset"),
        ("like", 5, "like=5: give text or a path or an xarray Dataset"),
        ("tell", 5, "tell=5: give a function"),
        ("select", 7, "select=7: give text or a list"),
    ],
)
def test_what_does_not_fit_is_named(name: str, given: Any, said: str) -> None:
    with pytest.raises(WrongUse) as caught:
        taken(TYPES, {name: given})
    assert said in str(caught.value)


def test_datasets_are_left_to_their_readers() -> None:
    ds = traffic()
    assert taken(TYPES, {"like": ds})["like"] is ds
    with pytest.raises(WrongUse, match="osm is given as a Dataset, and is read from a file"):
        taken(TYPES, {"osm": ds})


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: gentraffic.sample("monaco", days=1.5, offline=True), "days=1.5: give a whole number"),  # type: ignore[arg-type]
        (lambda: gentraffic.sample("monaco", seed=2**63, offline=True), "seed=9223372036854775808: give at most"),
        (
            lambda: gentraffic.sample("monaco", cell_size=500, offline=True),
            "cell_size=500: the bundled monaco has cells",
        ),
        (lambda: gentraffic.sample("monaco", device="meta", offline=True), "device=meta: not on this machine"),
        (lambda: gentraffic.write_traffic(None, "a.nc"), "traffic=None: give an xarray Dataset"),  # type: ignore[arg-type]
        (lambda: gentraffic.fetch("monaco", name=5, offline=True), "name=5: give text"),  # type: ignore[arg-type]
        (lambda: gentraffic.validate(traffic(), traffic(), seeds=10**6), "seeds=1000000: give at most 1000"),
        (lambda: gentraffic.validate(traffic(), traffic(), threads=10**6), "threads=1000000: give at most 1024"),
        (lambda: gentraffic.plan.prb(traffic(), start="nan"), "start=nan: not a time"),
        (lambda: gentraffic.plan.sleep(traffic(), capacity=1e-320), "capacity=1e-320: the busiest cell carries"),
        (lambda: gentraffic.plan.sleep(traffic(), unit_power=1e308), "unit_power=1e\\+308: give at most 1e\\+12"),
        (lambda: gentraffic.forecast.fit("last", traffic(), threads=10**5), "threads=100000: give at most 1024"),
        (
            lambda: gentraffic.fit("vae", "t.nc", out="m", seed=10**30),
            "seed=1000000000000000000000000000000: give at m",
        ),
    ],
)
def test_public_functions_name_the_argument(call: Any, said: str) -> None:
    with pytest.raises(WrongUse, match=said):
        call()


@pytest.mark.parametrize("members", [10**9, 2**63 - 1])
def test_more_members_than_the_memory_holds_are_refused_at_once(members: int) -> None:
    with pytest.raises(gentraffic.errors.BadInput, match="GiB of memory"):
        gentraffic.sample("monaco", days=1, members=members, offline=True)


def test_a_forecast_that_does_not_fit_says_what_helps_a_forecast() -> None:
    last = gentraffic.forecast.fit("last", traffic())
    with pytest.raises(
        gentraffic.errors.BadInput, match="GiB are free: give fewer members, a shorter horizon, or fewer"
    ):
        gentraffic.forecast.run(last, traffic(), members=10**9)


def test_annotations_are_those_of_the_function_behind_its_decorators() -> None:
    assert annotations_of(gentraffic.sample.__wrapped__.__wrapped__)["members"] == "int"  # type: ignore[attr-defined]
