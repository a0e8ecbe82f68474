"""The pictures of an audit, each as one SVG element: members in colour, what is not a member in ink."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gentraffic.privacy.audit.run import Audit
from gentraffic.privacy.audit.statistics import Attack, Floats
from gentraffic.reports.plot import ACCENT, INK, SOFT
from gentraffic.reports.svg import new_figure, page_style, plain_text, svg_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_OVERLAYS = 6
DOTS = 3_000  # records that a scatter shows at most


def attacks(result: Audit) -> str:
    """AUCs with their intervals, and the ROC curves on logarithmic axes."""
    with page_style():
        figure, (left, right) = new_figure(11.2, 3.9, 1, 2)
        names = [attack.name for attack in result.attacks]
        for row, attack in enumerate(result.attacks):
            stands = bool(set(attack.p_values) & set(result.found))
            colour = ACCENT if stands else INK
            left.plot([attack.auc.low, attack.auc.high], [row, row], color=colour, linewidth=2.2)
            left.plot([attack.auc.value], [row], "o", color=colour, markersize=6)
        left.axvline(0.5, color=SOFT, linestyle=(0, (4, 3)), linewidth=1)
        left.set_yticks(range(len(names)), names)
        left.set_ylim(len(names) - 0.5, -0.5)
        ends = [end for attack in result.attacks for end in (attack.auc.low, attack.auc.high)]
        left.set_xlim(min(0.4, *ends) - 0.02, max(0.6, *ends) + 0.02)
        left.grid(True, axis="x")
        left.set_title("AUC with its 95% interval; 0.5 is chance")
        low = 1.0
        for attack, style in zip(result.attacks, ("-", "--", "-.", ":"), strict=False):
            false, true = roc(attack)
            low = min(low, 1 / attack.others)
            right.step(np.maximum(false, 1e-9), np.maximum(true, 1e-9), style, where="post", label=attack.name,
                       color=ACCENT if set(attack.p_values) & set(result.found) else INK, linewidth=1.3)  # fmt: skip
        right.plot([low, 1], [low, 1], color=SOFT, linestyle=(0, (4, 3)), linewidth=1)
        right.set_xscale("log")
        right.set_yscale("log")
        right.set_xlim(low, 1)
        right.set_ylim(low, 1.05)
        right.set_xlabel("share of non-members accused")
        right.set_title("Share of members found")
        right.grid(True, axis="both")
        right.legend(loc="lower right", frameon=False, fontsize=8.5)
        return svg_text(figure, "AUC of every attack with its interval, and ROC curves")


def roc(attack: Attack) -> tuple[Floats, Floats]:
    """(false-positive rates, true-positive rates) of all thresholds, from (0, 0) on."""
    levels = np.unique(np.concatenate([attack.member_scores, attack.other_scores]))[::-1]
    rates = [
        np.concatenate([[0], np.searchsorted(np.sort(-scores), -levels, side="right") / len(scores)])
        for scores in (attack.other_scores, attack.member_scores)
    ]
    return rates[0], rates[1]


def likeness(result: Audit) -> str:
    """Every synthetic record's likeness to training against that to the hold-out, and the threshold."""
    search = result.search
    order = np.argsort(-search.train, kind="stable")
    others = order[len(search.copies) :]
    at = np.concatenate([order[: len(search.copies)], others[:: max(1, -(-len(others) // DOTS))]])
    with page_style():
        figure, (left, right) = new_figure(11.2, 4.2, 1, 2)
        copy = search.train[at] > search.threshold
        for chosen, colour, size in ((~copy, INK, 7), (copy, ACCENT, 26)):
            left.scatter(search.holdout[at][chosen], search.train[at][chosen], s=size, c=colour, linewidths=0,
                         alpha=0.45 if colour == INK else 0.9, rasterized=True)  # fmt: skip
        left.axhline(search.threshold, color=ACCENT, linewidth=1.2)
        left.plot([0, 1], [0, 1], color=SOFT, linestyle=(0, (4, 3)), linewidth=1)
        left.set_xlim(0, 1.02)
        left.set_ylim(0, 1.02)
        left.set_xlabel("largest likeness to a hold-out cell")
        left.set_title("Largest likeness to a training cell; above the line: copies")
        for values, colour, word in (
            (result.nearest.holdout, INK, "hold-out"),
            (result.nearest.train, ACCENT, "training"),
        ):
            right.plot(np.sort(values), np.linspace(0, 1, len(values)), color=colour, label=f"to {word}", linewidth=1.4)
        right.set_ylim(0, 1.02)
        right.set_xlabel("root mean square log difference to the closest real record")
        right.set_title("Share of synthetic records at most so far away")
        right.legend(loc="lower right", frameon=False, fontsize=8.5)
        return svg_text(figure, "Likeness of records to training and to hold-out cells, and closest distances")


def overlays(result: Audit) -> str:
    """The most alike copies, one for each training cell, beside what they repeat, shifted and rescaled back."""
    shown = list({c.train_cell: c for c in reversed(result.search.copies)}.values())
    shown.sort(key=lambda c: -c.likeness)
    shown = shown[:MOST_OVERLAYS]
    m = result.material
    hours = m.step_s / 3600
    with page_style():
        figure, axes = new_figure(11.2, 2.1 * -(-len(shown) // 2) + 0.3, -(-len(shown) // 2), min(2, len(shown)))
        for ax, copy in zip(axes, shown, strict=False):
            original = np.roll(m.train.values[copy.train_row], copy.shift) * copy.factor
            x = np.arange(len(original)) * hours / 24
            ax.plot(x, original, color=INK, linewidth=2.4, alpha=0.35, label="training, shifted and rescaled")
            ax.plot(x, m.synthetic.values[copy.row], color=ACCENT, linewidth=1.0, label="synthetic")
            ax.set_xlim(0, x[-1])
            ax.set_title(plain_text(f"{copy.synthetic_cell} repeats {copy.train_cell} ({copy.kind})")[:70])
        for ax in axes[len(shown) :]:
            ax.set_visible(False)
        _days(axes[: len(shown)])
        axes[0].legend(loc="upper right", ncols=2, frameon=False, fontsize=8.5)
        return svg_text(figure, "Copies and the training series that they repeat")


def _days(axes: list[Axes]) -> None:
    for ax in axes:
        ax.set_ylim(0, ax.get_ylim()[1] * 1.18)
        ax.set_yticks([])
        ax.set_xlabel("days")
