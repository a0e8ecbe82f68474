"""Tables of docs/results that are made from the JSON of benchmarks, and nobody types.

    python benchmarks/pages.py                            # writes the tables of all pages anew from docs/results/data
    python benchmarks/pages.py --add power power.json     # keeps what a table needs of a benchmark's JSON, then writes
    python benchmarks/pages.py --check                    # ends with 1 where a page says something else
    python benchmarks/pages.py --list                     # which tables are made here, and which pages have typed ones

On a page, a table stands between `<!-- table: NAME -->` and `<!-- /table -->`. A JSON file in docs/results/data holds
what it needs: counts and per-cell scores, without what only a resumed run wants, or a record, whose figures are the
table's own (benchmarks/records.py). docs/results/papers.md and rivals.md are made as a whole, by functions of
benchmarks/paper.py and rivals.py.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "results"
DATA = PAGES / "data"
BLOCK = re.compile(r"(<!-- table: ([a-z0-9-]+) -->\n\n)(.*?)\n*(<!-- /table -->)", re.DOTALL)  # may be empty
LINKS = "index.md"  # has no table of figures
RATIOS = ("1", "2", "4", "9")
POPULATIONS = {
    "stations": "raw stations (512 real, 256 synthetic)", "toy": "toy population (600 real, 360 synthetic)"
}  # fmt: skip
VERDICTS = {
    "nothing copied": "nothing copied (false alarms)",
    "mean shapes": "a poor generator, nothing copied (false alarms)",
    "one exact copy": "one exact copy",
    "two days in a quarter": "two of seven days in a quarter of the records",
}
SCORES = ("crps", "crps_shape", "crps_level", "coverage_90")  # of each cell, in the JSON of privacy_milan
HOURLY = {  # network -> what it is called, and what one unit of its figures is
    "beijing": ("Beijing, millions", 1e6), "shandong": ("Shandong, thousands", 1e3), "nanchang": ("Nanchang", 1.0),
    "nanjing": ("Nanjing, thousands", 1e3),
}  # fmt: skip
STEPS = ("1", "6")  # hours ahead
NAIVE, AGAINST, TREES = "last", "yesterday", "lightgbm-day"
Json = dict[str, Any]


def _script(name: str) -> ModuleType:
    """A benchmark as a module: they are no package."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", Path(__file__).parent / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


# --- what is kept of the JSON of a benchmark ---------


def kept_power(done: Json) -> Json:
    """Of audit_power.py: verdict -> [leaks, seeds], and kind -> share of single copies found, of each population and
    ratio."""
    kept: Json = {}
    for key, seeds in done.items():
        rows = list(seeds.values())
        leaks = {name: [row[name] for row in rows if name in row] for name in VERDICTS}
        singles = [row["single"] for row in rows if "single" in row]
        kept[key] = {"leaks": {name: [sum(found), len(found)] for name, found in leaks.items() if found}}
        if singles:
            kept[key]["found"] = {
                kind: round(sum(row[kind] for row in singles) / len(singles), 6) for kind in singles[0]
            }
    return kept


def kept_models(done: Json) -> Json:
    """Of audit_models.py: AUC and p of every model and seed."""
    return {key: {side: found[side] for side in ("members", "strangers")} for key, found in done.items()}


def kept_milan(done: Json) -> Json:
    """Of privacy_milan.py: the scores of every fold, of those rows that all folds of the table have."""
    names = ("location", *SCORES, "acf_error", "weekend_error")
    return {key: {name: _rounded(fold[name]) for name in names} for key, fold in done.items()}


def kept_hourly(done: Json) -> Json:
    """Of forecasting.py: the mean absolute error of three rows on every hourly network, of two of them by cell."""
    kept: Json = {}
    for key, found in done.items():
        where, _, row = key.partition("|")
        name, _, seed = row.partition("|")
        if seed == "0" and name in (NAIVE, AGAINST, TREES) and where.split(" -> ")[-1] in HOURLY:
            cells = {"abs"} if name != NAIVE else set()
            kept[f"{where}|{name}"] = {
                step: {"mae": found[step]["mae"]}
                | {what: [float(f"{value:.5g}") for value in found[step][what]] for what in cells}
                for step in STEPS
            }
    return kept


def kept_variants(done: Json) -> Json:
    """Of foundation.py --only published: what each row took, and sums of errors over the series of each location."""
    told = {key.partition("|")[2]: of for key, of in done["told"].items() if key.startswith("published|")}
    kept: Json = {}
    for key, found in done.items():
        part, _, where = key.partition("|")
        if part == "published":
            places = sorted(set(found["location"]))
            sums = {name: [0.0] * len(places) for name in ("n", "mae_p9999", "mse")}
            for place, *errors in zip(found["location"], found["mae_p9999"], found["mse"], strict=True):
                for name, value in zip(sums, (1, *errors), strict=True):
                    sums[name][places.index(place)] += value
            kept[where.partition("|")[2]] = _rounded({**sums, "jsd_hist": found["jsd_hist"]})
    return {"command": VARIANTS, **_script("records")._now(), "told": told, "scores": kept}


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, 6) if isinstance(value, float) else value


# --- tables ---------


def verdicts(data: Json) -> str:
    """In how many seeds the audit found a leak."""
    rows = []
    for population, words in POPULATIONS.items():
        for name, about in VERDICTS.items():
            found = [data[f"{population}|{ratio}"]["leaks"].get(name) for ratio in RATIOS]
            if all(found):
                rows.append([f"{words}: {about}", *(f"{leaks} of {of}" for leaks, of in found)])
    return _table(["verdict: a leak was found", *(f"{ratio}:1" for ratio in RATIOS)], rows)


def singles(data: Json) -> str:
    """What share of single copies is found."""
    from gentraffic.privacy.audit.disguises import KINDS

    columns = [f"{population}|{ratio}" for population in POPULATIONS for ratio in ("1", "9")]
    rows = [
        [f"{kind}: {about}", *(f"{data[key]['found'][kind]:.0%}" for key in columns)]
        for kind, (_, about) in KINDS.items()
    ]
    return _table(["one copy alone, found by a search", *(key.replace("|", " ") + ":1" for key in columns)], rows)


def models(data: Json) -> str:
    """What the loss of models that know their cells by heart gives away: mean AUC over seeds, in how many p <= 0.05."""
    rows = []
    for kind in dict.fromkeys(key.split("|")[0] for key in data):
        seeds = [found for key, found in data.items() if key.startswith(f"{kind}|")]
        row = [kind]
        for side in ("members", "strangers"):
            sure = sum(found[side]["p"] <= 0.05 for found in seeds)
            mean = sum(found[side]["auc"] for found in seeds) / len(seeds)
            row += [f"{mean:.2f}", f"{sure} of {len(seeds)}"]
        rows.append(row)
    head = ["model, fitted until it knew its cells by heart", "AUC of members against others", "members found",
            "AUC of two halves that it never saw", "strangers accused"]  # fmt: skip
    return _table(head, rows)


def milan(data: Json) -> str:
    """Scores of private fits on Milan, over the folds that there are of all rows."""
    order = ("none", "epsilon 8", "epsilon 4", "epsilon 1", *_script("privacy_milan").NAIVE[::-1])
    folds = set.intersection(*({key.split("|")[1] for key in data if key.startswith(f"{row}|")} for row in order))
    chosen = {f"{row}|{fold}": data[f"{row}|{fold}"] for row in order for fold in sorted(folds)}
    return str(_script("privacy_milan").table(chosen))


def hourly(data: Json) -> str:
    """Forecasts of hourly networks: mean absolute errors, and by how much trees differ from yesterday, 95%.

    Bold is the lower of the two where the interval of their difference does not hold 0.
    """
    interval = _script("forecasting").interval
    rows = []
    places = dict.fromkeys(key.split("|")[0] for key in data)
    for where in sorted(places, key=lambda place: (" -> " in place, list(HOURLY).index(place.split(" -> ")[-1]))):
        fitted, _, network = where.rpartition(" -> ")
        called, unit = HOURLY[network]
        row: dict[str, list[str]] = {name: [] for name in (NAIVE, AGAINST, TREES, "difference")}
        for step in STEPS:
            found = {name: data[f"{where}|{name}"][step] for name in (NAIVE, AGAINST, TREES)}
            cells = [{step: {"abs": [value / unit for value in found[name]["abs"]]}} for name in (TREES, AGAINST)]
            low, high = map(float, interval([cells[0]], step, "mae", [cells[1]]).split(" to "))
            ahead = TREES if high < 0 else AGAINST if low > 0 else ""
            for name in (NAIVE, AGAINST, TREES):
                row[name].append(_mae(found[name]["mae"] / unit, name == ahead))
            row["difference"].append(f"{_short(low)} to {_short(high)}")
        first = f"fitted on {fitted.capitalize()}, {called}" if fitted else called
        rows.append([first, *(" / ".join(texts) for texts in row.values())])
    return _table(["", "last value", "yesterday", f"`{TREES}`", "difference"], rows)


CITIES = {"uomo-sd": "Shandong", "uomo-nc": "Nanchang", "uomo-nj": "Nanjing"}
TASKS = ("short", "long", "generation")
PLAIN = "plain"
VARIANTS = "python benchmarks/foundation.py --data ../shared/data -o variants.json --only published"


def variants(data: Json) -> str:
    """Ways to train FoMo within the same time: as the paper prints them, RMSE / MAE or JSD / MAE, of three cities."""
    rows = []
    for name, told in data["told"].items():
        steps = " + ".join(map(str, told["steps"]))
        row = [name, f"{told['weights'] / 1e6:.2f}", f"{steps} in {told['fit_cpu_s'] / 60:.1f} min"]
        for task in TASKS:
            for users in ("", ", users"):
                found = [data["scores"][f"{city}|{task}|{name}{users}"] for city in CITIES]
                row.append("; ".join(f"{first:.4f} / {mae:.4f}" for first, mae in (_two(of, task) for of in found)))
        rows.append(row)
    scores = [f"{task}{users}, {'JSD' if task == 'generation' else 'RMSE'} / MAE"
              for task in TASKS for users in ("", ", users")]  # fmt: skip
    return _table(["", "million weights", "steps", *scores], rows)


def _two(of: Json, task: str) -> tuple[float, float]:
    """JSD and MAE of generation, RMSE and MAE of the rest, over all series of a city."""
    first = of["jsd_hist"] if task == "generation" else (sum(of["mse"]) / sum(of["n"])) ** 0.5
    return first, sum(of["mae_p9999"]) / sum(of["n"])


def variants_apart(data: Json) -> str:
    """MAE of each variant less that of the plain one, in 1e-4, 95% over the locations of two cities; bold: it is not 0.

    Nanjing has one location held out, which gives no interval.
    """
    import numpy as np

    from gentraffic.evaluation.intervals import interval, make_resample

    rows, cities = [], ("uomo-sd", "uomo-nc")
    for name in data["told"]:
        if name == PLAIN:
            continue
        row = [name]
        for task in TASKS:
            for users in ("", ", users"):
                texts = []
                for city in cities:
                    mine, plain = (data["scores"][f"{city}|{task}|{of}{users}"] for of in (name, PLAIN))
                    n, apart = np.array(plain["n"]), np.array(mine["mae_p9999"]) - np.array(plain["mae_p9999"])
                    times = make_resample(np.arange(len(n))).times
                    found = interval(times @ apart / (times @ n))
                    assert found is not None
                    low, high = (1e4 * end for end in found)
                    text = f"{1e4 * apart.sum() / n.sum():+.1f} ({low:+.1f} to {high:+.1f})"
                    texts.append(f"**{text}**" if low > 0 or high < 0 else text)
                row.append("; ".join(texts))
        rows.append(row)
    return _table(["", *(f"{task}{users}" for task in TASKS for users in ("", ", users"))], rows)


def _mae(value: float, best: bool) -> str:
    text = f"{value:#.3g}".rstrip(".") if value < 1000 else f"{value:.0f}"
    return f"**{text}**" if best else text


def _short(value: float) -> str:
    return f"{value:#.2g}".rstrip(".") if abs(value) < 100 else f"{value:.0f}"


@dataclass(frozen=True)
class Made:
    """A table of a page. page: its file. data: the file of DATA that it is made from. make: its text."""

    page: str
    data: str
    make: Callable[[Json], str]


KEEP: dict[str, Callable[[Json], Json]] = {
    "hourly": kept_hourly, "power": kept_power, "power-files": kept_power, "models": kept_models, "milan": kept_milan,
    "fomo-variants": kept_variants,
}  # fmt: skip
TABLES = {
    "fomo-variants": Made("fomo.md", "fomo-variants", variants),
    "fomo-variants-apart": Made("fomo.md", "fomo-variants", variants_apart),
    "forecasts-hourly": Made("forecasters.md", "hourly", hourly),
    "audit-verdicts": Made("privacy.md", "power", verdicts),
    "audit-files": Made("privacy.md", "power-files", verdicts),
    "audit-singles": Made("privacy.md", "power", singles),
    "audit-models": Made("privacy.md", "models", models),
    "privacy-milan": Made("privacy.md", "milan", milan),
}


def _papers() -> str:
    files = sorted((PAGES / "papers").glob("*.json"))
    return str(_script("paper").page(files)).replace(f"{ROOT.as_posix()}/", "")


def _rivals() -> str:
    done = json.loads((PAGES / "rivals.json").read_text(encoding="utf-8"))
    return str(_script("rivals").page(done, "docs/results/rivals.json"))


WHOLE: dict[str, Callable[[], str]] = {"papers.md": _papers, "rivals.md": _rivals}  # pages that have no other text


def written(page: Path, data: Path = DATA) -> str:
    """The text of a page with its tables made anew. Raises FileNotFoundError for a table that nothing makes."""

    if page.name in WHOLE:
        return WHOLE[page.name]()

    def made(block: re.Match[str]) -> str:
        table = TABLES.get(block[2])
        name = block[2] if table is None else table.data
        found = json.loads((data / f"{name}.json").read_text(encoding="utf-8"))
        make = _script("records").table if table is None else table.make
        return f"{block[1]}{make(found)}\n\n{block[4]}"

    return BLOCK.sub(made, page.read_text(encoding="utf-8"))


def typed_tables(page: Path) -> int:
    """How many tables of a page stand outside the blocks that are made here."""
    if page.name in WHOLE or page.name == LINKS:
        return 0
    return len(re.findall(r"^\|[-:| ]+\|$", BLOCK.sub("", page.read_text(encoding="utf-8")), re.MULTILINE))


def added(name: str, files: list[Path]) -> str:
    """What docs/results/data holds of what a benchmark wrote or printed."""
    if name not in KEEP:
        old = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
        records = _script("records")
        return str(records.write(records.refreshed(name, old, files[0].read_text(encoding="utf-8"))))
    done: Json = {}
    for file in files:
        done |= json.loads(file.read_text(encoding="utf-8"))
    return json.dumps(KEEP[name](done), separators=(",", ":")) + "\n"


def main() -> int:
    """Write, check or list the tables; 1 where a check fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--add", nargs="+", metavar=("DATA", "JSON"), help="a table's data, and files of its benchmark")
    parser.add_argument("--check", action="store_true", help="write nothing; 1 where a page is not what it would be")
    parser.add_argument("--list", action="store_true", help="what is made here, and what is typed")
    options = parser.parse_args()
    pages = sorted(PAGES.glob("*.md"))
    if options.list:
        for page in pages:
            names = [block[2] for block in BLOCK.finditer(page.read_text(encoding="utf-8"))]
            made = "all" if page.name in WHOLE else ", ".join(names) or "none"
            print(f"{page.name}: {typed_tables(page)} typed, made here: {made}")
        return 0
    if options.add:
        name, *files = options.add
        (DATA / f"{name}.json").write_text(added(name, [Path(file) for file in files]), encoding="utf-8")
    stale = [page for page in pages if written(page) != page.read_text(encoding="utf-8")]
    for page in stale:
        if options.check:
            print(f"{page}: not what its data say: python benchmarks/pages.py")
        else:
            page.write_text(written(page), encoding="utf-8")
            print(f"{page} written")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
