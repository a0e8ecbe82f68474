"""Exports for simulators as other people's readers see them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from traffic_examples import context, traffic

from gentraffic.io.export.registry import export


def test_simu5g_is_read_by_a_reader_of_omnetpp_configurations(tmp_path: Path) -> None:
    """Sections, `extends` and `include` as OMNeT++ resolves them (omnetinireader, of the CrowNet simulator)."""
    reader: Any = pytest.importorskip("omnetinireader.config_parser")
    ds = traffic(context("cells", 3), start="2026-10-24T22:00", units="GB").isel(time=slice(0, 25))
    told = export(ds, "simu5g", tmp_path / "t.ini")
    own = "include t.ini\n[Config Mine]\nextends = Traffic\nnetwork = my.Network\n"
    (tmp_path / "mine.ini").write_text(own, encoding="utf-8")
    for name, config, network in (("t.ini", "Traffic", "simu5g."), ("mine.ini", "Mine", "my.Network")):
        kind = reader.OppConfigType.READ_ONLY
        found = reader.OppConfigFileBase.from_path(str(tmp_path / name), config, cfg_type=kind)
        assert found["network"].startswith(network)
        assert found["sim-time-limit"] == "10s"  # of the section General
        assert int(found["*.numUe"]) == 9
        lists = [re.search(r" = ([\d, ]+) ! step", found[f"*.server.app[{i}].samplingTime"]) for i in range(9)]
        kbit = np.array([[int(v) for v in held[1].split(",")] for held in lists if held])
        assert kbit.shape == (9, 25)
        assert kbit.sum() == told["kbit"]["internet"]
        np.testing.assert_allclose(kbit.sum(1), ds.internet.values.sum(1, dtype=np.float64) * 8e6, atol=1.0)
