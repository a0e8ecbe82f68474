"""A private fit as a whole: nothing but the mechanisms knows the traffic, and the folder says what was promised."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from torch import Tensor
from traffic_examples import context

from gentraffic.cli.main import run
from gentraffic.dataset.build import measured_traffic, places_from_xy
from gentraffic.errors import BadInput, WrongUse
from gentraffic.generators.folder import load_bundle, save_bundle
from gentraffic.io.files import write_context, write_traffic
from gentraffic.modelling.features import Floats, Scaler
from gentraffic.privacy.dp import fit as private_fitting
from gentraffic.privacy.dp import levels as private_level
from gentraffic.privacy.dp import rhythm as private_rhythm
from gentraffic.privacy.dp import sgd as private_training
from gentraffic.privacy.dp.accounting import Mechanism, Secret, epsilon_of
from gentraffic.privacy.dp.fit import capped_per_user, read_private, suppressed
from gentraffic.training.trainer import Trainer

CELLS = 144
FEW = ["--steps", "4", "--batch", "8", "--threads", "1", "--quiet"]
PROMISE = ["--dp-epsilon", "8", "--dp-delta", "1e-3", "--dp-level-range", "1", "300"]


def place() -> xr.Dataset:
    return context(n=12).assign_attrs(network="mine")


def traffic(seed: int, dead: int = 0) -> xr.Dataset:
    """Two weeks of CELLS cells on a grid, whose week comes from the seed alone."""
    rng = np.random.default_rng(seed)
    where = place()
    hours = np.arange(14 * 24)
    shape = 1.5 + np.cos(2 * np.pi * (hours - rng.integers(8, 20, (CELLS, 1))) / 24)
    values = rng.lognormal(3, 0.7, (CELLS, 1)) * shape * rng.lognormal(0, 0.1, (CELLS, len(hours)))
    values[rng.permutation(CELLS)[:dead]] = 0.0
    times = np.datetime64("2026-03-01T23:00", "ns") + hours.astype("timedelta64[h]")
    places = places_from_xy(
        where["cell_id"].values, where["x"].values, where["y"].values, where.attrs["crs_wkt"], kind="stations"
    )
    return measured_traffic(
        places, times, {"traffic": (values.astype(np.float32), "1")}, timezone="Europe/Rome",
        attrs={"title": "mine", "network": "mine", "license": "none", "attribution": "me"},
    )  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_context(place(), tmp_path / "context.nc")
    write_traffic(traffic(0), tmp_path / "mine.nc")
    monkeypatch.chdir(tmp_path)
    shorten_graphs(monkeypatch)
    return tmp_path


def shorten_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    original = private_fitting.fit_graphs
    monkeypatch.setattr(private_fitting, "fit_graphs", lambda *of: original(*of, steps=5))


def words(out: str, *more: str, promise: Sequence[str] = PROMISE) -> list[str]:
    return ["fit", "stouter", "--traffic", "mine.nc", "--context", "context.nc", "-o", out, *promise, *FEW, *more]


def two_folders(here: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, bytes]]:
    """What two fits write, file by file, on different traffic, the mechanisms replaced by their noise alone."""

    def only_noise(vectors: Floats, noise_multiplier: float, draws: Floats) -> Floats:
        return noise_multiplier * draws

    original = private_training.noisy_mean

    def no_gradient(total: Sequence[Tensor], *rest: Any) -> list[Tensor]:
        return original([g * 0 for g in total], *rest)

    monkeypatch.setattr(private_level, "noisy_sum", only_noise)
    monkeypatch.setattr(private_rhythm, "noisy_sum", only_noise)
    monkeypatch.setattr(private_training, "noisy_mean", no_gradient)
    monkeypatch.setattr(Secret, "fresh", classmethod(lambda cls: cls(b"known")))
    monkeypatch.setattr("sys.argv", ["gentraffic"])
    found = []
    for seed, dead in ((0, 0), (1, 9)):
        write_traffic(traffic(seed, dead), here / "mine.nc")
        (here / "m.attempts.json").unlink(missing_ok=True)
        assert run(words("m")) == 0
        files = sorted(p for p in (here / "m").rglob("*") if p.is_file())
        found.append({str(p.relative_to(here)): p.read_bytes() for p in files})
    return found


def test_nothing_but_the_mechanisms_knows_the_traffic(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = two_folders(here, monkeypatch)
    assert len(one) > 8
    assert one == other  # to the last byte


def test_the_check_above_sees_a_leak(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mean of all cells beside the mechanisms, as the scaler of a fit without privacy would be."""
    original = private_fitting.fit_private_levels

    def leaky(networks: Any, *rest: Any, **more: Any) -> Any:
        levels, _, live = original(networks, *rest, **more)
        return levels, Scaler(mean=float(networks[0].logs[:, 0].mean()), spread=1.0), live

    monkeypatch.setattr(private_fitting, "fit_private_levels", leaky)
    one, other = two_folders(here, monkeypatch)
    assert {name for name in one if one[name] != other[name]} == {"m/scaler.json", "m/provenance.json"}


def test_the_folder_says_what_was_promised(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*words("m"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["privacy"]
    known = json.loads((here / "m" / "provenance.json").read_text())
    assert known["privacy"] == told
    assert told["delta"] == 1e-3
    assert told["cells_listed"] == CELLS
    assert told["expected_batch"] == pytest.approx(8)
    assert told["clip"] == 0.5
    assert "users: not guaranteed" in told["unit"]
    mechanisms = [Mechanism(**m) for m in told["mechanisms"]]
    # the range of levels is narrow: no histogram
    assert [m.name for m in mechanisms] == ["statistics", "rhythm", "training"]
    assert epsilon_of(mechanisms, 1e-3) == told["epsilon"] <= 8
    assert mechanisms[2].steps == 4
    assert mechanisms[2].sample_rate == pytest.approx(8 / CELLS)
    assert known["metrics"] == {}  # no score that epsilon does not cover
    assert known["recommended_steps"] == 16  # nor what its condition leaves open, which few steps would need
    assert known["validation"] == []
    traffic_file, context_file = known["data"]
    assert "sha256" not in traffic_file
    assert "sha256" in context_file
    card = (here / "m" / "README.md").read_text()
    for word in (
        "differential privacy", f"epsilon | {told['epsilon']:.3f}", "delta | 0.001", "users: not guaranteed",
        "add or remove", f"{mechanisms[1].noise_multiplier:.4f}",
        f"{mechanisms[2].noise_multiplier:.4f}", "`rhythm`: the mean week", "neighbours", "they add up", "No scores",
    ):  # fmt: skip
        assert word in card, word
    for word in ("anonym", "safe "):
        assert word not in card.lower()
    assert not list(here.glob("m.checkpoint*"))
    bundle = load_bundle(here / "m")
    assert bundle.networks == ("mine",)
    sampled = ["sample", "--context", "context.nc", "--model", "m", "--days", "1", "-o", "syn.nc", "--quiet"]
    assert run(sampled) == 0


@pytest.mark.slow
def test_two_runs_differ_and_scores_must_be_asked_for(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words("a")) == 0
    assert run(words("b", "--holdout", "0.5")) == 0
    one, other = (load_bundle(here / name).levels.networks["mine"].mean for name in "ab")
    assert one != other
    page = (here / "b.scores.md").read_text()
    assert "epsilon does not cover this table" in page
    assert "stouter (this model) | mine |" in page
    inside = "".join(p.read_text() for p in (here / "b").rglob("*") if p.suffix in (".md", ".json"))
    assert "stouter (this model)" not in inside
    known = json.loads((here / "b" / "provenance.json").read_text())
    assert known["privacy"]["cells_listed"] < CELLS


@pytest.mark.slow
def test_a_public_model_to_start_from(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words("m", "--start", "stouter-base", "--steps", "1")) == 0
    bundle, base = load_bundle(here / "m"), load_bundle("stouter-base")
    assert bundle.networks == (*base.networks, "mine")
    assert bundle.scaler == base.scaler
    assert bundle.model.cadences == base.model.cadences
    before, after = base.model.state_dict(), bundle.model.state_dict()
    details = [name for name in before if "_detail" in name]
    assert details
    assert all((before[name] == after[name]).all() for name in details)
    known = json.loads((here / "m" / "provenance.json").read_text())
    assert known["privacy"]["start"]["sha256"] == base.sha256
    open_ = base.model.noise.rest[: len(base.networks) + 1]  # type: ignore[attr-defined]  # of its main service
    assert load_bundle(here / "m").model.noise.rest == (*open_, open_[0])  # type: ignore[attr-defined]
    assert "recommended_steps" not in known
    card = (here / "m" / "README.md").read_text()
    assert "Begun from a public model that knows" in card
    assert "you declared this model public: stouter-base" in card


@pytest.mark.slow
def test_a_killed_private_fit_resumes_to_the_same_bits(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_training, "CHECKPOINT_EVERY", 2)
    secret = Secret(b"t" * 32)
    monkeypatch.setattr(Secret, "fresh", classmethod(lambda cls: secret))
    assert run(words("whole")) == 0
    original = Trainer._one_step

    def killed(self: Any) -> float | None:
        if self.step == 3:
            raise KeyboardInterrupt
        return original(self)

    monkeypatch.setattr(Trainer, "_one_step", killed)
    assert run(words("broken")) == 130
    monkeypatch.setattr(Trainer, "_one_step", original)
    monkeypatch.setattr(
        Secret, "fresh", classmethod(lambda cls: cls(b"another: the checkpoint must have kept the first"))
    )
    assert (here / "broken.checkpoint.safetensors").exists()
    for other in (
        ["--dp-epsilon", "4", *PROMISE[2:]],
        [*PROMISE[:2], "--dp-delta", "1e-4", *PROMISE[4:]],
        [*PROMISE, "--dp-clip", "1"],
    ):
        assert run(words("broken", promise=other)) == 2  # the noise must not serve twice
    assert run(words("broken")) == 0
    a, b = (load_bundle(here / name) for name in ("whole", "broken"))
    assert a.provenance["files"] == b.provenance["files"]
    assert a.levels.networks["mine"].mean == b.levels.networks["mine"].mean


def test_a_checkpoint_of_a_fit_without_privacy_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(1)}, here / "m.checkpoint.safetensors", {"training": "{}", "sha256": ""})
    assert run(words("m")) == 2
    assert "without --dp-epsilon" in capsys.readouterr().err


def without_context(here: Path) -> list[str]:
    return ["fit", "stouter", "--traffic", "mine.nc", "-o", "x", *PROMISE]


def of_few_cells(here: Path) -> list[str]:
    write_traffic(traffic(0).isel(cell=slice(0, 20)), here / "mine.nc")
    return words("x")


def of_two_files(here: Path) -> list[str]:
    write_traffic(traffic(1).assign_attrs(network="other"), here / "theirs.nc")
    return [*words("x"), "--traffic", "theirs.nc"]


def with_private_start(here: Path) -> list[str]:
    bundle = load_bundle("stouter-base")
    kept = {**bundle.provenance, "privacy": {"epsilon": 8.0, "delta": 1e-5}}
    save_bundle(replace(bundle, provenance=kept), here / "spent", "card")
    return words("x", "--start", "spent")


def with_known_network(here: Path) -> list[str]:
    write_traffic(traffic(0).assign_attrs(network="uomo-sd"), here / "mine.nc")
    return words("x", "--start", "stouter-base")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (lambda here: words("x", promise=["--dp-epsilon", "0", "--dp-delta", "1e-3"]), "--dp-epsilon 0"),
        (lambda here: words("x", promise=["--dp-epsilon", "-2", "--dp-delta", "1e-3"]), "--dp-epsilon -2"),
        (lambda here: words("x", promise=["--dp-epsilon", "inf", "--dp-delta", "1e-3"]), "--dp-epsilon inf"),
        (lambda here: words("x", promise=["--dp-epsilon", "1"]), "--dp-epsilon needs --dp-delta"),
        (lambda here: words("x", promise=["--dp-delta", "1e-3"]), "--dp-delta goes with --dp-epsilon"),
        (lambda here: words("x", promise=["--start", "stouter-base"]), "--start goes with --dp-epsilon"),
        (lambda here: words("x", promise=["--dp-epsilon", "1", "--dp-delta", "0.1"]), "below 1 / 144"),
        (lambda here: words("x", "--dp-clip", "-1"), "--dp-clip -1"),
        (lambda here: words("x", "--evidence", "p1.json"), "--evidence"),
        (lambda here: words("x", "--start", "stouter-base", "--fusion", "gated"), "--start brings its own design"),
        (without_context, "--context"),
        (of_few_cells, "20 cells are too few"),
        (of_two_files, "hold 144 cells in common by their positions"),
        (with_private_start, "was fitted with differential privacy"),
        (with_known_network, "a model to start from must be public"),
    ],
)
def test_what_a_private_fit_refuses(
    here: Path, command: Callable[[Path], list[str]], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command(here)) == 2
    err = capsys.readouterr().err
    assert len(err.strip().splitlines()) == 1
    assert says in err
    assert not (here / "x").exists()


def test_cells_below_a_threshold_count_as_silent_each_by_itself() -> None:
    whole = read_private(traffic(0, dead=5), [place()])
    below = float(np.median(whole.source.level))
    found = suppressed(whole, below)
    assert (found.live >= 0).sum() == (whole.source.level >= below).sum()
    np.testing.assert_array_equal(found.rows, whole.rows)  # the list of cells stays
    kept = found.live >= 0
    np.testing.assert_array_equal(found.source.level[found.live[kept]], whole.source.level[whole.live[kept]])
    assert found.source.level.min() >= below
    with pytest.raises(WrongUse, match="--dp-suppress-below 1e"):
        suppressed(whole, 1e30)


def test_a_cell_counts_for_no_more_than_its_users_may_carry() -> None:
    whole = traffic(0)
    service = str(next(iter(whole.data_vars)))
    users = whole[service] * 0 + np.random.default_rng(0).integers(0, 5, whole[service].shape)
    most = float(whole[service].median())
    found = capped_per_user("mine.nc", whole.assign(users=users), service, most)
    np.testing.assert_allclose(found[service], np.minimum(whole[service], most * users), rtol=1e-6)
    assert found[service].attrs == whole[service].attrs
    alone = capped_per_user("mine.nc", whole.assign(users=users).isel(cell=[3]), service, most)
    np.testing.assert_array_equal(alone[service], found[service].isel(cell=[3]))  # no other cell is looked at
    with pytest.raises(WrongUse, match="holds no variable `users`"):
        capped_per_user("mine.nc", whole, service, most)
    with pytest.raises(WrongUse, match="--dp-user-cap 0: give a number above 0"):
        capped_per_user("mine.nc", whole.assign(users=users), service, 0.0)
    with pytest.raises(BadInput, match="users are missing or below 0 at 1 steps"):
        capped_per_user(
            "mine.nc",
            whole.assign(
                users=users.where(users.time > users.time[0]).fillna(-1).where(users.cell_id == users.cell_id[0], users)
            ),
            service,
            most,
        )


def test_no_cell_is_looked_at_beside_another() -> None:
    """What is read of a cell is the same whatever the other cells hold, dead ones keep their place in the list."""
    whole, where = traffic(0, dead=5), place()
    values = whole["traffic"].values
    live = np.flatnonzero(values.max(axis=1) > 0)
    gap = values.copy()
    gap[:, 4 + 1 :: 24] = 0.0  # an hour that is empty in every cell but one
    gap[live[0]] = values[live[0]]
    for name, of in (("as it is", values), ("others with a gap", gap)):
        found = read_private(whole.assign(traffic=(("cell", "time"), of, whole["traffic"].attrs)), [where])
        assert found.live.tolist().count(-1) == 5, name
        mine = found.live[live[0]]
        if name == "as it is":
            before = found.source.clean[mine], found.source.level[mine]
        np.testing.assert_array_equal(found.source.clean[mine], before[0])
        assert found.source.level[mine] == before[1]
