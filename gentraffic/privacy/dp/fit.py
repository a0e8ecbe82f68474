"""`gentraffic fit stouter --dp-epsilon`: what `fit_sampler` does, where all that is learned of the traffic is noisy.

Public: the list of cells, positions and POIs (so the graphs and how POIs are standardised), the calendar, and a model
to start from, if one is given. Private and paid for: the range of levels, the level models, the scaler where no model
brings one, the network's mean week, and every step of STUNet. There is no validation, no early end and no loss that is
told.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from gentraffic.dataset.panel import read_panel
from gentraffic.errors import BadInput, WrongUse
from gentraffic.generators.folder import Bundle
from gentraffic.generators.weekly import place_embedding, time_embedding
from gentraffic.modelling.expected_week import ExpectedWeek, ExpectedWeeks, expected_of
from gentraffic.modelling.features import FLOOR, Floats, Places
from gentraffic.modelling.levels import Law, LevelModel, activity
from gentraffic.modelling.measured import Source, counted, locations, match, read_source
from gentraffic.modelling.weekly_profile import cell_weeks
from gentraffic.privacy.dp.accounting import (
    ADJACENCY,
    UNIT,
    Mechanism,
    Privacy,
    Secret,
    check_privacy,
    epsilon_of,
    noise_for,
)
from gentraffic.privacy.dp.levels import PrivateLevels, fit_private_levels, needs_range
from gentraffic.privacy.dp.rhythm import (
    PrivateWeeks,
    fit_private_amplitude,
    fit_private_week,
    log_departures,
    public_week,
)
from gentraffic.privacy.dp.sgd import PrivatePlan, PrivateTask, clone_untrained, trainer_of
from gentraffic.training.checkpoint import PRIVATE, resume
from gentraffic.training.fitting import (
    INFLATE,
    Design,
    build,
    expects_week,
    fingerprint,
    fit_graphs,
    machine,
    recommended,
)
from gentraffic.training.sampler_task import Prepared, log_amplitudes
from gentraffic.training.trainer import Run
from samplers import STUNet

if TYPE_CHECKING:
    import xarray as xr

UNMEASURED_STEPS = 16  # of the solver, where no public model tells what a condition leaves open


@dataclass(frozen=True)
class PrivateSource:
    """A private traffic file. source: its live cells. For each of the N listed cells, dead ones too, rows: its place in
    the context, location: the ground that it shares, live: its row in `source`, -1 if it is dead, cell_id: its id."""

    source: Source
    rows: NDArray[np.int64]
    location: NDArray[np.int64]
    live: NDArray[np.int64]
    cell_id: NDArray[Any]

    def only(self, keep: NDArray[np.int64]) -> PrivateSource:
        """The same source with some of its listed cells. keep: (kept,) positions in the list."""
        there = self.live[keep] >= 0
        live = np.where(there, np.cumsum(there) - 1, -1)
        return PrivateSource(
            self.source.only(self.live[keep][there]),
            self.rows[keep],
            self.location[keep],
            live.astype(np.int64),
            self.cell_id[keep],
        )


def read_private(traffic: xr.Dataset, contexts: Sequence[xr.Dataset], service: str | None = None) -> PrivateSource:
    """A private source from a Traffic Dataset and its context; nothing that is done to a cell looks at another one.

    Raises WrongUse where no context does, and what `read_source` raises.
    """
    source = read_source(traffic, contexts, service, alone=True)
    keep = np.flatnonzero(counted(traffic))
    panel = read_panel(traffic, service or ("traffic" if "traffic" in traffic else None)).only(keep)
    context, rows = match(panel.cell_id, contexts)
    if context is None:
        raise WrongUse(
            f"no context holds all cells of {source.network}: give the --context of every private traffic file"
        )
    at = {cell: row for row, cell in enumerate(source.cell_id.tolist())}
    live = np.array([at.get(cell, -1) for cell in panel.cell_id.tolist()], dtype=np.int64)
    return PrivateSource(source, rows, locations(panel), live, panel.cell_id)


def capped_per_user(name: str, traffic: xr.Dataset, service: str, most: float) -> xr.Dataset:
    """The same traffic, at each step at most `most` per user that is in the cell then.

    One user in a nearly empty cell then cannot stand out by more than that; one of many still can, by what the others
    leave of it. A cell's own users decide, so epsilon covers that as well. Raises WrongUse for a file without users or
    a bound that is none, BadInput for users that are missing or below 0.
    """
    if not most > 0:
        raise WrongUse(f"--dp-user-cap {most:g}: give a number above 0, in the unit of the traffic")
    if "users" not in traffic.data_vars:
        raise WrongUse(f"--dp-user-cap: {name} holds no variable `users` (users per cell and step); leave it away")
    users = traffic["users"].transpose(*traffic[service].dims)
    if not (users >= 0).all():
        raise BadInput(f"{name}: users are missing or below 0 at {int((~(users >= 0)).sum())} steps; fill them")
    values = traffic[service]
    capped = np.minimum(values.values, most * users.values).astype(values.dtype)
    return traffic.assign({service: (values.dims, capped, values.attrs)})


def suppressed(s: PrivateSource, below: float) -> PrivateSource:
    """The same list of cells, those with a mean traffic per step below `below` taken as silent.

    Whether a cell is silent depends on its own traffic alone, so epsilon covers that as well. Raises WrongUse where no
    cell is left.
    """
    kept = np.flatnonzero(s.source.level >= below)
    if not len(kept):
        raise WrongUse(f"--dp-suppress-below {below:g}: no cell of {s.source.network} carries so much; give less")
    number = np.full(len(s.source.level) + 1, -1, dtype=np.int64)  # the last stands for -1, a dead cell
    number[kept] = np.arange(len(kept))
    return PrivateSource(s.source.only(kept), s.rows, s.location, number[s.live], s.cell_id)


def fit_private_stouter(
    sources: Sequence[PrivateSource],
    privacy: Privacy,
    *,
    start: Bundle | None = None,
    extra_places: Sequence[Places] = (),
    design: Design | None = None,
    plan: PrivatePlan | None = None,
    run: Run | None = None,
    secret: Secret | None = None,
) -> tuple[Bundle, dict[str, Any]]:
    """Fit everything with differential privacy; return the bundle and what may be told of the run.

    start: a public model whose scaler, graphs and weights this one begins with. run: its checkpoint, and who is told;
    the device is the CPU. secret: for tests alone; by default the system's, or that of the checkpoint. Raises WrongUse
    for a promise that cannot be kept or a checkpoint of another run.
    """
    design, plan, run = design or Design(), plan or PrivatePlan(), run or Run()
    if design.own_level or (start is not None and start.scaler.own_level):
        raise WrongUse("a model that draws levels itself has no private training: give --level model, also to --start")
    if design.use_profile:
        raise WrongUse("--profile: a private fit learns no past; leave it away")
    design = replace(design, linear=False)  # the private scaler is of logarithms, whose range needs no traffic
    if start is None:  # nothing public says how far cells depart from what is expected
        design = replace(design, use_amplitude=False)
    listed = sum(len(s.rows) for s in sources)
    check_privacy(privacy, listed)
    names = tuple(s.source.network for s in sources)
    before = start.networks if start is not None else ()
    if len(set(names + before)) < len(names + before):
        raise WrongUse(
            f"networks must differ by name, these are {', '.join(names + before)}: a model to start from must be "
            "public, and must not have seen this traffic"
        )
    rate = min(plan.batch / listed, 1.0)
    weeks = start.weeks if start is not None else ExpectedWeeks()
    rhythm = expects_week(design) if start is None else bool(weeks.networks)  # else the network draws whole weeks
    law = weeks.amplitude("")  # of all public networks
    released = ("rhythm",) * rhythm + ("amplitude",) * (rhythm and law is not None)
    mechanisms = noise_for(
        privacy, sample_rate=rate, steps=plan.steps, needs_range=needs_range(privacy), weeks=released
    )
    data = hashlib.sha256(
        json.dumps([fingerprint([s.source for s in sources], design), start.sha256 if start else "", asdict(privacy)])
        .encode() + b"".join(s.rows.tobytes() + s.live.tobytes() for s in sources)
    ).hexdigest()  # fmt: skip
    if run.checkpoint is not None and run.checkpoint.exists():
        note, _ = resume(run.checkpoint, {"fingerprint": data, "privacy": asdict(privacy)}, PRIVATE)
        secret = Secret(bytes.fromhex(note["secret"]))
    secret = secret or Secret.fresh()
    noise = {m.name: m.noise_multiplier for m in mechanisms}
    networks, scaler, live = fit_private_levels(
        [levels_of(s, start.levels if start else LevelModel({})) for s in sources],
        privacy,
        noise,
        secret,
        scaler=start is None,
    )
    if rhythm:
        public = public_week(weeks)
        own = {
            s.source.network: fit_private_week(
                week_of(s, public, live[s.source.network]), number, noise["rhythm"], secret
            )
            for number, s in enumerate(sources)
        }
        weeks = ExpectedWeeks({**weeks.networks, **own})
    levels = LevelModel(
        {**(start.levels.networks if start else {}), **networks},
        spread=start.levels.spread if start else float(np.mean([n.spread for n in networks.values()])),
        inflate=INFLATE,
        places=design.use_place,
        law=start.levels.law if start else Law(),
        laws=start.levels.laws if start else {},
    )
    if start is not None:
        temporal, station, scaler = start.temporal, start.station, start.scaler
    else:
        known = [s.source.places for s in sources if s.source.places is not None]
        temporal, station = fit_graphs([*known, *extra_places], levels, design)
    assert scaler is not None
    everywhere = before + names
    model = network_of(start, design, len(everywhere), plan.seed)
    prepared = []
    for of_network, s in enumerate(sources):
        assert s.source.places is not None
        part = levels.networks[s.source.network]
        level = np.clip((np.log(s.source.level) - part.mean) / part.spread, -5.0, 5.0).astype(np.float32)
        place = place_embedding(station, s.source.places, levels)[s.source.rows]
        expected = expected_of([s.source], weeks, scaler)
        of_week = None if expected is None else expected[s.source.network]
        number = everywhere.index(s.source.network) + 1
        one = Prepared(s.source, place, level, number, 1.0, expected=of_week)
        if law is not None and of_week is not None:
            log = log_amplitudes(s.source, scaler, of_week)
            own_law = fit_private_amplitude(log, live[s.source.network], law, of_network, noise["amplitude"], secret)
            one = replace(one, amplitude=np.exp(log), law=own_law)
            week = replace(weeks.networks[s.source.network], amplitude=own_law)
            weeks = ExpectedWeeks({**weeks.networks, s.source.network: week})
        prepared.append(one)
    cells = [(i, int(row)) if row >= 0 else None for i, s in enumerate(sources) for row in s.live]
    task = PrivateTask(model, prepared, cells, time_embedding(temporal), scaler, plan, rate, secret)
    mechanism = mechanisms[-1] if plan.steps else Mechanism("training", 0.0, rate, 0)
    trainer = trainer_of(task, privacy, mechanism, run.checkpoint, data)
    if not trainer.checkpoint.exists:
        trainer.save()  # the secret first: what is run again must not draw other noise for the same data
    trainer.train(run.on_step)
    trainer.finish()
    metadata = {
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "steps": trainer.step,
        "validation": [],
        "design": asdict(design),
        "plan": asdict(plan),
        "parameters": sum(p.numel() for p in model.parameters()),
        **({} if model.noise.rest else {"recommended_steps": UNMEASURED_STEPS}),
        **(recommended(design) if start is None else {}),
        "privacy": {
            "unit": UNIT,
            "adjacency": ADJACENCY,
            "epsilon": epsilon_of(mechanisms, privacy.delta),
            "delta": privacy.delta,
            "target_epsilon": privacy.epsilon,
            "accountant": "PRV (Opacus), upper bound",
            "cells_listed": listed,
            "clip": privacy.clip,
            "expected_batch": rate * listed,
            "mechanisms": [asdict(m) for m in mechanisms],
            "level_range": list(privacy.level_range),
            "start": {"networks": list(before), "sha256": start.sha256} if start else None,
        },
    }
    return Bundle(task.finished(), temporal, station, scaler, levels, everywhere, weeks=weeks), metadata


def levels_of(s: PrivateSource, public: LevelModel) -> PrivateLevels:
    """What the level model learns from, for every listed cell: 0 where it is dead. public: whose law is known."""
    places, there = s.source.places, s.live >= 0
    assert places is not None
    level, logs = np.zeros(len(s.rows)), np.zeros((len(s.rows), 2))
    level[there] = s.source.level[s.live[there]]
    hours = s.source.ratio.reshape(len(s.source.ratio), -1, s.source.per_hour).mean(axis=2, dtype=np.float64)
    log = np.log(hours + FLOOR)
    logs[there] = np.stack([log.mean(axis=1), (log**2).mean(axis=1)], axis=1)[s.live[there]]
    return PrivateLevels(
        s.source.network, places.counts[s.rows], places.around[s.rows], s.location, level, logs,
        activity(places)[s.rows], public.law_of(places).slope,
    )  # fmt: skip


def week_of(s: PrivateSource, public: Floats, live: float) -> PrivateWeeks:
    """What the mean week is learned from, for every listed cell. public: (168,) log week; live: cells with traffic."""
    there = s.live >= 0
    departures = np.zeros((len(s.rows), len(public)))
    departures[there] = log_departures(cell_weeks(s.source), public)[s.live[there]]
    week = ExpectedWeek(public, locations=len(np.unique(s.location)), timezone=s.source.timezone)
    return PrivateWeeks(departures, live, week)


def network_of(start: Bundle | None, design: Design, networks: int, seed: int) -> STUNet:
    """The network as training finds it: new, or the public one's weights; a new network begins as "none of them"."""
    torch.manual_seed(seed)
    like: Any = start.model if start is not None else build(design, networks, (1,))
    one = {}
    if start is not None and start.services.further:  # a private model has one service: the main one of its start
        rest = like.config["rest"]
        one = {"services": 1, "rest": None if rest is None else tuple(rest)[: len(start.networks) + 1]}
    model = clone_untrained(like, networks=networks, dropout=0.0, **one)
    if start is None:
        return model
    weights = dict(start.model.state_dict())
    index = weights["of_network.weight"][: len(start.networks) + 1]
    if one:
        index = index + weights.pop("of_service.weight")[:1]
    weights["of_network.weight"] = torch.cat([index, index[:1].expand(networks + 1 - len(index), -1)])
    model.load_state_dict(weights)
    return model
