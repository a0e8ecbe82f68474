"""Fine-tuning on few cells: the start is left as far as they are many."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from fomo_examples import PLAN, data, tiny_fomo, world

from gentraffic.generators.fomo.folder import FoMoBundle
from gentraffic.generators.fomo.scale import fit_scale_of
from gentraffic.training import fomo_fitting
from gentraffic.training.fomo_fitting import PRIOR_CELLS, finetune_fomo

TUNE = replace(PLAN, steps=4, warmup=1, frozen=True)


@pytest.fixture(scope="module")
def start() -> FoMoBundle:
    return tiny_fomo()


def test_of_n_cells_a_tuning_goes_n_of_n_plus_the_prior_of_its_way(
    start: FoMoBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    [pair] = data(world("elsewhere", cells=16, seed=7))
    share = 16 / (16 + PRIOR_CELLS)
    tuned, told = finetune_fomo(copy.deepcopy(start), [pair], plan=TUNE)
    assert told["towards_start"] == pytest.approx(1 - share, abs=1e-4)
    own = fit_scale_of([pair[1]]).week[1]
    before = start.scale.week[0]
    np.testing.assert_allclose(tuned.scale.week[-1], before + share * (own - before))
    assert tuned.scale.week[-1].mean() == pytest.approx(1.0)
    # the same training from the same start, of which nothing is taken back
    grown = fomo_fitting._grown(copy.deepcopy(start), [pair])
    monkeypatch.setattr(fomo_fitting, "_grown", lambda bundle, new: copy.deepcopy(grown))
    monkeypatch.setattr(fomo_fitting, "PRIOR_CELLS", 0.0)
    whole, told = finetune_fomo(copy.deepcopy(start), [pair], plan=TUNE)
    assert told["towards_start"] == 0
    moved = 0
    for name, weights in whole.model.state_dict().items():
        first = grown.model.state_dict()[name]
        torch.testing.assert_close(tuned.model.state_dict()[name], first + share * (weights - first))
        moved += not torch.equal(first, weights)
    assert moved > 5, "the training has moved weights"


def test_a_city_tuned_on_has_more_of_its_own_week_than_a_place(start: FoMoBundle) -> None:
    weeks = []
    for cells in (4, 36):
        [pair] = data(world("elsewhere", cells=36, seed=7))
        few = pair[0].only(np.arange(cells)), pair[1].only(np.arange(cells))
        grown = fomo_fitting._grown(copy.deepcopy(start), [few])
        own = fit_scale_of([few[1]]).week[1]
        weeks.append(np.abs(grown.scale.week[-1] - own).mean() / np.abs(start.scale.week[0] - own).mean())
    assert weeks == pytest.approx([48 / 52, 48 / 84])
