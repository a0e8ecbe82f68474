"""Packages of others: what they register is found and listed; a name that is taken is refused, naming the package."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gentraffic
from gentraffic.cli.main import run as command
from gentraffic.errors import BadModel, GentrafficError, WrongUse
from gentraffic.forecasting.registry import forecaster_names, recipe_of
from gentraffic.generators.base import GROUPS, describe, find, plug_ins

EXAMPLES = Path(__file__).parents[2] / "examples"


def install(site: Path, package: str, kind: str, name: str, value: str) -> None:
    """What pip leaves of a package that registers one name."""
    folder = site / f"{package.replace('-', '_')}-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(f"[{GROUPS[kind]}]\n{name} = {value}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages that Python finds, with the modules of the examples."""
    for path in EXAMPLES.glob("own_*/*.py"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for path in EXAMPLES.glob("own_*/*.py"):
        sys.modules.pop(path.stem, None)


FLAT, AFFINE, MEAN = "flat_generator:Flat", "affine_sampler:Affine", "mean_forecaster:weighted_mean"


def test_what_is_installed_is_found_and_listed(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(site, "flat-lines", "generator", "flat", FLAT)
    install(site, "own-sampler", "sampler", "affine", AFFINE)
    install(site, "own-forecaster", "forecaster", "weighted-mean", MEAN)
    assert {str(one) for one in plug_ins(*GROUPS)} >= {
        "affine (sampler of own-sampler 1.0)",
        "flat (generator of flat-lines 1.0)",
        "weighted-mean (forecaster of own-forecaster 1.0)",
    }
    assert describe("flat").family == "flat"
    assert recipe_of("weighted-mean").network.__module__ == "mean_forecaster"
    with pytest.raises(BadModel, match=r"no model 'nope': give one of .*stouter-fast, flat \(generator of flat-lines"):
        find("nope")
    with pytest.raises(BadModel, match=r"affine \(sampler of own-sampler 1.0\): train it, `gentraffic fit affine`"):
        find("affine")
    with pytest.raises(WrongUse, match=r"no sampler 'nope': give one of stouter, .*affine, .*fomo"):
        gentraffic.fit("nope", "t.nc", "c.nc", out="model")
    assert "of installed packages: affine (sampler of own-sampler 1.0), flat" in gentraffic.bundled().sentences()[-1]
    assert gentraffic.bundled().to_json()["plug_ins"][1] == {
        "name": "flat", "kind": "generator", "package": "flat-lines 1.0"
    }  # fmt: skip
    for words, name in ((["sample"], "flat"), (["fit"], "affine"), (["forecast", "fit"], "weighted-mean")):
        capsys.readouterr()
        assert command([*words, "--help"]) == 0
        listed = capsys.readouterr().out.partition("Installed beside those of gentraffic:")[2]
        assert listed.strip().startswith(name)
    assert command(["models"]) == 0
    assert "flat (generator of flat-lines 1.0)" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["stouter-fast", "fomo-base", "vae", "fomo", "knn"])
@pytest.mark.parametrize("kind", ["generator", "sampler"])
def test_a_model_or_family_of_gentraffic_is_not_replaced(name: str, kind: str, site: Path) -> None:
    install(site, "evil", kind, name, FLAT if kind == "generator" else AFFINE)
    refused = rf"{name}: evil 1.0 registers a {kind} of this name, which gentraffic has itself: uninstall"
    with pytest.raises(WrongUse, match=refused):
        find(name)
    if name in ("vae", "fomo", "knn"):
        with pytest.raises(WrongUse, match=refused):
            gentraffic.fit(name, "t.nc", "c.nc", out="model")
    find("stouter-base" if name != "fomo" else "stouter-fast")  # others are not touched


def test_a_family_of_a_folder_is_not_replaced(site: Path) -> None:
    install(site, "evil", "generator", "stouter", FLAT)
    with pytest.raises(WrongUse, match=r"stouter: evil 1.0 registers a generator of this name"):
        find("stouter-fast")


def test_a_forecaster_of_gentraffic_is_not_replaced(site: Path) -> None:
    install(site, "evil", "forecaster", "lstm", MEAN)
    assert forecaster_names().count("lstm") == 1
    with pytest.raises(WrongUse, match=r"lstm: evil 1.0 registers a forecaster of this name"):
        recipe_of("lstm")
    assert recipe_of("stn").network.__name__ == "STN"


def test_two_packages_of_one_name_are_refused(site: Path) -> None:
    install(site, "one", "generator", "flat", FLAT)
    install(site, "two", "sampler", "flat", AFFINE)
    with pytest.raises(WrongUse, match=r"flat: one 1.0 and two 1.0 both register it"):
        find("flat")


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("generator", "no_such_module:Flat", "broken 1.0 registers no_such_module:Flat, which cannot be loaded"),
        ("sampler", "affine_sampler:Nothing", "broken 1.0 registers affine_sampler:Nothing, which cannot be loaded"),
        ("sampler", FLAT, "the sampler 'mine' is no subclass of samplers.Sampler"),
        ("forecaster", FLAT, "flat_generator:Flat is no forecasters.Recipe"),
    ],
)
def test_what_cannot_be_loaded_is_named(kind: str, value: str, message: str, site: Path) -> None:
    install(site, "broken", kind, "mine", value)
    with pytest.raises(GentrafficError, match=message):  # noqa: PT012
        if kind == "generator":
            find("mine")
        elif kind == "sampler":
            gentraffic.fit("mine", "t.nc", "c.nc", out="model")
        else:
            recipe_of("mine")
