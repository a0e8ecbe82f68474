"""Every option of `fit` for every family: it changes what is fitted, or it is refused by its name; none is ignored."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from bundle_examples import source

from gentraffic.api.models import FitOptions, can_be_fitted, options_of
from gentraffic.cli.fit import fit_
from gentraffic.cli.main import run
from gentraffic.errors import WrongUse
from gentraffic.generators.naive import NAIVE
from gentraffic.privacy.dp.accounting import Privacy
from gentraffic.privacy.dp.fit import PrivateSource, fit_private_stouter
from gentraffic.training.fitting import Design
from gentraffic.training.fomo_fitting import FoMoDesign, parse_patch
from gentraffic.training.options import design_of, plan_of
from samplers import sampler_class, sampler_names

GIVEN: dict[str, Any] = {  # a value of each option that no family has by default
    "fusion": "gated", "temporal_layer": "sage", "station_layer": "gin", "size": "5m", "patch": "2,2,8",
    "bare_steps": 3, "prediction": "sample", "paper": True, "channels": "16,8", "diffusion_steps": 500,
    "loss": "l1", "no_temporal_graph": True, "no_station_graph": True, "profile": True, "level": "network",
    "steps": 7, "batch": 3,
}  # fmt: skip
EVERYWHERE = {"seed", "threads", "device", "precision", "service"}  # where and of what: options of all families
BESIDE = {"holdout", "evidence"}  # tested by what is written: tests/cli/test_fit.py
FAMILIES = sorted(can_be_fitted())


def fitted_as(family: str, options: FitOptions) -> object:
    """All that the options decide of a fit."""
    if family == "fomo":
        token = parse_patch(options.patch or "1,1,16")
        return FoMoDesign(options.size or "1m", token, options.prediction or "v_prediction"), options
    design = design_of(family, options)
    return design, plan_of(design, options)


def test_every_option_is_looked_at_here() -> None:
    known = {f.name for f in fields(FitOptions)}
    assert known == {*GIVEN, *EVERYWHERE, *BESIDE}
    typed = {p.name for p in fit_.params if not str(p.name).startswith("dp_")}
    assert known <= typed, "what Python takes, the command line takes"


@pytest.mark.parametrize("option", sorted(GIVEN))
@pytest.mark.parametrize("family", FAMILIES)
def test_an_option_changes_the_fit_or_is_refused(family: str, option: str, tmp_path: Path) -> None:
    value = GIVEN[option]
    if option == "level" and family in sampler_names() and sampler_class(family).draws_level:
        value = "model"
    options = FitOptions(**{option: value})
    words = [f"--{option.replace('_', '-')}", *([] if value is True else [str(value)])]
    if option in options_of(family):
        options.check(family)
        assert fitted_as(family, options) != fitted_as(family, FitOptions()), f"{' '.join(words)} changes nothing"
        return
    with pytest.raises(WrongUse, match=f"{words[0]}.*{family}"):
        options.check(family)
    file = tmp_path / "t.nc"
    assert run(["fit", family, "--traffic", str(file), "-o", str(tmp_path / "m"), *words]) == 2
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("family", NAIVE)
def test_what_is_not_trained_has_no_options_of_a_training(family: str) -> None:
    for name, value in (("holdout", 0.2), ("evidence", Path("x.json")), ("steps", 5)):
        with pytest.raises(WrongUse, match=f"--{name}.*{family} is not trained"):
            FitOptions(**{name: value}).check(family)  # type: ignore[arg-type]


def test_a_private_fit_refuses_a_past_that_it_would_not_learn() -> None:
    own = source("alpha", 16, 7)
    cells = own.rows
    given = PrivateSource(own, cells, own.location, cells, own.cell_id)
    with pytest.raises(WrongUse, match="--profile"):
        fit_private_stouter([given], Privacy(8.0, 1e-3), design=replace(Design(), use_profile=True))
