"""Checkpoints: the format, which must stay readable, the two kinds that must not be mixed, and FoMo's resuming."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fomo_examples import PLAN, data, world

from gentraffic.errors import BadInput, BadModel, WrongUse
from gentraffic.generators.fomo.folder import FoMoBundle
from gentraffic.training.checkpoint import PLAIN, PRIVATE, checkpoint_beside, resume, save_checkpoint
from gentraffic.training.fomo_fitting import FoMoDesign, fit_fomo
from gentraffic.training.trainer import Run
from samplers import fomo

NOTE = {"plan": {"steps": 3, "masks": (0.5, 0.5)}, "fingerprint": "data", "step": 2}
TENSORS = {"weight.0": torch.arange(6.0).reshape(2, 3).t(), "a": torch.tensor(1.5)}


@pytest.mark.parametrize("kind", [PLAIN, PRIVATE])
def test_what_earlier_versions_wrote_is_read(tmp_path: Path, kind: str) -> None:
    """A file made by hand, as every version wrote it: the digest is of the note and of the tensors by name."""
    from safetensors.numpy import save_file

    arrays = {name: t.contiguous().numpy() for name, t in TENSORS.items()}
    told = json.dumps(NOTE)
    sha = hashlib.sha256(told.encode())
    for name in ("a", "weight.0"):
        sha.update(name.encode() + arrays[name].tobytes())
    save_file(arrays, tmp_path / "c.safetensors", {kind: told, "sha256": sha.hexdigest()})
    note, tensors = resume(tmp_path / "c.safetensors", {"plan": NOTE["plan"], "fingerprint": "data"}, kind)
    assert note["step"] == 2
    assert all(torch.equal(tensors[name], t) for name, t in TENSORS.items())


def test_a_file_of_another_run_or_kind_is_told(tmp_path: Path) -> None:
    plain, private = tmp_path / "plain.safetensors", tmp_path / "private.safetensors"
    save_checkpoint(plain, NOTE, TENSORS)
    save_checkpoint(private, NOTE, TENSORS, PRIVATE)
    assert (private.stat().st_mode & 0o077, plain.stat().st_mode & 0o444) == (0, 0o444)
    assert resume(plain, NOTE)[0]["plan"]["masks"] == [0.5, 0.5]
    for path, identity, kind, says in (
        (plain, {"plan": {}}, PLAIN, "other data or settings"),
        (plain, {"unheard": "of"}, PLAIN, "other data or settings"),
        (private, {"plan": {}}, PRIVATE, "noise must not serve twice"),
        (plain, NOTE, PRIVATE, "belongs to a run without --dp-epsilon"),
        (private, NOTE, PLAIN, "belongs to a run with --dp-epsilon"),
    ):
        with pytest.raises(WrongUse, match=says):
            resume(path, identity, kind)
    plain.write_bytes(plain.read_bytes()[:-1])
    with pytest.raises(BadModel, match="not a whole checkpoint"):
        resume(plain, NOTE)


def test_a_folder_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    assert checkpoint_beside(tmp_path / "m.v2") == tmp_path / "m.v2.checkpoint.safetensors"
    (tmp_path / "full").mkdir()
    with pytest.raises(WrongUse, match="not a model folder"):
        checkpoint_beside(tmp_path / "full")
    with pytest.raises(BadInput, match="there is no folder"):
        checkpoint_beside(tmp_path / "none" / "m")
    with pytest.raises(BadInput, match="cannot write /proc/m"):
        checkpoint_beside(Path("/proc/m"))


def test_a_killed_fomo_ends_in_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fomo.SIZES, "tiny", {"width": 24, "depth": 1, "heads": 2})
    measured, path = data(world("here", cells=20)), tmp_path / "c.safetensors"
    plan = replace(PLAN, steps=8, batch=4, check_every=3)
    steps: list[int] = []

    def fitted(checkpoint: Path | None, end: int = 0) -> FoMoBundle:
        def on_step(step: int, of: int, loss: float) -> None:
            steps.append(step)
            if step == end:
                raise KeyboardInterrupt

        design = FoMoDesign(size="tiny")
        return fit_fomo(measured, design=design, plan=plan, run=Run(checkpoint, on_step))[0]

    whole = fitted(None).model.state_dict()
    with pytest.raises(KeyboardInterrupt):
        fitted(path, 5)
    steps.clear()
    again = fitted(path).model.state_dict()
    assert steps == [4, 5, 6, 7, 8]  # from the checkpoint after step 3
    assert all(torch.equal(value, again[name]) for name, value in whole.items())
