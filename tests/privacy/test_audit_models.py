"""Every kind of model as a subject of membership attacks: its loss by hand, what it finds, and what it must not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fomo_examples
import numpy as np
import pytest
import torch
import xarray as xr
from audit_examples import both_places, place, series, traffic
from numpy.typing import NDArray

import gentraffic
from forecasters import LightGBM
from gentraffic.cli.main import run
from gentraffic.errors import WrongUse
from gentraffic.forecasting.data import networks_of, whole
from gentraffic.forecasting.fit import Fitted, fit_forecaster
from gentraffic.forecasting.membership import cell_errors, forecaster_subject
from gentraffic.forecasting.task import Plan
from gentraffic.generators.fomo.folder import save_fomo
from gentraffic.io.files import write_context, write_traffic
from gentraffic.privacy.audit import models as m
from gentraffic.privacy.audit.fomo import FoMoSubject, fomo_losses, fomo_subject
from gentraffic.privacy.audit.statistics import auc_of
from samplers.fomo import FoMo

A, B, BOTH = both_places()
TRAIN, HOLDOUT = traffic(series(32, 0), A), traffic(series(40, 7), B)
JOINED = m.join(TRAIN, HOLDOUT, "traffic")


def tells(scores: NDArray[np.float64], members: int) -> float:
    """AUC of the first `members` cells against the others."""
    return auc_of(scores[:members], scores[members:]).value


@pytest.fixture(scope="module")
def trees() -> Fitted:
    """Boosted trees that know the days of 32 cells well."""
    return fit_forecaster("lightgbm", [whole(networks_of(TRAIN)[0])], plan=Plan(steps=120))


def test_a_forecasters_error_on_a_cell_is_that_of_its_forecasts() -> None:
    network = networks_of(JOINED)[0]
    fitted = fit_forecaster("yesterday", [whole(network)])
    found = cell_errors(fitted, network, 168)
    values = network.values[:, :168, 0]
    scaled = (values - values.mean(1, keepdims=True)) / values.std(1, keepdims=True)
    np.testing.assert_allclose(found, ((scaled[:, 24:] - scaled[:, :-24]) ** 2).mean(1), rtol=1e-3)
    with pytest.raises(WrongUse, match="yesterday learned nothing"):
        forecaster_subject(fitted, JOINED, "traffic")


def test_a_forecaster_that_learned_its_cells_is_found_and_strangers_are_not_accused(trees: Fitted) -> None:
    told = replace(trees, metadata={**trees.metadata, "split": (1.0, 0.0)})
    subject = forecaster_subject(told, JOINED, "traffic")
    assert subject.cell_id.tolist() == JOINED["cell_id"].values.tolist()
    assert isinstance(subject.fitted.model, LightGBM)
    scores = subject.scores(0)
    assert tells(scores, 32) > 0.68
    strangers = traffic(series(40, 11), place(40, 11, 501))
    others = forecaster_subject(told, m.join(HOLDOUT, strangers, "traffic"), "traffic").scores(0)
    assert 0.3 < tells(others, 40) < 0.7
    assert subject.identity(120, 0) != subject.identity(121, 0)


@pytest.mark.slow
def test_a_shadow_of_a_forecaster_knows_the_other_half(trees: Fitted) -> None:
    told = replace(trees, metadata={**trees.metadata, "split": (1.0, 0.0)})
    shadow = forecaster_subject(told, JOINED, "traffic").shadow(np.arange(72) >= 36, 120, 0, 0)
    assert auc_of(shadow[36:], shadow[:36]).value > 0.68


def fomo_world() -> tuple[xr.Dataset, xr.Dataset]:
    """Traffic without users, and its context."""
    made: tuple[xr.Dataset, xr.Dataset] = fomo_examples.world("here", cells=36, users=False)
    return made


@pytest.fixture(scope="module")
def fomo() -> FoMoSubject:
    """The tiny FoMo beside cells of its own network."""
    ds, where = fomo_world()
    return fomo_subject(fomo_examples.tiny_fomo(), ds, where, "traffic")


def test_fomos_loss_on_a_cell_is_its_denoising_error(fomo: FoMoSubject) -> None:
    scores = fomo.scores(0)
    assert scores.shape == (36,)
    assert sorted(fomo.region.blocks[fomo.region.blocks >= 0].tolist()) == list(range(36))  # each cell once
    np.testing.assert_allclose(np.exp(-scores), fomo_losses(fomo.bundle, fomo.source, fomo.region, 0))
    wild = replace(fomo.region, values=np.random.default_rng(0).permuted(fomo.region.values, axis=1))
    assert (fomo_losses(fomo.bundle, fomo.source, wild, 0) > np.exp(-scores)).mean() > 0.9  # strangers to it


def test_fomos_losses_are_the_parts_of_its_errors() -> None:
    torch.manual_seed(0)
    net = FoMo(width=24, depth=1, heads=2, token=(1, 1, 16), poi_dim=16, networks=1, cadences=(60,)).eval()
    scene: Any = fomo_scene(net)
    x = torch.randn(2, 4, 4, 64)
    with torch.inference_mode():
        one = net.losses(x, scene, 3)
        generator = torch.Generator().manual_seed(3)
        total = torch.zeros(2, dtype=torch.float64)
        for number in range(20):
            t = torch.full((2,), int((number + 0.5) / 20 * net.noise.num_train_timesteps))
            eps = torch.randn(1, 4, 4, 64, generator=generator).expand_as(x)
            total += net.errors(x, t, eps, scene).double()
    torch.testing.assert_close(one.mean((1, 2)), total / 20, rtol=1e-4, atol=1e-5)


def fomo_scene(net: FoMo) -> Any:
    """Two blocks of which nothing is known."""
    from samplers.fomo import FoMoCondition

    blank = torch.full((2, 4, 4, 64), torch.nan)
    return FoMoCondition(
        known=blank, exists=torch.ones(2, 4, 4, 64, dtype=torch.bool), hour=torch.arange(64.0).expand(2, -1),
        minutes=torch.tensor([60, 60]), xy=torch.zeros(2, 4, 4, 2), poi=torch.full((2, 4, 4, 16), torch.nan),
        users=blank, echo=blank, level=torch.full((2, 4, 4), torch.nan), network=torch.tensor([0, 1]),
    )  # fmt: skip


def test_shadow_models_say_what_the_attack_finds_and_nothing_is_found_in_noise() -> None:
    rng = np.random.default_rng(0)
    inside = np.stack([m._half(200, k, 1) for k in range(32)])
    hard = rng.normal(0, 2, 200)
    noise = rng.normal(0, 0.3, inside.shape)
    found, nothing = (m.shadow_power(hard + by * inside + noise, inside) for by in (0.3, 0.0))
    assert found.lira == 32
    assert found.loss < 16  # cells differ far more than memory helps: the loss alone hardly sees it
    assert found.auc > 0.7
    assert nothing.lira <= 5  # 1.6 by chance
    assert abs(nothing.auc - 0.5) < 0.05


def save_trees(folder: Path, trees: Fitted) -> None:
    gentraffic.forecast.fit("lightgbm", "train.nc", out=folder, steps=5)


def save_blocks(folder: Path, trees: Fitted) -> None:
    bundle = fomo_examples.tiny_fomo()
    save_fomo(replace(bundle, provenance={**bundle.provenance, "design": {}}), folder, "card")


@pytest.mark.parametrize("save", [save_trees, save_blocks])
def test_the_command_attacks_models_of_every_kind(
    save: Callable[[Path, Fitted], None], trees: Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    write_traffic(TRAIN, tmp_path / "train.nc")
    write_traffic(HOLDOUT, tmp_path / "holdout.nc")
    write_traffic(traffic(series(24, 9), place(24, 9, 501)), tmp_path / "drawn.nc")
    write_context(BOTH, tmp_path / "context.nc")
    save(tmp_path / "model", trees)
    capsys.readouterr()
    words = ["audit", "--train", "train.nc", "--holdout", "holdout.nc", "--synthetic", "drawn.nc", "--plants", "0"]
    assert run([*words, "--model", "model", "--context", "context.nc", "--json"]) == 0
    attack = json.loads(capsys.readouterr().out)["attacks"]["model loss"]
    assert (attack["members"], attack["non_members"]) == (32, 40)


def test_a_model_without_a_loss_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_traffic(TRAIN, tmp_path / "train.nc")
    write_context(BOTH, tmp_path / "context.nc")
    assert run(["fit", "knn", "--traffic", "train.nc", "--context", "context.nc", "-o", "knn", "--quiet"]) == 0
    words = ["audit", "--train", "train.nc", "--holdout", "train.nc", "--synthetic", "train.nc"]
    assert run([*words, "--model", "knn", "--context", "context.nc"]) == 6
    assert "a 'knn' has no loss that could be attacked" in capsys.readouterr().err
