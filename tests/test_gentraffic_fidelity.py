"""benchmarks/fidelity.py: rows are kept as they are done, folds are joined, and the tables say what METRICS says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from gentraffic import p1, p2


@pytest.fixture(scope="module")
def fidelity() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "fidelity.py"
    spec = importlib.util.spec_from_file_location("fidelity", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def later(fold: int) -> dict[str, Any]:
    told: dict[str, Any] = {key: [0.1 + fold, 0.3 + fold] for key in p2.POINT + p2.SPREAD}
    return {"uomo-nc": told | {"location": [1, 2], "members": 20}}


def test_rows_are_kept_and_folds_joined(fidelity: ModuleType, tmp_path: Path) -> None:
    rows = fidelity.Rows(tmp_path / "f.json")
    rows.add("p2", "vae|0|1", later(1), {"core_minutes": 2.0, "steps": 9, "weights": 7})
    rows.add("p2", "vae|0|0", later(0))
    again = fidelity.Rows(tmp_path / "f.json")
    assert again.done == rows.done
    joined = fidelity.merged(again.of("p2")["vae"])
    assert joined["uomo-nc"]["crps"] == [0.1, 0.3, 1.1, 1.3]
    line = p2.table({"vae": joined}).splitlines()[-1]
    mean = np.mean([0.1, 0.3, 1.1, 1.3])
    assert line == f"| vae | uomo-nc | 4 | 20 | {mean:.4f} | {mean**0.5:.4f} | {mean:.4f} | {mean:.4f} | {mean:.2f} |"
    assert "| p2|vae|0|1 | 2.0 | 9 | 7 |" in fidelity.budget(again)


def test_its_rows_are_evidence_for_a_model_card(fidelity: ModuleType, tmp_path: Path) -> None:
    rows = fidelity.Rows(tmp_path / "f.json")
    for fold in (0, 1):
        rows.add("p1", f"vae|0|{fold}", {"uomo-sd": {"crps": [float(fold)]}})
    assert p1.read_rows(tmp_path / "f.json") == {"vae": [{"uomo-sd": {"crps": [0.0]}}, {"uomo-sd": {"crps": [1.0]}}]}


def test_every_sampler_and_variant_is_one_that_can_be_fitted(fidelity: ModuleType) -> None:
    from gentraffic.fitting import Design, build
    from samplers import SAMPLERS
    from samplers.fusion import FUSIONS

    assert set(fidelity.SAMPLERS) == set(SAMPLERS)
    for part in (fidelity.SAMPLERS | fidelity.VARIANTS).values():
        assert build(Design(**part), 3, (1, 2)).cadences == (1, 2)
    assert {f"stouter, fusion {form}" for form in FUSIONS if form != "concat"} <= set(fidelity.VARIANTS)
