"""Tables whose figures are kept as numbers: what a benchmark printed, beside the command and the commit that it ran at.

    python benchmarks/p6.py --data ../shared/data > p6.txt
    python benchmarks/pages.py --add crops p6.txt          # reads what it printed, and writes the page anew
    python benchmarks/records.py docs/results/data/crops.json    # the table of a record

A record is docs/results/data/NAME.json: command, commit and ran (its date); head: the names of the columns; rows: of
each its cells: a text, a number, null for what was not run, or a list of them, which the page shows as `1 / 2`.
digits: of each column the format of its numbers, or a list of formats; best: `low`, `high` or null, of each column or
each part, which of its numbers the page has bold; never_best: names of rows that are left out of that.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Json = dict[str, Any]
Table = list[list[str]]
RULE = re.compile(r"\|(:?-{3,}:?\|)+$")
NOT_RUN = "–"


def tables(text: str) -> list[Table]:
    """The tables of a text in Markdown, each as rows of cells, its head first."""
    found: list[Table] = []
    open_table = False
    for line in text.splitlines():
        if not line.startswith("|"):
            open_table = False
            continue
        if RULE.match(line):
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if open_table:
            found[-1].append(cells)
        else:
            found.append([cells])
        open_table = True
    return found


def value(cell: str) -> Any:
    """A cell as what a record holds: `0.1`, `10%` and `0.1 / 0.2` are numbers, `-` is None, all else stays a text."""
    parts = [_number(part) for part in cell.replace("**", "").split(" / ")]
    if any(isinstance(part, str) for part in parts):
        return cell
    return parts[0] if len(parts) == 1 else parts


def _number(part: str) -> float | int | str | None:
    if part in ("-", NOT_RUN, ""):
        return None
    try:
        return int(part)
    except ValueError:
        pass
    try:
        found = round(float(part.removesuffix("%")) / 100, 6) if part.endswith("%") else float(part)
        return found + 0.0  # not -0
    except ValueError:
        return part


def _now() -> Json:
    """The commit of here, and today."""
    words = ["git", "rev-parse", "--short", "HEAD"]
    here = subprocess.run(words, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    return {"commit": here.stdout.strip(), "ran": datetime.now(UTC).date().isoformat()}


def write(found: Json) -> str:
    """A record as JSON, one line for each row."""
    lines = [f'"{key}": {json.dumps(part, ensure_ascii=False)}' for key, part in found.items() if key != "rows"]
    rows = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in found["rows"])
    return "{\n" + ",\n".join(lines) + f',\n"rows": [\n  {rows}\n]\n}}\n'


def table(found: Json) -> str:
    """The table of a record, in Markdown."""
    rows = [[_parts(cell, found["digits"][at]) for at, cell in enumerate(row)] for row in found["rows"]]
    for at, best in enumerate(found.get("best", [])):
        for part, way in enumerate(best if isinstance(best, list) else [best]):
            if way:
                _mark(found, rows, (at, part), way)
    texts = [[" / ".join(parts) for parts in row] for row in rows]
    lines = ["| " + " | ".join(found["head"]) + " |", "|---" * len(found["head"]) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in texts)])


def _parts(cell: Any, digits: Any) -> list[str]:
    parts = cell if isinstance(cell, list) else [cell]
    formats = digits if isinstance(digits, list) else [digits] * len(parts)
    return [shown(part, form) for part, form in zip(parts, formats, strict=len(parts) > 1)]


def shown(part: Any, form: str) -> str:
    """A number in its format, without the point that `#` leaves at the end; whole numbers stay whole under the format
    of a fraction; `–` for what was not run."""
    if part is None:
        return NOT_RUN
    if isinstance(part, int) and not form.endswith("d"):
        return str(part)
    return part if isinstance(part, str) else format(part, form).rstrip(".")


def _mark(found: Json, rows: list[list[list[str]]], where: tuple[int, int], way: str) -> None:
    """Make the best texts of one part of a column bold: all that read like the best."""
    at, part = where
    numbers = {}
    for i, row in enumerate(found["rows"]):
        cell = row[at] if isinstance(row[at], list) else [row[at]]
        if row[0] not in found.get("never_best", []) and part < len(cell) and isinstance(cell[part], int | float):
            numbers[i] = cell[part]
    best = (min if way == "low" else max)(numbers, key=lambda i: numbers[i])
    text = rows[best][at][part]
    for i in numbers:
        if rows[i][at][part] == text:
            rows[i][at][part] = f"**{text}**"


# --- records of what benchmarks keep or print ---------


def unseen(done: Json) -> list[list[Any]]:
    """Of foundation.py --only unseen: mean absolute errors of a city that FoMo never saw, zero-shot and tuned, told the
    mean cell's traffic; and of what is generated where few shots are not told it."""
    rows = []

    def row(task: str, users: str, names: Sequence[str | None], said: str) -> list[Any]:
        out: list[Any] = [said]
        for city in ("uomo-sd", "uomo-nc", "uomo-nj"):
            found = [name and done[f"unseen|{city}|{city}|{task}|{name}"]["mae_p9999"] for name in names]
            out.append([cells and round(sum(cells) / len(cells), 6) for cells in found])
        return out

    for users in ("", ", users"):
        told = [f"{shots}{users}" for shots in ("zero-shot", *(f"{n}% few-shot, told the mean" for n in (5, 10)))]
        for task in ("short", "long", "generation"):
            naive = ("b*users" if users else "knn-20") if task == "generation" else "" if users else "climatology"
            said = f"{task}{users} (`{naive}`)" if naive else f"{task}{users}"
            rows.append(row(task, users, [*told, naive] if naive else told, said))
    for users in ("", ", users"):
        names = [None, *(f"{n}% few-shot{users}" for n in (5, 10))]
        rows.append(row("generation", users, names, f"generation{users}, the mean not told"))
    return rows


SOLVED = {"gaussian, 2 steps": "two steps of `gaussian`", "dpm++, 8 steps": "eight steps of DPM-Solver++"}


def solver(done: Json) -> list[list[Any]]:
    """Of foundation.py --only solver: whole weeks, and where part is known, of each network by each solver."""
    rows = []
    for city, said in NETWORKS.items():
        for how, words in SOLVED.items():
            week, follow, fill = (done[f"solver|{city}, {how}|{part}"] for part in ("week", "follow", "fill"))
            names = ("crps", "crps_shape", "coverage_90", "acf_error", "diversity", "roughness_ratio")
            pairs = [[round(part[name], 6) for name in ("crps", "acf_error")] for part in (follow, fill)]
            rows.append([f"{said}, {words}", *(round(week[name], 6) for name in names), *pairs])
    return rows


TASKS = {  # rows of the page: the task, and the rows of foundation.py, by their score
    "short, 48 -> 16: fomo / with users": ("short", "mae_p9999", ("fomo", "fomo, users")),
    "climatology / same hours observed": ("short", "mae_p9999", ("climatology", "climatology of the observed hours")),
    "last value / patch-mean": ("short", "mae_p9999", ("last", "patch-mean")),
    "long, 16 -> 48: fomo / with users": ("long", "mae_p9999", ("fomo", "fomo, users")),
    "climatology / last value / patch-mean": ("long", "mae_p9999", ("climatology", "last", "patch-mean")),
    "generation, `crps`: fomo / `knn-20`": ("generation", "crps", ("fomo", "knn-20")),
    "generation with users: fomo / `b*users`": ("generation", "mae_p9999", ("fomo, users", "b*users")),
}


def fomo_tasks(done: Json) -> list[list[Any]]:
    """Of foundation.py --only p3: means over the series of all folds."""
    out: list[list[Any]] = []
    for said, (task, score, names) in TASKS.items():
        out.append([said])
        for city in ("uomo-sd", "uomo-nc", "uomo-nj"):
            parts = []
            for name in names:
                folds = [key for key in done if key.startswith("p3|") and key.split("|")[2:] == [city, task, name]]
                series = [value for key in folds for value in done[key][score]]
                parts.append(round(sum(series) / len(series), 6))
            out[-1].append(parts)
    return out


def _levels(printed: Table) -> list[list[Any]]:
    """Of p5.py --levels."""
    words = {"population": "residents", "POIs and ground": "POIs and buildings, streets, land, water"}
    rows = []
    for name, *figures in printed:
        where, _, what = name.partition("; ")[0].rpartition(", ") if "Helsinki" in name else ("", "", name)
        for word, said in words.items():
            what = said if what == word else what.replace("population ", "residents ")
        rows.append([f"{where}, {what}" if where else what, *map(value, figures)])
    return rows


def _crops(printed: Table) -> list[list[Any]]:
    """Of p6.py --only crops, and of other tables that are kept as they are printed."""
    return [[name[:1].upper() + name[1:], *map(value, rest)] for name, *rest in printed]


BOTH = {"calls": "calls = in + out", "sms": "sms = in + out"}


def _rhythms(printed: Table) -> list[list[Any]]:
    """Of services.py: night, weekend and peak of each service."""
    return [[BOTH.get(name, name), *map(value, rest)] for name, *rest in printed]


def _outlier(printed: Table) -> list[list[Any]]:
    """Of p6.py --only outlier."""
    names = {"malta": "Malta, cells of 500 m"}
    return [[names.get(place, place.capitalize()), what, *map(value, rest)] for place, what, *rest in printed]


PARTS = {"100 cells of the east": "east", "25 cells of the south-west": "south-west", "mean": "mean of eleven",
         "row 0, column 0 of the north-east": "centre", "five folds": "all, in five folds"}  # fmt: skip
RATIO, CRPS, COVERAGE, ACF = 3, 4, 6, 7  # columns of what p5.py prints, after region, row and cells


def _expected(printed: Table) -> list[list[Any]]:
    """Of p5.py --expected: three of the eleven regions, and the mean of all."""
    rows = []
    for row in printed:
        if row[0] in PARTS:
            cells = f", {row[2]} cells" if row[2] else ""
            figures = [row[RATIO], *row[COVERAGE : COVERAGE + 7]]
            rows.append([f"{PARTS[row[0]]}{cells}", f"`{row[1]}`", *map(value, figures)])
    return rows


WANTED = ["wanted", "0.75", "", "", "0.85-0.95", "0.03", "0.9-1.1", "0.05", "0.42", "0.08", "0.85-1.15"]


def _regions(printed: Table, model: str = "stouter") -> list[list[Any]]:
    """Of p5.py: the model's rows beside the crps of borrowed weeks; of several seeds [mean, standard deviation]."""
    found: dict[str, list[list[float]]] = {}
    crps = {row[0]: value(row[CRPS]) for row in printed if row[1] == "bootstrap"}
    for row in printed:
        if row[1] == model and row[0].split(", seed ")[0] in PARTS:
            figures = [value(row[RATIO]), value(row[CRPS]), crps[row[0]], *map(value, row[COVERAGE : COVERAGE + 7])]
            found.setdefault(PARTS[row[0].split(", seed ")[0]], []).append(figures)
    rows = [[name, *(_over_seeds(one) for one in zip(*seeds, strict=True))] for name, seeds in found.items()]
    return [*rows, WANTED]


def _fomo_regions(printed: Table) -> list[list[Any]]:
    """Of p5.py --fomo, as `_regions`."""
    return _regions(printed, "fomo")[:-1]


def _milan(printed: Table) -> list[list[Any]]:
    """Of p5.py --parts or --folds: three of the eleven regions, and the mean of all, or all cells, with what borrowed
    weeks have in turn."""
    rows = []
    for name in dict.fromkeys(row[0] for row in printed if row[0].split(", seed ")[0] in PARTS):
        mine, borrowed, within = ([value(c) for c in row] for row in printed if row[0] == name)
        figures = [mine[RATIO], within[RATIO], mine[CRPS], borrowed[CRPS], *mine[COVERAGE : COVERAGE + 7]]
        rows.append([PARTS[name.split(", seed ")[0]], *figures])
    return rows


NETWORKS = {"uomo-sd": "Shandong", "uomo-nc": "Nanchang", "uomo-nj": "Nanjing", "milan": "Milan"}


def _networks(printed: Table) -> list[list[Any]]:
    """Of p5.py --networks: the model's row of each, beside bootstrap of the others and of the network itself."""
    rows = []
    for name in dict.fromkeys(row[0] for row in printed):
        mine, borrowed, within = ([value(c) for c in row] for row in printed if row[0] == name)
        both = [part for at in (COVERAGE, CRPS) for part in (mine[at], borrowed[at])]
        figures = [mine[2], mine[RATIO], within[RATIO], *both, *mine[ACF : ACF + 6]]
        rows.append([NETWORKS[name.removeprefix("without ")], *figures])
    return rows


def _named(printed: Table) -> list[list[Any]]:
    """Of p5.py: rows of networks."""
    return [[NETWORKS[name.removeprefix("without ")], *map(value, rest)] for name, *rest in printed]


def _known(printed: Table) -> list[list[Any]]:
    """Of p5.py --known: what is best told in a row."""
    kept = (RATIO, CRPS, COVERAGE, COVERAGE + 2, COVERAGE + 5, -2, -1)  # weekends, rhythm, levels, total
    return [
        [NETWORKS[row[0].removeprefix("without ")], int(row[1].split()[0]), *(value(row[at]) for at in kept)]
        for row in printed
    ]


def _gaps(printed: Table) -> list[list[Any]]:
    """Of gaps.py: names of models as commands have them."""
    return [[gap, f"`{name}`" if "-" in name else name, *map(value, rest)] for gap, name, *rest in printed]


def _sums(printed: Table) -> list[list[Any]]:
    """Of p5.py: sums over squares, by the noise they were drawn with."""
    return [[f"{PARTS[name]}, {noise}", *map(value, rest)] for name, noise, *rest in printed]


def _apart(printed: Table) -> list[list[Any]]:
    """Of p5.py --apart: a row for each region, and over all."""
    names = {**PARTS, "mean": "mean"}
    return [[names.get(name, name.removesuffix(" of the north-east")), *map(value, rest)] for name, *rest in printed]


def _over_seeds(figures: Sequence[float]) -> Any:
    if len(figures) == 1:
        return figures[0]
    return [round(statistics.mean(figures), 6), round(statistics.stdev(figures), 6)]


def _services(printed: Table) -> list[list[Any]]:
    """Of services.py: the model's rows beside the best naive ones in crps and crps_shape (columns 2 and 3)."""
    rows = []
    for service in dict.fromkeys(row[0] for row in printed):
        mine, *naive = [row for row in printed if row[0] == service]
        best = [
            min(((value(row[at]), f"`{row[1]}`") for row in naive if value(row[at])), default=None) for at in (2, 3)
        ]
        figures = list(map(value, mine[4:8]))
        crps, shape = (part for at in (0, 1) for part in ((value(mine[2 + at]), list(best[at] or ())),))
        rows.append([BOTH.get(service, service), *crps, *shape, *figures])
    return rows


NEW_PLACES = ("stouter", "knn-20", "knn-level", "bootstrap", "ridge-level x bootstrap-shape",
              "true level x bootstrap-shape")  # fmt: skip
P1_SCORES = ("crps", "coverage_90", "crps_shape")


def new_places(done: Json) -> list[list[Any]]:
    """Of fidelity.py --only p1: crps, coverage and crps_shape over the cells of all folds, rows of the page alone."""
    rows = []
    for row in NEW_PLACES:
        folds = [cities for key, cities in done["p1"].items() if key.startswith(f"{row}|")]
        figures = []
        for city in folds[0]:
            cells = {name: [value for fold in folds for value in fold[city][name]] for name in P1_SCORES}
            figures.append([round(sum(values) / len(values), 6) for values in cells.values()])
        rows.append(["**stouter**" if row == "stouter" else f"`{row}`", *figures])
    return rows


GRAPHS_SCORES = ("crps", "crps_shape")
WHAT_ELSE = {"stouter": "**stouter**", "stouter, no station embedding": "no embedding of the place",
             "stouter, stations untrained": "GraphMAE of the stations untrained",
             "stouter, hours by sines": "sines of the hour"}  # fmt: skip


def graphs(done: Json) -> list[list[Any]]:
    """Of fidelity.py --only p1 --graphs: crps and crps_shape over the cells of the folds, one row for each change."""
    rows = []
    for row in dict.fromkeys(key.split("|")[0] for key in done["p1"]):
        folds = [cities for key, cities in done["p1"].items() if key.startswith(f"{row}|")]
        figures = []
        for city in folds[0]:
            cells = [[value for fold in folds for value in fold[city][name]] for name in GRAPHS_SCORES]
            figures.append([round(sum(values) / len(values), 6) for values in cells])
        said = row.removeprefix("stouter, ")
        rows.append([WHAT_ELSE.get(row, said.replace(" graph of ", " graph: ")), *figures])
    return rows


FROM_JSON = {
    "fomo-tasks": fomo_tasks,
    "fomo-solver": solver,
    "fomo-unseen": unseen,
    "new-places": new_places,
    "graphs": graphs,
}
FROM_PRINT = {  # record -> which of the printed tables, and the rows that the page has
    "levels": (0, _levels), "crops": (0, _crops), "outlier": (-1, _outlier), "expected-weeks": (0, _expected),
    "p5-regions": (0, _regions), "p5-folds": (0, _milan), "services": (0, _services),
    "services-rhythms": (1, _rhythms),
    "p5-networks": (0, _networks), "p5-fomo": (0, _fomo_regions), "p5-parts": (0, _milan), "p5-ranges": (1, _named),
    "weeks-apart": (0, _apart), "weeks-lags": (1, _crops),
    "weeks-near": (2, _named), "weeks-sums": (1, _sums), "some-known": (0, _known), "gaps": (0, _gaps),
    "unmeasured": (0, _crops), "weeks-tried": (0, _crops),
}  # fmt: skip


def refreshed(name: str, old: Json, text: str) -> Json:
    """A record with the rows of a run of now: its head, digits and command stay."""
    if name in FROM_JSON:
        rows = FROM_JSON[name](json.loads(text))
    else:
        at, rows_of = FROM_PRINT[name]
        rows = rows_of(tables(text)[at][1:])
    return {**old, **_now(), "rows": rows}


def main() -> None:
    """Print the tables of records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path, nargs="+", help="docs/results/data/NAME.json")
    for record in parser.parse_args().records:
        print(table(json.loads(record.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
