"""A forecaster as a subject of membership attacks: its error on every cell (`gentraffic.privacy.audit.models`)."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from forecasters import windows_to
from gentraffic.errors import WrongUse
from gentraffic.forecasting.data import Network, Part, networks_of
from gentraffic.forecasting.fit import Fitted, called, check_fits, fit_forecaster, windows_of
from gentraffic.forecasting.registry import recipe_of
from gentraffic.forecasting.task import Plan, fingerprint
from gentraffic.training.trainer import Run

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float64]
AT_ONCE = 1024  # windows
LEAST = 1e-6  # of a squared error over the variance of the cell: the log of 0 says nothing


@dataclass(frozen=True)
class ForecasterSubject:
    """A forecaster, and the network of all real cells. cell_id: (cells,) the live ones, rows: (cells,) where each is.

    both: the joined real files. last: the step at which the training part ends. device: of torch.
    """

    fitted: Fitted
    network: Network
    both: xr.Dataset
    service: str
    cell_id: NDArray[Any]
    rows: NDArray[np.intp]
    last: int
    device: str = "cpu"

    @property
    def about(self) -> str:
        """What its loss is."""
        return "the forecaster's squared error on the cell's training steps (Yeom et al. 2018)"

    def scores(self, seed: int) -> Floats:
        """Minus the log of the mean squared error, in standard deviations of the cell: (cells,). There is no noise."""
        return -np.log(np.maximum(cell_errors(self.fitted, self.network, self.last, self.device)[self.rows], LEAST))

    def shadow(self, seen: NDArray[np.bool_], steps: int, number: int, seed: int) -> Floats:
        """`scores` of a forecaster of the same kind, fitted on the cells that are seen (cells,)."""
        some = networks_of(self.both.isel(cell=self.rows[seen]), [self.service])[0]
        plan = self._plan(steps, seed * 1_000 + number)
        shadow = fit_forecaster(
            self.fitted.name, [Part(some, 0, self.last, self.last)], plan=plan, run=Run(device=self.device)
        )
        return replace(self, fitted=shadow).scores(seed)

    def identity(self, steps: int, seed: int) -> str:
        """Data and plan."""
        windows = windows_of(self.fitted.model, Part(self.network, 0, self.last, self.last), 1)
        return json.dumps([fingerprint(self.fitted.name, [windows], self.fitted.name, None), steps, seed, self.last])

    def _plan(self, steps: int, seed: int) -> Plan:
        """The target's own plan, as its provenance tells it, for as many steps."""
        told = self.fitted.metadata.get("plan") or {}
        known = {f.name: told[f.name] for f in fields(Plan) if f.name in told}
        return replace(Plan(**known), steps=steps, warmup=min(50, max(1, steps // 5)), seed=seed)


def forecaster_subject(fitted: Fitted, both: xr.Dataset, service: str, device: str = "cpu") -> ForecasterSubject:
    """A forecaster beside the joined real cells. Raises WrongUse for a naive one, BadInput for another cadence."""
    if not recipe_of(fitted.name).learns:
        raise WrongUse(f"--model: {fitted.name} learned nothing, so there is nothing to attack; leave it away")
    network = networks_of(both, [service])[0]
    check_fits(fitted, network)
    share = (fitted.metadata.get("split") or (0.7, 0.15))[0]
    rows = np.flatnonzero(network.values.max(axis=(1, 2)) > 0)
    last = round(network.steps * float(share))
    return ForecasterSubject(fitted, network, both, service, both["cell_id"].values[rows], rows, last, device)


@torch.inference_mode()
def cell_errors(fitted: Fitted, network: Network, last: int, device: str = "cpu") -> Floats:
    """The mean squared error of a forecaster on the steps before `last`, scaled per cell: (cells,); nan for dead ones.

    Every cell is forecast from its neighbourhood in this network.
    """
    windows = windows_to(windows_of(fitted.model, Part(network, 0, last, last), 1), device)
    targets = np.arange(len(network.values)) if windows.targets is None else windows.targets.cpu().numpy()
    total = np.zeros(len(targets))
    for some in torch.split(torch.arange(len(windows)), AT_ONCE):
        past, future = windows.gather(some)
        error = (
            (called(fitted.model, past, windows.when(some)) - future).square().mean(dim=(1, 2)).double().cpu().numpy()
        )
        np.add.at(total, some.numpy() % len(targets), error)
    out = np.full(len(network.values), np.nan)
    out[targets] = total / max(1, len(windows) // len(targets))
    return out
