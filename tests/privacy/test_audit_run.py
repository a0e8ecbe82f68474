"""`gentraffic audit`: the guilty and the innocent, a real model, bad input, and the words of its reports."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from audit_examples import START, both_places, place, series, traffic
from bundle_examples import source
from pretend_device import pretending

from gentraffic.cli.main import run
from gentraffic.dataset.calendar import make_calendar
from gentraffic.errors import BadInput, WrongUse
from gentraffic.generators.folder import Bundle, save_bundle
from gentraffic.generators.weekly import Settings, draw_traffic
from gentraffic.io.files import write_context, write_traffic
from gentraffic.privacy.audit import models as audit_model
from gentraffic.privacy.audit import weekly
from gentraffic.privacy.audit.records import read_material
from gentraffic.privacy.audit.run import COPIES, Audit, Target, audit
from samplers import diffusion
from samplers.sampler import LOSS_DRAWS

KNOWN, UNSEEN, OTHER = series(32, 0), series(40, 7), series(60, 9)
A, B, BOTH = both_places()
TRAIN, HOLDOUT = traffic(KNOWN, A), traffic(UNSEEN, B)
DRAWN_AT = place(60, 9, 501)
INNOCENT = traffic(OTHER, DRAWN_AT)  # a bootstrap of cells that are neither here nor there
FORBIDDEN = re.compile(r"anonym|(?<!\| )\bsafe(?!tensors)", re.IGNORECASE)  # but for the filter of jinja


def guilty() -> xr.Dataset:
    """Three of sixty are copies: one as it is, one later and larger, one of the second week, with noise."""
    drawn = OTHER.copy()
    drawn[0] = KNOWN[5]
    drawn[1] = np.roll(KNOWN[6], 7) * 4
    drawn[2] = np.roll(KNOWN[7], 168) * np.random.default_rng(0).lognormal(0, 0.02, 336).astype(np.float32)
    return traffic(drawn, DRAWN_AT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("audit")
    files = {
        "train": TRAIN, "holdout": HOLDOUT, "innocent": INNOCENT, "guilty": guilty(), "few": TRAIN.isel(cell=slice(9)),
        "one-cell": TRAIN.isel(cell=[3]), "gigabytes": traffic(UNSEEN, B, units="GB"),
        "calls-train": traffic(KNOWN, A, units="calls"), "calls-holdout": traffic(UNSEEN, B, units="calls"),
        "dead": traffic(UNSEEN * 0, B), "nearly-dead": traffic(UNSEEN * (np.arange(40) < 5)[:, None], B),
        "members": traffic(np.stack([UNSEEN] * 2), B), "calls": HOLDOUT.rename(traffic="calls"),
        "short": HOLDOUT.isel(time=slice(30)), "daily": traffic(UNSEEN[:, :14], B, minutes=1440),
        "renamed": traffic(np.concatenate([KNOWN[:1], UNSEEN[1:]]), B), "one-synthetic": INNOCENT.isel(cell=[2]),
        "seven-minutes": traffic(UNSEEN, B, minutes=7), "later": traffic(UNSEEN, B, start="2015-03-03T23:00"),
        "silent": traffic(OTHER * 0, DRAWN_AT),
    }  # fmt: skip
    for name, ds in files.items():
        write_traffic(ds, where / f"{name}.nc")
    broken = HOLDOUT.copy(deep=True)
    broken["traffic"].values[4, 9] = np.nan
    broken.to_netcdf(where / "nan.nc", engine="h5netcdf")
    write_context(BOTH, where / "context.nc")
    write_context(A, where / "half-context.nc")
    return where


def test_a_generator_that_copies_is_caught_and_one_that_has_seen_nothing_is_not() -> None:
    found = audit(TRAIN, HOLDOUT, guilty())
    assert found.leak
    assert found.found
    assert {name.split(",")[0] for name in found.found} <= {COPIES, "copies"}  # no attack on distances
    assert found.verdict.startswith("A leak was found: 6 of 120 synthetic records are copies")  # two weeks each
    named = {(x.synthetic_cell, x.synthetic_window): (x.train_cell, x.train_window) for x in found.search.copies}
    assert named[("501", 0)] == ("6", 0)
    assert named[("501", 1)] == ("6", 1)
    assert named[("503", 0)] == ("8", 1)
    clean = audit(TRAIN, HOLDOUT, INNOCENT)
    assert not clean.leak
    assert clean.search.copies == ()
    assert clean.verdict.startswith("None of the attacks run here found a leak: 12 tests")


def test_a_generator_that_blurs_its_training_cells_is_caught_by_distances() -> None:
    """Every record a training cell with a third of noise an hour: no copy, but near. 150 cells a side."""
    known, unseen = series(150, 20, 7), series(150, 21, 7)
    noise = np.random.default_rng(1).lognormal(0, 0.15, known.shape).astype(np.float32)
    found = audit(traffic(known, place(150, 20, 1)), traffic(unseen, place(150, 21, 501)),
                  traffic(known * noise, place(150, 22, 1001)), plants=0)  # fmt: skip
    assert {"nearest distance, AUC", "closest-record share"} <= set(found.found)
    assert found.attacks[0].auc.low > 0.6
    assert found.share.value > 0.7


@pytest.mark.slow
def test_false_alarms_are_rare_and_the_seed_settles_everything() -> None:
    alarms, p = 0, []
    for seed in range(40):
        parts = [series(24, 100 + 3 * seed + k, 7) for k in range(3)]
        found = audit(*(traffic(v, place(24, k, 1 + 100 * k)) for k, v in enumerate(parts)), seed=seed, plants=0)
        alarms += found.leak
        p.append(list(found.tests.values()))
    assert alarms <= 4
    assert (np.array(p) <= 0.1).mean() <= 0.13
    assert audit(TRAIN, HOLDOUT, INNOCENT, seed=3).to_json() == audit(TRAIN, HOLDOUT, INNOCENT, seed=3).to_json()


def test_records_are_windows_of_the_same_slots_on_one_scale() -> None:
    fine = np.repeat(OTHER, 2, axis=1) * 3.0
    drawn = traffic(np.stack([fine, fine])[..., 10:], DRAWN_AT, units="1", minutes=30, start="2020-01-08T04:00")
    found = read_material(TRAIN, HOLDOUT, drawn)
    assert found.step_s == 3600
    assert found.train.values.shape == (64, 168)
    np.testing.assert_array_equal(found.train.cell, np.repeat(np.arange(32), 2))
    np.testing.assert_allclose(found.train.values[5], KNOWN[2, 168:])
    mean = np.concatenate([KNOWN, UNSEEN]).mean()
    assert found.synthetic.member.tolist() == [m for m in (0, 1) for _ in range(60)]
    # from 5:00 on a Wednesday: the next Wednesday's midnight is 163 hours on; ours begin at 0:00
    np.testing.assert_allclose(found.synthetic.values[3], OTHER[3, 168:] * 3 * mean, rtol=1e-5)
    scale = np.median(np.concatenate([KNOWN, UNSEEN]).mean(1))
    np.testing.assert_allclose(found.holdout.log[0], np.log(UNSEEN[0, :168] / scale + 0.05), rtol=1e-4)
    assert any("multiplied by" in note for note in found.notes)
    assert any("averaged from steps of 30 to 60 min" in note for note in found.notes)


def test_locations_are_the_units_where_there_are_any() -> None:
    spots = np.arange(32) // 4
    train = TRAIN.assign_coords(location=("cell", spots))
    apart = HOLDOUT.assign_coords(location=("cell", 50 + np.arange(40) // 4))
    assert any("8 and 10 locations as units" in note for note in audit(train, apart, INNOCENT, plants=0).notes)
    mixed = HOLDOUT.assign_coords(location=("cell", np.arange(40) // 4))
    assert any("split by location" in note for note in audit(train, mixed, INNOCENT, plants=0).notes)


def test_a_hold_out_that_was_seen_or_is_of_another_kind_is_noted() -> None:
    seen = traffic(np.concatenate([UNSEEN[:20], OTHER[:40]]), DRAWN_AT)
    assert any("nearly equal to hold-out cells" in note for note in audit(TRAIN, HOLDOUT, seen, plants=0).notes)
    louder = traffic(UNSEEN * 30, B)
    found = audit(TRAIN, louder, INNOCENT, plants=0)
    assert found.drift < 1e-6
    assert any("differ by themselves" in note for note in found.notes)


def test_units_that_nobody_stated_are_scaled_by_the_mean() -> None:
    """Traffic that was scaled to a total (`--total`) beside real files without a unit: what is alike is found."""
    louder = guilty().assign(traffic=guilty()["traffic"] * 1000).assign_attrs(network="alpha")
    louder["traffic"].attrs["units"] = "GB"
    plain, scaled = (audit(TRAIN, HOLDOUT, drawn, plants=0) for drawn in (guilty(), louder))
    assert plain.leak
    assert scaled.leak
    assert any("--synthetic is in 'GB', the real files in 'unknown'" in note for note in scaled.notes)
    real = np.concatenate([KNOWN, UNSEEN]).mean()
    found = read_material(TRAIN, HOLDOUT, louder).synthetic.values
    assert found.mean() == pytest.approx(real, rel=0.05)


BAD: dict[str, tuple[list[str], int, str]] = {
    "shared cells": (["train", "train", "innocent"], 2, "32 cells are in --train and in --holdout"),
    "shared series": (["train", "renamed", "innocent"], 2, "cell 101, which equals 1"),
    "other units": (["train", "gigabytes", "innocent"], 2, "--holdout is in 'GB'"),
    "other units drawn": (["calls-train", "calls-holdout", "gigabytes"], 2, "--synthetic is in 'GB'"),
    "no common service": (["train", "calls", "innocent"], 2, "no service is common"),
    "no such service": (["train", "holdout", "innocent", "--service", "calls"], 2, "in none of the files"),
    "members": (["train", "members", "innocent"], 2, "--holdout holds 2 members"),
    "one cell": (["one-cell", "holdout", "innocent"], 5, "--train has 1 live cells"),
    "too few": (["few", "holdout", "innocent"], 5, "an audit needs 20 or more"),
    "dead": (["train", "dead", "innocent"], 5, "40 are dead"),
    "nearly dead": (["train", "nearly-dead", "innocent"], 5, "5 live cells (35 are dead"),
    "silent": (["train", "holdout", "silent"], 5, "--synthetic carries no traffic"),
    "NaN": (["train", "nan", "innocent"], 5, "NaN"),
    "short": (["train", "short", "innocent"], 2, "fewer than 2 whole local days"),
    "daily": (["train", "daily", "innocent"], 2, "steps of 1440 min"),
    "odd cadence": (["train", "seven-minutes", "innocent"], 2, "7 min"),
    "no such file": (["train", "nowhere", "innocent"], 5, "no such file"),
    "page without suffix": (["train", "holdout", "innocent", "--html", "page"], 2, "suffix"),
    "shadows alone": (["train", "holdout", "innocent", "--shadows", "16"], 2, "--shadows goes with --model"),
    "context alone": (["train", "holdout", "innocent", "--context", "context.nc"], 2, "--context goes with --model"),
    "model alone": (["train", "holdout", "innocent", "--model", "m"], 2, "--model needs --context"),
    "too few shadows": (["train", "holdout", "innocent", "--model", "m", "--context", "context.nc", "--shadows", "15"],
                        2, "LiRA needs 16"),
    "no such model": (["train", "holdout", "innocent", "--model", "m", "--context", "context.nc"], 6, "no model 'm'"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_answered_in_one_line(
    case: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (train, holdout, synthetic, *more), code, said = BAD[case]
    monkeypatch.chdir(folder)
    words = ["--train", f"{train}.nc", "--holdout", f"{holdout}.nc", "--synthetic", f"{synthetic}.nc", *more]
    got = run(["audit", *words])
    out, err = capsys.readouterr()
    assert got == code, err
    assert out == ""
    assert err.startswith("gentraffic: ")
    assert err.count("\n") == 1
    assert said in err
    assert not FORBIDDEN.search(err)


@pytest.mark.parametrize(
    "synthetic",
    [*(pytest.param(s, marks=pytest.mark.slow) for s in ("innocent", "members")), "guilty", "one-synthetic"],
)
def test_reports_say_what_was_run_and_never_too_much(
    synthetic: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    holdout = "holdout" if synthetic != "members" else "innocent"
    words = ["audit", "--train", "train.nc", "--holdout", f"{holdout}.nc", "--synthetic", f"{synthetic}.nc"]
    assert run([*words, "--html", "page.html"]) == 0
    text = capsys.readouterr().out
    assert run([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    page = (folder / "page.html").read_text(encoding="utf-8")
    for report in (text, page):
        assert "users: not guaranteed" in report
        assert "a cell with all its days" in report
        assert "is no proof that there is nothing" in report
        assert "refused" in report  # rates: 40 non-members
    assert told["leak_found"] == (synthetic == "guilty")
    assert ("A leak was found" in page) == told["leak_found"]
    assert told["verdict"].split(":")[0] in " ".join(text.split())
    assert told["users"] == "not guaranteed"
    assert told["attacks"]["nearest distance"]["tpr"] is None
    assert set(told["not_run"]) == {"model loss", "LiRA"}
    assert len(told["tests"]) == 12
    for report in (text, page, json.dumps(told)):
        assert not FORBIDDEN.search(report)
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert set(re.findall(r"\bhttps?://[^\s\"'<>)]+", page)) <= {
        "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
    }  # fmt: skip


def test_the_sources_of_the_audit_promise_nothing_either() -> None:
    package = Path(audit_model.__file__).parents[2]
    sources = [*package.glob("privacy/audit/*.py"), package / "cli" / "privacy.py", *package.glob("reports/audit*.py"),
               *package.glob("assets/templates/page/[bp]*")]  # fmt: skip
    assert len(sources) > 8
    for path in sources:
        assert not FORBIDDEN.search(path.read_text(encoding="utf-8")), path


def test_names_in_files_cannot_write_into_the_page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    names = np.array([f"<script>{k}</script>$x$&" for k in range(60)], dtype=object)
    write_traffic(guilty().assign_coords(cell_id=("cell", names)), folder / "hostile.nc")
    words = ["--train", "train.nc", "--holdout", "holdout.nc", "--synthetic", "hostile.nc", "--html", "h.html"]
    assert run(["audit", *words, "--quiet"]) == 0
    page = (folder / "h.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;0" in page


def model_target(bundle: Bundle, tmp_path: Path, **options: Any) -> Target:
    subject = lambda both, service: weekly.weekly_subject(bundle, both, BOTH, service)  # noqa: E731
    return Target(subject, shadow_dir=tmp_path / "shadows", **options)


def test_a_real_model_is_attacked_through_its_samples_and_its_loss(tiny_bundle: Bundle, tmp_path: Path) -> None:
    calendar = make_calendar("2013-11-06", 14, "1h", "Europe/Rome")
    drawn = traffic(draw_traffic(tiny_bundle, A, calendar, Settings(members=3, steps=4)), A, units="1", start=START)
    found = audit(TRAIN, HOLDOUT, drawn, target=model_target(tiny_bundle, tmp_path), plants=0)
    assert [attack.name for attack in found.attacks] == ["nearest distance", "density ratio", "model loss"]
    assert (found.attacks[2].members, found.attacks[2].others) == (32, 40)
    assert len(found.tests) == 14
    assert COPIES not in found.found
    leaking = drawn.copy(deep=True)
    leaking["traffic"].values[0, :2] = np.roll(KNOWN[:2], 30, axis=1) / KNOWN.mean()
    assert {"copies, any shift", "copies, all days"} <= set(audit(TRAIN, HOLDOUT, leaking, plants=0).found)
    assert found.missing == {"LiRA": "needs --shadows, 16 or more"}


def test_the_loss_is_the_models_own_and_each_cells_alone(tiny_bundle: Bundle) -> None:
    import torch

    from gentraffic.modelling.expected_week import expected_of
    from samplers.diffusion import diffusion_target

    real = weekly.weekly_subject(tiny_bundle, audit_model.join(TRAIN, HOLDOUT, "traffic"), BOTH, "traffic").source
    losses = weekly.cell_losses(tiny_bundle, real)
    some = real.only(np.array([3, 40, 11]))
    np.testing.assert_allclose(weekly.cell_losses(tiny_bundle, some), losses[[3, 40, 11]], rtol=1e-5)
    # by hand, one window after the other, for one cell
    model: Any = tiny_bundle.model
    one = real.only(np.array([3]))
    condition = weekly._condition(tiny_bundle, one, 1)
    law = tiny_bundle.weeks.amplitude(one.network)
    assert law is not None
    weeks = expected_of([one], tiny_bundle.weeks, tiny_bundle.scaler)
    assert weeks is not None
    expected = np.roll(weeks[one.network], -24 * one.weekday, axis=1)  # from the weekday of the window on
    noise = np.random.default_rng((0, 2)).standard_normal((LOSS_DRAWS, 168), dtype=np.float32)
    total = []
    hours = [tiny_bundle.scaler.forward(one.ratio[:, d : d + 7].reshape(1, 168)) - expected for d in (0, 7)]
    amplitude = np.sqrt(np.mean(np.square(hours)))  # of all weeks: a cell departs far, or little
    told = torch.tensor([(np.log(amplitude) - law.mean) / law.spread], dtype=torch.float32)
    condition = replace(condition, amplitude=told)
    with torch.inference_mode():
        for week in range(2):
            scaled = tiny_bundle.scaler.forward(one.ratio[:, 7 * week : 7 * week + 7].reshape(1, 168))
            x = torch.from_numpy(((scaled - expected) / amplitude).astype(np.float32))
            for k in range(LOSS_DRAWS):
                t = torch.tensor([int((k + 0.5) / LOSS_DRAWS * 1000)])
                x_t, target = diffusion_target(model.noise, x, torch.from_numpy(noise[k : k + 1]), t)
                total.append(float(((model(x_t, t, condition) - target) ** 2).mean()))
    assert losses[3] == pytest.approx(np.mean(total), rel=1e-4)
    shuffled = replace(one, ratio=np.random.default_rng(0).permuted(one.ratio, axis=2))
    assert weekly.cell_losses(tiny_bundle, shuffled)[0] > 1.2 * losses[3]  # a stranger to the model


def test_losses_are_taken_on_the_device(tiny_bundle: Bundle) -> None:
    both = audit_model.join(TRAIN, HOLDOUT, "traffic")
    some = weekly.weekly_subject(tiny_bundle, both, BOTH, "traffic").source.only(np.array([3, 40, 11]))
    with pretending():
        there = weekly.cell_losses(tiny_bundle, some, device="cuda")
    np.testing.assert_allclose(there, weekly.cell_losses(tiny_bundle, some), rtol=1e-6)


def test_lira_is_the_likelihood_ratio_and_finds_what_it_should() -> None:
    from scipy.stats import norm

    rng = np.random.default_rng(0)
    hard = rng.normal(0, 2, 300)  # cells differ in how hard they are, far more than memory helps
    inside = np.stack([audit_model._half(300, k, 1) for k in range(16)])
    assert (inside.sum(axis=0) == 8).all()
    shadow = hard + 0.5 * inside + rng.normal(0, 0.3, (16, 300))
    member = np.arange(300) < 150
    target = hard + 0.5 * member + rng.normal(0, 0.3, 300)
    ratio = audit_model.likelihood_ratio(target, shadow, inside)
    means = [np.array([shadow[side[:, i], i].mean() for i in range(300)]) for side in (inside, ~inside)]
    spreads = [np.sqrt(sum(((shadow[side[:, i], i] - m[i]) ** 2).sum() for i in range(300)) / (300 * 7))
               for side, m in zip((inside, ~inside), means, strict=True)]  # fmt: skip
    wanted = norm.logpdf(target, means[0], spreads[0]) - norm.logpdf(target, means[1], spreads[1])
    np.testing.assert_allclose(ratio, wanted, rtol=1e-9, atol=1e-9)
    from gentraffic.privacy.audit.statistics import auc_of

    assert auc_of(ratio[member], ratio[~member]).value > 0.8
    assert auc_of(target[member], target[~member]).value < 0.65  # the loss alone does not see it


def test_shadow_models_are_kept_and_a_later_run_goes_on(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[int] = []
    own = {"place_noise": 0.0, "place_keep": 1.0, "steps": 9_999}  # which shadows follow, in their own number of steps
    private = replace(tiny_bundle, provenance={"plan": own, "privacy": {}})
    assert weekly._plan(private, 2, 0).place_noise == 0.7  # a plan of noisy gradients is no plan of the usual loop
    tiny_bundle = replace(tiny_bundle, provenance={**tiny_bundle.provenance, "plan": own})

    def fit(sources: list[Any], **options: Any) -> tuple[Bundle, dict[str, Any]]:
        if len(fitted) == 5:
            raise KeyboardInterrupt
        plan = options["plan"]
        assert (plan.place_noise, plan.place_keep, plan.level_noise, plan.steps) == (0.0, 1.0, 0.3, 2)
        fitted.append(len(sources[0].ratio))
        return tiny_bundle, {}

    monkeypatch.setattr(weekly, "fit_sampler", fit)
    monkeypatch.setattr(diffusion, "LOSS_DRAWS", 1)
    target = model_target(tiny_bundle, tmp_path, shadows=16, shadow_steps=2)
    with pytest.raises(KeyboardInterrupt):
        audit(TRAIN, HOLDOUT, INNOCENT, target=target, plants=0)
    assert sorted(path.name for path in target.shadow_dir.iterdir()) == [f"shadow-{k:03d}.json" for k in range(5)]
    fitted[:] = [0] * 6
    found = audit(TRAIN, HOLDOUT, INNOCENT, target=target, plants=0)
    assert fitted[6:] == [36] * 11  # half of 72 cells each
    assert [attack.name for attack in found.attacks][-1] == "LiRA"
    assert len(found.tests) == 16
    again: Audit = audit(TRAIN, HOLDOUT, INNOCENT, target=target, plants=0)
    assert len(fitted) == 17
    assert again.to_json() == found.to_json()
    with pytest.raises(WrongUse, match="another audit"):
        audit(TRAIN, HOLDOUT, INNOCENT, target=replace(target, shadow_steps=3), plants=0)
    (target.shadow_dir / "shadow-002.json").write_text("{")
    with pytest.raises(BadInput, match="delete it to fit it again"):
        audit(TRAIN, HOLDOUT, INNOCENT, target=target, plants=0)


def test_what_a_model_needs_is_asked_for(
    tiny_bundle: Bundle, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    save_bundle(tiny_bundle, folder / "model", "card")
    words = ["audit", "--train", "train.nc", "--synthetic", "innocent.nc", "--model", "model"]
    assert run([*words, "--holdout", "holdout.nc", "--context", "context.nc", "--json"]) == 0
    assert "model loss" in json.loads(capsys.readouterr().out)["attacks"]
    assert run([*words, "--holdout", "holdout.nc", "--context", "half-context.nc"]) == 2
    assert "does not hold the cells" in capsys.readouterr().err
    assert run([*words, "--holdout", "later.nc", "--context", "context.nc"]) == 2
    assert "share no time" in capsys.readouterr().err


@pytest.mark.slow
def test_a_model_that_learned_its_cells_by_heart_is_caught_by_its_loss() -> None:
    """600 steps on 24 cells with nothing in the way: neither noise nor gaps in the condition, nor weight decay.

    The network has room to remember, 2 hours per position and no spectrum taken off: STUNet as it is by default, at a
    third of the multiplications, remembers less (an AUC of 0.59 after these steps, of 0.76 after twice as many).
    """
    from gentraffic.privacy.audit.statistics import auc_of
    from gentraffic.training.fitting import Design, fit_sampler
    from gentraffic.training.sampler_task import Plan

    every = source("alpha", 48, 7, seed=0)
    seen = np.random.default_rng(0).permutation(48) < 24
    plan = Plan(steps=600, batch=24, warmup=20, check_every=600, weight_decay=0, place_noise=0, place_keep=1,
                level_noise=0, level_keep=1, network_keep=1)  # fmt: skip
    roomy = Design(channels=(32, 48), hours_per_token=2, use_spectrum=False)
    bundle, _ = fit_sampler([every.only(np.flatnonzero(seen))], design=roomy, plan=plan)
    losses = weekly.cell_losses(bundle, every)
    found = auc_of(-losses[seen], -losses[~seen])
    assert found.value > 0.75
    assert found.p < 0.003
