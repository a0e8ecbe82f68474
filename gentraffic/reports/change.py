"""What a file of a what-if holds: the same traffic before and after a change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.schema import services

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Change:
    """names: the two services. before, after: (cells,) mean levels over members and steps, in the file's units."""

    names: tuple[str, str]
    before: NDArray[np.float64]
    after: NDArray[np.float64]

    @property
    def apart(self) -> NDArray[np.float64]:
        """(cells,) after minus before."""
        return self.after - self.before

    @property
    def large(self) -> int:
        """How many cells change by more than 5%."""
        return int((np.abs(self.apart) > 0.05 * np.maximum(self.before, 1e-300)).sum())

    @property
    def total(self) -> float:
        """What the whole region gains, as a share of before."""
        return float(self.after.sum() / self.before.sum() - 1) if self.before.sum() else 0.0


def change_pair(ds: xr.Dataset, service: str | None) -> tuple[str, str] | None:
    """The services NAME_before and NAME_after of a what-if, where `ds` holds them and `service` names no other."""
    names = services(ds)
    for name in names:
        base = name.removesuffix("_before")
        if base != name and f"{base}_after" in names and service in (None, base, name, f"{base}_after"):
            return name, f"{base}_after"
    return None


def change_of(ds: xr.Dataset, pair: tuple[str, str]) -> Change:
    """The mean levels of the services `pair`, over members and steps."""
    mean = []
    for name in pair:
        values = ds[name].values
        mean.append(values.mean(axis=tuple(i for i in range(values.ndim) if i != values.ndim - 2), dtype=np.float64))
    return Change(pair, mean[0], mean[1])
