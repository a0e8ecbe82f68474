"""Traffic as forecasters take it: values, who stands around whom, and which steps train, validate and test."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.panel import Panel, read_panel
from gentraffic.errors import BadInput, WrongUse, did_you_mean

if TYPE_CHECKING:
    import xarray as xr

TRAIN, VALIDATION = 0.70, 0.15  # of the steps, in time order; what remains is the test (metrics.md, P4)


@dataclass(frozen=True)
class Network:
    """Traffic of a network: values (cells, steps, services), per_day steps a day.

    patches: (cells, 121) the cells of the 11 x 11 neighbourhood of each cell. frame: (rows, cols) the cell at each
    place of the grid, None where the cells do not fill a rectangle. week: the step of the week of the first step, from
    Monday at midnight on the clock of the place; a change of that clock within the series is not followed.
    """

    values: NDArray[np.float32]
    patches: NDArray[np.int64]
    per_day: int
    frame: NDArray[np.int64] | None = None
    week: int = 0

    @property
    def steps(self) -> int:
        """How many steps there are."""
        return int(self.values.shape[1])


@dataclass(frozen=True)
class Part:
    """The steps [first, last) of a network are forecast; the scaler has seen the steps [0, known)."""

    network: Network
    first: int
    last: int
    known: int


def split(network: Network, train: float = TRAIN, validation: float = VALIDATION) -> tuple[Part, Part, Part]:
    """Training, validation and test part in time order; the scalers of all three see the training part only.

    Targets of one part never lie in another. The past of a window may reach into the part before; that of a test window
    does not reach the training part as long as the forecaster's context is shorter than the validation part. Raises
    BadInput where no step is left to train on.
    """
    first, second = round(network.steps * train), round(network.steps * (train + validation))
    if first < 1:
        raise BadInput(f"too short a series: --train {train:g} of {network.steps} steps is none")
    return (
        Part(network, 0, first, first),
        Part(network, first, second, first),
        Part(network, second, network.steps, first),
    )


def whole(network: Network) -> Part:
    """All of a network as a training part."""
    return Part(network, 0, network.steps, network.steps)


def few(part: Part, share: float) -> Part:
    """The last `share` (0 to 1) of a training part, at least one step: what an operator has measured so far."""
    steps = max(1, round((part.last - part.first) * share))
    values = part.network.values[:, part.last - steps : part.last]
    week = (part.network.week + part.last - steps) % (7 * part.network.per_day)
    return Part(replace(part.network, values=values, week=week), 0, steps, steps)


def networks_of(traffic: xr.Dataset, services: list[str] | None = None) -> list[Network]:
    """The networks of a traffic Dataset, one per member, all with the same neighbourhoods.

    services: which variables, None for the only one. Grids have 11 x 11 neighbourhoods with replicated edges; other
    cells their nearest neighbours in a fixed order. Raises WrongUse for a missing or ambiguous service, BadInput for a
    cadence that does not divide the day, a single step, or values that are missing.
    """
    from gentraffic.dataset.schema import services as names_of

    have = names_of(traffic)
    chosen = have if services is None else services
    if services is None and len(have) > 1:
        raise WrongUse(f"several services here, {', '.join(have)}: name one with --service")
    missing = [name for name in chosen if name not in have]
    if missing:
        raise WrongUse(f"no service {missing[0]!r} here, only {', '.join(have)}{did_you_mean(missing[0], have)}")
    panels = [read_panel(traffic, name) for name in chosen]
    per_day = panels[0].per_day
    values = np.stack([panel.values for panel in panels], axis=-1)  # (members, cells, steps, services)
    gaps = ~np.isfinite(values)
    if gaps.any():
        _, cell, step, _ = np.argwhere(gaps)[0]
        raise BadInput(
            f"{int(gaps.sum())} values are missing, the first at cell {traffic['cell_id'].values[cell]}, "
            f"{str(traffic['time'].values[step])[:16]}Z: fill the gaps or cut the series there"
        )
    patches, frame = neighbourhoods(panels[0])
    week = int(panels[0].hour[0] * per_day // 24)
    return [Network(np.ascontiguousarray(member), patches, per_day, frame, week) for member in values]


def neighbourhoods(panel: Panel) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """(cells, 121) patches, and the (rows, cols) frame of a grid that fills its rectangle, else None."""
    from forecasters.windows import grid_patches, station_patches

    if panel.kind == "unplaced":  # no neighbours are known: the cell itself stands in for all of them
        return np.arange(len(panel.cell_id))[:, None] + station_patches(np.zeros((1, 2))), None
    if panel.kind != "grid" or panel.grid is None:
        return station_patches(panel.xy_m), None
    row, col = (panel.grid - panel.grid.min(axis=0)).T
    frame = None
    if (row.max() + 1) * (col.max() + 1) == len(row):
        frame = np.empty((row.max() + 1, col.max() + 1), dtype=np.int64)
        frame[row, col] = np.arange(len(row))
    return grid_patches(row, col), frame
