"""gentraffic: synthetic cellular traffic for any place.

    import gentraffic
    traffic = gentraffic.sample("milan", days=7)         # an xarray Dataset (cell, time)

Everything that the command line does is one function here. Nothing heavy is loaded before one is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gentraffic.api import forecast, plan
    from gentraffic.api.files import read_traffic
    from gentraffic.api.judging import evaluate, validate
    from gentraffic.api.sampling import load_model, sample

__version__ = "0.1.0"
__all__ = ["evaluate", "forecast", "load_model", "plan", "read_traffic", "sample", "validate"]

_WHERE = {  # public name -> module of `api`
    "evaluate": "judging",
    "load_model": "sampling",
    "read_traffic": "files",
    "sample": "sampling",
    "validate": "judging",
}
_MODULES = ("forecast", "plan")  # public modules of `api`: gentraffic.plan.sleep


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f"gentraffic.api.{_WHERE[name]}"), name)
    if name in _MODULES:
        return import_module(f"gentraffic.api.{name}")
    raise AttributeError(f"module 'gentraffic' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
