"""What is published, with what protects it: the data, a card, the audit, a ledger of all releases, a checklist.

Epsilon of several releases from one private source adds up (basic composition: Dwork and Roth 2014, theorem 3.16); all
that is drawn from one private model is one release, since drawing looks at nothing private.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gentraffic.errors import BadInput, WrongUse
from gentraffic.io.atomic import replacing
from gentraffic.privacy.dp.accounting import weakness

if TYPE_CHECKING:
    import xarray as xr

BLIND = 0.5  # share of planted exact copies below which an audit has seen nothing
SPACING_M, WIDTH_M = 20_000.0, 380_000.0  # between cells whose positions were left out, and of their square
UNCOVERED = (
    "The figures of the audit come from private cells without noise: epsilon does not cover them. Where the bound must "
    "hold for all that is published, leave audit.json, audit.html and this section out."
)
RAI = "http://mlcommons.org/croissant/RAI/"


MOST_EPSILON = 1e9  # far beyond what bounds anything


@dataclass(frozen=True)
class Entry:
    """One release in a ledger. epsilon, delta: None where nothing bounds what it tells. model: SHA-256 of the private
    model, "" for none. digest: SHA-256 of what was published."""

    name: str
    date: str
    digest: str
    model: str
    epsilon: float | None
    delta: float | None
    unit: str = ""
    adjacency: str = ""


@dataclass(frozen=True)
class Ledger:
    """All releases from one private source."""

    source: str
    releases: tuple[Entry, ...] = ()

    @property
    def spent(self) -> tuple[float | None, float | None]:
        """(epsilon, delta) of all releases together; None where one of them has no bound."""
        once = {entry.model or entry.digest: entry for entry in self.releases}.values()
        if any(entry.epsilon is None or entry.delta is None for entry in once):
            return None, None
        return sum(e.epsilon or 0.0 for e in once), sum(e.delta or 0.0 for e in once)

    @property
    def sentence(self) -> str:
        """What all releases together promise."""
        epsilon, delta = self.spent
        many = f"{len(self.releases)} release(s) from {self.source!r}"
        if epsilon is None:
            without = sum(entry.epsilon is None for entry in self.releases)
            return f"{many}: no bound, since {without} of them was made without differential privacy"
        return f"{many}: epsilon {epsilon:.3f}, delta {delta:.3g} together"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        epsilon, delta = self.spent
        return {
            "source": self.source, "epsilon": epsilon, "delta": delta, "summary": self.sentence,
            "releases": [asdict(entry) for entry in self.releases],
        }  # fmt: skip


def read_ledger(path: Path, source: str) -> Ledger:
    """The ledger at `path`, or a new one of `source`. Raises WrongUse for another source's, BadInput for no ledger."""
    if not path.exists():
        return Ledger(source)
    try:
        payload = json.loads(path.read_text(encoding="utf-8"))
        ledger = Ledger(str(payload["source"]), tuple(_entry(entry) for entry in payload["releases"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path}: not a ledger of releases ({type(error).__name__}); give another --ledger") from None
    if ledger.source != source:
        raise WrongUse(
            f"{path} is the ledger of {ledger.source!r}, not of {source!r}: give another --ledger or --source"
        )
    return ledger


def _entry(row: dict[str, Any]) -> Entry:
    """An entry as JSON holds it. Raises ValueError, TypeError for numbers that bound nothing and text that is none."""
    for key in ("epsilon", "delta"):
        value = row[key]
        if value is not None and not (type(value) in (int, float) and 0 <= value <= MOST_EPSILON):
            raise ValueError(f"{key} is {value!r}")
    entry = Entry(**row)
    words = (entry.name, entry.date, entry.digest, entry.model, entry.unit, entry.adjacency)
    if not all(isinstance(word, str) for word in words):
        raise TypeError("an entry holds what is no text")
    return entry


def entry_of(name: str, date: str, digest: str, privacy: Mapping[str, Any], model: str) -> Entry:
    """A release. privacy: epsilon, delta, unit, adjacency of what it was drawn from; empty for none."""
    if not privacy:
        return Entry(name, date, digest, model, None, None)
    return Entry(
        name, date, digest, model, float(privacy["epsilon"]), float(privacy["delta"]), str(privacy.get("unit", "")),
        str(privacy.get("adjacency", "")),
    )  # fmt: skip


def privacy_of(ds: xr.Dataset) -> dict[str, Any]:
    """What the attributes of drawn traffic say of the private model that drew it; empty for none."""
    names = ("epsilon", "delta", "unit", "adjacency")
    spent = {name: ds.attrs[f"privacy_{name}"] for name in names if f"privacy_{name}" in ds.attrs}
    return spent if {"epsilon", "delta"} <= spent.keys() else {}


def blurred(ds: xr.Dataset, metres: float | None) -> xr.Dataset:
    """The same traffic with positions moved to the middle of squares of `metres`, or left out where that is None.

    Footprints, rows, columns, other coordinates of cells and the map of streets and names go. Cells are shuffled and
    numbered anew, since their ids and their order would tell where they are to who holds a list of the sites, or the
    grid; those whose positions were left out stand on a made-up square. The attribute `positions` says so.
    """
    import pyproj

    from gentraffic.dataset.basemap import without_basemap

    n = ds.sizes["cell"]
    ds = without_basemap(ds)
    ds = ds.isel(cell=np.random.default_rng().permutation(n))  # of the operating system: nobody can undo it
    ds = ds.assign_coords(cell_id=("cell", np.arange(1, n + 1), ds["cell_id"].attrs))
    kept = {"cell_id", "lon", "lat", "x", "y"}
    ds = ds.drop_vars([str(name) for name in ds.coords if "cell" in ds[name].dims and name not in kept])
    if metres is None:
        side = int(np.ceil(np.sqrt(n)))
        step = min(SPACING_M, WIDTH_M / side)
        x, y = 500_000.0 + step * (np.arange(n) % side), 100_000.0 + step * (np.arange(n) // side)
        crs, how = pyproj.CRS.from_epsg(32631), "synthetic: left out of the release"
    else:
        x, y = ((np.floor(ds[axis].values / metres) + 0.5) * metres for axis in ("x", "y"))
        crs, how = (
            pyproj.CRS.from_wkt(str(ds.attrs["crs_wkt"])),
            f"moved to the middle of squares of {metres:g} m, ids anew",
        )
    lon, lat = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)
    moved = {
        name: ("cell", np.asarray(values, dtype=ds[name].dtype), ds[name].attrs)
        for name, values in (("x", x), ("y", y), ("lon", lon), ("lat", lat))
    }
    attrs = {k: v for k, v in ds.attrs.items() if k not in ("cell_width_m", "kind")} | {"kind": "stations"}
    return (
        ds.assign_coords(moved).drop_attrs(deep=False).assign_attrs(attrs | {"crs_wkt": crs.to_wkt(), "positions": how})
    )


def digest_of(path: Path) -> str:
    """SHA-256 of a file, or of all files of a folder with their names."""
    sha = hashlib.sha256()
    for part in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
        sha.update(b"" if part == path else str(part.relative_to(path)).encode())
        sha.update(part.read_bytes())
    return sha.hexdigest()


def checklist(entry: Entry, ledger: Ledger, audit: Mapping[str, Any] | None, positions: str, totals: str = "") -> str:
    """The page of what was done before publishing, and what is left to a person: CHECKLIST.md. totals: what the traffic
    was scaled to."""
    epsilon, _ = ledger.spent
    power = (audit or {}).get("power")
    sees = power is not None and power["share_found"]["exact"]["value"] >= BLIND
    done = [
        (entry.epsilon is not None, f"fitted with differential privacy: {bound_text(entry)}"),
        (epsilon is not None, f"all releases from this source counted: {ledger.sentence}"),
        (
            audit is not None,
            "audited against training and hold-out cells" if audit else "audited: no (--train, --holdout)",
        ),
        (audit is not None and not audit["leak_found"], "the audit found no leak"),
        (sees, "the audit would have found most exact copies at these sizes; what else, audit.json says under power"),
        (
            bool(positions),
            f"positions: {positions}; the name of the place, its zone and the source of its map stay"
            if positions
            else "positions: as in the data; --coarsen or --no-positions change them",
        ),
    ]
    own: tuple[str, ...] = (
        "the licence of the private source allows this release",
        "who may ask for what is answered (README.md)",
        "users: nothing here protects single users; where that is needed, their share per cell must be bounded before",
    )
    if entry.epsilon is not None and audit is not None:
        own = (*own, "audit.json, audit.html: computed from private cells without noise; epsilon does not cover them")
    if totals:
        own = (
            *own,
            f"totals: the traffic was scaled to {totals}, and tells it exactly: no epsilon "
            "covers a total that was summed over private cells; give one that is public, or rounded",
        )
    lines = ["# Before you publish", "", *(f"- [{'x' if ok else ' '}] {text}" for ok, text in done)]
    return "\n".join([*lines, "", "For a person to decide:", "", *(f"- [ ] {text}" for text in own), ""])


def bound_text(entry: Entry) -> str:
    """epsilon 8 at delta 1e-05 for ..., or that there is none."""
    if entry.epsilon is None:
        return "no bound: not made with differential privacy"
    return f"epsilon {entry.epsilon:.3f} at delta {entry.delta:g}, for {entry.unit}; {entry.adjacency}"


def memo_sentence(entry: Entry, model: bool = False, ledger: Ledger | None = None) -> str:
    """What protects whom, in a sentence that a release memo can take over as it is. model: a model is released.
    ledger: of all releases, whose sum is told where there are several."""
    together = f" In all: {ledger.sentence}." if ledger is not None and len(ledger.releases) > 1 else ""
    what = "The model was" if model else "The traffic was drawn from a model that was"
    if entry.epsilon is None:
        return (
            f"{what} not fitted with differential privacy: nothing bounds what it tells of a cell that the model "
            f"learned from, nor of a user.{together}"
        )
    return (
        f"{what} fitted with differential privacy (epsilon {entry.epsilon:.3f}, delta {entry.delta:g}; the unit is "
        f"{entry.unit.split(';')[0] or 'not stated'}, adjacency: {entry.adjacency or 'not stated'}); single users are "
        f"not covered by this guarantee.{together}"
    )


def contents_of(ds: xr.Dataset) -> list[str]:
    """What drawn traffic is: its size, period, values, model, positions and rights, a line each."""
    from gentraffic.dataset.amounts import step_seconds
    from gentraffic.dataset.schema import local_time, services

    attrs = ds.attrs
    first, last = (f"{moment:%Y-%m-%d %H:%M}" for moment in local_time(ds)[[0, -1]])
    members = f", {ds.sizes['member']} members of an ensemble" if "member" in ds.dims else ""
    kinds = {name: str(ds[name].attrs.get("units", "")) for name in services(ds)}
    relative = "relative, 1 is the mean cell in a mean hour"
    values = "; ".join(f"`{name}`: {relative if unit == '1' else unit + ' per step'}" for name, unit in kinds.items())
    learned = str(attrs.get("model_networks", ""))
    model = f"`{attrs.get('model', 'not stated')}`" + (f", which learned from {learned}" if learned else "")
    sha = f" (SHA-256 {attrs['model_sha256']})" if attrs.get("model_sha256") else ""
    lines = [
        f"{ds.sizes['cell']} cells, {ds.sizes['time']} steps of {step_seconds(ds) / 60:g} minutes, {first} to {last} "
        f"{attrs['timezone']}{members}",
        f"values: {values}",
        f"drawn by a model, {model}{sha}; no value was measured",
        f"positions: {attrs.get('positions', 'those of the cells')}",
        f"licence: {attrs.get('license', 'not stated')}; to credit: {attrs.get('attribution', 'not stated')}",
    ]
    return [line for line in lines if line]


def faults_of(ds: xr.Dataset) -> list[str]:
    """What is known to be wrong with drawn traffic, a line each."""
    attrs = ds.attrs
    warned = [line.strip() for line in str(attrs.get("warnings", "")).splitlines() if line.strip()]
    private = "Noise that protects the cells makes levels less sure and hours rougher than a model without it draws. "
    return [
        (private if "privacy_epsilon" in attrs else "")
        + "How near this traffic comes to real traffic is not measured here: `gentraffic evaluate` measures it against "
        "cells that the model did not see, and its figures belong beside this card",
        "the level of a single cell and the exact busiest hour are draws, not facts",
        "events, seasons and growth are not in it; public holidays: " + str(attrs.get("holidays", "not stated")),
        *([str(attrs["not_drawn"])] if attrs.get("not_drawn") else []),
        *(
            [f"it was scaled to {attrs['totals']}: that figure is exact, and no epsilon covers it"]
            if attrs.get("totals")
            else []
        ),
        *warned,
    ]


def release_card(
    entry: Entry, ledger: Ledger, audit: Mapping[str, Any] | None, files: Sequence[str], ds: xr.Dataset | None = None
) -> str:
    """README.md of a release: what is in it, what protects whom, what is known to be wrong. ds: None for a model."""
    weak = weakness(entry.epsilon) if entry.epsilon is not None else ""
    verdict = "Not audited." if audit is None else str(audit["verdict"])
    shares = ((audit or {}).get("power") or {}).get("share_found", {})
    contents = ["a model folder, `model/`: its README.md says what it learned from"] if ds is None else contents_of(ds)
    faults = ["see *What to trust and what not* in the README.md of `model/`"] if ds is None else faults_of(ds)
    lines = [
        f"# {entry.name}", "", f"Released {entry.date}. SHA-256 of the data: `{entry.digest}`.", "",
        *(f"- {line}" for line in contents), "", "## What protects whom", "",
        memo_sentence(entry, ds is None, ledger), "",
        f"- {bound_text(entry)}.", f"- {ledger.sentence}.",
        *([f"- {weak}."] if weak else []), "- Users: not guaranteed.", "",
        "## What is known to be wrong", "", *(f"- {line}" for line in faults), "", "## Audit", "", verdict, "",
    ]  # fmt: skip
    if shares:
        lines += ["| one copy alone | found | 95% | |", "|---|---|---|---|"]
        lines += [f"| {kind} | {v['value']:.0%} | {v['low']:.0%} to {v['high']:.0%} | {v['about']} |"
                  for kind, v in shares.items()]  # fmt: skip
        lines.append("")
    if audit is not None:
        lines += [*(f"- {limit}" for limit in audit["limits"]), ""]
        if entry.epsilon is not None:
            lines += [UNCOVERED, ""]
    return "\n".join([*lines, "## Files", "", *(f"- `{name}`" for name in files), ""])


def add_rai(path: Path, entry: Entry, ledger: Ledger, audit: Mapping[str, Any] | None) -> None:
    """Add the fields of Croissant RAI 1.0 to a croissant.json."""
    card = json.loads(path.read_text(encoding="utf-8"))
    card["@context"] = {**card["@context"], "rai": RAI}
    card["conformsTo"] = [card["conformsTo"], f"{RAI}1.0"]
    card |= {
        "rai:dataCollection": "Drawn by a model; no value was measured.",
        "rai:dataCollectionType": ["Others"],
        "rai:dataLimitations": "" if audit is None else "; ".join(audit["limits"]),
        "rai:dataBiases": "The traffic of the networks that the model was trained on, and of no other.",
        "rai:personalSensitiveInformation": [f"{bound_text(entry)}; users: not guaranteed", ledger.sentence],
        "rai:dataUseCases": "Planning, simulation and teaching; not the study of single cells, places or users.",
        "rai:dataSocialImpact": "Not audited for leaks." if audit is None else str(audit["verdict"]),
        "rai:dataReleaseMaintenancePlan": "Every further release from the same source is counted in ledger.json.",
    }
    path.write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def keep_ledger(path: Path, ledger: Ledger) -> None:
    """Write a ledger as a whole."""
    with replacing(path, (path.suffix.lower(),)) as temporary:
        temporary.write_text(json.dumps(ledger.to_json(), indent=1) + "\n", encoding="utf-8")


def copy_model(source: Path, target: Path) -> None:
    """A model folder as it is."""
    shutil.copytree(source, target)
