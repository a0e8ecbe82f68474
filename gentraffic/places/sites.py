"""Known base-station sites as one more number per cell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gentraffic.errors import BadInput, NoData
from gentraffic.io.source_columns import Reading, find_column, notation, numbers, plain, points
from gentraffic.io.source_table import SourceTable, read_source

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

REACH_M = 400.0  # a site farther than this from every cell's centre lies outside the place


def with_sites(
    context: xr.Dataset, path: Path, credit: str | None = None, reading: Reading | None = None
) -> xr.Dataset:
    """The context with `stations` (cell): sites, or radio cells where the table has `n_cells`, nearest to each cell.

    credit: who made the table, for the attribution. reading: how it is written; names of columns of another table,
    which it lacks, are passed over.
    Raises BadFile for a table without lon and lat, BadInput for an `n_cells` below 0, NoData when no site lies in it.
    """
    import pyproj
    from scipy.spatial import cKDTree

    table = read_source(path)
    reading = reading or Reading()
    have = {plain(name) for name in table.names}
    reading = replace(reading, columns={o: t for o, t in reading.columns.items() if plain(t) in have}, id_column=None)
    lon, lat = points(table, reading)
    weight = amounts_in(table, "n_cells", reading)
    to_metres = pyproj.Transformer.from_crs("EPSG:4326", context.attrs["crs_wkt"], always_xy=True)
    sites = np.stack(to_metres.transform(lon, lat), axis=1)
    tree = cKDTree(np.stack([context["x"].values, context["y"].values], axis=1))
    reach = max(REACH_M, float(context.attrs.get("cell_m", 0.0)))
    distance, cell = tree.query(sites, distance_upper_bound=reach)
    inside = np.isfinite(distance)
    if not inside.any():
        raise NoData(f"{path}: none of its {len(lon)} sites lies in {context.attrs.get('place', 'the place')}")
    count = np.bincount(cell[inside], weights=weight[inside], minlength=context.sizes["cell"])
    out = context.assign(stations=("cell", count.astype(np.float32), {"units": "1", "long_name": "known radio cells"}))
    if "margin_poi_count" in context:
        around = cKDTree(np.stack([context["margin_x"].values, context["margin_y"].values], axis=1))
        apart, cell = around.query(sites, distance_upper_bound=reach)
        outside = np.isfinite(apart) & ~(distance < apart)
        beyond = np.bincount(cell[outside], weights=weight[outside], minlength=context.sizes["margin"])
        out = out.assign(margin_stations=("margin", beyond.astype(np.float32), {"units": "1"}))
    credits = f"{context.attrs.get('attribution', '')}; {credit or f'sites: {path.name}'}"
    return out.assign_attrs(attribution=credits, sites_source=path.name)


def amounts_in(table: SourceTable, name: str, reading: Reading | None = None) -> NDArray[np.float64]:
    """A column as numbers of 0 or more, (rows,); 1 each where it is missing. Raises BadInput, with the row."""
    reading = reading or Reading()
    column = find_column(table, (plain(name),), reading.named(name))
    if column is None:
        return np.ones(table.rows)
    values = table.column(column)
    found = numbers(values, notation(table, [column], [], reading))
    wrong = ~(np.isfinite(found) & (found >= 0))
    if wrong.any():
        value, row = values[int(np.argmax(wrong))].as_py(), table.first + int(np.argmax(wrong))
        raise BadInput(f"{table.path}: {name} is {value!r} in row {row}: give a number of 0 or more")
    return found
