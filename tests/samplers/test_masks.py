"""FoMo's four masks: `known` is True where observed, whatever the kind."""

import numpy as np
import pytest

from samplers.masks import MASKS, adjacent, known_tokens, values_known

XY = np.stack(np.divmod(np.arange(16), 4), axis=1).astype(float)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_forecasts_know_the_past_and_hide_the_future() -> None:
    for kind, low, high in (("short", 4, 7), ("long", 1, 3)):
        seen = set()
        for seed in range(200):
            known = known_tokens(kind, XY, 8, rng(seed))
            first = int(known[0].sum())
            assert (known == (np.arange(8) < first)).all()  # the past of every place, nothing after it
            seen.add(first)
        assert seen == set(range(low, high + 1))


def test_four_tokens_hold_the_papers_tasks() -> None:
    short = {int(known_tokens("short", XY, 4, rng(s))[0].sum()) for s in range(50)}
    long = {int(known_tokens("long", XY, 4, rng(s))[0].sum()) for s in range(50)}
    assert short == {2, 3}  # 48 -> 16 is 3 of 4 tokens of 16
    assert long == {1}  # 16 -> 48


def test_generation_hides_adjacent_places_over_the_whole_time() -> None:
    whole = 0
    for seed in range(400):
        known = known_tokens("generation", XY, 4, rng(seed))
        hidden = ~known[:, 0]
        assert (known == known[:, :1]).all()
        assert hidden.any()
        whole += hidden.all()
        if 1 < hidden.sum() < 16:  # no hidden place is further from the nearest other than one cell
            apart = np.abs(XY[hidden][:, None] - XY[hidden][None]).max(-1) + 99 * np.eye(hidden.sum())
            assert apart.min(1).max() == 1
    assert 0.55 < whole / 400 < 0.72  # WHOLE = 0.6, and some of the rest by chance


def test_random_masks_show_half_on_average_and_hide_something() -> None:
    share = [known_tokens("random", XY, 4, rng(s)) for s in range(400)]
    assert all((~k).any() for k in share)
    assert 0.45 < np.mean(share) < 0.55
    assert np.std([k.mean() for k in share]) > 0.15  # the ratio itself varies


@pytest.mark.parametrize("kind", MASKS)
def test_a_mask_follows_its_stream_alone(kind: str) -> None:
    assert (known_tokens(kind, XY, 4, rng(3)) == known_tokens(kind, XY, 4, rng(3))).all()


def test_what_cannot_be_masked_is_refused() -> None:
    with pytest.raises(ValueError, match="1 token"):
        known_tokens("short", XY, 1, rng())
    with pytest.raises(ValueError, match="no mask 'half'"):
        known_tokens("half", XY, 4, rng())


def test_adjacent_takes_the_nearest() -> None:
    line = np.stack([np.arange(10.0), np.zeros(10)], axis=1)
    for seed in range(30):
        where = np.flatnonzero(adjacent(line, 4, rng(seed)))
        assert len(where) == 4
        assert where[-1] - where[0] == 3


def test_a_token_mask_becomes_a_value_mask() -> None:
    assert values_known(np.array([[True, False]]), 3).tolist() == [[True, True, True, False, False, False]]
