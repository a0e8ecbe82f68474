"""One self-contained page for an audit: the verdict, the tests, the pictures, and what they do not say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gentraffic.privacy.audit.run import COPIES, LIMITS, MOST_COPIES, SHARE, UNIT, USERS, Audit
from gentraffic.privacy.audit.searches import ABOUT, name_of_test
from gentraffic.privacy.audit.statistics import FISHER_RATE, LEVEL, PROMISED
from gentraffic.reports import audit_figures
from gentraffic.reports.audit_table import attack_rows, copy_rows, facts, power_rows
from gentraffic.reports.page import (
    Block,
    Bullets,
    Cell,
    Figure,
    Page,
    Section,
    Table,
    Terms,
    Text,
    page_text,
    write_html,
)

if TYPE_CHECKING:
    import xarray as xr


def write_page(
    result: Audit, path: str | Path, *, files: Mapping[str, str], attributions: Sequence[xr.Dataset] = ()
) -> None:
    """Write the page of an audit to `path` (.html).

    files: what to call the files, by role. attributions: the datasets whose attribution and licence stand at the foot.
    Raises WrongUse for the suffix, BadInput where the page cannot be written.
    """
    write_html(path, page(result, files=files, attributions=attributions))


def page(result: Audit, *, files: Mapping[str, str], attributions: Sequence[xr.Dataset] = ()) -> str:
    """The page that `write_page` writes."""
    terms = [("unit of privacy", f"{UNIT}; {USERS}"), *facts(result)]
    notes = [*result.notes, *(f"not run: {name} ({why})" for name, why in result.missing.items())]
    first: list[Block] = [
        Text(result.verdict, f"banner {'leak' if result.leak else 'calm'}"),
        Terms(terms),
        Bullets(notes, "notes"),
    ]
    place = next((str(ds.attrs["place"]) for ds in attributions if ds.attrs.get("place")), "")
    whole = Page(
        f"Privacy audit of synthetic traffic{': ' + place if place else ''}",
        " · ".join(f"{role}: {Path(name).name}" for role, name in files.items()),
        [
            Section("", first),
            Section(
                "Tests", [Text(_about(result)), _table("Tests for leaks", *attack_rows(result)), *_warnings(result)]
            ),
            *_power(result),
            *_figures(result),
            Section("What this does not say", [Bullets([f"{limit}." for limit in LIMITS], "limits")]),
        ],
        sources=attributions,
    )
    return page_text(whole)


def _about(result: Audit) -> str:
    kinds = "; ".join(f"{attack.name}: {attack.about}" for attack in result.attacks)
    search = result.search
    searches = "; ".join(f"{name_of_test(name)}: {about}" for name, about in ABOUT.items())
    return (
        f"{kinds}. {SHARE}: records closer to training than to a hold-out of as many cells, 50% by chance. {COPIES}: "
        "are records more alike to training cells, shifted or rescaled, than to hold-out cells; above "
        f"{search.threshold:.3f} they are named. {searches}. Each of these names records that come nearer to a "
        "training cell than unrelated real records come to each other, and than synthetic ones come to the hold-out. "
        "Thresholds are set on one half of the "
        f"hold-out (so that {FISHER_RATE:.0%} pass) and judged on the other by Fisher's exact test. A test finds a "
        f"leak when its p is at most {LEVEL:.0%} / {len(result.tests)} = {search.level:.2g}, which holds false alarms "
        f"of all tests together below {PROMISED:.0%}."
    )


def _power(result: Audit) -> list[Section]:
    head, rows = power_rows(result)
    about = "Copies of training records, changed in these ways, were put among the synthetic records of these files."
    return [Section("What would be found", [Text(about), _table("Power", head, rows)])] if rows else []


def _warnings(result: Audit) -> list[Text]:
    lines = [f"{a.name}: rates refused, {a.refused}" for a in result.attacks if a.refused]
    lines += [f"{a.name}: ? {a.warned}" for a in result.attacks if a.warned]
    return [Text("\n".join(lines), "after")] if lines else []


def _figures(result: Audit) -> list[Section]:
    alike = (
        "Left: 1 is a copy, whatever its shift and factor; the daily rhythm that all cells share counts little. "
        "Right: were training remembered, its curve would lie to the left."
    )
    out = [
        Section("Membership attacks", [Figure(audit_figures.attacks(result), "In colour: what found a leak.")]),
        Section("Likeness and closeness", [Figure(audit_figures.likeness(result), alike)]),
    ]
    copies = result.search.copies
    if copies:
        listed = f"The {MOST_COPIES} most alike of {len(copies):,}. " if len(copies) > MOST_COPIES else ""
        caption = f"{listed}Factor and shift: what makes the training series the synthetic one."
        table = _table("Copies", *copy_rows(result))
        out.append(Section("Copies", [Figure(audit_figures.overlays(result), caption), table]))
    return out


def _table(label: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    return Table(head, [[Cell(cell, kind="yes" if cell == "YES" else "") for cell in row] for row in rows], label)
