"""A sampler of one's own is one file and one line in `samplers.SAMPLERS`: fitted, saved, loaded, drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import xarray as xr
from fomo_examples import world
from own_samplers import Forgetful, Mine, affine

import gentraffic
import samplers
from gentraffic.api.fitted import FitResult
from gentraffic.api.models import FitOptions
from gentraffic.errors import WrongUse
from gentraffic.io.files import write_context, write_traffic
from gentraffic.training import fitting
from gentraffic.training.fitting import Design, build, expects_week, plan_for, takes_services
from gentraffic.training.options import design_of
from gentraffic.training.sampler_task import Plan
from samplers.diffusion import Noise, Rest, read_rest
from samplers.hours import HourEnter
from samplers.sampler import register_to_config


def files(folder: Path) -> tuple[Path, Path]:
    """Measured traffic, and the context of its cells."""
    traffic, place = world("here", 16)
    write_traffic(traffic.drop_vars("users"), folder / "t.nc")
    write_context(place.assign_attrs(network="here"), folder / "c.nc")
    return folder / "t.nc", folder / "c.nc"


@pytest.mark.parametrize("kind", ["at once", "in many steps"])
def test_one_file_and_one_line_make_a_sampler(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = affine() if kind == "at once" else Mine
    monkeypatch.setitem(samplers.SAMPLERS, "mine", f"{chosen.__module__}:{chosen.__name__}")  # the one line
    traffic, place = files(tmp_path)
    monkeypatch.setattr(fitting, "pretrain", lambda *args, **more: iter(()))  # takes seconds
    fitted = gentraffic.fit("mine", traffic, place, out=tmp_path / "model", steps=3, batch=4, holdout=0)
    assert fitted is not None
    assert "drawn by the level model (level); the network draws the departures of a week" in fitted.notes[-1]
    learned: Any = gentraffic.load_model(tmp_path / "model")
    assert learned.weeks.networks, "what the surroundings tell is added to what it draws"
    assert not learned.scaler.own_level
    model = gentraffic.load_model(tmp_path / "model")
    asked: dict[str, Any] = {"days": 2, "members": 2, "seed": 5}
    drawn = gentraffic.sample(place, model=tmp_path / "model", **asked)
    xr.testing.assert_identical(drawn, gentraffic.sample(place, model=model, **asked))
    values = drawn["traffic"].values
    assert np.isfinite(values).all()
    assert (values >= 0).all()
    assert (values[0] != values[1]).mean() > 0.9
    if kind == "at once":
        assert model.info.fixed == {"steps": 1}
    else:
        assert {"steps", "solver"} <= model.info.supports
        assert learned.model.noise.rest is not None, "what was learned of the noise comes back from the folder"
        few = gentraffic.sample(place, model=model, steps=1, **asked)["traffic"].values
        assert (few != values).any()


def test_what_a_fit_says_in_python_names_functions() -> None:
    said = FitResult(Path("m"), ("here",), held_out={"here": ["a", "b"]}).sentences()
    assert said == ("2 cells were held out: `gentraffic.split(model=...)` finds them in a file again",)


def test_a_denoiser_that_could_not_be_loaded_is_refused_before_it_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(samplers.SAMPLERS, "mine", f"{Forgetful.__module__}:Forgetful")
    traffic, place = files(tmp_path)
    with pytest.raises(WrongUse, match=r"Forgetful.__init__ lacks rest, num_train_timesteps, prediction_type"):
        gentraffic.fit("mine", traffic, place, out=tmp_path / "model", steps=10**9, holdout=0)
    assert not (tmp_path / "model").exists()


class Unbuilt(Mine):
    """One whose constructor fails."""

    @register_to_config
    def __init__(
        self, place_dim: int = 32, time_dim: int = 32, networks: int = 1, width: int = 8,
        cadences: tuple[int, ...] = (1, 2, 4, 6), dropout: float = 0.0, use_time: bool = True, use_place: bool = True,
        use_profile: bool = False, rest: Rest | None = None, num_train_timesteps: int = 1000,
        prediction_type: str = "v_prediction",
    ) -> None:  # fmt: skip
        super().__init__()
        self.noise = Noise(num_train_timesteps, prediction_type=prediction_type, rest=read_rest(rest, networks))
        self.enter = HourEnter(1, width)  # type: ignore[call-arg]


def test_a_sampler_that_cannot_be_built_is_refused_before_the_graphs_are_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(samplers.SAMPLERS, "mine", f"{Unbuilt.__module__}:Unbuilt")
    monkeypatch.setattr(fitting, "fit_graphs", None)  # calling it would fail
    traffic, place = files(tmp_path)
    with pytest.raises(WrongUse, match=r"mine: Unbuilt cannot be built: TypeError: HourEnter.__init__\(\) missing 1 "):
        gentraffic.fit("mine", traffic, place, out=tmp_path / "model", holdout=0)


@pytest.mark.slow
def test_progress_of_a_fit_is_told_of_the_graphs_first(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    traffic, place = files(tmp_path)
    gentraffic.fit("vae", traffic, place, out=tmp_path / "model", steps=3, holdout=0,
                   progress=lambda done, of: told.append((done, of)))  # fmt: skip
    assert told == [*((step, 400) for step in range(1, 401)), (1, 3), (2, 3), (3, 3)]


class Whole(Mine):
    """One that is trained as published baselines are, for a shorter time."""

    draws_level = True
    takes_expected_week = False
    plan: ClassVar = {"steps": 7}
    plan_own_level: ClassVar = {"place_keep": 0.9}


class Spectral(Mine):
    """One that takes more than it must, but not all that it says."""

    further = frozenset({"prediction_type", "spectrum"})


def rules(name: str, **options: Any) -> tuple[bool, bool, bool]:
    """Whether the network draws levels, departs from an expected week, and may learn several services."""
    design = design_of(name, FitOptions(**options))
    return design.own_level, expects_week(design), takes_services(design)


def test_a_sampler_is_trained_by_the_rules_of_its_class_and_else_by_those_of_stouter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for kind in (Mine, Whole):
        monkeypatch.setitem(samplers.SAMPLERS, kind.__name__.lower(), f"{kind.__module__}:{kind.__name__}")
    assert rules("stouter") == (False, True, True)
    assert rules("mine") == (False, True, False)
    for baseline in ("vae", "tcn-gan", "diffwave", "whole"):
        assert rules(baseline) == (True, False, False)
        assert rules(baseline, level="model") == (False, False, False)
    assert rules("mine", level="network") == rules("stouter", level="network") == (True, False, False)
    assert rules("mine", profile=True) == rules("stouter", profile=True) == (False, False, False)
    assert plan_for(Design("mine")) == Plan()
    assert plan_for(Design("whole")) == Plan(steps=7)
    assert plan_for(Design("whole", own_level=True)) == Plan(steps=7, place_keep=0.9)
    assert plan_for(Design("diffwave", own_level=True)) == Plan(steps=1300, place_noise=0.3, place_keep=0.9)


def test_what_a_class_says_it_takes_it_is_given_or_refused_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(samplers.SAMPLERS, "mine", f"{Mine.__module__}:Mine")
    with pytest.raises(WrongUse, match="prediction=epsilon: mine has no such option"):
        gentraffic.fit("mine", "t.nc", "c.nc", out="model", prediction="epsilon")
    monkeypatch.setitem(samplers.SAMPLERS, "mine", f"{Spectral.__module__}:Spectral")
    with pytest.raises(WrongUse, match="lacks spectrum, which `further` names"):
        build(Design("mine"), 1, (1,))
    monkeypatch.setattr(Spectral, "further", frozenset({"prediction_type"}))
    assert build(Design("mine", prediction_type="epsilon"), 1, (1,)).config["prediction_type"] == "epsilon"
    monkeypatch.setattr(Mine, "plan", {"stps": 7})
    with pytest.raises(WrongUse, match="plan has 'stps'"):
        plan_for(Design("mine"))
