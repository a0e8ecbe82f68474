"""P3: every held-out cell once, and places of a network that the model does not know."""

from dataclasses import replace

import numpy as np
import pytest
from fomo_examples import data, tiny_fomo, world

from gentraffic.evaluation import fomo_tasks as p3
from gentraffic.generators.fomo.data import placed
from gentraffic.generators.fomo.folder import FoMoBundle


@pytest.fixture(scope="module")
def bundle() -> FoMoBundle:
    return tiny_fomo()


def held(bundle: FoMoBundle) -> p3.Held:
    ((source, region),) = data(world("elsewhere", seed=5))
    pair = source, placed(region, source, bundle.levels, bundle.weeks)
    return p3.held_out(pair, pair)


def test_windows_cover_every_cell_and_never_overlap(bundle: FoMoBundle) -> None:
    part = held(bundle)
    cells, steps = part.held.values.shape
    shown = np.zeros((cells, steps), dtype=int)
    for block, start in part.blocks:
        there = part.held.blocks[block].ravel()
        shown[there[there >= 0], start : start + 64] += 1
    assert (shown[:, : steps // 64 * 64] == 1).all()
    assert not shown[:, steps // 64 * 64 :].any()


def test_users_of_an_unknown_network_set_the_level_of_what_is_generated(bundle: FoMoBundle) -> None:
    part = held(bundle)
    assert part.held.users is not None
    _, cells = p3.real_of(part, 0)
    crowd = part.held.users.copy()
    crowd[7] *= 3
    busier = replace(part, held=replace(part.held, users=crowd))

    def cell(of: p3.Held, number: int, *, users: bool) -> np.floating:
        drawn = p3.model_members(bundle, of, "generation", users=users, members=0, city_mean=100.0)
        return drawn[0][cells == number].mean()

    before, after = (cell(of, 7, users=True) / cell(of, 8, users=True) for of in (part, busier))
    assert 2.5 < after / before < 3.5
    assert cell(busier, 7, users=False) == cell(part, 7, users=False)
