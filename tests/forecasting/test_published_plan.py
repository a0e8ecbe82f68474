"""`forecast fit --paper`: 40 epochs at a constant 5e-4, and only for the forecasters of that paper."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from forecasters import FORECASTERS
from gentraffic.errors import WrongUse
from gentraffic.forecasting.choices import ablations_of, plan_of
from gentraffic.forecasting.task import PUBLISHED, ForecastTask, Plan, trainer_of
from gentraffic.training.trainer import Schedule

PAPER = {"lstm", "xlstm", "stn", "stn-tf", "stn-slstm", "stn-slstm-tf"}  # Ali et al.
ASKED = {"steps": None, "batch": 64, "learning_rate": None, "stride": None}


class Ten:
    """Windows, as far as they are counted."""

    def __len__(self) -> int:
        return 640


def test_forty_epochs_at_one_rate_of_the_weights_as_they_are() -> None:
    plan = plan_of("stn-slstm-tf", FORECASTERS["stn-slstm-tf"], ASKED, 3, paper=True)
    assert plan == replace(PUBLISHED, batch=64, seed=3)
    model = torch.nn.Linear(1, 1)
    task = ForecastTask(model, [Ten()], [], plan)  # type: ignore[list-item]
    assert task.steps == 40 * 640 // 64
    schedule = trainer_of(task).schedule
    assert {schedule.rate(step) for step in (0, 1, 200, 399)} == {5e-4}
    assert schedule.decay(10_000) == 0, "no average of the weights"
    assert ForecastTask(model, [Ten()], [], replace(plan, steps=7)).steps == 7  # type: ignore[list-item]


def test_without_it_the_plan_is_ours() -> None:
    assert plan_of("stn", FORECASTERS["stn"], {**ASKED, "batch": None}, 0, paper=False) == Plan()
    ours = Schedule(100, 1e-3, 10, 0.99, 50, 0)
    assert ours.rate(0) == pytest.approx(1e-4)
    assert ours.rate(50) == pytest.approx(5e-4)


@pytest.mark.parametrize("name", sorted(set(FORECASTERS) - PAPER))
def test_other_papers_and_naive_ones_refuse_it(name: str) -> None:
    with pytest.raises(WrongUse, match=f"--paper: {name} is not of that paper"):
        plan_of(name, FORECASTERS[name], ASKED, 0, paper=True)


def test_an_ablation_is_one_argument_of_sim_mstnet_and_refused_elsewhere() -> None:
    ours, stn = FORECASTERS["sim-mstnet"], FORECASTERS["stn"]
    assert ablations_of("sim-mstnet", ours, False, False) == {}
    assert ablations_of("sim-mstnet", ours, True, False) == {"sharing": False}
    assert ablations_of("sim-mstnet", ours, False, True) == {"weigh_losses": False}
    assert ablations_of("stn", stn, False, False) == {}
    for option, off in (("--no-sharing", (True, False)), ("--no-loss-weights", (False, True))):
        with pytest.raises(WrongUse, match=f"{option}: stn has no such part"):
            ablations_of("stn", stn, *off)
