"""Which cells train and which are held out. A place is never on both sides: cells of one patch share their ground."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gentraffic.dataset.fingerprint import first_of_series, twins_text
from gentraffic.dataset.schema import services
from gentraffic.errors import WrongUse

if TYPE_CHECKING:
    import xarray as xr

BLOCK_M = 2000.0  # side of the squares that are a location where a file names none
Fold = tuple[NDArray[np.intp], NDArray[np.intp]]


def p1_folds(context: xr.Dataset | ArrayLike, folds: int = 5, seed: int = 0) -> list[Fold]:
    """`folds` pairs (training cells, held-out cells), indices into the cells, split by location (metrics.md, P1).

    `context`: a Context or Traffic dataset with a coordinate `location` (cell), or the locations themselves (cells,).
    All cells and weeks of a location lie in one fold; every cell is held out exactly once. Locations are shuffled by
    `seed` and dealt out, so folds differ by at most one location. Raises WrongUse where there are fewer locations than
    folds, or no `location`.
    """
    location = _locations(context)
    places = np.unique(location)
    if not 2 <= folds <= len(places):
        raise WrongUse(f"{folds} folds of {len(places)} locations: folds must be 2 to the number of locations")
    shuffled = np.random.default_rng(seed).permutation(places)
    pairs = []
    for k in range(folds):
        held = np.isin(location, shuffled[k::folds])
        pairs.append((np.flatnonzero(~held), np.flatnonzero(held)))
    return pairs


def block_locations(x: ArrayLike, y: ArrayLike, block_m: float) -> NDArray[np.int64]:
    """(cells,) the number of the square block of side `block_m` metres that holds each centre `x`, `y` (metres).

    For networks without locations of their own, such as a city's grid: blocks then take their place in `p1_folds`.
    x, y: (cells,).
    """
    cell = np.stack(
        [np.floor(np.asarray(y, dtype=np.float64) / block_m), np.floor(np.asarray(x, dtype=np.float64) / block_m)]
    )
    _, number = np.unique(cell, axis=1, return_inverse=True)
    return np.asarray(number, dtype=np.int64)


def split_traffic(
    ds: xr.Dataset, *, test: str | float, by: str = "cell", seed: int = 0
) -> tuple[xr.Dataset, xr.Dataset]:
    """(train, test): two Datasets without a common cell or day whose union is `ds`, bit for bit.

    `ds`: Traffic ([member,] cell, time). `test`: share of the cells, locations or whole local days, "20%" or 0.2.
    `by`: "cell" or "location" (coordinate `location`, else squares of 2 km), chosen by `seed`; "time" takes the last
    local days. Cells with
    the same series are kept on one side; the attribute `split_twins` names them. Raises WrongUse.
    """
    text = str(test).strip()
    try:
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise WrongUse(f"test {test}: give a share such as 20% or 0.2") from None
    if not 0 < share < 1:
        raise WrongUse(f"test {test}: give a share above 0% and below 100%")
    if seed < 0:
        raise WrongUse(f"seed {seed}: give 0 or more")
    group: NDArray[Any]
    if by == "time":
        from gentraffic.dataset.schema import local_time

        group, dim = local_time(ds).tz_localize(None).normalize().to_numpy(), "time"
    elif by == "cell":
        group, dim = np.arange(ds.sizes["cell"]), "cell"
    elif by == "location":
        group, dim = _places_of(ds), "cell"
    else:
        raise WrongUse(f"by {by}: choose one of cell, location, time")
    names = np.unique(group)
    count = round(share * len(names))
    if not 1 <= count < len(names):
        what = "days" if by == "time" else f"{by}s"
        raise WrongUse(f"test {test} of {len(names)} {what} leaves one side empty: give another share, or more {what}")
    chosen = names[-count:] if by == "time" else np.random.default_rng(seed).permutation(names)[:count]
    held = np.isin(group, chosen)
    marks: dict[str, Any] = {"split_by": by, "split_seed": int(seed), "split_test_share": share}
    if by == "cell" and (traffic := services(ds)):
        first = first_of_series(ds, traffic[0])
        together = held[first]
        if 0 < together.sum() < len(held):
            held = together
            marks |= {"split_twins": told} if (told := twins_text(ds["cell_id"].values, first)) else {}
    train = ds.isel({dim: np.flatnonzero(~held)}).assign_attrs(split="train", **marks)
    return train, ds.isel({dim: np.flatnonzero(held)}).assign_attrs(split="test", **marks)


def split_like_model(ds: xr.Dataset, provenance: Mapping[str, Any]) -> tuple[xr.Dataset, xr.Dataset]:
    """(seen, held out): the cells of `ds` that a model did not hold out of its training, and those that it did.

    What else stands at a location of theirs, such as a cell that `fit` left out as dead or as a copy, is held out, too.
    `ds`: Traffic ([member,] cell, time). provenance: of a model folder; its `held_out_cells` has the ids by network.
    Raises WrongUse where the model held out none of these cells, or nothing else.
    """
    by_network: Mapping[str, list[Any]] = provenance.get("held_out_cells") or {}
    network = str(ds.attrs.get("network", ""))
    if network not in by_network and len(by_network) != 1:
        have = ", ".join(by_network) or "no network"
        raise WrongUse(f"the model held out cells of {have}, not of {network or 'a file without a network'}")
    ids = by_network.get(network) or next(iter(by_network.values()))
    held = np.isin(ds["cell_id"].values.astype(str), np.array(ids).astype(str))
    if "location" in ds.coords:
        held = np.isin(ds["location"].values, ds["location"].values[held])
    if held.all() or not held.any():
        raise WrongUse(f"the model held out {int(held.sum())} of the {held.size} cells here: there is nothing to split")
    parts = (("train", ~held), ("test", held))
    seen, test = (ds.isel(cell=np.flatnonzero(m)).assign_attrs(split=name, split_by="model") for name, m in parts)
    return seen, test


def _places_of(ds: xr.Dataset) -> NDArray[Any]:
    """(cells,) cells of one number share their ground: what the file says, else squares of BLOCK_M, as in `fit`."""
    if "location" in ds.coords:
        return np.asarray(ds["location"].values)
    if not {"x", "y"} <= set(ds.coords):
        raise WrongUse("the cells have neither locations nor positions: split by cell or time")
    return block_locations(ds["x"].values, ds["y"].values, BLOCK_M)


def _locations(context: Any) -> NDArray[Any]:
    """The location of each cell."""
    if hasattr(context, "coords"):
        if "location" not in context.coords:
            raise WrongUse(
                "the dataset has no coordinate `location`; give locations, e.g. from block_locations(x, y, 1000)"
            )
        return np.asarray(context["location"].values)
    location = np.asarray(context)
    if location.ndim != 1 or not len(location):
        raise WrongUse(f"locations have shape {location.shape}; one per cell is needed")
    return location
