"""benchmarks/pages.py: the tables of docs/results are those of their data."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType

import pytest
from benchmark_scripts import script


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    return script("pages")


def test_pages_say_what_their_data_say(pages: ModuleType) -> None:
    told = {page.name: pages.written(page) for page in pages.PAGES.glob("*.md")}
    for name, text in told.items():
        assert text == (pages.PAGES / name).read_text(encoding="utf-8"), f"{name}: python benchmarks/pages.py"
    for name, table in pages.TABLES.items():
        assert f"<!-- table: {name} -->" in told[table.page]
        assert (pages.DATA / f"{table.data}.json").is_file()
    shown = [name for text in told.values() for _, name, *_ in pages.BLOCK.findall(text)]
    used = {pages.TABLES[name].data if name in pages.TABLES else name for name in shown}
    assert sorted(shown) == sorted(set(shown))
    assert used == {path.stem for path in pages.DATA.glob("*.json")}, "data that no page shows"


def test_no_table_of_results_is_typed(pages: ModuleType) -> None:
    assert {page.name: pages.typed_tables(page) for page in pages.PAGES.glob("*.md") if pages.typed_tables(page)} == {}


def test_a_record_says_when_it_ran_and_its_page_how(pages: ModuleType) -> None:
    records = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in pages.DATA.glob("*.json")}
    records = {name: found for name, found in records.items() if "rows" in found}
    assert records
    for page in pages.PAGES.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        told = " ".join(text.replace("\\\n", " ").split())
        for _, name, *_ in pages.BLOCK.findall(text):
            if name in records:
                found = records[name]
                assert found["command"] in told, f"{page.name}: {name} lacks its command"
                assert re.fullmatch(r"[0-9a-f]{7,40}", found["commit"]), name
                assert found["ran"] >= "2026-11-21"


def test_a_table_follows_its_data(pages: ModuleType, tmp_path: Path) -> None:
    seeds = {
        str(k): {"nothing copied": k == 0, "one exact copy": True, "two days in a quarter": k < 3} for k in range(4)
    }
    single = dict.fromkeys(("exact", "power"), 0.5)
    raw = {f"{place}|{ratio}": seeds for place in pages.POPULATIONS for ratio in pages.RATIOS}
    raw["toy|9"] = {key: row | {"single": single, "p": {}} for key, row in seeds.items()}
    kept = pages.kept_power(raw)
    assert kept["toy|9"]["found"] == single
    assert "found" not in kept["toy|1"]
    (tmp_path / "power.json").write_text(json.dumps(kept))
    page = tmp_path / "x.md"
    page.write_text("a\n<!-- table: audit-verdicts -->\n\n| old |\n|---|\n\n<!-- /table -->\nb\n\n| typed |\n|---|\n")
    assert pages.typed_tables(page) == 1
    lines = pages.written(page, tmp_path).splitlines()
    assert lines[3] == "| verdict: a leak was found | 1:1 | 2:1 | 4:1 | 9:1 |"
    row = next(line for line in lines if line.startswith("| toy population (600 real, 360 synthetic): nothing copied"))
    assert row.split(" | ")[1:] == ["1 of 4", "1 of 4", "1 of 4", "1 of 4 |"]
    assert lines[-3:] == ["", "| typed |", "|---|"]
    assert not any("poor generator" in line for line in lines)  # which nobody ran here


def test_a_record_is_shown_with_its_best_figures_bold() -> None:
    records = script("records")
    found = {
        "head": ["", "mae / rmse", "n"],
        "digits": ["", [".2f", ".1f"], ",d"],
        "best": [None, ["low", "high"], None],
        "never_best": ["told"],
        "rows": [["a", [0.104, 1.0], 1000], ["b", [0.096, 2.0], None], ["told", [0.01, 9.0], 3], ["c", "text", 4]],
    }
    assert records.table(found).splitlines() == [
        "|  | mae / rmse | n |",
        "|---|---|---|",
        "| a | **0.10** / 1.0 | 1,000 |",  # reads like the best
        "| b | **0.10** / **2.0** | – |",
        "| told | 0.01 / 9.0 | 3 |",
        "| c | text | 4 |",
    ]
    assert json.loads(records.write(found)) == found


def test_a_record_takes_what_a_benchmark_prints() -> None:
    records = script("records")
    printed = "| a | b |\n|---|---|\n| 1 | **0.5** / 12% |\n\ntext\n\n| c |\n|---|\n| - |\n"
    first, second = records.tables(printed)
    assert [records.value(cell) for cell in first[1]] == [1, [0.5, 0.12]]
    assert [records.value(cell) for cell in second[1]] == [None]
    assert records.value("0.85-0.95") == "0.85-0.95"
    text = "| country | crop | cells | slope | rank | largest change |\n|---|---|---|---|---|---|\n"
    text += "| malta | middle | 19 | 1.000 | 0.9 | 35.7% |\n"
    fresh = records.refreshed("crops", {"command": "p6", "commit": "0", "ran": "", "digits": [], "rows": []}, text)
    assert fresh["rows"] == [["Malta", "middle", 19, 1.0, 0.9, 0.357]]
    assert fresh["command"] == "p6"


def test_regions_of_several_seeds_are_told_with_their_spread() -> None:
    records = script("records")
    head = "| region | row | cells | a | b | c | d | e | f | g | h | i | j |\n" + "|---" * 13 + "|\n"
    rows = [
        f"| 100 cells of the east{seed} | {row} | 100 | " + " | ".join([str(figure)] * 10) + " |"
        for seed, figure in ((", seed 0", 0.5), (", seed 1", 0.7))
        for row in ("stouter", "bootstrap", "bootstrap within")
    ]
    old = {"command": "", "commit": "0", "ran": "", "digits": [], "rows": []}
    fresh = records.refreshed("p5-regions", old, head + "\n".join(rows))
    assert fresh["rows"][:-1] == [["east", *[[0.6, round(0.02**0.5, 6)]] * 10]]
    alone = "\n".join(row.replace(", seed 0", "") for row in rows[:3])
    assert records.refreshed("p5-regions", old, head + alone)["rows"] == [["east", *[0.5] * 10], records.WANTED]


def test_ablations_of_the_graphs_are_means_over_the_cells_of_all_folds() -> None:
    records = script("records")
    done: dict[str, dict[str, object]] = {"p1": {}}
    for row, extra in (("stouter", 0.0), ("stouter, hours by sines", 0.5), ("stouter, station graph of gat", 1.0)):
        for fold, cells in ((0, [1.0, 2.0, 3.0]), (1, [6.0])):
            scores = {"crps": [cell + extra for cell in cells], "crps_shape": [0.25] * len(cells)}
            done["p1"][f"{row}|0|{fold}"] = {"uomo-sd": scores, "milan": scores}
    assert records.graphs(done) == [
        ["**stouter**", [3.0, 0.25], [3.0, 0.25]],
        ["sines of the hour", [3.5, 0.25], [3.5, 0.25]],
        ["station graph: gat", [4.0, 0.25], [4.0, 0.25]],
    ]


def test_variants_of_fomo_are_shown_with_the_interval_of_their_difference(pages: ModuleType) -> None:
    done: dict[str, object] = {"told": {}}
    for name, extra in (("plain", 0.0), ("two stages", 0.0002)):
        done["told"][f"published|{name}"] = {"steps": [10], "weights": 1_364_944, "fit_cpu_s": 120.0}  # type: ignore[index]
        for city in pages.CITIES:
            for task in pages.TASKS:
                for users in ("", ", users"):
                    found = {
                        "mae_p9999": [0.01 + extra, 0.03 + extra, 0.02 + extra], "mse": [0.0001, 0.0003, 0.0002],
                        "location": [7, 9, 7], "jsd_hist": 0.5,
                    }  # fmt: skip
                    done[f"published|{name}|{city}|{task}|{name}{users}"] = found
    kept = pages.kept_variants(done)
    place = kept["scores"]["uomo-nc|short|plain, users"]
    assert place["n"] == [2, 1]
    assert place["mae_p9999"] == [pytest.approx(0.03), pytest.approx(0.03)]
    plain = pages.variants(kept).splitlines()[2]
    assert plain.startswith("| plain | 1.36 | 10 in 2.0 min | 0.0141 / 0.0200; ")  # the root of 0.0002, and the mean
    assert plain.endswith("0.5000 / 0.0200; 0.5000 / 0.0200; 0.5000 / 0.0200 |")
    apart = pages.variants_apart(kept).splitlines()[2:]
    assert len(apart) == 1, "not of the plain one itself"
    assert apart[0].startswith("| two stages | **+2.0 (+2.0 to +2.0)**; **+2.0 (+2.0 to +2.0)** | ")
