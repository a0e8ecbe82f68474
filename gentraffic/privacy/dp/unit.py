"""Is a cell one unit in all private files, and has the public model to start from not seen it?

The unit is a cell with all its days. A cell that stands in two files (two weeks, two services, other names), or in
several rows of one, would enter the mechanisms several times, and epsilon would hold for each part, not for the cell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.fingerprint import has_positions, marks_of, position_marks, series_marks, shared_share
from gentraffic.errors import WrongUse

if TYPE_CHECKING:
    import xarray as xr

PERIODS = ("week", "month", "day", "date", "period", "year")  # coordinates that say which time a row of a cell is of
PERIOD_IN_ID = re.compile(r"[-_/ .:@]*(?:(?:week|wk|w|month|m|day|d)[-_ ]?\d+|\d{4}-\d{2}(?:-\d{2})?)$", re.IGNORECASE)
SEEN = 0.05  # share of marks in common with a model's training data from which on it has seen these cells
MOST_NAMED = 8
ONE_UNIT = "a cell with all its days is one unit of privacy, and would be counted several times"


def check_units(files: Sequence[tuple[str, xr.Dataset, str]]) -> None:
    """Raise WrongUse where a cell stands in several of the files, or in several rows of one.

    files: (name, Traffic, its service). Cells are the same by id where positions do not say otherwise, by position
    whatever they are called, and by equal series.
    """
    for name, ds, service in files:
        twice = rows_of_one_cell(ds, service)
        if twice:
            named = "; ".join(twice[:MOST_NAMED]) + ("; ..." if len(twice) > MOST_NAMED else "")
            raise WrongUse(
                f"{name}: {len(twice)} rows are cells that have another row: {named}: {ONE_UNIT}; put all days of a "
                "cell into one row, or keep one row of each"
            )
    for (name, a, service), (other, b, second) in combinations(files, 2):
        how, same = shared_cells(a, service, b, second)
        if same:
            raise WrongUse(
                f"{name} and {other} hold {len(same)} cells in common by their {how}, the first is {same[0]}: "
                f"{ONE_UNIT}; fit on one of the files, or join their days"
            )


def rows_of_one_cell(ds: xr.Dataset, service: str) -> list[str]:
    """The rows that are another row's cell, in words: another period at its position, or the same series."""
    ids = ds["cell_id"].values.astype(str)
    own = {name: ds[name].values for name in PERIODS if name in ds.coords and ds[name].dims == ("cell",)}
    place = np.round(np.stack([ds["lon"].values, ds["lat"].values], axis=1) / 1e-5).astype(np.int64).tolist()
    stem = [PERIOD_IN_ID.sub("", name) for name in ids.tolist()]
    row_of: dict[Any, int] = {}
    twice = []
    series = series_marks(ds, service).tolist()
    for k, name in enumerate(ids.tolist()):
        keys: list[Any] = [("series", series[k])] if series[k] else []
        if own:
            keys.append(("period", *place[k]))
        if stem[k] and stem[k] != name:
            keys.append(("id", stem[k], *place[k]))
        again = next((key for key in keys if key in row_of), None)
        if again is not None:
            how = "rises and falls at the same hours as" if again[0] == "series" else "is another period of"
            twice.append(f"{name}, which {how} {ids[row_of[again]]}")
        row_of.update(dict.fromkeys(keys, k))
    return twice


def shared_cells(a: xr.Dataset, service: str, b: xr.Dataset, second: str) -> tuple[str, list[str]]:
    """(by what, ids of a's cells that b holds as well); ("", []) for none."""
    marks = position_marks(a), position_marks(b)
    grounded = has_positions(a) and has_positions(b)
    for how, mine, theirs in (
        ("positions", *marks),
        ("series", series_marks(a, service), series_marks(b, second)),
        ("ids", _ids(a), _ids(b)),
    ):
        if how == "ids" and grounded:
            continue  # numbered cells of two cities share ids, not ground
        known = set(theirs.tolist()) - {""}
        same = [str(name) for name, mark in zip(a["cell_id"].values, mine, strict=True) if mark in known]
        if same:
            return how, same
    return "", []


def _ids(ds: xr.Dataset) -> NDArray[Any]:
    network = str(ds.attrs.get("network", ""))
    return np.array([f"{network}/{PERIOD_IN_ID.sub('', name)}" for name in ds["cell_id"].values.astype(str)])


def check_start(name: str, provenance: Mapping[str, Any], files: Sequence[tuple[str, xr.Dataset, str]]) -> str:
    """What must be said of the public model to start from. Raises WrongUse where it is not public for these cells.

    A model that was itself fitted with privacy spends a budget of its own; one whose training data has the positions
    or the series of these cells, in whatever format and under whatever names, has seen them.
    """
    spent = provenance.get("privacy")
    if spent:
        raise WrongUse(
            f"--start {name} was fitted with differential privacy (epsilon {float(spent.get('epsilon', 0)):.3g}): its "
            "traffic was private, and its budget would add to this one; start from a public model, or from none"
        )
    known = [part.get("marks") or {} for part in provenance.get("data", [])]
    for file, ds, _ in files:
        mine = marks_of(ds)
        for part in known:
            for kind in ("series", "positions"):
                if shared_share(mine.get(kind, []), part.get(kind, [])) >= SEEN:
                    raise WrongUse(
                        f"--start {name} was trained on cells of {file}, by their {kind}: it is not public for them; "
                        "start from another model, or from none"
                    )
    checked = (
        "none of its training cells is one of these, by positions and series"
        if any(known)
        else "it does not say which cells it was trained on, so that could not be checked"
    )
    return f"you declared this model public: {name}; {checked}"
