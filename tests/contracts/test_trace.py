"""How many modules and levels of calls one `gentraffic sample --city monaco` passes, see `tracing`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from tracing import Trace, traced

from gentraffic.cli.main import run

MODULES, LEVELS = 24, 12
MAIN = 1  # level: `main` calls `run` and ends the process, which a test does not


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trace, Counter[str]]:
    """The trace of the command, and how often each file of a model was read."""
    out, read = tmp_path_factory.mktemp("trace") / "m.nc", Counter[str]()
    command, read_bytes = ["sample", "--city", "monaco", "-o", str(out)], Path.read_bytes
    assert run(command) == 0  # libraries are imported now: tracing them would take many times as long

    def counted(path: Path) -> bytes:
        read[path.name if "models" not in path.parts else path.as_posix().partition("/models/")[2]] += 1
        return read_bytes(path)

    with pytest.MonkeyPatch.context() as patch, traced() as trace:
        patch.setattr(Path, "read_bytes", counted)
        assert run(command) == 0
    return trace, read


def test_a_sample_passes_few_modules(sample: tuple[Trace, Counter[str]]) -> None:
    modules = sample[0].functions
    assert len(modules) <= MODULES, sorted(modules)
    assert {"gentraffic/cli/main.py", "gentraffic/generate/run.py", "samplers/stunet.py", "graphs/build.py"} <= set(
        modules
    )


def test_calls_are_few_levels_deep(sample: tuple[Trace, Counter[str]]) -> None:
    levels = sample[0].levels
    assert len(levels) + MAIN <= LEVELS, levels
    inside_a_thread = sample[0].deepest["samplers/stunet.py", "STUNet.forward"]
    assert ("gentraffic/generators/weekly.py", "WeeklyDraw.blocks") in inside_a_thread


def test_every_file_of_a_model_is_read_once(sample: tuple[Trace, Counter[str]]) -> None:
    of_model = {name: times for name, times in sample[1].items() if name.startswith("stouter-fast/")}
    assert len(of_model) > 5
    assert set(of_model.values()) == {1}


def test_the_tracing_counts_calls_and_not_imports() -> None:
    from gentraffic.dataset.calendar import make_calendar

    with traced() as trace:
        make_calendar("2026-01-05", 1, "1h", "Europe/Monaco")
    assert list(trace.functions) == ["gentraffic/dataset/calendar.py"]
    assert [name for _, name in trace.levels] == ["make_calendar", "_midnight"]
