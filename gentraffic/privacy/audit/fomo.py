"""FoMo as a subject of the attacks: its denoising error on every cell, within the blocks of all real cells."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from gentraffic.generators.fomo.data import SIDE, Region, placed, read_region
from gentraffic.generators.fomo.folder import FoMoBundle
from gentraffic.generators.fomo.scale import condition_of
from gentraffic.generators.fomo.tiles import layings
from gentraffic.generators.weekly import one_thread
from gentraffic.modelling.measured import Source, read_live
from gentraffic.privacy.audit.statistics import Floats
from gentraffic.training.fomo_fitting import FoMoDesign, fingerprint, fit_fomo
from gentraffic.training.fomo_task import WINDOW, FoMoPlan, masked, stack, window
from gentraffic.training.processes import ProcessGroup

if TYPE_CHECKING:
    import xarray as xr

AT_ONCE = 32  # windows in one call of the network


@dataclass(frozen=True)
class FoMoSubject:
    """A `Subject`: a FoMo, and the live real cells, as a source and as a region. both: the joined real files.
    device: of torch."""

    bundle: FoMoBundle
    source: Source
    region: Region
    both: xr.Dataset
    context: xr.Dataset
    service: str
    device: str = "cpu"

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
        return -np.log(fomo_losses(self.bundle, self.source, self.region, seed, self.device))

    def shadow(self, seen: NDArray[np.bool_], steps: int, number: int, seed: int) -> Floats:
        """See `Subject`. seen: (cells,). Blocks are laid among the cells that are seen, as in the target's training."""
        ids = self.source.cell_id[seen].astype(str)
        some = self.both.isel(cell=np.flatnonzero(np.isin(self.both["cell_id"].values.astype(str), ids)))
        design, plan = self._made(steps, seed * 1_000 + number)
        data, group = [read_region(some, [self.context], self.service)], ProcessGroup(device=self.device)
        shadow, _ = fit_fomo(data, design=design, plan=plan, group=group)
        return -np.log(fomo_losses(shadow, self.source, self.region, seed, self.device))

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


def fomo_subject(
    bundle: FoMoBundle, both: xr.Dataset, context: xr.Dataset, service: str, device: str = "cpu"
) -> FoMoSubject:
    """A FoMo beside the joined real cells, each of which is in one block. Raises BadInput as `read_region` does."""
    source, region = read_region(both, [context], service)
    live = read_live(both, service)
    region = replace(region, blocks=layings(live.grid, live.xy_m)[0])
    return FoMoSubject(bundle, source, region, both, context, service, device)


def fomo_losses(bundle: FoMoBundle, source: Source, region: Region, seed: int = 0, device: str = "cpu") -> Floats:
    """The mean of `FoMo.losses` over the windows and blocks that hold each cell, nothing of them known: (cells,)."""
    scale = bundle.scale
    model = bundle.model if device == "cpu" else copy.deepcopy(bundle.model).to(device)
    region = placed(region, source, bundle.levels, bundle.weeks)
    total, count = np.zeros(len(region.values)), np.zeros(len(region.values))
    starts = range(0, region.values.shape[1] - WINDOW + 1, WINDOW)
    every = [(block, start) for block in range(len(region.blocks)) for start in starts]
    nothing = np.zeros((SIDE, SIDE, WINDOW), dtype=bool)
    with one_thread(), torch.inference_mode():
        for at in range(0, len(every), AT_ONCE):
            windows = [window(region, scale, *where) for where in every[at : at + AT_ONCE]]
            shown = stack([masked(one, nothing, scale, region.spread) for one in windows])
            values = np.nan_to_num(np.concatenate([one.values for one in windows]))
            ratio = values / np.nan_to_num(shown.reference, nan=1.0)[..., None]
            x = scale.forward(ratio, shown.usual)
            x = np.where(shown.exists, x, np.nan).astype(np.float32)
            scene = condition_of(shown, scale).to(device)
            losses = model.losses(torch.from_numpy(x).to(device), scene, seed).cpu().numpy()
            cells = np.stack([region.blocks[block] for block, _ in every[at : at + AT_ONCE]])
            np.add.at(total, cells[cells >= 0], losses[cells >= 0])
            np.add.at(count, cells[cells >= 0], 1)
    out: Floats = total / count
    return out


def _known(kind: type, values: object) -> dict[str, Any]:
    """The fields of a dataclass that a provenance holds, lists as tuples."""
    told = values if isinstance(values, Mapping) else {}
    fields = kind.__dataclass_fields__  # type: ignore[attr-defined]
    return {k: tuple(v) if isinstance(v, list) else v for k, v in told.items() if k in fields}
