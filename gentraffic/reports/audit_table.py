"""An audit in words and tables, for the terminal and for the page."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from gentraffic.privacy.audit.run import COPIES, LIMITS, MOST_COPIES, SHARE, UNIT, USERS, Audit
from gentraffic.privacy.audit.searches import name_of_test
from gentraffic.privacy.audit.statistics import FALSE_ALARMS, Attack

Rows = list[list[str]]
SHOWN_COPIES = 10  # on a terminal


def facts(result: Audit) -> list[tuple[str, str]]:
    """What was compared: (word, sentence)."""
    m, c = result.material, result.material.counts
    dead = [f"{c[f'{name}_dead']} dead {name}" for name in ("train", "holdout", "synthetic") if c[f"{name}_dead"]]
    units = "" if m.units in ("1", "unknown") else f", {m.units}"
    return [
        ("cells", f"{c['train_cells']:,} training, {c['holdout_cells']:,} hold-out"
                  + (f"; left out: {', '.join(dead)}" if dead else "")),
        ("synthetic", f"{c['synthetic_records']:,} records ({c['synthetic_cells']:,} cells, {c['synthetic_members']} "
                      f"member{'s' * (c['synthetic_members'] != 1)}), {c['synthetic_records_compared']:,} compared"),
        ("record", f"{c['steps_per_record']} steps of {m.step_s / 60:g} min of {m.service!r}{units}"),
        ("scale", f"log(value / {m.scale:.4g} + 0.05), the same for all files: the median cell is 1"),
    ]  # fmt: skip


def attack_rows(result: Audit) -> tuple[list[str], Rows]:
    """Heading and rows of the table of tests."""
    head = ["test", "members", "others", "AUC [95%]", *(f"TPR at {at:.1%}" for at in FALSE_ALARMS), "found / others",
            "p (AUC; threshold)", "leak"]  # fmt: skip
    rows = [
        [a.name, f"{a.members:,}", f"{a.others:,}", auc_text(a), *rates(a), fisher_text(a),
         f"{p_text(a.auc.p)}; {p_text(a.fisher.p)}", _stands(result, *a.p_values)]
        for a in result.attacks
    ]  # fmt: skip
    share, search = result.share, result.search
    blank = ["-"] * len(FALSE_ALARMS)
    rows.append([SHARE, f"{share.cells:,}", f"{share.cells:,}", "-", *blank, f"{share.value:.1%} of {share.records:,}",
                 p_text(share.p), _stands(result, SHARE)])  # fmt: skip
    rows.append(
        [
            COPIES,
            f"{result.material.train.cells:,}",
            f"{result.material.holdout.cells:,}",
            "-",
            *blank,
            f"{len(search.copies):,} of {len(search.train):,}",
            p_text(search.p),
            _stands(result, COPIES),
        ]
    )
    for f in result.searches:
        rows.append([name_of_test(f.name), f"{result.material.train.cells:,}", f"{result.material.holdout.cells:,}",
                     "-", *blank, f"{f.train:.4f}, limit {f.threshold:.4f}", p_text(f.p),
                     _stands(result, name_of_test(f.name))])  # fmt: skip
    return head, rows


def power_rows(result: Audit) -> tuple[list[str], Rows]:
    """Heading and rows of the table of power: what share of planted copies is found; no rows where that was not tried.

    The last row is how often half of the hold-out, taken as synthetic, was accused.
    """
    power = result.power
    head = ["planted alone among the synthetic records", "found", "95%", "what it is"]
    if power is None:
        return head, []
    rows = [
        [kind, f"{share:.0%} of {power.plants}", f"{low:.0%} to {high:.0%}", about]
        for kind, about, share, low, high in power.rows()
    ]
    rows.append(["two days in a quarter", f"{power.quarter:.0%}", "-", "of all synthetic records, by the row above"])
    rows.append(["nothing: false alarms", power.alarm_short, "-", power.alarm_text])
    return head, rows


def copy_rows(result: Audit) -> tuple[list[str], Rows]:
    """Heading and rows of the table of copies, the most alike first, MOST_COPIES at most."""
    head = ["synthetic cell", "member", "window", "training cell", "window", "likeness", "shift", "factor", "kind"]
    hours = result.material.step_s / 3600
    rows = [
        [c.synthetic_cell, str(c.synthetic_member), str(c.synthetic_window), c.train_cell, str(c.train_window),
         f"{c.likeness:.4f}", f"{c.shift * hours:+g} h" if c.shift else "0", f"{c.factor:.3g}", c.kind]
        for c in result.search.copies[:MOST_COPIES]
    ]  # fmt: skip
    return head, rows


def text(result: Audit, width: int) -> list[str]:
    """Lines for a person, sentences at most `width` characters wide: the verdict, what was compared, every table."""
    lines = [*textwrap.wrap(result.verdict, width), "", f"unit of privacy: {UNIT}; {USERS}"]
    lines += [f"{word}: {sentence}" for word, sentence in facts(result)]
    lines += ["", *table(*attack_rows(result)), ""]
    if result.search.copies:
        head, rows = copy_rows(result)
        lines += [*table(head, rows[:SHOWN_COPIES]), ""]
        if len(result.search.copies) > SHOWN_COPIES:
            lines.append(f"{len(result.search.copies) - SHOWN_COPIES:,} copies more; --json lists {MOST_COPIES}")
    head, rows = power_rows(result)
    if rows:
        lines += [*table(head, rows), ""]
    not_run = (f"not run: {name} ({why})" for name, why in result.missing.items())
    for note in (*result.notes, *not_run, *LIMITS):
        lines += textwrap.wrap(note, width, initial_indent="- ", subsequent_indent="  ")
    return lines


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of text with aligned columns, the first to the left."""
    widths = [max(len(line[i]) for line in (head, *rows)) for i in range(len(head))]
    lines = []
    for line in (head, *rows):
        cells = [f"{c:<{w}}" if i == 0 else f"{c:>{w}}" for i, (c, w) in enumerate(zip(line, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return lines


def auc_text(attack: Attack) -> str:
    """0.512 [0.487, 0.537]"""
    return f"{attack.auc.value:.3f} [{attack.auc.low:.3f}, {attack.auc.high:.3f}]"


def rates(attack: Attack) -> list[str]:
    """The true-positive rates as text; refused where non-members are too few, "?" beside one of few."""
    if attack.refused:
        return ["refused"] * len(FALSE_ALARMS)
    return [f"{rate.value:.1%}" + ("?" if attack.warned and rate.at == FALSE_ALARMS[-1] else "")
            for rate in attack.rates]  # fmt: skip


def fisher_text(attack: Attack) -> str:
    """12/1000, 5/500"""
    f = attack.fisher
    return f"{f.members_found}/{f.members}, {f.others_found}/{f.others}"


def p_text(p: float) -> str:
    """A p-value in few characters."""
    return f"{p:.2g}" if p >= 1e-4 else "<1e-4"


def _stands(result: Audit, *tests: str) -> str:
    return "YES" if set(tests) & set(result.found) else "no"
