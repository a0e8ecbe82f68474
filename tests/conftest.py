"""Fixtures that several test files share."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gentraffic.generators.folder import Bundle

# Processors with wider registers round sums in another order: with what all of the last ten years have, golden.json and
# trained.json hold on each of them. Before torch is imported; commands that tests start inherit it.
for name, value in {
    "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}.items():  # fmt: skip
    os.environ.setdefault(name, value)

pytest_plugins = ["osm_server"]  # the fixture `server`
# Files that take longest come first, so that at the end no process waits for the other's last one.
LONGEST = (
    "test_generators.py", "test_streaming.py", "test_structure.py", "test_traffic.py", "test_files.py",
    "test_evaluate.py", "test_campaign.py", "test_change.py", "test_main.py", "test_release.py", "test_golden.py",
    "test_audit_run.py", "test_trainer.py", "test_api.py", "test_services.py", "test_fit.py", "test_known_cells.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In the order of LONGEST, all others behind; of a file, as they stand there."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


def pytest_collection_finish() -> None:
    """The million objects that the libraries made are not searched for garbage again and again: a twelfth of the
    time."""
    gc.set_threshold(200_000, 20, 50)
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the project; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("GENTRAFFIC_SHARED", Path(__file__).parents[2] / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}: set GENTRAFFIC_SHARED to the folder that holds data/")
    return folder


@pytest.fixture(scope="session")
def tiny_bundle() -> Bundle:
    """A model really fitted on a small synthetic world, once per session."""
    from bundle_examples import tiny_bundle

    return tiny_bundle()
