"""gentraffic: synthetic cellular traffic for any place.

    import gentraffic
    traffic = gentraffic.sample("milan", days=7)         # an xarray Dataset (cell, time)

Everything that the command line does is one function here. Nothing heavy is loaded before one is asked for.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from os.path import abspath, dirname, realpath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gentraffic.api import forecast as forecast
    from gentraffic.api import plan as plan
    from gentraffic.api.bundled import bundled as bundled
    from gentraffic.api.files import (
        export as export,
    )
    from gentraffic.api.files import (
        import_dataset as import_dataset,
    )
    from gentraffic.api.files import (
        import_table as import_table,
    )
    from gentraffic.api.files import (
        import_telecom_italia as import_telecom_italia,
    )
    from gentraffic.api.files import (
        import_uomo as import_uomo,
    )
    from gentraffic.api.files import (
        read_traffic as read_traffic,
    )
    from gentraffic.api.files import (
        split as split,
    )
    from gentraffic.api.files import (
        write_traffic as write_traffic,
    )
    from gentraffic.api.judging import evaluate as evaluate
    from gentraffic.api.judging import validate as validate
    from gentraffic.api.models import distil as distil
    from gentraffic.api.models import finetune as finetune
    from gentraffic.api.models import fit as fit
    from gentraffic.api.pictures import draw_map as draw_map
    from gentraffic.api.pictures import draw_plot as draw_plot
    from gentraffic.api.pictures import report as report
    from gentraffic.api.places import fetch as fetch
    from gentraffic.api.privacy import audit as audit
    from gentraffic.api.privacy import release as release
    from gentraffic.api.sampling import load_model as load_model
    from gentraffic.api.sampling import sample as sample

__version__ = "0.1.0"
_WHERE = {  # public name -> module of `api`
    "audit": "privacy",
    "bundled": "bundled",
    "distil": "models",
    "draw_map": "pictures",
    "draw_plot": "pictures",
    "evaluate": "judging",
    "export": "files",
    "fetch": "places",
    "finetune": "models",
    "fit": "models",
    "import_dataset": "files",
    "import_table": "files",
    "import_telecom_italia": "files",
    "import_uomo": "files",
    "load_model": "sampling",
    "read_traffic": "files",
    "release": "privacy",
    "report": "pictures",
    "sample": "sampling",
    "split": "files",
    "validate": "judging",
    "write_traffic": "files",
}
_MODULES = ("forecast", "plan")  # modules of `api` that are public as such: gentraffic.plan.sleep
__all__ = sorted([*_WHERE, *_MODULES])


def _check_packages(root: str) -> None:
    """Raise ImportError where a file of the user's, such as graphs.py beside a script, hides a package of gentraffic.

    root: the folder that gentraffic and the packages lie in."""
    for name in ("poi", "graphs", "samplers", "forecasters"):
        spec = find_spec(name)
        origin = spec.origin if spec is not None else None
        if origin is not None and realpath(dirname(dirname(abspath(origin)))) != realpath(root):
            raise ImportError(
                f"{origin} hides the package {name!r} of gentraffic: rename it, or the folder that it lies in"
                if origin.endswith("__init__.py")
                else f"{origin} hides the package {name!r} of gentraffic: rename that file"
            )


_check_packages(dirname(dirname(abspath(__file__))))


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f"gentraffic.api.{_WHERE[name]}"), name)
    if name in _MODULES:
        return import_module(f"gentraffic.api.{name}")
    raise AttributeError(f"module 'gentraffic' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
