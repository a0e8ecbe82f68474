"""What a sampler is told, and what it is to the training loop, to a model folder and to the drawing loop; where, and in
what numbers, a network computes.

A network keeps the arguments that it was made with in `config`, under the names that diffusers gives all this, and
diffusers writes and reads it; but diffusers takes a second to import, so that it is only loaded for that.
"""

from __future__ import annotations

import copy
import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from samplers import ENTRY_POINTS, SAMPLERS

DAYS = 7
HOURS = 24
WEEK = DAYS * HOURS  # hours in a window: every denoiser draws one week at a time
LOSS_DRAWS = 20  # of the noise, of which the loss of one series is the mean
WIDER = 4  # times as many series at once on a device: those for a CPU are chosen for its caches


@dataclass(frozen=True)
class Condition:
    """Everything a sampler is told, for B series of T = 168 k numbers (a week at k steps an hour, see `Sampler`).

    place: (B, P) what stands there: the station embedding F_s of STOUTER eq. 2; zeros where nothing is known.
    time: (1 or B, T, Q) what time it is: the embedding F_t of STOUTER eq. 1 at every step, in local time.
    level: (B, 2) standardised log mean level of the series, and 1 where it is given; 0, 0 where it is not: wherever the
    network draws the level itself (`Sampler.draws_level`).
    network: (B,) index of the measured network that the place belongs to; 0 = a network that nobody measured.
    known: (B, T) values that are given already (of the scale and in the order of x), nan where they are to be drawn;
    None: all unknown.
    profile: (B, 2, T) the usual week of the place, by its own past, at the steps of this window (as x is), and
    how far to trust it, n / (n + 1) for a past of n weeks; 0, 0 where it holds no such step. None: no past anywhere.
    service: (B,) which of the services of a model it is, 0 = the main one; None: all are.
    amplitude: (B,) standardised log of how far the series departs from what is expected of it; x is over that. None:
    x is as far from 0 as it is.
    """

    place: Tensor
    time: Tensor
    level: Tensor
    network: Tensor
    known: Tensor | None = None
    profile: Tensor | None = None
    service: Tensor | None = None
    amplitude: Tensor | None = None

    def rows(self, index: Tensor | slice) -> Condition:
        """The same condition for some of the series. index: (n,) positions, or a slice."""
        return self._map(lambda tensor: tensor if tensor.shape[0] == 1 and tensor is self.time else tensor[index])

    def to(self, device: torch.device | str) -> Condition:
        """The same condition on a device."""
        if self.place.device == torch.device(device):
            return self
        return self._map(lambda tensor: to_device(tensor, str(device)))

    def with_known(self, known: Tensor | None) -> Condition:
        """The same condition with other given values `known` (B, T)."""
        return replace(self, known=known)

    def without_place(self) -> Condition:
        """The unconditional twin that classifier-free guidance compares with: no place, no level; the rest stays."""
        return replace(self, place=torch.zeros_like(self.place), level=torch.zeros_like(self.level))

    def _map(self, change: Callable[[Tensor], Tensor]) -> Condition:
        return Condition(
            place=change(self.place),
            time=change(self.time),
            level=change(self.level),
            network=change(self.network),
            known=None if self.known is None else change(self.known),
            profile=None if self.profile is None else change(self.profile),
            service=None if self.service is None else change(self.service),
            amplitude=None if self.amplitude is None else change(self.amplitude),
        )


@dataclass(frozen=True)
class Turn:
    """One part of a training step: the parameters that move, and the loss that they move down."""

    loss: Callable[[Tensor, Condition, torch.Generator], Tensor]
    parameters: list[nn.Parameter]


def register_to_config(init: Callable[..., None]) -> Callable[..., None]:
    """Decorator of the constructor of a `Network`: its arguments, defaults included, are kept in `config`.

    Arguments with a leading underscore are notes in a config file of whoever wrote it, and left out.
    """
    signature = inspect.signature(init)

    @functools.wraps(init)
    def kept(self: Network, *args: Any, **kwargs: Any) -> None:
        bound = signature.bind(self, *args, **{name: kwargs[name] for name in kwargs if not name.startswith("_")})
        given = dict(bound.arguments)
        bound.apply_defaults()
        self.register_to_config(**dict(list(bound.arguments.items())[1:]))
        init(**given)

    return kept


class Network(nn.Module):
    """A network that keeps the arguments it was made with, see `register_to_config`."""

    _internal_dict: dict[str, Any]  # the name that diffusers looks for

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of the constructor by name; not to be changed but by `register_to_config`."""
        return self._internal_dict

    def register_to_config(self, **arguments: Any) -> None:
        """Keep further or other arguments."""
        self._internal_dict = {**self.__dict__.get("_internal_dict", {}), **arguments}

    def save_pretrained(self, folder: Any, **options: Any) -> None:
        """Write config.json and safetensors into a folder, as diffusers does."""
        twin: Any = copy.copy(self)
        twin.__class__, twin._internal_dict = of_diffusers(type(self)), dict(self.config)
        twin.save_pretrained(folder, **options)

    @classmethod
    def from_pretrained(cls, folder: Any, **options: Any) -> Self:
        """Read what `save_pretrained` wrote, as diffusers does."""
        found: Any = of_diffusers(cls).from_pretrained(folder, **options)
        found.__class__ = cls
        return found  # type: ignore[no-any-return]


def of_diffusers(kind: type[nn.Module]) -> Any:
    """A subclass of a kind of network that is one of diffusers' models, too."""
    from diffusers.configuration_utils import ConfigMixin
    from diffusers.models.modeling_utils import ModelMixin

    own = {"__init__": kind.__init__, "config_name": "config.json"}
    return type(kind.__name__, (ModelMixin, kind, ConfigMixin), own)


class Sampler(Network, ABC):
    """A trainable sampler of weeks; it draws in many steps (`diffusion.Denoiser`) or at once (`diffusion.OneShot`).

    A series x is (B, 168 k), k numbers for each of the 168 hours of a week that begins at a local midnight, on any day
    of the week. They are standardised logarithms, without a unit (`gentraffic.modelling.features.Scaler`). With k = 1,
    each is an hour. With k > 1 they are not the steps one after another: `x.view(B, 168, k)[..., 0]` are the means of
    the hours, and the k - 1 numbers behind each mean are the cosine coefficients (DCT-II) of the steps within that
    hour, each of unit spread. An hour with a step that was not measured is nan in all its numbers.

    cadences: the steps per hour k that it can draw. series_at_once: how many series one call is best given: with fewer,
    threads wait for the interpreter; with more, activations leave the processor's cache. log_losses: whether `losses`
    are logarithms already (minus log densities, a critic's values), or above 0.

    How a class is trained, unless it says otherwise, as STUNet is: a level model draws how much traffic a cell carries
    in all, and the network draws how a week departs from what the surroundings tell.
    draws_level: the network draws the level of a cell as well, from its place alone, unless a fit asks for the level
    model. takes_expected_week: what a cell's surroundings tell of its week is taken from the series, and added to what
    is drawn; False: the network draws whole weeks. further: arguments of the constructor, of `FURTHER`, that it is
    given beside those that all have. fits_privately: its gradient of a cell can be taken, clipped and noised
    (`fit --dp-epsilon`). plan, plan_own_level: fields of `gentraffic.training.sampler_task.Plan` that
    differ from its defaults, always, and where the network draws the level too.
    """

    cadences: tuple[int, ...]
    series_at_once: int = 128
    log_losses: bool = False
    draws_level: ClassVar[bool] = False
    takes_expected_week: ClassVar[bool] = True
    further: ClassVar[frozenset[str]] = frozenset()
    fits_privately: ClassVar[bool] = False
    plan: ClassVar[Mapping[str, float]] = {}
    plan_own_level: ClassVar[Mapping[str, float]] = {}

    @classmethod
    def is_one_shot(cls) -> bool:
        """Whether it draws at once, as `diffusion.OneShot`; else in many steps, as `diffusion.Denoiser`."""
        return hasattr(cls, "noise_size")

    @abstractmethod
    def loss(self, x: Tensor, condition: Condition, generator: torch.Generator) -> Tensor:
        """What training makes small, scalar. x: (B, 168 k) clean series, nan where nothing was measured."""

    def turns(self) -> list[Turn]:
        """The turns of one training step, in order: one with everything, unless parts of the model are rivals."""
        return [Turn(self.loss, list(self.parameters()))]

    def score(self, x: Tensor, condition: Condition, generator: torch.Generator) -> Tensor:
        """What tells on held-out windows when to stop, scalar, lower is better: the loss, where that can tell.

        x: (B, 168 k) clean series, nan where nothing was measured.
        """
        return self.loss(x, condition, generator)

    def losses(self, x: Tensor, condition: Condition, seed: int) -> Tensor:
        """How badly the sampler takes each series by itself, on noise that is the same for every series: (B,), float64.

        What membership inference asks a model (Yeom et al. 2018). Here: the loss of each series alone, a mean over
        LOSS_DRAWS draws of its noise. x: (B, 168 k) clean series, all measured.
        """
        total = torch.zeros(len(x), dtype=torch.float64)
        for row in range(len(x)):
            some = slice(row, row + 1)
            for number in range(LOSS_DRAWS):
                generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
                total[row] += self.loss(x[some], condition.rows(some), generator).cpu().double()
        return total / LOSS_DRAWS


TAKES = ("place_dim", "time_dim", "networks", "width", "cadences", "dropout", "use_time", "use_place", "use_profile")
DENOISER_TAKES = ("rest", "num_train_timesteps", "prediction_type")  # what makes its `diffusion.Noise` again
FURTHER = {  # what else a constructor may take, if `Sampler.further` names it
    "channels": "widths of its levels (tuple of int)",
    "hours_per_token": "hours that enter as one position (int)",
    "fusion": "a key of samplers.layers.FUSIONS: `fit --fusion`",
    "prediction_type": "one of samplers.diffusion.PREDICTIONS: `fit --prediction`",
    "num_train_timesteps": "steps of the noise (int): `fit --diffusion-steps`",
    "loss_type": "mse or l1: `fit --loss`",
    "gate": "whether the noisy series reaches the answer through a gate (bool)",
    "direct": "whether the embeddings enter as they are (bool)",
    "attention": "a key of samplers.layers.ATTENTIONS",
    "spectrum": "(85,) power of the frequencies of a week of hours, or None",
    "profile_spread": "(networks + 1, knots) how far weeks depart from the profile that they are told, or a float",
    "profile_shift": "the same of the mean departures",
    "use_amplitude": "whether it is told how far a series departs (bool): `Condition.amplitude`",
    "services": "how many services it draws (int); the condition says which: `Condition.service`",
}


def check_constructor(kind: type[Sampler]) -> None:
    """Raise TypeError, naming an argument, where training, saving and loading need what a constructor does not take."""
    taken = inspect.signature(kind).parameters
    where = f"{kind.__module__}: {kind.__name__}.__init__"
    wanted = TAKES if kind.is_one_shot() else TAKES + DENOISER_TAKES
    missing = [name for name in wanted if name not in taken]
    if missing:
        purpose = "a sampler takes" if missing[0] in TAKES else "a denoiser is saved and loaded with"
        raise TypeError(f"{where} lacks {', '.join(missing)}: {purpose} {', '.join(wanted)}")
    for name in sorted(kind.further):
        if name not in FURTHER:
            raise TypeError(f"{where}: nothing is known of {name!r}, which `further` names: {', '.join(FURTHER)}")
        if name not in taken:
            raise TypeError(f"{where} lacks {name}, which `further` names")
    if not hasattr(kind.__init__, "__wrapped__"):
        raise TypeError(f"{where} lacks the decorator register_to_config: without it no model folder can be loaded")


def sampler_class(name: str) -> type[Sampler]:
    """The class of one of `samplers.sampler_names()`, loaded now. Raises KeyError; TypeError for what is no Sampler."""
    if name in SAMPLERS:
        module, _, kind = SAMPLERS[name].partition(":")
        return getattr(import_module(module), kind)  # type: ignore[no-any-return]
    for point in entry_points(group=ENTRY_POINTS, name=name):
        plugged = point.load()
        if not (isinstance(plugged, type) and issubclass(plugged, Sampler)):
            raise TypeError(f"{point.value}: the sampler {name!r} is no subclass of samplers.Sampler")
        return plugged
    raise KeyError(name)


def computing_in(precision: str, device: str) -> AbstractContextManager[Any]:
    """While it lasts, products and convolutions of this thread compute in one of `samplers.PRECISIONS`."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)


def at_once(series: int, device: str) -> int:
    """How many series one call of a network takes on a device; `series` on the CPU."""
    return series if torch.device(device).type == "cpu" else WIDER * series


@contextmanager
def own_stream(device: str) -> Iterator[None]:
    """On CUDA, a stream for this tile alone: its copies to the host do not wait for other tiles, nor they for it."""
    if not has_streams(device):
        yield
        return
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))  # what lies on the device by then is there
    with torch.cuda.stream(stream):
        yield


def to_device(tensor: Tensor, device: str) -> Tensor:
    """The tensor, (any shape), on a device; CUDA gets it from pinned memory, without waiting."""
    if not has_streams(device):
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def to_host(tensor: Tensor) -> Tensor:
    """The tensor, (any shape), as float32 on the CPU; from CUDA by way of pinned memory, waiting for its own stream."""
    tensor = tensor.float()
    if not has_streams(str(tensor.device)):
        return tensor.cpu()
    out = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    out.copy_(tensor, non_blocking=True)
    torch.cuda.current_stream(tensor.device).synchronize()
    return out


def has_streams(device: str) -> bool:
    """Whether it is a CUDA device that is there."""
    return torch.device(device).type == "cuda" and torch.cuda.is_available()
