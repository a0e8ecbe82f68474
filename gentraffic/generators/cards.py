"""The card (README.md) of every kind of model folder, and what a provenance says of the data that a model saw.

A card is rendered from provenance.json alone, by the templates in gentraffic/assets/templates/cards: no sentence of it
speaks of data that the model did not see. Reports read the same provenance, never a card.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gentraffic import __version__
from gentraffic.dataset.schema import credits_of
from gentraffic.generators.base import KINDS, WEEKLY, families
from gentraffic.io.templates import render

if TYPE_CHECKING:
    import xarray as xr

FOMO_MINUTES = (15, 30, 60)  # per step
UNKNOWN_UNITS = ("unknown", "")
NOTHING: dict[str, Any] = {"network": "", "place": "", "kind": "", "cells": 0, "days": 0.0, "minutes": 0.0, "first": "",
                           "timezone": "", "units": {}, "calendar": "", "positions": ""}  # fmt: skip
NOT_PRIVATE = "Not a privacy mechanism: weights come from few cells. For private traffic, audit before sharing."
UNMODELLED = "Events, seasons and growth are not modelled, and holidays were not marked."

WEEKLY_LEVELS = (
    "In a network that was measured, levels follow its own POI categories and shapes its own rhythm. Elsewhere levels "
    "follow an absolute law of what stands around a cell (densities per km2 within 0.1 to 2 km of POIs, and of floor "
    "area, streets, known sites, residents, stops and jobs where the context has them), and shapes the rhythm of the "
    "nearest measured network. Where POIs say little of traffic, ranges elsewhere are too narrow.",
    "Member 0 (the control) has the most likely levels; its map is smoother than a real one. Ask for 20 members to see "
    "the spread. Neighbours depart alike from what is expected, in their levels and in their weeks, as far as cells of "
    "the network did whose rhythm a member follows.",
)
WEEKLY_OWN_LEVELS = (
    "The network draws the level of a cell with its week, from the place, as this baseline's paper does: what "
    "`gentraffic fit --level model` replaces by a level model. Member 0 is a draw like the others, and neighbours do "
    "not depart alike.",
)
FOMO = (
    "Short and long continuation of measured series, gaps, and whole weeks for places without data, all from one set "
    "of weights. `sample --steps 1` gives the expectation instead of a draw: the best single forecast.",
    "Without measured traffic and without users, levels come from the level model (POIs of the place), as in STOUTER: "
    "there the level is most of the error. With users, traffic follows them.",
    "In a network that was measured, the usual week and the rhythm are its own, and each cell has the week that its "
    "surroundings tell. Elsewhere they are those of a measured network, the nearest first (`--rhythm`), and traffic is "
    "relative (1 = the mean cell) unless measured traffic or `--total` gives it units.",
    "Windows are 64 steps long; longer series are drawn by windows whose borders move from solver step to solver step.",
)
FORECASTER = (
    "A cell is scaled by the mean and spread of its own history: give at least a day, better a week.",
    "A forecast is a single value near the middle of what may come; `forecast run --members 50` gives a range.",
    "Holidays and events are not known to it.",
)
REMEMBERS = (
    "It draws measured series again, and contains them: never private, nothing to publish where the traffic itself may "
    "not be.",
    "What a trained model must beat.",
)
PRIVATE = (
    "epsilon bounds how much more likely anything that can be drawn from this folder becomes when the traffic of one "
    "cell, with all its days, is put into the training data or taken out. It says nothing about users: one user is in "
    "many cells.",
    "Cells near one another resemble each other. What the neighbours of a cell show about it remains, with or without "
    "it.",
    "The list of cells, their positions, their POIs, the calendar, the range of levels and the model to start from (if "
    "any) were taken as public. Deciding which file and which settings to use looked at nothing private, or is not "
    "covered.",
    "Every further fit on the same traffic spends its own epsilon, and they add up.",
    "The seed of the noise and of the sampling came from the operating system, was kept in the checkpoint alone, and "
    "went with it. Whoever held a copy of the checkpoint could subtract the noise. Running time is not protected.",
    "The proof is about real numbers. Noise is computed in 64-bit floating point, each the sum of four draws so that "
    "the gaps of single ones do not tell what they hide; gradients are summed in 32 bits. No attack on that is known "
    "to us, none is ruled out.",
    "The traffic files are named here without their hashes, which would let anyone confirm a guess of what is in them.",
)


def card(name: str, provenance: Mapping[str, Any]) -> str:
    """The README.md of a model folder of any kind.

    name: of the folder. provenance: what its provenance.json holds; `tables` in it are Markdown that stands in the card
    as it is: "held_out" (scores on held-out locations), "evidence" (a benchmark's rows), "distilled" (teacher and
    student).
    """
    known: dict[str, Any] = {"tables": {}, "design": {}, **provenance}
    return render(
        f"cards/{family_of(known)}.md",
        name=name,
        known=known,
        tables={"held_out": "", "evidence": "", "evidence_note": "", "distilled": "", **known["tables"]},
        measured=measured(known),
        places=[part for part in known.get("data", []) if not _is_measured(part)],
        limits=limits_of(known),
        units=units_sentence(known),
    )


def family_of(provenance: Mapping[str, Any]) -> str:
    """The template that a provenance goes with: forecaster, private, student, naive, fomo or weekly."""
    for family, key in (("forecaster", "forecaster"), ("private", "privacy"), ("student", "distilled_from")):
        if key in provenance:
            return family
    return KINDS[families().get(str(provenance.get("sampler", "stouter")), WEEKLY)]


def limits_of(provenance: Mapping[str, Any]) -> tuple[str, ...]:
    """What to trust and what not, as sentences: of the method, then of the data that the model saw."""
    of_family: dict[str, tuple[str, ...]] = {
        "forecaster": (*FORECASTER, *_seen(provenance)),
        "naive": (*REMEMBERS, *_seen(provenance)),
        "fomo": (*FOMO, *_seen(provenance), *_lone_cadences(provenance), UNMODELLED, NOT_PRIVATE),
    }
    return of_family.get(family_of(provenance)) or _limits_of_weeks(provenance)


def _limits_of_weeks(provenance: Mapping[str, Any]) -> tuple[str, ...]:
    own = provenance.get("design", {}).get("own_level")
    levels = (*(WEEKLY_OWN_LEVELS if own else WEEKLY_LEVELS), *_services(provenance))
    weekly = (*levels, *_seen(provenance), UNMODELLED)
    return (*weekly, *PRIVATE) if "privacy" in provenance else (*weekly, NOT_PRIVATE)


def measured(provenance: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The traffic that a model learned from, one entry a file, with the keys of `origin`, empty where not known."""
    return [{**NOTHING, **part} for part in provenance.get("data", []) if _is_measured(part)]


def network_words(part: Mapping[str, Any]) -> str:
    """What a reader calls the network of an entry of `measured`: its place, else its title."""
    return str(part.get("place") or part.get("title") or part.get("network") or part.get("file", ""))


def network_names(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Code name of a network -> what a reader calls it, of the networks that a model learned from."""
    return {str(part["network"]): network_words(part) for part in measured(provenance) if part["network"]}


def units_sentence(provenance: Mapping[str, Any]) -> str:
    """Whether the measured traffic had units, and what the drawn traffic is therefore."""
    parts = [part for part in measured(provenance) if part["units"]]
    bare = [network_words(part) for part in parts if set(part["units"].values()) & {*UNKNOWN_UNITS}]
    stated = sorted({unit for part in parts for unit in part["units"].values()} - {*UNKNOWN_UNITS, "1"})
    if not parts:
        units = ""
    elif bare:
        units = f"No units are stated for the traffic of {_listed(bare)}. "
    elif stated:
        units = f"The traffic was measured in {_listed(stated)}. "
    else:
        units = "The measured traffic is relative. "
    return (
        f"{units}What is drawn is relative: 1 is what the mean cell carries in a mean hour. `--total` gives it units."
    )


def provenance_of(
    traffic: Sequence[Path], context: Sequence[Path], metadata: dict[str, Any], scores: dict[str, Any]
) -> dict[str, Any]:
    """What provenance.json holds: data with hashes and licences, the run, and mean scores beside the naive rows."""
    return {
        **origins_of([*traffic, *context]),
        "metrics": mean_scores(scores),
        "services": ["traffic"],
        **{key: value for key, value in metadata.items() if key != "validation"},
        "validation": metadata["validation"],
    }


def mean_scores(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Row -> network -> metric -> the mean over the held-out cells of all folds. scores: row -> one score a fold."""
    return {
        row: {
            network: {
                metric: _mean([v for fold in folds for v in fold[network][metric]])
                for metric in ("crps", "crps_shape", "crps_level", "coverage_90")
            }
            for network in folds[0]
        }
        for row, folds in scores.items()
    }


def origins_of(files: Sequence[Path]) -> dict[str, Any]:
    """What provenance.json holds of the files that a model was made from: hashes, licences, attribution."""
    data = [origin(path) for path in files]
    return {
        "gentraffic_version": __version__,
        "data": data,
        "attribution": credits_of(part["attribution"] for part in data),
    }


def origin(path: Path) -> dict[str, Any]:
    """What provenance.json holds of one file of traffic or places: name, hash, title, licence, attribution, and of
    traffic also `facts_of`, and the marks by which a copy of its cells is known again."""
    from gentraffic.dataset.fingerprint import marks_of

    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    with _opened(path) as ds:
        attrs = dict(ds.attrs)
        facts = {**facts_of(ds), "marks": marks_of(ds)} if "time" in ds.dims else {"cells": ds.sizes["cell"]}
    title, place = str(attrs.get("title", "")), str(attrs.get("place", ""))
    return {
        "file": path.name,
        "sha256": digest.hexdigest(),
        "title": f"Points of interest, {place}" if "minutes" not in facts and place else title or path.stem,
        "license": str(attrs.get("license", "not stated")),
        "attribution": str(attrs.get("attribution", "")),
        **facts,
    }


def facts_of(ds: xr.Dataset) -> dict[str, Any]:
    """What a card says of measured traffic: network, place, kind, cells, days, minutes (per step), first (local date),
    timezone, units (service -> unit, "unknown" where the source states none), and the notes calendar, positions."""
    from gentraffic.dataset.schema import local_time, services

    local = local_time(ds)
    minutes = (local[1] - local[0]).total_seconds() / 60 if len(local) > 1 else 60.0
    notes = {key: str(ds.attrs[key]) for key in ("calendar", "positions") if ds.attrs.get(key)}
    return {
        "network": str(ds.attrs.get("network", "")),
        "place": str(ds.attrs.get("place", "")),
        "kind": str(ds.attrs.get("kind", "")),
        "cells": ds.sizes["cell"],
        "days": round(len(local) * minutes / 1440, 2),
        "minutes": minutes,
        "first": f"{local[0]:%Y-%m-%d}",
        "timezone": str(ds.attrs.get("timezone", "")),
        "units": {name: str(ds[name].attrs.get("units", "unknown")) for name in services(ds)},
        **notes,
    }


def _opened(path: Path) -> xr.Dataset:
    """A traffic or context file, its values left on the disk where its format allows that."""
    import xarray as xr

    from gentraffic.io.files import from_cf

    if path.is_dir():
        return from_cf(xr.open_zarr(path))
    if path.suffix.lower() in (".csv", ".parquet"):
        from gentraffic.io.files import read_traffic

        return read_traffic(path)
    return from_cf(xr.open_dataset(path))


def _is_measured(part: Mapping[str, Any]) -> bool:
    """Whether an entry of `data` is traffic; entries from before there were facts are known by their titles."""
    places = "cells" in part or str(part.get("title", "")).startswith("Points of interest")
    return "minutes" in part or not places


def _seen(provenance: Mapping[str, Any]) -> tuple[str, ...]:
    """One sentence on the networks that a model knows: cells, days, step, zone."""
    words = []
    for part in measured(provenance):
        facts = []
        if part["cells"]:
            noun = "station" if part.get("kind") == "stations" else "cell"
            facts.append(f"{part['cells']:,} {noun}{'s' * (part['cells'] != 1)}")
        if part["days"]:
            facts.append(f"{part['days']:g} day{'s' * (part['days'] != 1)} in steps of {part['minutes']:g} min")
        facts += [part["timezone"]] if part["timezone"] else []
        words.append(network_words(part) + (f" ({', '.join(facts)})" if facts else ""))
    return (f"It knows what it was fitted on and nothing else: {'; '.join(words)}.",) if words else ()


def _lone_cadences(provenance: Mapping[str, Any]) -> tuple[str, ...]:
    """A sentence for each of FoMo's steps that only one of several networks has, itself or as a sum of shorter ones."""
    parts = [part for part in measured(provenance) if part["minutes"]]
    having = {m: [network_words(part) for part in parts if m % part["minutes"] == 0] for m in FOMO_MINUTES}
    lone = {minutes: names[0] for minutes, names in having.items() if len(names) == 1 < len(parts)}
    return tuple(f"Steps of {minutes} min were learned from {name} alone." for minutes, name in lone.items())


def _services(provenance: Mapping[str, Any]) -> tuple[str, ...]:
    """A sentence on the services of a model that draws several."""
    names = list(provenance.get("services", ()))
    if len(names) < 2:
        return ()
    return (
        f"It draws {', '.join(names)}. The levels of {names[0]} are drawn first, those of the others by their ratio to "
        "it; 1 is the mean cell of each service. What the services of a cell share was measured where all were: "
        f"elsewhere the ratios and rhythms of {', '.join(names[1:])} are those of that network.",
    )


def _listed(words: Sequence[str]) -> str:
    unique = list(dict.fromkeys(words))
    return "; ".join(unique)  # places have commas of their own


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 6)
