"""Samplers of one's own, as CONTRIBUTING.md says how to make them: what a stranger's class is tried with."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from samplers import sampler_class, sampler_names
from samplers.diffusion import Noise, Rest, denoising_loss, read_rest
from samplers.hours import HourEnter, HourLeave, Surroundings
from samplers.layers import StepEmbedding, per_hour
from samplers.sampler import Condition, Sampler, register_to_config

PAGE = Path(__file__).parents[2] / "CONTRIBUTING.md"


class Mine(Sampler):
    """The smallest denoiser: one hour of the series and what is known of that hour; of the others, the mean."""

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
        self.week, self.leave = nn.Linear(width, width), HourLeave(width, cadences)

    def forward(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        k = per_hour(x_t.shape[1], self.cadences)
        hours = (self.enter([x_t]) + self.surroundings(condition, k) + self.step(t)[:, None]).tanh()
        out: Tensor = self.leave(hours + self.week(hours.mean(1, keepdim=True)), k)
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
    name = "affine_of_the_page"
    if name not in sys.modules:
        module = ModuleType(name)
        exec(compile(code_of_the_page(), str(PAGE), "exec"), module.__dict__)
        sys.modules[name] = module
    return sys.modules[name].Affine  # type: ignore[no-any-return]


def code_of_the_page() -> str:
    """The first block of Python in CONTRIBUTING.md."""
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    return code[1]


# What the suites of samplers run over: those of gentraffic, of packages that are installed, and a stranger's two.
EVERY = tuple(dict.fromkeys((*sampler_names(), "mine", "affine")))


def class_named(name: str) -> Any:
    """The class of one of EVERY."""
    return Mine if name == "mine" else affine() if name == "affine" else sampler_class(name)
