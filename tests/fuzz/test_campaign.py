"""A short campaign of mutated inputs (tests/fuzz/campaign.py): none crashes, hangs, or passes for what it was not."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from campaign import BAD, READERS, campaign, kept_inputs, read_again, table


def test_no_mutated_input_crashes_hangs_or_changes_silently() -> None:
    counts, lines = campaign(7 * len(READERS), seed=7)
    assert not lines, "\n".join([*lines, table(counts)])
    assert all(sum(count.values()) == 7 for count in counts.values())
    assert sum(count["refused"] for count in counts.values()) > 60, "the mutations do something"


@pytest.mark.parametrize(("reader", "path"), kept_inputs(), ids=lambda value: getattr(value, "name", value))
def test_what_was_found_once_is_refused(reader: str, path: Path) -> None:
    assert not read_again(reader, path)


def test_the_campaign_sees_what_must_not_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that dies, raises, sleeps or takes what is broken, in turns, is told as such."""
    import os
    import signal
    import time

    import campaign as module

    def faulty(path: Path) -> bytes:
        content = path.read_bytes()
        if content == b"0123456789":
            return b"whole"
        match len(content) % 3:
            case 0:
                os.kill(os.getpid(), signal.SIGSEGV)
            case 1:
                raise AttributeError("'NoneType' object has no attribute 'x'")
        if b"5" in content:
            time.sleep(5)
        return b"broken"

    reader = module.Reader(".bin", lambda path: path.write_bytes(b"0123456789"), faulty, module.any_bytes, ours=True)
    monkeypatch.setattr(module, "READERS", {"faulty": reader})
    monkeypatch.setattr(module, "LIMIT_S", 0.5)
    counts, lines = campaign(24, seed=1)
    assert sum(counts["faulty"].values()) == 24
    assert {kind for kind in BAD if counts["faulty"][kind]} >= {"crash", "internal", "hang", "changed"}
    assert len(lines) == sum(counts["faulty"][kind] for kind in BAD)
