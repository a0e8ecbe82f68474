"""benchmarks/pages.py: the tables of docs/results are those of their data."""

from __future__ import annotations

import json
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
