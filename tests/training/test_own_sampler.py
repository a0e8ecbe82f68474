"""A sampler of one's own is one file and one line in `samplers.SAMPLERS`: fitted, saved, loaded, drawn."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import xarray as xr
from fomo_examples import world
from torch import Tensor

import gentraffic
import samplers
from gentraffic.errors import WrongUse
from gentraffic.io.files import write_context, write_traffic
from gentraffic.training import fitting
from samplers.diffusion import Noise, Rest, denoising_loss, read_rest
from samplers.hours import HourEnter, HourLeave, Surroundings
from samplers.layers import StepEmbedding, per_hour
from samplers.sampler import Condition, Sampler, register_to_config

PAGE = Path(__file__).parents[2] / "CONTRIBUTING.md"


class Mine(Sampler):
    """The smallest denoiser: one hour of the series and what is known of that hour, nothing else."""

    @register_to_config
    def __init__(
        self, place_dim: int = 32, time_dim: int = 32, networks: int = 1, width: int = 8,
        cadences: tuple[int, ...] = (1, 2, 4, 6), dropout: float = 0.0, use_time: bool = True, use_place: bool = True,
        use_profile: bool = False, rest: Rest | None = None, num_train_timesteps: int = 1000,
        prediction_type: str = "v_prediction",
    ) -> None:  # fmt: skip
        super().__init__()
        self.noise = Noise(num_train_timesteps, prediction_type=prediction_type, rest=read_rest(rest, networks))
        self.cadences = tuple(cadences)
        self.surroundings = Surroundings(
            place_dim, time_dim, networks, width, cadences, dropout, use_time, use_place, use_profile
        )
        self.step, self.enter = StepEmbedding(width), HourEnter(1, width, cadences)
        self.leave = HourLeave(width, cadences)

    def forward(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        k = per_hour(x_t.shape[1], self.cadences)
        out: Tensor = self.leave(
            (self.enter([x_t]) + self.surroundings(condition, k) + self.step(t)[:, None]).tanh(), k
        )
        return out

    def loss(self, x: Tensor, condition: Condition, generator: Any) -> Tensor:
        return denoising_loss(self, self.noise, x, condition, generator)


class Forgetful(Mine):
    """One whose constructor does not take what is learned of its noise."""

    @register_to_config
    def __init__(
        self, place_dim: int = 32, time_dim: int = 32, networks: int = 1, width: int = 8,
        cadences: tuple[int, ...] = (1, 2, 4, 6), dropout: float = 0.0, use_time: bool = True, use_place: bool = True,
        use_profile: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()


def affine() -> type[Sampler]:
    """The one-shot sampler that CONTRIBUTING.md prints, as it stands there."""
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    module = ModuleType("affine_of_the_page")
    sys.modules[module.__name__] = module
    exec(compile(code[1], str(PAGE), "exec"), module.__dict__)
    return module.Affine  # type: ignore[no-any-return]


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
    gentraffic.fit("mine", traffic, place, out=tmp_path / "model", steps=3, batch=4, holdout=0)
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
        learned: Any = model
        assert learned.model.noise.rest is not None, "what was learned of the noise comes back from the folder"
        few = gentraffic.sample(place, model=model, steps=1, **asked)["traffic"].values
        assert (few != values).any()


def test_a_denoiser_that_could_not_be_loaded_is_refused_before_it_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(samplers.SAMPLERS, "mine", f"{Forgetful.__module__}:Forgetful")
    traffic, place = files(tmp_path)
    with pytest.raises(WrongUse, match=r"Forgetful.__init__ lacks rest, num_train_timesteps, prediction_type"):
        gentraffic.fit("mine", traffic, place, out=tmp_path / "model", steps=10**9, holdout=0)
    assert not (tmp_path / "model").exists()
