"""Small trainings that one process or several can do; as a program, one of the processes of a group.

    python parallel_examples.py OUT STOP NAME...       with RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT set

STOP: the step after which it gives up; 0 for none.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import bundle_examples
import fomo_examples
import torch
from safetensors.torch import save_file
from torch import Tensor

from gentraffic.training.fitting import Design, fit_sampler
from gentraffic.training.fomo_fitting import FoMoDesign, fit_fomo
from gentraffic.training.processes import ProcessGroup, join
from gentraffic.training.trainer import Run
from samplers import fomo

STEPS = 50


def train(name: str, group: ProcessGroup, checkpoint: Path | None = None, stop: int = 0) -> dict[str, Tensor]:
    """The weights after STEPS steps, by name, and `loss` (STEPS,)."""
    losses: list[float] = []

    def heard(step: int, of: int, loss: float) -> None:
        losses.append(loss)
        if step == stop:
            sys.exit(0)

    if name == "fomo":
        fomo.SIZES["tiny"] = {"width": 24, "depth": 1, "heads": 2}
        worlds = fomo_examples.data(fomo_examples.world("here"), fomo_examples.world("there", cells=20, seed=3))
        design = FoMoDesign(size="tiny", dropout=0.1)
        plan = replace(fomo_examples.PLAN, steps=STEPS, batch=5, check_every=20)
        bundle, _ = fit_fomo(worlds, design=design, plan=plan, run=Run(checkpoint, heard), group=group)
        model: torch.nn.Module = bundle.model
    else:
        design_of = Design(sampler=name, channels=(8, 8), width=8)
        few = replace(bundle_examples.PLAN, steps=STEPS, batch=15, check_every=20)
        held = [bundle_examples.source("alpha", 8, 7, seed=9)]
        made, _ = fit_sampler(
            bundle_examples.sources(), held_out=held, design=design_of, plan=few,
            run=Run(checkpoint, heard), group=group,
        )  # fmt: skip
        model = made.model
    return {**{key: value.detach().clone() for key, value in model.state_dict().items()}, "loss": torch.tensor(losses)}


if __name__ == "__main__":
    here = join()
    folder = Path(sys.argv[1])
    for which in sys.argv[3:]:
        found = train(which, here, folder / f"{which}.checkpoint.safetensors", int(sys.argv[2]))
        save_file({k: v.contiguous() for k, v in found.items()}, folder / f"{which}.{here.rank}.safetensors")
