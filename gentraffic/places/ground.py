"""What stands on the ground of a place as variables of its context: floor area, land by use, length of streets.

From the same OpenStreetMap file or answer as the points of interest (`poi.ground`). What the source does not tell of
is no variable: it is left out of the law of levels, and is not taken for zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gentraffic.dataset.schema import Memory, release_pages
from gentraffic.modelling.features import PARTS, WATER
from poi.ground import LAND, MEASURES, STREETS, USES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from poi.elements import Ground

VARIABLES = {
    **{f"building_area_{use}": (f"building {use}", "m2", f"floor area of buildings, {use}") for use in USES},
    **{f"street_length_{name}": (f"street {name}", "m", f"length of streets, {name}") for name in STREETS},
    **{f"land_area_{use}": (f"land {use}", "m2", f"land, {use}") for use in LAND},
}  # name in a context -> member of MEASURES, units, what it is


def place_variables(
    found: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]], ground: Ground, cells: int, store: Memory
) -> dict[str, Any]:
    """The same of many cells, most of them empty. store: where the variables lie.

    found: of n amounts that are not 0, as `poi.count.amounts_in_grid` gives them: (n,) cells, (n,) measures as their
    positions in MEASURES, (n,) amounts.
    """
    out: dict[str, Any] = {}
    for name, (measure, units, about) in VARIABLES.items():
        if measure in ground.known:
            values = store.zeros(name, (cells,), np.float32)
            own = found[1] == MEASURES.index(measure)
            values[found[0][own]] = found[2][own]
            release_pages(values)
            out[name] = ("cell", values, {"units": units, "long_name": about})
    return out


def variables_of(sums: NDArray[np.float64], ground: Ground) -> dict[str, Any]:
    """Variables (cell) of a context. sums: (cells, measures) as `poi.count.sum_ground` gives them of `ground`."""
    return {
        name: ("cell", sums[:, MEASURES.index(measure)].astype(np.float32), {"units": units, "long_name": about})
        for name, (measure, units, about) in VARIABLES.items()
        if measure in ground.known
    }


def margin_of(sums: NDArray[np.float64], variables: dict[str, Any], cell_m2: float) -> dict[str, Any]:
    """The same of the cells around, summed as the law of levels takes them: variables (margin).

    sums: (margin, measures). cell_m2: of each cell."""
    out: dict[str, Any] = {}
    for name, parts in PARTS.items():
        if all(part in variables for part in parts):
            columns = [MEASURES.index(VARIABLES[part][0]) for part in parts]
            out[name] = sums[:, columns].sum(axis=1)
    if WATER in variables:
        out["dry"] = np.maximum(cell_m2 - sums[:, MEASURES.index(VARIABLES[WATER][0])], 0.0)
    return {f"margin_{name}": ("margin", v.astype(np.float32), {"units": "1"}) for name, v in out.items()}
