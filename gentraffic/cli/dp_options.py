"""The options of a fit with differential privacy. Imports nothing heavy."""

from __future__ import annotations

import click

DP_OPTIONS = (
    click.option("--dp-epsilon", type=float, metavar="E", help="Fit with differential privacy: at most this epsilon."),
    click.option("--dp-delta", type=float, metavar="D", help="Its delta: below 1 / cells, such as 1e-5."),
    click.option("--dp-clip", type=float, metavar="C", help="L2 norm that no cell's gradient exceeds. [default: 0.5]"),
    click.option(
        "--dp-level-range",
        type=(float, float),
        metavar="LOW HIGH",
        help="Mean traffic per cell and step, in the file's unit, known to hold for all cells. [default: 1e-6 1e15]",
    ),
    click.option(
        "--dp-suppress-below",
        type=float,
        metavar="TRAFFIC",
        help="Cells with less mean traffic per step count as silent; decided for each cell alone.",
    ),
    click.option("--start", metavar="NAME|DIR", help="With --dp-epsilon: a public model to start from."),
)
