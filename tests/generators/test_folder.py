"""A model folder: what is saved comes back to the bit, and what is torn, altered or of another make is told."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bundle_examples import context, sources

from gentraffic.dataset.calendar import make_calendar
from gentraffic.dataset.memmap import Disk
from gentraffic.errors import BadInput, BadModel
from gentraffic.generators.base import MODELS
from gentraffic.generators.folder import Bundle, load_bundle, save_bundle
from gentraffic.generators.weekly import (
    Settings,
    draw_traffic,
    place_embedding,
    station_features,
    station_scale,
)
from gentraffic.modelling.features import read_places
from gentraffic.training.checkpoint import checkpoint_beside
from graphs.graphmae import GraphMAE
from samplers import STUNet

CARD = "# tiny\n"


@pytest.fixture(scope="module")
def saved(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    told = {"seed": 0, "scores": {"crps": 0.1 + 0.2}, "data": [{"title": "Łódź"}], "steps": (1, 2)}
    save_bundle(replace(tiny_bundle, provenance=told), folder, CARD)
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def test_the_folder_is_what_others_can_load(saved: Path, tiny_bundle: Bundle) -> None:
    files = {str(p.relative_to(saved)) for p in saved.rglob("*") if p.is_file()}
    networks = {
        f"{name}/{file}"
        for name in ("stunet", "temporal_graph", "station_graph")
        for file in ("config.json", "diffusion_pytorch_model.safetensors")
    }
    others = {
        "scheduler/scheduler_config.json",
        "scaler.json",
        "level.json",
        "week.json",
        "provenance.json",
        "README.md",
    }
    assert files == networks | others
    hashes = json.loads((saved / "provenance.json").read_text())["files"]
    assert set(hashes) == files - {"provenance.json", "README.md"}
    for name, digest in hashes.items():
        assert hashlib.sha256((saved / name).read_bytes()).hexdigest() == digest
    assert (saved / "README.md").read_text() == CARD
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    scheduler = DDPMScheduler.from_pretrained(saved / "scheduler", local_files_only=True)
    assert torch.equal(scheduler.alphas_cumprod, tiny_bundle.model.noise.scheduler().alphas_cumprod)
    assert scheduler.config.prediction_type == tiny_bundle.model.noise.prediction_type


def test_what_was_saved_draws_the_same_bits(saved: Path, tiny_bundle: Bundle) -> None:
    loaded = load_bundle(saved)
    assert loaded.networks == tiny_bundle.networks == ("alpha", "beta", "elsewhere")
    assert loaded.scaler == tiny_bundle.scaler
    assert loaded.model.noise == tiny_bundle.model.noise
    assert loaded.provenance["scores"] == {"crps": 0.1 + 0.2}
    assert loaded.provenance["data"] == [{"title": "Łódź"}]
    assert not loaded.model.training
    calendar = make_calendar("2026-01-05", 8, "30min", "Europe/Rome")
    for network in ("", "alpha"):
        places = context(70, network)
        one, other = (draw_traffic(b, places, calendar, Settings(members=2, steps=2)) for b in (tiny_bundle, loaded))
        np.testing.assert_array_equal(one, other)
    assert torch.equal(loaded.time(), tiny_bundle.time())
    assert load_bundle(str(saved)).sha256 == loaded.sha256


def test_the_hash_of_a_model_is_that_of_its_files(saved: Path, tiny_bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(replace(tiny_bundle, provenance={"seed": 1}), tmp_path / "again", "another card")
    assert load_bundle(tmp_path / "again").sha256 == load_bundle(saved).sha256
    other = replace(tiny_bundle, scaler=replace(tiny_bundle.scaler, floor=0.06))
    save_bundle(other, tmp_path / "other", CARD)
    assert load_bundle(tmp_path / "other").sha256 != load_bundle(saved).sha256


def test_a_model_that_was_read_and_saved_names_no_path_of_the_machine(saved: Path, tmp_path: Path) -> None:
    save_bundle(load_bundle(saved), tmp_path / "again", "card")
    configs = sorted((tmp_path / "again").rglob("config.json"))
    assert len(configs) == 3
    assert not [path for path in configs if str(saved.parent) in path.read_text(encoding="utf-8")]
    load_bundle(tmp_path / "again")


def test_saving_replaces_an_older_model_as_a_whole(tiny_bundle: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    save_bundle(tiny_bundle, folder, CARD)
    save_bundle(tiny_bundle, folder, "another card")
    assert (folder / "README.md").read_text() == "another card"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]

    def failing(path: Path) -> None:
        raise OSError(28, "No space left on device")

    broken = replace(tiny_bundle, station=replace_save(failing))
    with pytest.raises(Exception, match="No space left on device"):
        save_bundle(broken, folder, CARD)
    load_bundle(folder)  # the older one is still whole
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("name", ["notes.txt", "model/more.bin", ".git/HEAD", "plots/week.png"])
def test_files_of_somebody_else_in_a_model_folder_are_not_deleted_with_it(
    name: str, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    folder = tmp_path / "m"
    save_bundle(tiny_bundle, folder, "card")
    (folder / name).parent.mkdir(exist_ok=True, parents=True)
    (folder / name).write_text("mine")
    (folder / ".DS_Store").write_text("a file manager's")
    for write in (lambda: save_bundle(tiny_bundle, folder, "card"), lambda: checkpoint_beside(folder)):
        with pytest.raises(BadInput, match=rf"{folder} holds {name}, which gentraffic did not write"):
            write()
    assert (folder / name).read_text() == "mine"
    (folder / name).unlink()
    save_bundle(tiny_bundle, folder, "another card")
    assert (folder / "README.md").read_text() == "another card"


def test_saving_touches_nothing_else(tiny_bundle: Bundle, tmp_path: Path) -> None:
    mine = tmp_path / "thesis"
    mine.mkdir()
    (mine / "chapter.txt").write_text("years of work")
    with pytest.raises(BadInput, match="thesis exists and is not a model folder; take another name"):
        save_bundle(tiny_bundle, mine, CARD)
    assert [p.name for p in mine.iterdir()] == ["chapter.txt"]
    with pytest.raises(BadInput, match=r"chapter\.txt exists and is not a folder"):
        save_bundle(tiny_bundle, mine / "chapter.txt", CARD)
    with pytest.raises(BadInput, match="there is no folder"):
        save_bundle(tiny_bundle, tmp_path / "nowhere" / "model", CARD)


def replace_save(save: Callable[[Path], None]) -> Any:
    class Broken:
        save_pretrained = staticmethod(save)

    return Broken()


def test_a_flipped_byte_anywhere_is_told(copy: Path) -> None:
    rng = np.random.default_rng(0)
    files = [p for p in sorted(copy.rglob("*")) if p.is_file() and p.name != "README.md"]
    assert len(files) == 11
    for path in files:
        good = path.read_bytes()
        places = [0, len(good) - 2, *rng.integers(0, len(good), 4)]
        for at in places:
            flipped = bytearray(good)
            flipped[at] ^= 1 << int(rng.integers(7))
            if path.name == "provenance.json" and b'"seal"' not in flipped:
                continue  # the one word whose loss means: from before there were seals
            path.write_bytes(bytes(flipped))
            with pytest.raises(BadModel, match=path.name) as told:
                load_bundle(copy)
            assert "\n" not in str(told.value)
        path.write_bytes(good)
    load_bundle(copy)


def test_missing_files_are_told(copy: Path) -> None:
    for path in [p for p in sorted(copy.rglob("*")) if p.is_file() and p.name not in ("README.md", "provenance.json")]:
        good = path.read_bytes()
        path.unlink()
        with pytest.raises(BadModel, match=rf"{path.relative_to(copy)} is missing; copy the model folder again"):
            load_bundle(copy)
        path.write_bytes(good)
    (copy / "README.md").unlink()  # a card is for people
    load_bundle(copy)


def test_unknown_names_are_told(tmp_path: Path) -> None:
    for name in ("no-such-model", tmp_path, tmp_path / "nothing", "stouter_base"):
        with pytest.raises(BadModel, match=r"no model .*: give one of .*, or a model folder") as told:
            load_bundle(name)
        assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"files": 3}',
        "\x00\xff",
        '{"files": {}, "format_version": 1e999}',
        '{"files": {}, "format_version": -1}',
    ],
)
def test_a_torn_provenance_is_told(copy: Path, content: str) -> None:
    (copy / "provenance.json").write_text(content, encoding="latin-1")
    with pytest.raises(BadModel, match=r"provenance\.json: not readable"):
        load_bundle(copy)


def rehash(folder: Path) -> None:
    """Make the hashes fit again, as somebody would who changes a model by hand."""
    told = json.loads((folder / "provenance.json").read_text())
    told["files"] = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in told["files"]
        if (folder / name).is_file()
    }
    told.pop("seal", None)
    (folder / "provenance.json").write_text(json.dumps(told))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("level.json", "{}"),
        ("level.json", '{"order": ["a"], "levels": {"networks": {}, "mood": 3}}'),
        ("scaler.json", '{"mean": 0.0}'),
        ("stunet/config.json", "not json"),
        ("stunet/diffusion_pytorch_model.safetensors", "not tensors"),
    ],
)
def test_a_model_of_another_make_is_told(copy: Path, name: str, text: str) -> None:
    (copy / name).write_text(text)
    rehash(copy)
    with pytest.raises(BadModel, match="not a model of this version") as told:
        load_bundle(copy)
    assert "\n" not in str(told.value)


def test_no_pickle_is_ever_loaded(copy: Path, tiny_bundle: Bundle) -> None:
    weights = copy / "stunet" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    torch.save(tiny_bundle.model.state_dict(), copy / "stunet" / "diffusion_pytorch_model.bin")
    rehash(copy)
    with pytest.raises(BadModel):
        load_bundle(copy)


def test_place_embeddings_come_from_the_whole_context(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = read_places(context(120))
    whole = tiny_bundle.place(places)
    assert whole.shape == (120, 32)
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(whole, place_embedding(tiny_bundle.station, places, tiny_bundle.levels))
    held = tiny_bundle.place(places, Disk(tmp_path))
    assert isinstance(held, np.memmap)
    np.testing.assert_array_equal(held, whole)
    monkeypatch.setattr(
        "gentraffic.modelling.features.BLOCK", 50
    )  # neighbourhoods in blocks that do not divide the cells
    np.testing.assert_array_equal(read_places(context(120)).near, places.near)
    moved = read_places(context(120).assign(poi_count=context(120)["poi_count"] * 3))
    assert np.abs(tiny_bundle.place(moved) - whole).max() > 0.01


def test_features_are_standardised_as_where_they_were_measured_and_never_by_their_region(tiny_bundle: Bundle) -> None:
    alpha = sources()[0].places
    assert alpha is not None
    known = tiny_bundle.levels.networks["alpha"].scale
    got = station_features(alpha, station_scale(alpha, tiny_bundle.levels))
    np.testing.assert_allclose(got, (alpha.counts - known.mean[:8]) / known.spread[:8], atol=1e-5)
    nowhere = replace(alpha, network="", poi_count=3 * alpha.poi_count + 2)
    both = [n.scale for n in tiny_bundle.levels.networks.values()]
    mean, spread = (np.mean([getattr(s, k)[:8] for s in both], axis=0) for k in ("mean", "spread"))
    got = station_features(nowhere, station_scale(nowhere, tiny_bundle.levels))
    np.testing.assert_allclose(got, np.clip((nowhere.counts - mean) / spread, -5, 5), atol=1e-5)
    part = replace(nowhere, poi_count=nowhere.poi_count[:3])
    np.testing.assert_array_equal(station_features(part, station_scale(part, tiny_bundle.levels)), got[:3])


def test_time_embedding_is_standardised_and_tells_hours_apart(tiny_bundle: Bundle) -> None:
    time = tiny_bundle.time()
    assert time.shape == (168, 32)
    torch.testing.assert_close(time.mean(0), torch.zeros(32), atol=1e-4, rtol=0)
    assert (time.std(0) < 1.01).all()
    assert torch.cdist(time, time).add(torch.eye(168) * 9).min() > 1e-3


def test_weights_that_lack_are_not_drawn_at_random(copy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from safetensors.torch import load_file, save_file

    path = copy / "stunet" / "diffusion_pytorch_model.safetensors"
    for change, words in (("lacks", "missing weights: leave.bias"), ("has more", "unexpected weights: spare")):
        weights = load_file(path)
        if change == "lacks":
            spare = weights.pop("leave.bias")
        else:
            weights |= {"leave.bias": spare, "spare": spare.clone()}
        save_file(weights, path)
        rehash(copy)
        with pytest.raises(BadModel, match=words):
            load_bundle(copy)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["stunet/extra.safetensors", "stunet/model.safetensors.index.json", "x/y.bin", "link"])
def test_a_file_that_provenance_does_not_list_is_refused(name: str, tmp_path: Path) -> None:
    """A sharded index beside the weights replaces every weight of a network, and changes no hash."""
    import shutil

    from gentraffic.generators.base import MODELS

    shutil.copytree(MODELS / "stouter-fast", tmp_path / "m")
    (tmp_path / "m" / "README.md").write_text("a card that a person has changed")
    (tmp_path / "m" / ".DS_Store").write_bytes(b"of a desktop")
    load_bundle(tmp_path / "m")
    path = tmp_path / "m" / name
    path.parent.mkdir(exist_ok=True)
    if name == "link":
        path.symlink_to("/nowhere")
    else:
        path.write_text("{}")
    with pytest.raises(BadModel, match=f"{name} is not listed in provenance.json"):
        load_bundle(tmp_path / "m")
    path.unlink()
    load_bundle(tmp_path / "m")


def test_a_later_version_and_unknown_fields_are_told(copy: Path) -> None:
    told = json.loads((copy / "provenance.json").read_text())
    assert told["format_version"] == 2
    later = {name: value for name, value in told.items() if name != "seal"} | {"format_version": 3}
    (copy / "provenance.json").write_text(json.dumps(later))
    with pytest.raises(BadModel, match="has format_version 3, this gentraffic reads up to 2: pip install --upgrade"):
        load_bundle(copy)
    del told["format_version"], told["seal"]  # a folder of today
    (copy / "provenance.json").write_text(json.dumps(told))
    load_bundle(copy)
    for name in ("scaler.json", "stunet/config.json"):
        good = (copy / name).read_text()
        (copy / name).write_text(json.dumps({**json.loads(good), "mood": 3}))
        rehash(copy)
        with pytest.raises(BadModel, match="unknown field 'mood'") as caught:
            load_bundle(copy)
        assert "\n" not in str(caught.value)
        (copy / name).write_text(good)


@pytest.mark.parametrize(
    ("kind", "part"), [(STUNet, "stunet"), (GraphMAE, "station_graph"), (GraphMAE, "temporal_graph")]
)
def test_parts_of_a_bundled_model_are_models_of_diffusers(kind: Any, part: str) -> None:
    bundle = load_bundle("stouter-fast")
    own = {"stunet": bundle.model, "station_graph": bundle.station, "temporal_graph": bundle.temporal}[part]
    theirs = kind.from_pretrained(MODELS / "stouter-fast" / part, local_files_only=True)
    assert isinstance(theirs, kind)
    assert {k: theirs.config[k] for k in own.config} == {k: list(v) if isinstance(v, tuple) else v
                                                         for k, v in own.config.items()}  # fmt: skip
    weights = own.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in theirs.state_dict().items())
