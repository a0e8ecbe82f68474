"""Fine-tuning on few cells: the start is left as far as they are many."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from fomo_examples import PLAN, data, tiny_fomo, world

from gentraffic.errors import WrongUse
from gentraffic.generators.base import Settings
from gentraffic.generators.fomo.data import placed
from gentraffic.generators.fomo.drawing import draw_field
from gentraffic.generators.fomo.folder import FoMoBundle
from gentraffic.generators.fomo.observations import FoMoTask
from gentraffic.generators.fomo.scale import fit_scale_of
from gentraffic.training import fomo_fitting
from gentraffic.training.fomo_fitting import PRIOR_CELLS, FoMoDesign, finetune_fomo, fit_fomo, parse_patch
from gentraffic.training.fomo_task import batch_of, ladder
from samplers.fomo import SIZES

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


def test_bare_steps_tell_neither_users_nor_pois_and_later_ones_do() -> None:
    [(source, region)] = data(world("here"))
    region = placed(region, source, fomo_fitting._levels([(source, region)]))
    plan = replace(PLAN, bare_steps=2, users_keep=1.0, poi_keep=1.0)
    scale, ladders = fit_scale_of([region]), [ladder(region)]
    told = [batch_of(ladders, scale, plan, step, 16).scene for step in (0, 1, 2, 3)]
    assert [bool(scene.poi.isnan().all()) for scene in told] == [True, True, False, False]
    assert [bool(scene.users.isnan().all()) for scene in told] == [True, True, False, False]
    whole = batch_of(ladders, scale, replace(plan, bare_steps=0), 3, 16)
    torch.testing.assert_close(whole.x, batch_of(ladders, scale, plan, 3, 16).x, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("text", ["1,1", "3,1,16", "1,1,15", "0,1,16", "a,1,16", "1,1,128"])
def test_a_patch_that_no_block_is_made_of_is_refused(text: str) -> None:
    with pytest.raises(WrongUse, match=f"--patch {text}: "):
        parse_patch(text)


def test_another_patch_draws_what_was_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens of 2 x 2 cells and 8 steps hold those, and a week that is half known comes back as it was."""
    monkeypatch.setitem(SIZES, "tiny", {"width": 24, "depth": 1, "heads": 2})
    traffic, place = world("here", users=False)
    design = FoMoDesign("tiny", parse_patch("2, 2, 8"))
    bundle, _ = fit_fomo(data((traffic, place)), design=design, plan=PLAN)
    assert bundle.model.token == (2, 2, 8)
    block = torch.arange(4 * 4 * 64.0).view(1, 4, 4, 64)
    tokens = bundle.model._tokens(block)
    torch.testing.assert_close(tokens[0, 1], block[0, :2, :2, 8:16].reshape(-1))
    torch.testing.assert_close(bundle.model._untokens(tokens, 4, 4, 64), block)
    truth = traffic["traffic"].values[:, :80]
    values = truth.copy()
    values[:20, 40:] = np.nan
    nothing = np.full_like(values, np.nan)
    task = FoMoTask(place, values, nothing, np.arange(80) % 168, 60, 0)
    drawn = draw_field(bundle, task, Settings(0, solver="gaussian", steps=3))[0]
    seen = ~np.isnan(values)
    np.testing.assert_array_equal(drawn[seen], truth[seen])
    assert np.isfinite(drawn).all()
    assert abs(np.log(drawn[:20, 40:].mean() / truth[:20, 40:].mean())) < 0.5
