"""`fit stouter --paper`: fitted, saved, loaded and drawn with the solver that suits it; what does not go is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_examples import PLAN, context, source
from fomo_examples import world

from gentraffic.api.models import FitOptions
from gentraffic.dataset.calendar import make_calendar
from gentraffic.errors import WrongUse
from gentraffic.generate.run import File, Request, run
from gentraffic.generators.base import Settings, describe, load_model
from gentraffic.generators.folder import Bundle, load_bundle, save_bundle
from gentraffic.generators.weekly import draw_traffic
from gentraffic.io.files import read_traffic
from gentraffic.training.distilling import distil
from gentraffic.training.fitting import PUBLISHED, Design, fit_graphs, fit_sampler, plan_for, recommended
from gentraffic.training.options import design_of

SMALL = replace(PUBLISHED, channels=(8, 8), train_timesteps=20)
WEEK = make_calendar("2026-01-05", 7, "1h", "Europe/Rome")


@pytest.fixture(scope="module")
def fitted() -> Bundle:
    """Really fitted, for a moment."""
    here = source("alpha", 16, 7)
    assert here.places is not None
    graphs = fit_graphs([here.places], None, SMALL, steps=3)
    plan = replace(PLAN, steps=3, batch=4)
    bundle, metadata = fit_sampler([here], design=SMALL, plan=plan, graphs=graphs)
    assert metadata["recommended_solver"] == bundle.info.recommended.solver
    return bundle


def test_it_is_saved_loaded_and_drawn_with_its_own_solver(fitted: Bundle, tmp_path: Path) -> None:
    save_bundle(fitted, tmp_path / "m", "card")
    loaded = load_bundle(tmp_path / "m")
    assert describe(str(tmp_path / "m")) == load_model(str(tmp_path / "m")).info
    assert loaded.info.recommended.solver != "gaussian"
    assert loaded.info.recommended.steps <= 20, "no more steps than noise was added in"
    config = json.loads((tmp_path / "m" / "scheduler" / "scheduler_config.json").read_text())
    kept = {k: config[k] for k in ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "prediction_type")}
    assert list(kept.values()) == [20, 1e-4, 0.02, "linear", "epsilon"]
    request = Request(days=2, seed=3, steps=2)  # two, to be quick
    place = world("alpha", 6)[1].assign_attrs(network="alpha")
    run(request, loaded, place, File(tmp_path / "x.nc"))
    drawn = run(request, fitted, place).traffic
    np.testing.assert_array_equal(read_traffic(tmp_path / "x.nc")["traffic"].values, drawn["traffic"].values)
    assert drawn.attrs["solver"] == loaded.info.recommended.solver
    assert fitted.model.config["rest"] is None


def test_the_station_graph_is_a_plain_gcn(fitted: Bundle) -> None:
    """Eq. 2: nothing of a node passes its neighbours by."""
    assert all(block.own is None for block in fitted.station.encoder)
    x, edges = torch.randn(3, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([[0, 1], [1, 0]])
    near = torch.tensor([[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1.0]])  # D^-1/2 (A + I) D^-1/2
    state = {k: v for k, v in fitted.station.state_dict().items() if k.startswith("encoder")}
    hidden = near @ x @ state["encoder.0.layer.lin.weight"].T + state["encoder.0.layer.bias"]
    hidden = torch.where(hidden > 0, hidden, state["encoder.0.activation.weight"] * hidden)  # PReLU
    want = near @ hidden @ state["encoder.1.layer.lin.weight"].T + state["encoder.1.layer.bias"]
    torch.testing.assert_close(fitted.station.embed(x, edges), want, atol=1e-5, rtol=1e-4)


def test_what_does_not_suit_a_model_of_the_noise_is_refused(fitted: Bundle) -> None:
    place = context(6, "alpha")
    with pytest.raises(WrongUse, match=r"--solver gaussian.*predicts the noise"):
        draw_traffic(fitted, place, WEEK, Settings())
    with pytest.raises(WrongUse, match="--prediction v_prediction"):
        distil(fitted, [])
    with pytest.raises(WrongUse, match="--history"):
        run(Request(days=2, history=Path("x.nc")), fitted, place)
    calls = replace(source("alpha", 16, 7), network="alpha:call_in", service="call_in")
    with pytest.raises(WrongUse, match="learns one service"):
        fit_sampler([source("alpha", 16, 7), calls], design=SMALL, plan=PLAN)


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_only_a_model_of_the_noise_is_drawn_otherwise(prediction: str) -> None:
    known = recommended(replace(Design(), prediction_type=prediction))
    assert bool(known) == (prediction == "epsilon")
    few = recommended(replace(Design(), prediction_type=prediction, train_timesteps=2))
    assert few["recommended_steps"] == 2


def test_the_options_are_the_published_design_with_what_is_asked() -> None:
    assert design_of("stouter", FitOptions()) == Design()
    assert design_of("stouter", FitOptions(paper=True)) == PUBLISHED
    asked = FitOptions(paper=True, channels="16,32", diffusion_steps=600, loss="l1", fusion="gated")
    want = replace(PUBLISHED, channels=(16, 32), train_timesteps=600, loss_type="l1", fusion="gated")
    assert design_of("stouter", asked) == want
    assert plan_for(PUBLISHED).place_noise == 0, "the paper blurs no embedding"
    for bad, says in (
        ({"channels": "16,30"}, "--channels 16,30"), ({"channels": "wide"}, "--channels wide"),
        ({"channels": "8,8,8,8"}, "1 to 3 widths"), ({"diffusion_steps": 2}, "--diffusion-steps 2"),
        ({"loss": "l3"}, "--loss l3: choose one of mse, l1"), ({"profile": True}, "--profile"),
        ({"prediction": "noise"}, "--prediction noise"),
    ):  # fmt: skip
        with pytest.raises(WrongUse, match=says):
            design_of("stouter", FitOptions(**{"paper": True, **bad}))  # type: ignore[arg-type]
    with pytest.raises(WrongUse, match="--prediction epsilon: a model with --profile predicts v_prediction"):
        design_of("stouter", FitOptions(profile=True, prediction="epsilon"))
