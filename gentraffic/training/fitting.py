"""`gentraffic fit`: graphs, levels and the network of a sampler from measured traffic."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time as clock
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gentraffic.errors import BadInput, WrongUse, did_you_mean
from gentraffic.generators.base import GENERATOR, PROFILE_STEPS, SAMPLER, Settings, named, own_names, plug_ins
from gentraffic.generators.folder import Bundle
from gentraffic.generators.weekly import place_embedding, station_features, station_scale, time_embedding
from gentraffic.modelling.expected_week import Amplitude, ExpectedWeeks, expected_of, fit_weeks, from_monday
from gentraffic.modelling.features import FLOOR, Places, Scaler, cosines, faded
from gentraffic.modelling.levels import LevelModel, Measured, activity, fit_levels
from gentraffic.modelling.measured import CADENCES, Source
from gentraffic.modelling.services import NetworkServices, Services, fit_mixing, fit_ratios
from gentraffic.modelling.weekly_profile import FEW_CELLS, ahead, fit_weekly_profile
from gentraffic.training.processes import ALONE, ProcessGroup
from gentraffic.training.residual_spectrum import fit_residual_spectrum, set_residual_spectrum
from gentraffic.training.sampler_task import (
    Plan,
    Prepared,
    SamplerTask,
    batch_of,
    departing,
    level_scale,
    plan_of_class,
    prepare,
    source_weights,
    trainer_of,
)
from gentraffic.training.trainer import PLAIN, OnStep, Run
from graphs.build import station_graph, temporal_graph
from graphs.graphmae import GraphMAE, pretrain
from samplers import SAMPLERS, Denoiser, Sampler, sampler_class, sampler_names
from samplers.sampler import check_constructor
from samplers.stunet import SPREAD_KNOTS, hat_basis

PLACE_DIM = TIME_DIM = 32
FEW_HOURS = 100.0  # what speaks for all networks where one has little to say
DRIFT_PRIOR = 20  # cells
PROFILE_KEEP = 0.85  # of the windows of a model that takes the past are told it
INFLATE = 1.05  # on the residuals of levels: they were estimated from the same locations that chose the features


@dataclass(frozen=True)
class Design:
    """What is built: a key of `samplers.SAMPLERS`; for STOUTER the parts that the paper's tables vary, and the size.

    own_level: the network draws the level too, from the place alone, as the published generators do; else it draws the
    week of a cell whose level `gentraffic.modelling.levels` drew.
    gate, direct, attention: as in `samplers.stunet.STUNet`. train_timesteps: T of the diffusion. loss_type: mse or l1.
    station_residual: each layer of the station graph also hears a node's own counts past its neighbours. linear: the
    network sees traffic itself, not its logarithm. use_amplitude: how far a cell departs from the week that is expected
    of it is drawn first, and the network is told.
    `PUBLISHED` are the values of STOUTER as published.
    """

    sampler: str = "stouter"
    channels: tuple[int, ...] = (32, 16)
    hours_per_token: int = 6
    width: int = 32
    fusion: str = "concat"
    prediction_type: str = "v_prediction"
    temporal_layer: str = "gin"
    station_layer: str = "gcn"
    use_time: bool = True
    use_place: bool = True
    use_profile: bool = False
    own_level: bool = False
    use_spectrum: bool = True
    use_expected_week: bool = True
    gate: bool = True
    direct: bool = False
    attention: str = "pre-norm"
    train_timesteps: int = 1000
    loss_type: str = "mse"
    station_residual: bool = True
    linear: bool = False
    use_amplitude: bool = True


PUBLISHED = Design(  # STOUTER sections 4 and 5, line by line; what differs from `Design()` is what we added
    channels=(64, 128, 256),  # the paper gives no widths
    hours_per_token=1,
    fusion="linear",  # eq. 16
    prediction_type="epsilon",  # eq. 12 and 19
    use_spectrum=False,
    use_expected_week=False,
    use_amplitude=False,
    gate=False,  # eq. 17, then a convolution
    direct=True,  # eq. 16: F_s and F_t as the graphs give them
    # eq. 13 and 14, added to their input, as figure 6 may mean: alone, every position passes a mixture of the whole
    # week, no noise can be told through it, and it does not learn (mae_minmax 0.85 beside 0.21 after as many steps)
    attention="residual",
    station_residual=False,  # eq. 2
    linear=True,  # section 3.2: min-max normalisation
)


# Of a network that predicts the noise: at the noisiest step its first guess of the week is its error times 157, which
# the solver "gaussian" builds on. On 50 cells of Milan, of a fit of 300 steps, mae_minmax / roughness_ratio of a drawn
# week are 0.203 / 1.11 with dpm++ in 10 steps, 0.213 / 1.27 in 20, 0.225 / 1.24 with ddim in 20.
NOISE_SOLVER, NOISE_STEPS = "dpm++", 10

# With more, cells of training are remembered: on other cells of Milan, weeks err by 4% more with 3200.
AMPLITUDE_STEPS = 1600


def plan_for(design: Design) -> Plan:
    """How a design is trained unless one says otherwise."""
    plan = plan_of_class(class_of(design), own_level=design.own_level)
    if tells_amplitude(design):
        plan = replace(plan, steps=min(plan.steps, AMPLITUDE_STEPS), level_keep=0.5)
    if design.direct:  # the paper blurs nothing; some windows without a place, for guidance
        plan = replace(plan, learning_rate=2e-3, place_noise=0.0, place_keep=0.9, weight_decay=0.0)
    return plan


def fit_sampler(
    sources: Sequence[Source],
    *,
    extra_places: Sequence[Places] = (),
    held_out: Sequence[Source] = (),
    design: Design | None = None,
    plan: Plan | None = None,
    run: Run = PLAIN,
    group: ProcessGroup = ALONE,
    graphs: tuple[GraphMAE, GraphMAE] | None = None,
) -> tuple[Bundle, dict[str, Any]]:
    """Fit everything and return the bundle and what is worth telling of the run.

    The bundle's provenance says how it is best drawn, and nothing more.

    sources: training cells. extra_places: contexts without traffic that the station graph also learns from. held_out:
    sources of locations that decide when to stop. run: where it resumes from, and who is told of its steps; the device
    is that of the group. group: the processes that train together; each gets the whole result.
    graphs: the temporal and the station graph, pre-trained (`fit_graphs`); None: they are pre-trained first.
    Raises WrongUse when no source has a context, several processes are to train what draws at once, the design asks
    for what excludes itself, or the sampler is one that could not be saved and loaded.
    """
    design = design or Design()
    if design.own_level and design.use_profile:
        raise WrongUse("own_level does not go with use_profile: a past tells the level, so leave one of them out")
    kind = class_of(design)
    if group.size > 1 and kind.is_one_shot():
        raise WrongUse(f"{design.sampler} is trained by one process: start it without `accelerate launch`")
    plan = plan or plan_for(design)
    plan = replace(plan, profile_keep=plan.profile_keep or PROFILE_KEEP) if design.use_profile else plan
    placed = [s for s in sources if s.places is not None]
    if not placed:
        raise WrongUse("no context holds the cells of the traffic: give the --context that belongs to it")
    if len({s.network for s in placed}) < len(placed):
        raise WrongUse("two traffic files name the same network: join them first, or change their `network` attribute")
    check_services(sources, design)
    _check_builds(design, len(sources))
    began = clock.monotonic()
    everything, sources = sources, [s for s in sources if not s.service]
    levels = fit_levels(
        [measured_cells(s) for s in placed if not s.service],
        inflate=INFLATE,
        places=design.use_place,
    )
    known = [s.places for s in placed if s.places is not None and not s.service]
    temporal, station = graphs or fit_graphs([*known, *extra_places], levels, design, on_step=run.on_graph_step)
    if design.own_level:
        sources, held_out = (
            [s.over(levels.networks[s.network].mean_traffic if s.places else s.level.mean()) for s in side]
            for side in (sources, held_out)
        )
    scaler = fit_scaler(sources, None if design.own_level else levels, design.own_level, linear=design.linear)
    if design.use_profile:
        profile = fit_weekly_profile(sources)
        scaler = replace(scaler, drift=fit_drift(sources, profile.memory), usual=profile)
    networks = tuple(s.network for s in sources)
    if len(set(networks)) < len(networks):
        raise WrongUse(f"networks must differ by name, these are {', '.join(networks)}")

    def embed(source: Source) -> NDArray[np.float32]:
        assert source.places is not None
        return place_embedding(station, source.places, levels)[source.rows]

    told_of = None if design.own_level else levels
    weeks, expected = ExpectedWeeks(), None
    if expects_week(design):
        weeks, logs = fit_weeks(sources)
        expected = {name: scaled_week(log, scaler) for name, log in logs.items()}
    services = Services()
    if len(everything) > len(sources):
        services, further = fit_services(everything, levels, scaler, expected, expects_week(design))
        expected = None if expected is None else expected | further
        sources = [*sources, *(s for name in services.order for s in everything if s.network == name)]
    entries = (*networks, *services.order)
    prepared = prepare(sources, embed, told_of, entries, PLACE_DIM, expected, services)
    if tells_amplitude(design):
        prepared = [departing(p, scaler) for p in prepared]
        weeks, services = with_laws(weeks, services, prepared)
    departures = profile_departures(prepared, time_embedding(temporal), scaler, plan)
    torch.manual_seed(plan.seed)
    cadences = tuple(k for k in CADENCES if any(k in s.cadences for s in sources))
    spectrum = fit_spectrum(prepared, scaler)
    model = build(design, len(entries), cadences, departures, spectrum, len(services.names)).to(group.device)
    validation = prepare(
        held_out, embed, told_of, entries, PLACE_DIM, of_held(held_out, weeks, services, scaler), services
    )
    validation = [departing(p, scaler, law) if law else p for p in validation for law in (law_of(p, weeks, services),)]
    task = SamplerTask(model, prepared, validation, time_embedding(temporal), scaler, plan)
    trainer = trainer_of(task, plan, run.checkpoint, fingerprint(sources, design), group)
    trainer.train(run.on_step)
    trainer.finish().cpu()
    if not model.is_one_shot() and design.prediction_type != "epsilon":  # nor could that be drawn by it
        set_residual_spectrum(
            model, fit_residual_spectrum(cast(Denoiser, model), prepared, time_embedding(temporal), scaler, plan)
        )
    metadata = {
        "processes": group.size,
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "minutes": round((clock.monotonic() - began) / 60, 2),
        "steps": trainer.step,
        "best_step": trainer.best_step,
        "validation": trainer.scores,
        "design": asdict(design),
        "plan": asdict(plan),
        "parameters": sum(p.numel() for p in model.parameters()),
        **recommended(design),
    }
    bundle = Bundle(model, temporal, station, scaler, levels, networks, sampler=design.sampler, weeks=weeks)
    return replace(bundle, services=services, provenance=recommended(design)), metadata


def takes_services(design: Design) -> bool:
    """Whether a sampler of this design learns several services; as published, STOUTER learns each alone."""
    further = class_of(design).further
    return "services" in further and not (design.use_profile or design.own_level or design.direct)


def recommended(design: Design) -> dict[str, Any]:
    """The steps and the solver that suit a design, as the model folder keeps them; {} for those of `Settings`."""
    if design.prediction_type == "epsilon":
        return {"recommended_steps": min(NOISE_STEPS, design.train_timesteps), "recommended_solver": NOISE_SOLVER}
    if design.use_profile and not class_of(design).is_one_shot():
        return {"recommended_steps": min(PROFILE_STEPS, design.train_timesteps)}
    few = design.train_timesteps < Settings().steps
    return {"recommended_steps": design.train_timesteps} if few else {}


def check_services(sources: Sequence[Source], design: Design) -> None:
    """Raise WrongUse where there are several services, and the design takes one, or no context holds their cells."""
    further = [s for s in sources if s.service]
    if further and not takes_services(design):
        raise WrongUse(
            f"--service: {design.sampler} of this design learns one service, and these are several: name one of them"
        )
    for source in further:
        if source.places is None:
            raise WrongUse(f"{source.network}: no context holds the cells of a file with several services: give it")


def scaled_week(log: NDArray[np.float64], scaler: Scaler) -> NDArray[np.float32]:
    """Expected log weeks (cells, 168) as they are taken from scaled ones."""
    out: NDArray[np.float32] = ((log - scaler.mean) / scaler.spread).astype(np.float32)
    return out


def fit_services(
    sources: Sequence[Source],
    levels: LevelModel,
    scaler: Scaler,
    expected: Mapping[str, NDArray[np.float32]] | None,
    expects: bool,
) -> tuple[Services, dict[str, NDArray[np.float32]]]:
    """The further services of some sources, and what is taken from their scaled weeks: network -> (cells, 168).

    sources: all, the main service of each network before its others. scaler: of the main service. expected: network ->
    (cells, 168) of the main service. expects: whether weeks are expected at all.
    """
    names = list(dict.fromkeys(s.service for s in sources if s.service))
    of = {name: [s for s in sources if s.service == name] for name in names}
    networks = {}
    for main in [s for s in sources if not s.service]:
        others = [s for s in sources if s.service and s.place_network == main.network]
        if others:
            ratios, root = fit_ratios(main, others, levels)
            networks[main.network] = NetworkServices(ratios, root, np.empty(0))
    services = Services(networks=networks)
    scalers = {name: fit_scaler(of[name], levels, services=services) for name in names}
    for name, own in scalers.items():  # at a cadence that a service was not measured at, it moves as the main one does
        detail, fade = ({**getattr(scaler, part), **getattr(own, part)} for part in ("detail", "fade"))
        scalers[name] = replace(own, detail=detail, fade=fade)
    weeks: dict[str, ExpectedWeeks] = {name: ExpectedWeeks() for name in names}
    out: dict[str, NDArray[np.float32]] = {}
    for name in names if expects else ():
        plain = [replace(s, network=s.place_network) for s in of[name]]
        weeks[name], logs = fit_weeks(plain)
        out |= {f"{network}:{name}": scaled_week(log, scalers[name]) for network, log in logs.items()}
    whole = {**(expected or {}), **out}
    for network, ratio in networks.items():
        mine = [s for s in sources if s.place_network == network]  # the main one first, others in the order of ratios
        parts = [(s.cell_id, departures_of(s, scalers.get(s.service, scaler), whole)) for s in mine]
        networks[network] = replace(ratio, mixing=fit_mixing(parts))
    order = tuple(s.network for name in names for s in of[name])
    return Services("traffic", order, scalers, weeks, networks), out


def departures_of(source: Source, scaler: Scaler, expected: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """The first week of a source, scaled, less what is expected of it: (cells, 168)."""
    hours = source.ratio.reshape(*source.ratio.shape[:2], 24, source.per_hour).mean(axis=3)[:, :7]
    x = scaler.forward(hours.reshape(len(hours), -1))
    own = expected.get(source.network)
    mean_week = x.mean(axis=0) if own is None else from_monday(own, np.full(len(x), source.weekday), 1)
    out: NDArray[np.float32] = x - mean_week
    return out


def _of_service(sources: Sequence[Source], weeks: ExpectedWeeks, scaler: Scaler) -> dict[str, NDArray[np.float32]]:
    """`expected_of` for sources of one further service, under their own names."""
    plain = [replace(s, network=s.place_network) for s in sources]
    expected = expected_of(plain, weeks, scaler) or {}
    return {s.network: expected[s.place_network] for s in sources}


def expects_week(design: Design) -> bool:
    """Whether the network draws departures from what a place's surroundings tell: where no past and no level of its
    own does so already."""
    by_place = design.use_place and not (design.use_profile or design.own_level or design.linear)
    return design.use_expected_week and class_of(design).takes_expected_week and by_place


def of_held(
    sources: Sequence[Source], weeks: ExpectedWeeks, services: Services, scaler: Scaler
) -> dict[str, NDArray[np.float32]] | None:
    """What is expected of held-out sources of all services, as `prepare` takes it."""
    out = expected_of([s for s in sources if not s.service], weeks, scaler)
    if out is not None:
        for name in services.further:
            mine = [s for s in sources if s.service == name]
            out |= _of_service(mine, services.weeks[name], services.scalers[name])
    return out


def tells_amplitude(design: Design) -> bool:
    """Whether the network is told how far a cell departs from its expected week."""
    return design.use_amplitude and expects_week(design) and "use_amplitude" in class_of(design).further


def with_laws(weeks: ExpectedWeeks, services: Services, prepared: Sequence[Prepared]) -> tuple[ExpectedWeeks, Services]:
    """The same expected weeks, of the main service and of further ones, with the laws of their amplitudes."""

    def of(one: ExpectedWeeks, service: str) -> ExpectedWeeks:
        laws = {p.source.place_network: p.law for p in prepared if p.source.service == service}
        return ExpectedWeeks({name: replace(week, amplitude=laws.get(name)) for name, week in one.networks.items()})

    return of(weeks, ""), replace(services, weeks={name: of(one, name) for name, one in services.weeks.items()})


def law_of(p: Prepared, weeks: ExpectedWeeks, services: Services) -> Amplitude | None:
    """The law of the amplitudes of a source's network and service."""
    return services.weeks.get(p.source.service, weeks).amplitude(p.source.place_network)


Table = tuple[tuple[float, ...], ...]


def profile_departures(
    prepared: Sequence[Prepared], time: Tensor, scaler: Scaler, plan: Plan
) -> tuple[Table, Table] | tuple[float, float]:
    """How far weeks depart from the profile that they are told, and to which side; 0.5 and 0 where none is told.

    Standard deviations and means of no network (all together), then of each, at the values SPREAD_KNOTS of the profile:
    on a logarithmic scale quiet hours depart several times further than busy ones, and networks differ by a factor of
    three. A spread taken too wide lets the network invent departures, and a handful of cells may depart together: means
    and the log of the mean square are shrunk towards those of all, as if FEW_CELLS of its cells had been like all.
    time: (168, Q) time embedding of the hours of a week, Monday first.
    """
    sums = np.zeros((3, 1 + len(prepared), len(SPREAD_KNOTS)))  # of weights, departures, and their squares
    cells = np.array([0, *(len(p.source.ratio) for p in prepared)], dtype=np.float64)
    for p in prepared if plan.profile_keep else []:
        for i in range(4):
            x, condition, _ = batch_of([p], time, scaler, plan, i, noisy=False)
            assert condition.profile is not None
            mean, trust = condition.profile.unbind(1)
            weight = hat_basis(mean[trust > 0])  # (n, knots)
            apart = (x - mean)[trust > 0]
            sums[:, p.network] += (torch.stack([torch.ones_like(apart), apart, apart.square()]) @ weight).numpy()
    if not sums[0].any():
        return 0.5, 0.0
    sums[:, 0] = cells @ sums
    whole = (sums[:, 0] + FEW_HOURS * sums[:, 0].sum(-1, keepdims=True) / sums[0, 0].sum())[:, None]
    whole = whole[1:] / (sums[0, 0] + FEW_HOURS)  # (2, 1, knots)
    each = (sums[1:, 1:] + FEW_HOURS * whole) / (sums[0, 1:] + FEW_HOURS)
    share = (cells / (cells + FEW_CELLS))[1:, None]
    shift = np.concatenate([whole[0], share * each[0] + (1 - share) * whole[0]])
    log = np.concatenate([np.log(whole[1]), share * np.log(each[1]) + (1 - share) * np.log(whole[1])])
    spread = np.sqrt((np.exp(log) - shift**2).clip(0.05**2, 1.0))
    return _table(spread), _table(shift)


def _table(values: NDArray[np.float64]) -> Table:
    return tuple(tuple(row) for row in values.round(4).tolist())


def fit_spectrum(prepared: Sequence[Prepared], scaler: Scaler) -> tuple[float, ...]:
    """The power of the frequencies of a week of hours as it is trained on (85,), each source weighing as there."""
    powers = []
    for p in prepared:
        hours = p.source.ratio.reshape(*p.source.ratio.shape[:2], 24, p.source.per_hour).mean(axis=3)
        weeks = [hours[:, day : day + 7].reshape(-1, 168) for day in range(hours.shape[1] - 6)]
        x = (p.scaler or scaler).forward(np.concatenate(weeks))
        if p.expected is not None:
            first = (p.source.weekday + np.arange(len(weeks))) % 7
            x = x - np.concatenate([from_monday(p.expected, np.full(len(p.expected), day), 1) for day in first])
        if p.amplitude is not None:
            x = x / np.tile(p.amplitude, len(weeks)).astype(np.float32)[:, None]
        waves = np.fft.rfft(x, norm="ortho")
        powers.append((np.abs(waves) ** 2).mean(axis=0))
    return tuple(np.average(powers, axis=0, weights=[p.weight for p in prepared]).round(5).tolist())


def class_of(design: Design) -> type[Sampler]:
    """The class of a design's sampler, whose constructor takes what is needed. Raises WrongUse, and BadModel for one of
    another package that cannot be loaded."""
    if design.sampler not in SAMPLERS:
        plug_in = named(design.sampler, plug_ins(GENERATOR, SAMPLER), own_names())
        if plug_in is None or plug_in.kind != SAMPLER:
            raise WrongUse(
                f"no sampler {design.sampler!r}: choose one of {', '.join(sampler_names())}"
                f"{did_you_mean(design.sampler, sampler_names())}"
            )
        plug_in.load()
    try:
        kind = sampler_class(design.sampler)
        check_constructor(kind)
    except TypeError as error:
        raise WrongUse(str(error)) from error
    return kind


def build(
    design: Design,
    networks: int,
    cadences: tuple[int, ...],
    departures: Any = (0.5, 0.0),
    spectrum: tuple[float, ...] | None = None,
    services: int = 1,
) -> Sampler:
    """The untrained network of a design; departures: `profile_departures`; spectrum: `fit_spectrum`. services: how many
    it draws, which is for those whose `further` names it.

    Raises WrongUse for an unknown sampler, or one that is neither a Denoiser nor a OneShot."""
    make: Any = class_of(design)
    by_spectrum = design.use_spectrum and not design.use_profile and design.prediction_type == "v_prediction"
    offered = {"channels": design.channels, "hours_per_token": design.hours_per_token, "fusion": design.fusion,
               "spectrum": spectrum if by_spectrum else None, "use_amplitude": tells_amplitude(design),
               "prediction_type": design.prediction_type, "loss_type": design.loss_type,
               "num_train_timesteps": design.train_timesteps,
               "gate": design.gate, "direct": design.direct, "attention": design.attention,
               "profile_spread": departures[0], "profile_shift": departures[1],
               **({"services": services} if services > 1 else {})}  # fmt: skip
    own = {name: value for name, value in offered.items() if name in make.further}
    model: Sampler = make(
        place_dim=PLACE_DIM,
        time_dim=TIME_DIM,
        networks=networks,
        width=design.width,
        cadences=cadences,
        use_time=design.use_time,
        use_place=design.use_place,
        use_profile=design.use_profile,
        **own,
    )
    if not model.is_one_shot() and not hasattr(model, "noise"):
        raise WrongUse(f"{type(model).__name__} has neither `noise_size` nor `noise`: a sampler has one of them")
    return model


def _check_builds(design: Design, networks: int) -> None:
    """Raise WrongUse where the sampler of a design cannot be built, before minutes of work on graphs."""
    try:
        build(design, networks, CADENCES[:1])
    except WrongUse:
        raise
    except Exception as error:
        name = class_of(design).__name__
        raise WrongUse(f"{design.sampler}: {name} cannot be built: {type(error).__name__}: {error}") from error


def machine() -> str:
    """The processor and its cores, in words."""
    name = platform.processor() or platform.machine()
    listed = Path("/proc/cpuinfo")
    if listed.is_file():
        names = [line.split(":", 1)[1].strip() for line in listed.read_text().splitlines() if "model name" in line]
        name = names[0] if names else name
    return f"{name}, {os.cpu_count()} cores"


def fit_graphs(
    places: Sequence[Places],
    levels: LevelModel | None,
    design: Design,
    steps: int = 400,
    on_step: OnStep | None = None,
) -> tuple[GraphMAE, GraphMAE]:
    """Pre-train the temporal and the station graph (STOUTER section 4): two GraphMAE models.

    on_step: told of the steps on the station graph, which may hold a whole city."""
    torch.manual_seed(0)
    temporal = GraphMAE(168, TIME_DIM, encoder_layer=design.temporal_layer, decoder_layer=design.temporal_layer)
    for _ in pretrain(temporal, [temporal_graph()], steps=steps, learning_rate=3e-3, seed=0):
        pass
    station = GraphMAE(
        8,
        PLACE_DIM,
        encoder_layer=design.station_layer,
        decoder_layer=design.station_layer,
        residual=design.station_residual,
        normalise=design.station_layer == "gin",
    )
    scaled = [(p, station_features(p, station_scale(p, levels))) for p in places if len(p.poi_count) > 1]
    graphs = [station_graph(p.xy_m, features) for p, features in scaled]
    for step, loss in enumerate(pretrain(station, graphs, steps=steps, learning_rate=3e-3, seed=0), start=1):
        if on_step is not None:
            on_step(step, steps, loss)
    return temporal.eval(), station.eval()


def fit_scaler(
    sources: Sequence[Source],
    levels: LevelModel | None = None,
    own_level: bool = False,
    services: Services | None = None,
    *,
    linear: bool = False,
) -> Scaler:
    """Mean and spread of log(ratio + FLOOR) at one hour, and of what moves within it, each source weighing as in
    training. levels, services: the standard of each cell's level, where it is told. linear: of the ratio itself."""
    means, squares = [], []
    for source in sources:
        hours = source.ratio.reshape(*source.ratio.shape[:2], 24, source.per_hour).mean(axis=3, dtype=np.float64)
        logs = hours if linear else np.log(hours + FLOOR)
        means.append(logs.mean())
        squares.append((logs**2).mean())
    weights = source_weights(sources)
    mean = float(np.dot(weights, means))
    spread = float(np.sqrt(np.dot(weights, squares) - mean**2))
    if linear:
        return Scaler(mean=mean, spread=spread, detail=_plain_detail(sources, spread), own_level=own_level, linear=True)
    detail, fade = _detail(sources, spread, levels, services)
    return Scaler(mean=mean, spread=spread, detail=detail, fade=fade, own_level=own_level)


def _plain_detail(sources: Sequence[Source], spread: float) -> dict[str, list[float]]:
    """`Scaler.detail` of ratios themselves, alike for every cell and hour."""
    detail = {}
    for k in CADENCES[1:]:
        able = [s for s in sources if k in s.cadences]
        if able:
            steps = [s.ratio.reshape(len(s.ratio), -1, k, s.per_hour // k).mean(axis=3, dtype=np.float64) for s in able]
            squares = [((cosines(part)[..., 1:] / spread) ** 2).mean(axis=(0, 1)) for part in steps]
            detail[str(k)] = np.sqrt(np.average(squares, axis=0, weights=source_weights(able))).tolist()
    return detail


def fit_drift(sources: Sequence[Source], memory: float = 0.0) -> dict[str, float]:
    """How far a week's mean is from what the days before it told: `Scaler.drift`, {} where no cell has two weeks.

    Root mean squares of logs. Cells of a network drift together, so a network counts as few cells: its square is
    shrunk towards the mean of all networks as if that were DRIFT_PRIOR cells more.
    """
    squares, cells = {}, {}
    for source in sources:
        count = source.ratio.shape[1]
        if count < 14:
            continue
        apart = ahead(source, memory, range(count - 7, 6, -7))
        squares[source.network], cells[source.network] = float(np.mean(np.square(apart))), len(source.ratio)
    if not squares:
        return {}
    whole = float(np.mean(list(squares.values())))
    shrunk = {k: (n * squares[k] + DRIFT_PRIOR * whole) / (n + DRIFT_PRIOR) for k, n in cells.items()}
    return {name: round(float(np.sqrt(square)), 4) for name, square in {"": whole, **shrunk}.items()}


def _detail(
    sources: Sequence[Source], spread: float, levels: LevelModel | None, services: Services | None
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """`Scaler.detail` and `Scaler.fade`, over the sources that can tell.

    fade are the slopes of the log of the mean square within the hours of a cell that are alike, by weighted least
    squares about the means of each source.
    """
    detail, fade = {}, {}
    for k in CADENCES[1:]:
        able = [s for s in sources if k in s.cadences]
        if not able:
            continue
        share, parts, normal = source_weights(able), [], np.zeros((2, 3))
        for weight, source in zip(share, able, strict=True):
            steps = source.ratio.reshape(len(source.ratio), -1, k, source.per_hour // k).mean(axis=3, dtype=np.float64)
            coefficients = cosines(np.log(steps + FLOOR))  # (cells, hours, k)
            z, h = faded(standard_level(source, levels, services), coefficients[..., 0])
            squares = (coefficients[..., 1:] / spread) ** 2
            parts.append((z[:, None], h, squares))
            alike = (np.arange(len(z))[:, None] * 9 + np.floor(4 * h).astype(np.int64) + 6).ravel()  # quarters of a log
            count = np.maximum(np.bincount(alike), 1e-9)
            means = [np.bincount(alike, v.ravel()) / count for v in (z[:, None] + 0 * h, h, squares.mean(axis=2))]
            table = np.stack([means[0], means[1], np.log(means[2] + 1e-4) / 2])
            table -= np.average(table, axis=1, weights=count)[:, None]
            normal += weight * (table[:2] * count) @ table.T / count.sum()
        by = -np.linalg.lstsq(normal[:, :2], normal[:, 2], rcond=1e-6)[0]
        fade[str(k)] = by.round(4).tolist()
        ones = [(sq * np.exp(2 * (by[0] * z + by[1] * h))[..., None]).mean(axis=(0, 1)) for z, h, sq in parts]
        detail[str(k)] = np.sqrt(np.average(ones, axis=0, weights=share)).tolist()
    return detail, fade


def standard_level(source: Source, levels: LevelModel | None, services: Services | None = None) -> NDArray[np.float64]:
    """The standardised log level of each cell, (cells,); zeros where none is told."""
    if source.places is None or levels is None:
        return np.zeros(len(source.ratio))
    mean, spread = level_scale(source, levels, services)
    return (np.log(source.level) - mean) / spread


def fingerprint(sources: Sequence[Source], design: Design) -> str:
    """What a checkpoint belongs to: a hash of the training data and of the design."""
    digest = hashlib.sha256(json.dumps(asdict(design), sort_keys=True).encode())
    for source in sources:
        digest.update(source.network.encode() + source.ratio.tobytes() + source.level.tobytes())
        if source.places is not None:
            digest.update(source.places.counts.tobytes() + source.places.xy_m.tobytes())
    return digest.hexdigest()


def split_source(source: Source, folds: int, fold: int, seed: int) -> tuple[Source, Source]:
    """A source without and with the locations of one fold. Raises BadInput for fewer locations than folds."""
    from gentraffic.dataset.splits import p1_folds

    if len(np.unique(source.location)) < folds:
        raise BadInput(f"{source.network}: fewer than {folds} locations, so none can be held out")
    keep, held = p1_folds(source.location, folds, seed)[fold]
    return source.only(keep), source.only(held)


def measured_cells(source: Source) -> Measured:
    """The cells of a source with a context, as the level model takes them."""
    assert source.places is not None
    counts, around = source.places.counts[source.rows], source.places.around[source.rows]
    return Measured(
        source.network,
        counts,
        around,
        source.level,
        source.location,
        activity=activity(source.places)[source.rows],
        area_km2=source.places.area_km2[source.rows],
        timezone=source.places.timezone,
        source=source.places.source,
    )
