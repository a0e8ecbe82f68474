"""Names of services, and calls and SMS as sums of in and out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from traffic_examples import traffic

from gentraffic.dataset.panel import read_panel
from gentraffic.dataset.schema import one_service
from gentraffic.dataset.services import (
    MEAN_CELL,
    known_services,
    long_name,
    main_of,
    shared_services,
    split_names,
    with_sum,
)
from gentraffic.errors import WrongUse


def five(units: str = "unknown", **mean_cell: float) -> xr.Dataset:
    """The columns of Telecom Italia's files in their order, values 1, 2, 3, 4, 5."""
    one = traffic()
    (name,) = one.data_vars
    out = one.drop_vars(str(name))
    for number, service in enumerate(("sms_in", "sms_out", "call_in", "call_out", "internet"), start=1):
        values = xr.full_like(one[name], float(number))
        attrs: dict[str, Any] = {"units": units}
        attrs |= {MEAN_CELL: mean_cell[service]} if service in mean_cell else {}
        out[service] = values.assign_attrs(attrs)
    return out


def test_the_main_service_is_meant_where_none_is_named() -> None:
    assert one_service(five(), None) == "internet"
    assert one_service(five().drop_vars("internet"), None) == "sms_in"
    assert main_of(["sms_in", "internet"]) == "internet"
    assert main_of(["internet", "downlink"]) is None
    assert known_services(["users", "sms_out", "call_in", "traffic"]) == ("traffic", "call_in", "sms_out")


def test_calls_and_sms_are_sums_of_in_and_out() -> None:
    assert np.unique(read_panel(five(), "calls").values).tolist() == [3 + 4]
    assert np.unique(read_panel(five(), "sms").values).tolist() == [1 + 2]
    assert with_sum(five(), "internet").data_vars.keys() == five().data_vars.keys()


def test_relative_services_add_up_by_what_their_mean_cell_carries() -> None:
    """call_in = 3 of a mean cell of 0.3, call_out = 4 of one of 0.1: in units of the main service 0.9 + 0.4 of 0.4."""
    ds = with_sum(five("1", call_in=0.3, call_out=0.1), "calls")
    np.testing.assert_allclose(ds["calls"].values, (3 * 0.3 + 4 * 0.1) / 0.4, rtol=1e-6)
    assert ds["calls"].attrs[MEAN_CELL] == pytest.approx(0.4)


def test_relative_services_that_nobody_told_the_size_of_do_not_add_up() -> None:
    with pytest.raises(WrongUse, match="relative, each to its own mean cell"):
        with_sum(five("1"), "calls")


def test_services_that_two_files_share() -> None:
    names = [str(name) for name in five().data_vars]
    assert shared_services(names, ["internet", "calls", "call_in"]) == ("internet", "call_in", "calls")
    assert shared_services(names, ["traffic"]) == ()


@pytest.mark.parametrize(("text", "words"), [("a,,b", "with commas"), ("a,b,a", "names a twice")])
def test_lists_of_names_that_are_refused(text: str, words: str) -> None:
    with pytest.raises(WrongUse, match=words):
        split_names(text)
    assert split_names(" internet, call_in ") == ("internet", "call_in")


def test_programs_do_not_write_traffic_traffic() -> None:
    assert [*map(long_name, ("traffic", "internet"))] == ["traffic", "internet traffic"]
