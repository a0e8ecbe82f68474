"""A fitted forecaster as a folder: network, scaler of the training part, provenance with hashes, card. No pickle.

forecaster/        config.json, diffusion_pytorch_model.safetensors
scaler.json        mean and spread of every training cell, by cell id and service
errors.safetensors errors of the validation part, from which ranges are drawn; not in folders of 0.1
provenance.json    forecaster, services, data, licences, hashes of every file, plan, seed, scores beside the naive rows
README.md          the card
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save_file

from forecasters import CellScaler
from gentraffic.errors import BadInput, BadModel
from gentraffic.forecasting.fit import Fitted
from gentraffic.forecasting.ranges import ErrorPaths
from gentraffic.forecasting.registry import forecaster_names, recipe_of
from gentraffic.generators.base import read_folder, write_json, writing_folder

ERRORS = "errors.safetensors"


def save_fitted(
    fitted: Fitted,
    folder: Path,
    *,
    scaler: TrainingScaler,
    provenance: Mapping[str, Any],
    card: str,
) -> None:
    """Write the folder whole, or not at all. scaler: of the training cells. Raises BadInput."""
    with writing_folder(folder, {**provenance, "forecaster": fitted.name}, card) as temporary:
        fitted.model.save_pretrained(temporary / "forecaster")
        known = scaler.scaler
        table = {"cell_id": list(scaler.cell_id), "mean": known.mean.tolist(), "spread": known.spread.tolist()}
        write_json(temporary / "scaler.json", table)
        if fitted.errors is not None:
            _save_errors(fitted.errors, temporary / ERRORS)


def load_fitted(folder: str | Path, device: str = "cpu") -> tuple[Fitted, str]:
    """The forecaster in a folder, on a device of torch, and one SHA-256 of its files; `told` is its provenance.

    Every file is checked against its hash. Raises BadModel for a folder that is missing, changed or of another kind.
    """
    if not (Path(folder) / "provenance.json").is_file():
        raise BadModel(f"no forecaster in {folder}: give a folder of `gentraffic forecast fit`")
    read = read_folder(Path(folder))
    name = read.provenance.get("forecaster")
    if name not in forecaster_names():
        kind = name or read.provenance.get("sampler", "stouter")
        raise BadModel(
            f"{read.path} holds the model {kind!r}, not a forecaster: give a folder of `gentraffic forecast fit`"
        )
    with read.understanding():
        model = read.network(recipe_of(str(name)).network, "forecaster").to(device)
        errors = _read_errors(read.files[ERRORS]) if ERRORS in read.files else None
    return Fitted(str(name), model, dict(read.provenance), errors), read.sha256


def _save_errors(paths: ErrorPaths, file: Path) -> None:
    """Write the errors of the validation part."""
    save_file({"errors": paths.errors, "step_of_day": paths.step_of_day, "per_day": np.array([paths.per_day])}, file)


def _read_errors(content: bytes) -> ErrorPaths:
    """What `_save_errors` wrote. Raises KeyError and ValueError."""
    table = load(content)
    if table["errors"].ndim != 4 or table["step_of_day"].shape != table["errors"].shape[:1]:
        raise ValueError(f"{ERRORS}: errors and step_of_day do not go together")
    return ErrorPaths(table["errors"], table["step_of_day"], int(table["per_day"][0]))


@dataclass(frozen=True)
class TrainingScaler:
    """cell_id: (cells,) text. scaler: mean and spread of the training part, (cells, services)."""

    cell_id: tuple[str, ...]
    scaler: CellScaler

    def of(self, cell_id: NDArray[Any]) -> CellScaler:
        """The scaler for these cells, (n,). Raises BadInput for cells that the forecaster was not fitted on.

        cell_id: (cells,).
        """
        rows = {cell: row for row, cell in enumerate(self.cell_id)}
        missing = [str(cell) for cell in cell_id if str(cell) not in rows]
        if missing:
            raise BadInput(
                f"--scaler model: the forecaster was not fitted on cell {missing[0]} ({len(missing)} such cells): "
                "leave the option out and give at least a day of history"
            )
        at = [rows[str(cell)] for cell in cell_id]
        return CellScaler(self.scaler.mean[at], self.scaler.spread[at])


def stored_scaler(folder: Path) -> TrainingScaler:
    """The scaler of the training part that is in a folder."""
    table = json.loads((folder / "scaler.json").read_text(encoding="utf-8"))
    mean, spread = (np.asarray(table[key], dtype=np.float32) for key in ("mean", "spread"))
    return TrainingScaler(tuple(table["cell_id"]), CellScaler(mean, spread))
