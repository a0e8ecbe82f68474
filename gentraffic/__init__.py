"""gentraffic: synthetic cellular traffic for any place.

    import gentraffic
    traffic = gentraffic.sample("milan", days=7)         # an xarray Dataset (cell, time)

Nothing heavy is loaded before a function is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gentraffic.api import load_model, read_traffic, sample

__version__ = "0.1.0"
__all__ = ["load_model", "read_traffic", "sample"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from gentraffic import api

        return getattr(api, name)
    raise AttributeError(f"module 'gentraffic' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
