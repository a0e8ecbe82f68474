"""Fixtures that several test files share."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gentraffic.generators.folder import Bundle

pytest_plugins = ["osm_server"]  # the fixture `server`


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
