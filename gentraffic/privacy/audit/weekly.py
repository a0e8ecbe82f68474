"""The samplers of weeks (STOUTER, VAE, TCN-GAN, DiffWave, or one of another package) as subjects of the attacks."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from gentraffic.errors import WrongUse
from gentraffic.generators.folder import Bundle
from gentraffic.generators.weekly import one_thread, time_of_windows
from gentraffic.modelling.expected_week import expected_of, from_monday
from gentraffic.modelling.measured import Source, read_source
from gentraffic.privacy.audit.statistics import Floats
from gentraffic.training.fitting import Design, fingerprint, fit_sampler
from gentraffic.training.processes import ProcessGroup
from gentraffic.training.sampler_task import Plan, log_amplitudes, plan_of_class
from samplers import WEEK, Condition

if TYPE_CHECKING:
    import xarray as xr

AT_ONCE = 256  # windows in one call of the network
ABOUT = {
    "vae": "the model's evidence lower bound of the cell, fixed noise (Chen et al. 2020, for generative models)",
    "tcn-gan": "the critic's value of the cell (LOGAN, Hayes et al. 2019)",
}
DENOISING = "the model's denoising error on the cell, fixed noise (Yeom et al. 2018; Matsumoto et al. 2023)"


@dataclass(frozen=True)
class WeeklySubject:
    """A `Subject`: a sampler of weeks, and the live real cells. device: of torch."""

    bundle: Bundle
    source: Source
    device: str = "cpu"

    @property
    def about(self) -> str:
        """What its loss is."""
        return ABOUT.get(self.bundle.sampler, DENOISING)

    @property
    def cell_id(self) -> NDArray[Any]:
        """The cells that it can be asked about."""
        return self.source.cell_id

    def scores(self, seed: int) -> Floats:
        """See `Subject`."""
        return _scores(self.bundle, self.source, seed, self.device)

    def shadow(self, seen: NDArray[np.bool_], steps: int, number: int, seed: int) -> Floats:
        """See `Subject`. seen: (cells,)."""
        plan = _plan(self.bundle, steps, seed * 1_000 + number)
        part, group = self.source.only(np.flatnonzero(seen)), ProcessGroup(device=self.device)
        shadow, _ = fit_sampler([part], design=_design(self.bundle), plan=plan, group=group)
        return _scores(shadow, self.source, seed, self.device)

    def identity(self, steps: int, seed: int) -> str:
        """Data, design and plan."""
        plan = _plan(self.bundle, steps, seed)
        return json.dumps([fingerprint([self.source], _design(self.bundle)), asdict(plan), seed])


def weekly_subject(
    bundle: Bundle, both: xr.Dataset, context: xr.Dataset, service: str, device: str = "cpu"
) -> WeeklySubject:
    """A model beside the joined real cells. Raises WrongUse where `context` lacks cells, or for a further service."""
    if service in bundle.services.further:
        main = bundle.services.main
        raise WrongUse(f"--model: its loss is attacked for its main service alone: give --service {main}")
    source = read_source(both, [context], service)
    if source.places is None:
        raise WrongUse("--context does not hold the cells of --train and --holdout: give the one that fit was given")
    return WeeklySubject(bundle, source, device)


def _scores(bundle: Bundle, source: Source, seed: int, device: str) -> Floats:
    losses = cell_losses(bundle, source, seed, device)
    out: Floats = -losses if bundle.model.log_losses else -np.log(losses)
    return out


def cell_losses(bundle: Bundle, source: Source, seed: int = 0, device: str = "cpu") -> Floats:
    """The mean of `Sampler.losses` over the whole weeks of every cell of a source: (cells,).

    Weeks are scored as in training, without dropout, hourly; the condition is the place, the level (but for a model
    that draws it) and the network of the cell, nothing given. device: of torch.
    """
    model = bundle.model if device == "cpu" else copy.deepcopy(bundle.model).to(device)
    cells, days = source.ratio.shape[:2]
    weeks = days // 7
    condition = _condition(bundle, source, weeks)
    if bundle.scaler.own_level:  # its weeks hold the level, and nothing is told of it
        known = bundle.levels.networks.get(source.network)
        source = source.over(float(source.level.mean()) if known is None else known.mean_traffic)
        condition = replace(condition, level=torch.zeros_like(condition.level))
    hourly = source.ratio.reshape(cells, days, 24, source.per_hour).mean(axis=3)[:, : weeks * 7]
    whole = bundle.scaler.forward(hourly.reshape(cells * weeks, WEEK))
    expected = expected_of([source], bundle.weeks, bundle.scaler)
    if expected is not None:
        own = from_monday(expected[source.network], np.full(cells, source.weekday), 1)
        whole = whole - np.repeat(own, weeks, axis=0)
        law = bundle.weeks.amplitude(source.network)
        if law is not None:
            log = log_amplitudes(source, bundle.scaler, expected[source.network])
            whole = whole / np.repeat(np.exp(log).astype(np.float32), weeks)[:, None]
            condition = replace(condition, amplitude=torch.from_numpy(np.repeat(law.standard(log), weeks)))
    x = torch.from_numpy(whole)
    out = torch.zeros(len(x), dtype=torch.float64)
    with one_thread(), torch.inference_mode():
        for at in range(0, len(x), AT_ONCE):
            some = slice(at, at + AT_ONCE)
            out[some] = model.losses(x[some].to(device), condition.rows(some).to(device), seed).cpu()
    losses: Floats = out.reshape(cells, weeks).mean(dim=1).numpy()
    return losses


def _design(bundle: Bundle) -> Design:
    """The target's own design, as its provenance tells it; else the usual one."""
    design = bundle.provenance.get("design")
    told = bool(bundle.model.config.get("use_amplitude"))
    usual = Design(use_expected_week=bool(bundle.weeks.networks), use_amplitude=told)
    if not isinstance(design, dict):
        return replace(usual, sampler=bundle.sampler)
    known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in design.items()}
    return replace(usual, **{k: v for k, v in known.items() if k in Design.__dataclass_fields__})


def _plan(bundle: Bundle, steps: int, seed: int) -> Plan:
    """The target's own plan, as its provenance tells it, for as many steps; else the usual one of its sampler.

    A shadow that was held back from learning by heart says little of a target that was not.
    """
    stored = bundle.provenance.get("plan")
    known = {} if not isinstance(stored, dict) or "privacy" in bundle.provenance else stored
    plan = plan_of_class(type(bundle.model))
    plan = replace(plan, **{k: v for k, v in known.items() if k in Plan.__dataclass_fields__})
    return replace(plan, steps=steps, warmup=min(200, max(1, steps // 5)), check_every=max(1, steps), seed=seed)


def _condition(bundle: Bundle, source: Source, weeks: int) -> Condition:
    """What the model is told of every window of a source: cells x weeks rows."""
    assert source.places is not None
    cells = len(source.ratio)
    place = torch.from_numpy(bundle.place(source.places)[source.rows])
    known = bundle.levels.networks.get(source.network)
    if known is not None:
        level = (np.log(source.level) - known.mean) / known.spread
    else:
        level = bundle.levels.standard(replace(source.places, network=""), np.log(source.level / source.level.mean()))
    number = bundle.services.numbers("", bundle.networks).get(source.network, 0)
    given = torch.stack([torch.from_numpy(level.astype(np.float32)), torch.ones(cells)], dim=1)
    return Condition(
        place=place.repeat_interleave(weeks, dim=0),
        time=time_of_windows(bundle.time(), torch.tensor([source.weekday]), 1),
        level=given.repeat_interleave(weeks, dim=0),
        network=torch.full((cells * weeks,), number),
    )
