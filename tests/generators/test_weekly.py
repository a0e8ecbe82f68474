"""Drawing a region: the promise of equal bits, weeks without a seam, local time, levels."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bundle_examples import context
from gaussian_denoiser import Gaussian, ar1
from numpy.typing import NDArray
from torch import Tensor

from gentraffic.dataset.calendar import FREQUENCIES, make_calendar
from gentraffic.errors import WrongUse
from gentraffic.generators.base import bundled_models
from gentraffic.generators.folder import Bundle, load_bundle, save_bundle
from gentraffic.generators.weekly import (
    OVERLAP_DAYS,
    Settings,
    _shared_noise,
    draw_traffic,
    time_of_windows,
    window_starts,
)
from gentraffic.io.files import read_context
from gentraffic.modelling.expected_week import ExpectedWeeks, shared_by_neighbours
from gentraffic.modelling.features import Scaler, read_places
from gentraffic.modelling.level_noise import SITES, level_noise
from gentraffic.modelling.random_streams import WEEKS_M, bilinear, lattice_seeds, shape_seeds
from gentraffic.places.find import CONTEXTS
from samplers import WEEK, Condition, Noise
from samplers.diffusion import starting_noise

MONDAY = make_calendar("2026-01-05", 7, "1h", "Europe/Rome")
QUICK = Settings(steps=2)
TILE = 512  # of the tiny bundle


@pytest.fixture(scope="module")
def region(tiny_bundle: Bundle) -> NDArray[np.float32]:
    """2,000 cells in the order of their file."""
    return draw_traffic(tiny_bundle, context(2000), MONDAY, QUICK)


def some_cells() -> list[int]:
    return [int(cell) for cell in np.random.default_rng(0).permutation(2000)[:200]]


def test_a_region_is_whole_positive_and_not_the_same_everywhere(region: NDArray[np.float32]) -> None:
    assert region.shape == (1, 2000, WEEK)
    assert region.dtype == np.float32
    assert np.isfinite(region).all()
    assert (region >= 0).all()
    assert len(np.unique(region[0], axis=0)) == 2000


@pytest.mark.parametrize("tiles_at_once", [1, 2, 3])
def test_200_cells_alone_are_what_they_are_among_2000(
    tiny_bundle: Bundle, region: NDArray[np.float32], tiles_at_once: int
) -> None:
    cells = some_cells()
    alone = draw_traffic(tiny_bundle, context(2000), MONDAY, QUICK, cells=cells, tiles_at_once=tiles_at_once)
    np.testing.assert_array_equal(alone[0], region[0, cells])  # in the order asked for


def test_any_number_of_cells_gives_the_same_bits(tiny_bundle: Bundle, region: NDArray[np.float32]) -> None:
    for count in (1, 2, TILE - 1, TILE, TILE + 1):
        cells = some_cells()[:count]
        alone = draw_traffic(tiny_bundle, context(2000), MONDAY, QUICK, cells=cells)
        np.testing.assert_array_equal(alone[0], region[0, cells])
    assert draw_traffic(tiny_bundle, context(2000), MONDAY, QUICK, cells=[]).shape == (1, 0, WEEK)


def test_the_order_of_the_file_does_not_matter(tiny_bundle: Bundle, region: NDArray[np.float32]) -> None:
    order = np.random.default_rng(1).permutation(2000)
    turned = context(2000).isel(cell=order)
    where = np.flatnonzero(np.isin(order, some_cells()[:100])).tolist()
    got = draw_traffic(tiny_bundle, turned, MONDAY, QUICK, cells=where)
    np.testing.assert_array_equal(got[0], region[0, order[where]])


def test_further_members_leave_the_first_as_they_are(tiny_bundle: Bundle, region: NDArray[np.float32]) -> None:
    cells = some_cells()[:70]
    three = draw_traffic(tiny_bundle, context(2000), MONDAY, replace(QUICK, members=3), cells=cells)
    assert three.shape == (3, 70, WEEK)
    np.testing.assert_array_equal(three[0], region[0, cells])
    two = draw_traffic(tiny_bundle, context(2000), MONDAY, replace(QUICK, members=2), cells=cells, tiles_at_once=2)
    np.testing.assert_array_equal(two, three[:2])
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert (three[i] != three[j]).mean() > 0.99
    other = draw_traffic(tiny_bundle, context(2000), MONDAY, replace(QUICK, seed=1), cells=cells)
    assert (other[0] != three[0]).mean() > 0.99


@pytest.mark.parametrize("solver", ["ddpm", "unipc"])
def test_other_solvers_keep_the_promise(tiny_bundle: Bundle, solver: str) -> None:
    recipe = replace(QUICK, solver=solver, guidance=1.5, members=2)
    cells = some_cells()[:90]
    whole = draw_traffic(tiny_bundle, context(2000), MONDAY, recipe, cells=cells)
    few = draw_traffic(tiny_bundle, context(2000), MONDAY, recipe, cells=cells[40:45], tiles_at_once=1)
    np.testing.assert_array_equal(few, whole[:, 40:45])


def test_threads_of_torch_and_of_blas_change_no_bit(
    tiny_bundle: Bundle, region: NDArray[np.float32], tmp_path: Path
) -> None:
    cells = some_cells()[:100]
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        got = draw_traffic(tiny_bundle, context(2000), MONDAY, QUICK, cells=cells)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(got[0], region[0, cells])
    save_bundle(tiny_bundle, tmp_path / "model", "card")
    program = (
        "import sys, numpy as np; from bundle_examples import context;"
        "from gentraffic.generators.folder import load_bundle;"
        "from gentraffic.dataset.calendar import make_calendar;"
        "from gentraffic.generators.weekly import Settings, draw_traffic;"
        "calendar = make_calendar('2026-01-05', 7, '1h', 'Europe/Rome');"
        f"cells = {cells};"
        "x = draw_traffic(load_bundle(sys.argv[1]), context(2000), calendar, Settings(steps=2), cells=cells);"
        "np.save(sys.argv[2], x)"
    )
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "2")
    path = os.pathsep.join(str(p) for p in (Path(__file__).parents[1] / "support", Path(__file__).parents[2]))
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "model"), str(tmp_path / "x.npy")],
        check=True,
        env=os.environ | threads | {"PYTHONPATH": path},
    )
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy")[0], region[0, cells])


@pytest.mark.parametrize("freq", FREQUENCIES)
@pytest.mark.parametrize("ids", [None, "text"])
def test_cadences_and_names_of_cells(tiny_bundle: Bundle, freq: str, ids: str | None) -> None:
    places = context(9, ids=None if ids is None else np.array([f"MI-{i}" for i in range(9)], dtype=object))
    calendar = make_calendar("2026-01-07", 3, freq, "Europe/Rome")
    if freq == "15min":
        with pytest.raises(WrongUse, match="this model draws 60 min, 30 min, 10 min, not 15 min: give another --freq"):
            draw_traffic(tiny_bundle, places, calendar, QUICK)
        return
    got = draw_traffic(tiny_bundle, places, calendar, QUICK)
    assert got.shape == (1, 9, 72 * FREQUENCIES[freq])
    assert np.isfinite(got).all()


def test_days_on_which_the_clock_changes_are_read_from_the_same_week(tiny_bundle: Bundle) -> None:
    places = context(20)
    plain = draw_traffic(tiny_bundle, places, make_calendar("2026-03-23", 14, "1h", "UTC"), QUICK)
    spring = draw_traffic(tiny_bundle, places, make_calendar("2026-03-23", 14, "1h", "Europe/Rome"), QUICK)
    assert spring.shape[2] == 14 * 24 - 1
    lost = 6 * 24 + 2  # 29 March, 02:00
    np.testing.assert_array_equal(spring, np.delete(plain, lost, axis=2))  # all else stays at its local hour
    plain = draw_traffic(tiny_bundle, places, make_calendar("2026-10-19", 14, "1h", "UTC"), QUICK)
    autumn = draw_traffic(tiny_bundle, places, make_calendar("2026-10-19", 14, "1h", "Europe/Rome"), QUICK)
    assert autumn.shape[2] == 14 * 24 + 1
    np.testing.assert_array_equal(np.delete(autumn, lost + 1, axis=2), plain)
    between = (plain[:, :, lost] + plain[:, :, lost + 1]) / 2
    np.testing.assert_allclose(autumn[:, :, lost + 1], between, rtol=1e-6)  # the hour that comes twice


@pytest.mark.parametrize("days", [1, 6, 7, 8, 13, 14, 30])
def test_a_longer_series_begins_with_the_shorter_one(tiny_bundle: Bundle, days: int) -> None:
    places = context(5)
    whole = draw_traffic(tiny_bundle, places, make_calendar("2026-01-07", 31, "1h", "Europe/Rome"), QUICK)
    part = draw_traffic(tiny_bundle, places, make_calendar("2026-01-07", days, "1h", "Europe/Rome"), QUICK)
    np.testing.assert_array_equal(part, whole[:, :, : days * 24])


def test_windows_cover_every_day_and_share_one() -> None:
    for days in range(1, 60):
        starts = window_starts(days)
        assert starts[0] == 0
        assert starts[-1] + 7 >= days
        assert len(starts) == 1 or starts[-2] + 7 < days  # no window that nobody asked for
        assert all(b - a == 7 - OVERLAP_DAYS for a, b in pairwise(starts))


def stub(bundle: Bundle, model: Any) -> Bundle:
    """The bundle with another denoiser, and ratios that are plain exponentials of what it draws."""
    model.cadences = (1,)
    return replace(bundle, model=model, scaler=Scaler(mean=0.0, spread=0.5, floor=0.0))


def test_a_month_has_no_seam(tiny_bundle: Bundle) -> None:
    """The exact denoiser of an AR(1) week: every hour must follow the one before it as in the process itself."""
    rho = 0.95
    bundle = replace(stub(tiny_bundle, Gaussian(np.zeros(WEEK), ar1(WEEK, rho))), weeks=ExpectedWeeks())
    x = draw_traffic(bundle, context(192), make_calendar("2026-01-05", 25, "1h", "UTC"), Settings(steps=16))
    log = np.log(x[0].astype(np.float64)) / 0.5  # up to a constant per cell
    jump = np.diff(log, axis=1)  # (cells, hours - 1)
    at_hour = jump.std(axis=0)
    true = np.sqrt(2 * (1 - rho))
    np.testing.assert_allclose(at_hour.mean(), true, rtol=0.04)
    seams = [24 * (first + OVERLAP_DAYS) - 1 for first in window_starts(25)[1:]]
    assert len(seams) == 3
    error = true / np.sqrt(2 * 192)
    for seam in seams:
        assert abs(at_hour[seam] - true) < 4.5 * error, at_hour[seam]  # independent weeks would jump by 1.41
    before, after = log[:, seams[0] - 5], log[:, seams[0] + 7]  # and twelve hours across it
    np.testing.assert_allclose((after - before).std(), np.sqrt(2 * (1 - rho**12)), rtol=0.25)


class Watcher:
    """Draws nothing and remembers what it was told."""

    noise = Noise(prediction_type="sample")
    series_at_once = TILE

    def __init__(self) -> None:
        self.seen: list[tuple[Tensor, Condition]] = []

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        self.seen.append((x_t, condition))
        return torch.zeros_like(x_t) if condition.known is None else condition.known.nan_to_num() * 0


def test_what_the_network_is_told(tiny_bundle: Bundle) -> None:
    watcher = Watcher()
    bundle = stub(tiny_bundle, watcher)
    places = context(TILE + 16, "beta")
    calendar = make_calendar("2026-01-08", 14, "1h", "UTC")  # a Thursday
    draw_traffic(bundle, places, calendar, Settings(seed=5, steps=1), cells=range(3, 9 + TILE), tiles_at_once=1)
    assert len(watcher.seen) == 2 * 3  # two tiles, windows from days 0, 6 and 12
    read = read_places(places)
    log = bundle.levels.draw(read, np.zeros((1, TILE + 16)))[0]
    f_s = bundle.place(read)
    rows = np.arange(3, 3 + TILE)
    for window, (x, condition) in enumerate(watcher.seen[:3]):
        assert x.shape == (TILE, WEEK)  # always the same shape
        np.testing.assert_array_equal(condition.place.numpy(), f_s[rows])
        np.testing.assert_allclose(condition.level[:, 0].numpy(), bundle.levels.standard(read, log)[rows], rtol=1e-4)
        assert (condition.level[:, 1] == 1).all()
        assert (condition.network == 2).all()  # beta
        weekday = torch.tensor([(3 + 6 * window) % 7])
        assert torch.equal(condition.time, time_of_windows(bundle.time(), weekday, 1))
        if window == 0:
            assert condition.known is None
        else:
            assert condition.known is not None
            given = ~condition.known.isnan()
            assert given[:, : 24 * OVERLAP_DAYS].all()
            assert not given[:, 24 * OVERLAP_DAYS :].any()
    assert watcher.seen[3][1].place.shape == (TILE, 32)  # six cells, filled up to a whole tile
    nowhere = Watcher()
    draw_traffic(stub(tiny_bundle, nowhere), context(9, "unheard-of"), MONDAY, Settings(steps=1))
    assert (nowhere.seen[0][1].network == 1).all()  # of the same time zone, and measured at the most locations
    blind = Watcher()
    old = replace(stub(tiny_bundle, blind), weeks=ExpectedWeeks())  # a model of before rhythms were chosen
    draw_traffic(old, context(9, "unheard-of"), MONDAY, Settings(steps=1))
    assert (blind.seen[0][1].network == 0).all()


@pytest.mark.parametrize(
    ("network", "named", "asked", "number"),
    [
        ("", "", "", 1),
        ("", "", "auto", 1),
        ("beta", "", "", 2),
        ("", "alpha", "", 1),
        ("beta", "alpha", "", 1),
        ("", "alpha", "elsewhere", 3),
    ],
)
def test_whose_habits_the_cells_follow(tiny_bundle: Bundle, network: str, named: str, asked: str, number: int) -> None:
    watcher = Watcher()
    places = context(9, network).assign_attrs(habits=named)
    got = draw_traffic(stub(tiny_bundle, watcher), places, MONDAY, Settings(steps=1, habits=asked))
    assert (watcher.seen[0][1].network == number).all()
    plain = draw_traffic(stub(tiny_bundle, Watcher()), context(9, network), MONDAY, Settings(steps=1))
    assert np.ptp(plain, axis=2).min() > 0
    np.testing.assert_allclose(got.mean(2), plain.mean(2), rtol=1e-5)  # levels still come from the place


def test_each_member_of_an_unmeasured_place_has_a_mean_cell_of_1_whatever_is_drawn_of_it(tiny_bundle: Bundle) -> None:
    places, recipe = context(70, ""), replace(QUICK, members=4, seed=3)
    whole = draw_traffic(tiny_bundle, places, MONDAY, recipe)
    np.testing.assert_allclose(whole[:, :, :WEEK].mean(axis=(1, 2)), 1.0, rtol=1e-5)
    some = [41, 3, 66]
    np.testing.assert_array_equal(draw_traffic(tiny_bundle, places, MONDAY, recipe, cells=some), whole[:, some])


def test_a_change_moves_the_mean_cell_of_each_member_as_it_moves_that_of_the_control(tiny_bundle: Bundle) -> None:
    places, recipe = context(70, ""), replace(QUICK, members=4, seed=3)
    before = places["poi_count"]
    changed = places.assign(poi_count=before // 2, poi_count_before=before)
    ratio = [draw_traffic(tiny_bundle, c, MONDAY, recipe)[:, :, :WEEK].mean(axis=(1, 2)) for c in (changed, places)]
    gain = ratio[0] / ratio[1]
    assert gain[0] < 0.9
    np.testing.assert_allclose(gain[1:], gain[0], rtol=0.15)  # busy cells of a member may be those that lose most


@pytest.mark.parametrize("network", ["", "alpha"])
def test_the_level_is_the_mean_of_the_first_week(tiny_bundle: Bundle, network: str) -> None:
    places = context(70, network)
    recipe = replace(QUICK, members=3, seed=2)
    got = draw_traffic(tiny_bundle, places, make_calendar("2026-01-07", 8, "1h", "UTC"), recipe)
    read = read_places(places)
    ids = places["cell_id"].values.tolist()
    for member, z in enumerate(level_noise(2, ids, read.xy_m, [SITES] * 3)):
        level = np.exp(tiny_bundle.levels.draw(read, z[None])[0])
        level /= 1.0 if network else level.mean()  # nobody measured: 1 is the mean cell of each member
        np.testing.assert_allclose(got[member, :, :WEEK].mean(1), level, rtol=1e-4)
    quiet, busy = read.counts.sum(1).argsort()[[0, -1]]
    if network:
        assert got[0, busy, :WEEK].mean() > got[0, quiet, :WEEK].mean()  # a quiet cell is quiet


def test_a_cell_that_is_silent_all_week_stays_finite(tiny_bundle: Bundle) -> None:
    class Silent(Watcher):
        def __call__(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
            return torch.full_like(x_t, -50.0)

    bundle = replace(stub(tiny_bundle, Silent()), scaler=Scaler(mean=0.0, spread=1.0))
    got = draw_traffic(bundle, context(4), MONDAY, Settings(steps=1))
    assert (got == 0).all()


def test_the_network_goes_to_the_device_of_the_recipe(tiny_bundle: Bundle) -> None:
    moved: list[str] = []

    class Movable(Watcher):
        def to(self, device: str) -> Movable:
            moved.append(device)
            return self

    bundle = stub(tiny_bundle, Movable())
    draw_traffic(bundle, context(4), MONDAY, Settings(steps=1, device="cpu:0"))
    assert moved == ["cpu:0"]
    assert bundle.model.seen == []  # a copy went, the bundle's own stayed


def test_progress_is_told_tile_by_tile(tiny_bundle: Bundle) -> None:
    told: list[tuple[int, int]] = []
    recipe = replace(QUICK, members=2)
    draw_traffic(tiny_bundle, context(2 * TILE + 22), MONDAY, recipe, on_tile=lambda done, of: told.append((done, of)))
    assert told == [(i, 6) for i in range(1, 7)]


def test_wrong_use_is_told(tiny_bundle: Bundle) -> None:
    for recipe, message in (
        (Settings(members=0), "--members 0: give 1 or more"),
        (Settings(device="quantum"), "--device quantum: not on this machine"),
        (
            Settings(habits="atlantis"),
            "--rhythm atlantis: give auto, or a network that this model knows: alpha, beta",
        ),
    ):
        with pytest.raises(WrongUse, match=message) as told:
            draw_traffic(tiny_bundle, context(4), MONDAY, recipe)
        assert "\n" not in str(told.value)
    before = torch.get_num_threads()
    with pytest.raises(WrongUse, match="--solver magic: choose one of ddpm"):
        draw_traffic(tiny_bundle, context(4), MONDAY, Settings(solver="magic"))
    assert torch.get_num_threads() == before  # put back also after a failure


@pytest.mark.parametrize("model", ["stouter-base", "stouter-fast"])
def test_busy_cells_of_a_real_place_move_less_within_the_hour(model: str) -> None:
    """In Nanchang what moves within the hour is 22% of the variance in the quietest quarter, 4% in the busiest."""
    bundle = load_bundle(model)
    calendar = make_calendar("2026-03-02", 7, "30min", "Europe/Monaco")
    recipe = Settings(members=3, habits="uomo-nc", steps=1 if model == "stouter-fast" else 7)
    drawn = draw_traffic(bundle, read_context(CONTEXTS / "monaco.nc"), calendar, recipe)[2]
    ratio = (drawn / drawn.mean(1, keepdims=True))[np.argsort(drawn.mean(1))]
    quarters = np.array_split(ratio.reshape(len(ratio), 168, 2), 4)
    share = [float(part.var(2).mean() / part.var((1, 2)).mean()) for part in quarters]
    assert 0.1 < share[0] < 0.3
    assert 0.015 < share[3] < 0.06


def test_in_bf16_held_out_weeks_are_told_as_well_as_in_fp32(tiny_bundle: Bundle) -> None:
    """Of cells that the tiny model never saw: the score of the members, and their weeks, but for rounding."""
    from gentraffic.evaluation.metrics.summary import crps_cells

    drawn = [draw_traffic(tiny_bundle, context(64, seed=11), MONDAY, replace(QUICK, members=2, precision=name))
             for name in ("fp32", "bf16")]  # fmt: skip
    apart = np.linalg.norm(drawn[1] - drawn[0]) / np.linalg.norm(drawn[0])
    assert 0 < apart < 0.02
    real = np.random.default_rng(0).gamma(2.0, 0.5, drawn[0].shape[1:])
    scores = [crps_cells(real, members.astype(np.float64)).mean() for members in drawn]
    assert scores[1] == pytest.approx(scores[0], rel=0.01)


# --- neighbours -------------------------------------------------------------------------------------------------------


def test_noise_that_neighbours_share_is_standard_normal_and_as_alike_as_is_said() -> None:
    """Over many pairs of cells: the covariance of the lattice read bilinearly, and each cell's own part."""
    rng = np.random.default_rng(0)
    cells, shared = 600, 0.8
    xy = rng.uniform(0, 3000, (cells, 2))
    points, weight = bilinear(xy, WEEKS_M)
    unique, at = np.unique(points.reshape(-1, 2), axis=0, return_inverse=True)
    each = starting_noise(lattice_seeds(3, unique, 1, 0), WEEK).numpy()
    alone = starting_noise(shape_seeds(3, list(range(cells)), 1, 0), WEEK).numpy()
    noise = _shared_noise(alone, each, at.reshape(cells, 4), weight, shared).astype(np.float64)
    assert abs(noise.mean()) < 0.03
    assert noise.var() == pytest.approx(1.0, abs=0.03)
    onto = np.zeros((cells, len(unique)))
    np.put_along_axis(onto, at.reshape(cells, 4), weight, axis=1)
    expected = shared * (onto @ onto.T)
    found = noise @ noise.T / WEEK
    pairs = np.triu_indices(cells, 1)
    for low, high in ((0.1, 0.3), (0.3, 0.5), (0.5, 0.7), (0.7, 0.81)):
        some = (expected[pairs] > low) & (expected[pairs] <= high)
        assert found[pairs][some].mean() == pytest.approx(expected[pairs][some].mean(), abs=0.02)
    assert abs(found[pairs][expected[pairs] == 0].mean()) < 0.005


def test_the_share_of_neighbours_is_found_again() -> None:
    rng = np.random.default_rng(1)
    xy = rng.uniform(0, 4000, (400, 2))
    points, weight = bilinear(xy, WEEKS_M)
    unique, at = np.unique(points.reshape(-1, 2), axis=0, return_inverse=True)
    for shared in (0.0, 0.3, 0.8):
        rest = _shared_noise(
            rng.normal(0, 1, (400, WEEK)).astype(np.float32), rng.normal(0, 1, (len(unique), WEEK)).astype(np.float32),
            at.reshape(400, 4), weight, shared,
        )  # fmt: skip
        assert shared_by_neighbours(0.3 * rest.astype(np.float64), xy) == pytest.approx(shared, abs=0.05)
    assert shared_by_neighbours(rng.normal(0, 1, (9, WEEK)), np.full((9, 2), np.nan)) == 0.0


@pytest.mark.skipif("stouter-fast" not in bundled_models(), reason="no bundled model in this checkout")
def test_neighbours_of_a_real_place_depart_alike_and_far_cells_do_not() -> None:
    """As the rhythm's network has it; each cell alone, in any company, has the same bits."""
    bundle, place = load_bundle("stouter-fast"), read_context(CONTEXTS / "milan.nc")
    square = np.flatnonzero((place["row"].values < 52) & (place["row"].values >= 46) & (place["col"].values < 52)
                            & (place["col"].values >= 46)).tolist()  # fmt: skip
    far = np.flatnonzero((place["row"].values == 5) & (place["col"].values < 12)).tolist()
    drawn = draw_traffic(bundle, place, MONDAY, Settings(members=9), cells=[*square, *far]).astype(np.float64)
    log = np.log(drawn / drawn.mean(axis=2, keepdims=True) + 0.05)
    apart = (log - log.mean(axis=0)).transpose(1, 0, 2).reshape(drawn.shape[1], -1)
    alike = np.corrcoef(apart)
    xy = np.stack([place[axis].values[[*square, *far]] for axis in ("x", "y")], axis=1)
    metres = np.hypot(*(xy[:, None] - xy[None]).transpose(2, 0, 1))
    assert 0.45 < alike[(metres > 0) & (metres < 300)].mean() < 0.8
    assert abs(alike[metres > 3000].mean()) < 0.05
    few = draw_traffic(bundle, place, MONDAY, Settings(members=9), cells=[far[3], square[7]])
    np.testing.assert_array_equal(few, drawn[:, [len(square) + 3, 7]].astype(np.float32))


def test_a_model_of_before_shares_nothing() -> None:
    bundle = load_bundle("stouter-fast")
    old = {name: {k: v for k, v in week.items() if k != "shared"} for name, week in bundle.weeks.to_json().items()}
    assert set(ExpectedWeeks.from_json(old).shared.values()) == {0.0}
    assert bundle.weeks.shared["milan"] > 0.7
