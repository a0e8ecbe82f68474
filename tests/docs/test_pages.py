"""What README.md and docs/ say is true: commands are there, tutorials run, links lead on."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from docs_pages import DOCS, FENCE, PAGES, ROOT, code_lines, commands, name

from gentraffic.cli.main import cli, run

MADE = {"reference/cli.md", "reference/python.md", "changelog.md"}  # by docs/hooks.py


def parse(words: list[str]) -> None:
    """Let click parse a command down to its last option, without running it; files need not be there."""
    command: click.Command = cli
    context = click.Context(cli, info_name="gentraffic")
    while isinstance(command, click.Group):
        _, found, words = command.resolve_command(context, words)
        assert found is not None
        command, context = found, click.Context(found, info_name=found.name, parent=context)
    values, _, _ = command.make_parser(context).parse_args(list(words))
    missing = [p.name for p in command.params if p.required and values.get(str(p.name)) in (None, ())]
    if "--help" not in words:
        assert missing == [], f"lacks {missing}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_on_a_page_parses(page: Path) -> None:
    for words in commands(page.read_text(encoding="utf-8")):
        try:
            parse(words)
        except click.UsageError as error:
            pytest.fail(f"gentraffic {' '.join(words)}: {error.format_message()}")


def test_the_check_of_commands_finds_what_is_wrong() -> None:
    found = commands("```bash\ngentraffic sample --city milan \\\n    --dayz 7 -o x.nc  # a comment\n```\n")
    assert found == [["sample", "--city", "milan", "--dayz", "7", "-o", "x.nc"]]
    with pytest.raises(click.NoSuchOption):
        parse(found[0])
    with pytest.raises(AssertionError, match="out"):
        parse(["sample", "--city", "milan"])
    with pytest.raises(click.UsageError):
        parse(["plann", "x.nc"])


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_script_on_a_page_is_there_and_has_its_options(page: Path) -> None:
    for line in code_lines(page.read_text(encoding="utf-8")):
        if found := re.search(r"python (\S+\.py)(.*)", line):
            script = (ROOT / found[1]).read_text(encoding="utf-8")
            for option in re.findall(r" (--[a-z-]+)", found[2].partition("#")[0]):
                assert option == "--help" or f'"{option}"' in script, (line, option)


SOURCES = [path for package in ("gentraffic", "poi", "graphs", "samplers", "forecasters", "benchmarks")
           for path in sorted((ROOT / package).rglob("*.py"))]  # fmt: skip
NAMED = re.compile(r"(?<![\w/.-])(?:[\w-]+/)+[\w-]+\.py\b|(?<![\w/.~-])(?:[\w-]+/)*[\w-]+\.md\b")
OURS = ("gentraffic", "poi", "graphs", "samplers", "forecasters", "benchmarks", "tests", "docs", "examples")
THEIRS = {"README.md", "DATASHEET.md", "CHECKLIST.md", "samplers/affine.py"}  # of what commands write; of a lesson


def stale(text: str) -> list[str]:
    """The files of this repository that a text names and that are not there. Markdown may be named by its last part."""
    pages = {page.name for page in PAGES} | {Path(made).name for made in MADE}
    found = []
    for path in NAMED.findall(text):
        is_page = path.endswith(".md") and ("/" not in path and path in pages)
        is_ours = path.endswith(".md") or path.partition("/")[0] in OURS
        theirs = path in THEIRS or path.startswith("my-") or "ROOM" in path
        if is_ours and not is_page and not theirs and not (ROOT / path).exists():
            found.append(path)
    return found


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    assert stale(re.sub(r"\]\([^)]*\)", "]", page.read_text(encoding="utf-8"))) == []


def test_files_that_docstrings_and_comments_name_are_there() -> None:
    found = {name(path): stale(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert {path: names for path, names in found.items() if names} == {}
    assert stale("see METRICS.md, samplers/gaussian.py and samplers/vae.py") == ["METRICS.md", "samplers/gaussian.py"]


def links(page: Path) -> Iterator[str]:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    yield from re.findall(r"\]\(([^)\s]+)\)", text)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    for link in links(page):
        target = link.partition("#")[0]
        if target and not link.startswith(("http://", "https://", "mailto:")):
            where = (page.parent / target).resolve()
            is_made = where.is_relative_to(DOCS) and where.relative_to(DOCS).as_posix() in MADE
            assert where.exists() or is_made, link


def test_the_readme_is_short_and_begins_with_the_map() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    assert "docs/pictures/milan-week.gif" in "\n".join(lines[:12])


def test_pictures_are_small_and_made_by_a_script_beside_them() -> None:
    script = (DOCS / "pictures" / "make_pictures.py").read_text(encoding="utf-8")
    pictures = [p for p in (DOCS / "pictures").iterdir() if p.suffix in (".gif", ".png")]
    assert len(pictures) >= 2
    for picture in pictures:
        assert picture.stat().st_size < 1_000_000
        assert f'"{picture.name}"' in script


@pytest.mark.parametrize("made", sorted(MADE))
def test_pages_that_are_made_hold_what_there_is(made: str) -> None:
    done = subprocess.run([sys.executable, str(DOCS / "hooks.py"), made], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if made == "reference/cli.md":
        for words in ("sample", "plan sleep", "export 3gpp", "forecast fit", "release"):
            assert f"## gentraffic {words}\n" in done.stdout
    if made == "reference/python.md":
        import gentraffic

        for thing in gentraffic.__all__:
            assert f"## gentraffic.{thing}\n" in done.stdout


def test_every_metric_is_on_the_page_of_metrics() -> None:
    from gentraffic.evaluation.scores import METRICS

    text = (DOCS / "reference" / "metrics.md").read_text(encoding="utf-8")
    for metric in METRICS:
        assert f"`{metric.name}" in text or f"`{metric.name.removesuffix('_p9999').removesuffix('_minmax')}`" in text


TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))


@pytest.mark.slow
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_runs_as_it_stands(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    text = page.read_text(encoding="utf-8")
    if "town.osm.pbf" in text:
        shutil.copy(request.getfixturevalue("shared_data") / "osm" / "liechtenstein.osm.pbf", tmp_path / "town.osm.pbf")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    ran = 0
    for note, kind, body in FENCE.findall(text):
        if "not run" in note:
            continue
        if kind == "python":
            exec(compile(body, str(page), "exec"), names)
        for words in commands(f"```\n{body}```") if kind == "bash" else ():
            code = run(words)
            assert code == 0, (words, capsys.readouterr().err)
        ran += 1
    assert ran >= 2
