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
from gentraffic.reports.page import asset, bullets, escaped, filled, terms, whole_page, write_html

if TYPE_CHECKING:
    import xarray as xr


def write_page(
    found: Audit, path: str | Path, *, files: Mapping[str, str], attributions: Sequence[xr.Dataset] = ()
) -> None:
    """Write the page of an audit to `path` (.html).

    files: what to call the files, by role. attributions: the datasets whose attribution and licence stand at the foot.
    Raises WrongUse for the suffix, BadInput where the page cannot be written.
    """
    write_html(path, page(found, files=files, attributions=attributions))


def page(found: Audit, *, files: Mapping[str, str], attributions: Sequence[xr.Dataset] = ()) -> str:
    """The page that `write_page` writes."""
    said = [("unit of privacy", f"{UNIT}; {USERS}"), *facts(found)]
    notes = [*found.notes, *(f"not run: {name} ({why})" for name, why in found.missing.items())]
    parts = {
        "kind": "leak" if found.leak else "none",
        "verdict": escaped(found.verdict),
        "facts": terms(said),
        "notes": bullets(notes, "notes"),
        "about": escaped(_about(found)),
        "table": _table(*attack_rows(found)),
        "warnings": _warnings(found),
        "figures": _figures(found),
        "limits": bullets((f"{limit}." for limit in LIMITS), "limits"),
    }
    lead = " · ".join(f"{role}: {Path(name).name}" for role, name in files.items())
    return whole_page(
        "Privacy audit of synthetic traffic",
        lead,
        filled("page/audit.html", parts),
        sources=attributions,
        css=asset("page/audit.css"),
    )


def _about(found: Audit) -> str:
    kinds = "; ".join(f"{attack.name}: {attack.about}" for attack in found.attacks)
    search = found.search
    searches = "; ".join(f"{name_of_test(name)}: {about}" for name, about in ABOUT.items())
    return (
        f"{kinds}. {SHARE}: records closer to training than to a hold-out of as many cells, 50% by chance. {COPIES}: "
        "are records more alike to training cells, shifted or rescaled, than to hold-out cells; above "
        f"{search.threshold:.3f} they are named. {searches}. Each of these names records that come nearer to a "
        "training cell than unrelated real records come to each other, and than synthetic ones come to the hold-out. "
        "Thresholds are set on one half of the "
        f"hold-out (so that {FISHER_RATE:.0%} pass) and judged on the other by Fisher's exact test. A test finds a "
        f"leak when its p is at most {LEVEL:.0%} / {len(found.tests)} = {search.level:.2g}, which holds false alarms "
        f"of all tests together below {PROMISED:.0%}."
    )


def _warnings(found: Audit) -> str:
    lines = [f"{a.name}: rates refused, {a.refused}" for a in found.attacks if a.refused]
    lines += [f"{a.name}: ? {a.warned}" for a in found.attacks if a.warned]
    return f'<p class="caption after">{"<br>".join(map(escaped, lines))}</p>' if lines else ""


def _figures(found: Audit) -> str:
    sections = [
        ("Membership attacks", "In colour: what found a leak.", audit_figures.attacks(found)),
        (
            "Likeness and closeness",
            "Left: 1 is a copy, whatever its shift and factor; the daily rhythm that all cells share counts little. "
            "Right: were training remembered, its curve would lie to the left.",
            audit_figures.likeness(found),
        ),
    ]
    out = [f'<h2>{t}</h2><p class="caption">{escaped(c)}</p><figure>{body}</figure>' for t, c, body in sections]
    head, rows = power_rows(found)
    if rows:
        caption = (
            "Copies of training records, changed in these ways, were put among the synthetic records of these files."
        )
        out.insert(0, f'<h2>What would be found</h2><p class="caption">{caption}</p>'
                      f'<div class="scroll">{_table(head, rows)}</div>')  # fmt: skip
    copies = found.search.copies
    if copies:
        listed = f"The {MOST_COPIES} most alike of {len(copies):,}." if len(copies) > MOST_COPIES else ""
        out.append(
            f'<h2>Copies</h2><p class="caption">{listed} Factor and shift: what makes the training series the '
            f"synthetic one.</p><figure>{audit_figures.overlays(found)}</figure>"
            f'<div class="scroll">{_table(*copy_rows(found))}</div>'
        )
    return "\n".join(out)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escaped(cell)}</th>" for cell in head)
    lines = []
    for first, *rest in rows:
        cells = "".join(f"<td{' class=yes' if cell == 'YES' else ''}>{escaped(cell)}</td>" for cell in rest)
        lines.append(f"<tr><th>{escaped(first)}</th>{cells}</tr>")
    return f"<table><thead><tr>{top}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
