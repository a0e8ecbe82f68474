"""FoMo as a subject of the attacks: its denoising error on every cell, within the blocks of all real cells."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from gentraffic.errors import BadInput
from gentraffic.generators.fomo.data import Region, placed, read_region
from gentraffic.generators.fomo.folder import FoMoBundle
from gentraffic.generators.fomo.scale import condition_of
from gentraffic.generators.weekly import one_thread
from gentraffic.modelling.measured import Source
from gentraffic.privacy.audit.statistics import Floats
from gentraffic.training.fomo_fitting import FoMoDesign, fingerprint, fit_fomo
from gentraffic.training.fomo_task import WINDOW, FoMoPlan, masked, window

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class FoMoSubject:
    """A `Subject`: a FoMo, and the live real cells, as a source and as a region. both: the joined real files."""

    bundle: FoMoBundle
    source: Source
    region: Region
    both: xr.Dataset
    context: xr.Dataset
    service: str

    @property
    def about(self) -> str:
        """What its loss is."""
        return "the model's denoising error on the cell, fixed noise (Yeom et al. 2018; Matsumoto et al. 2023)"

    @property
    def cell_id(self) -> NDArray[Any]:
        """The cells that it can be asked about."""
        return self.source.cell_id

    def scores(self, seed: int) -> Floats:
        """See `Subject`."""
        return -np.log(fomo_losses(self.bundle, self.source, self.region, seed))

    def shadow(self, seen: NDArray[np.bool_], steps: int, number: int, seed: int) -> Floats:
        """See `Subject`. seen: (cells,). Blocks are laid among the cells that are seen, as in the target's training."""
        ids = self.source.cell_id[seen].astype(str)
        some = self.both.isel(cell=np.flatnonzero(np.isin(self.both["cell_id"].values.astype(str), ids)))
        design, plan = self._made(steps, seed * 1_000 + number)
        shadow, _ = fit_fomo([read_region(some, [self.context], self.service)], design=design, plan=plan)
        return -np.log(fomo_losses(shadow, self.source, self.region, seed))

    def identity(self, steps: int, seed: int) -> str:
        """Data, design and plan."""
        design, plan = self._made(steps, seed)
        return json.dumps([fingerprint([self.region], asdict(design)), asdict(plan), seed])

    def _made(self, steps: int, seed: int) -> tuple[FoMoDesign, FoMoPlan]:
        """The target's own design and plan, as its provenance tells them, for as many steps."""
        of = self.bundle.provenance
        design = FoMoDesign(**_known(FoMoDesign, of.get("design")))
        plan = FoMoPlan(**_known(FoMoPlan, of.get("plan")))
        return design, replace(plan, steps=steps, warmup=min(plan.warmup, max(1, steps // 5)), seed=seed)


def fomo_subject(bundle: FoMoBundle, both: xr.Dataset, context: xr.Dataset, service: str) -> FoMoSubject:
    """A FoMo beside the joined real cells. Raises BadInput for a series shorter than a window."""
    source, region = read_region(both, [context], service)
    if region.values.shape[1] < WINDOW:
        raise BadInput(f"--model: FoMo takes windows of {WINDOW} steps, the real files hold {region.values.shape[1]}")
    return FoMoSubject(bundle, source, region, both, context, service)


def fomo_losses(bundle: FoMoBundle, source: Source, region: Region, seed: int = 0) -> Floats:
    """The mean of `FoMo.losses` over the windows and blocks that hold each cell, nothing of them known: (cells,)."""
    scale = bundle.scale
    region = placed(region, source, bundle.levels)
    total, count = np.zeros(len(region.values)), np.zeros(len(region.values))
    known = np.zeros((1, 1, 1), dtype=bool)
    with one_thread(), torch.inference_mode():
        for block, cells in enumerate(region.blocks):
            there = cells >= 0
            for start in range(0, region.values.shape[1] - WINDOW + 1, WINDOW):
                whole = window(region, scale, block, start)
                shown = masked(whole, np.broadcast_to(known, whole.values.shape[1:]), scale, region.spread)
                ratio = np.nan_to_num(whole.values) / np.nan_to_num(shown.reference, nan=1.0)[..., None]
                x = scale.forward(ratio, scale.usual(shown.network, shown.hour)[:, None, None])
                x = np.where(shown.exists, x, np.nan).astype(np.float32)
                losses = bundle.model.losses(torch.from_numpy(x), condition_of(shown, scale), seed)[0].numpy()
                np.add.at(total, cells[there], losses[there])
                np.add.at(count, cells[there], 1)
    out: Floats = total / np.maximum(count, 1)
    return out


def _known(kind: type, values: object) -> dict[str, Any]:
    """The fields of a dataclass that a provenance holds, lists as tuples."""
    told = values if isinstance(values, Mapping) else {}
    fields = kind.__dataclass_fields__  # type: ignore[attr-defined]
    return {k: tuple(v) if isinstance(v, list) else v for k, v in told.items() if k in fields}
