"""A plan held against its own run."""

from pathlib import Path

import pytest

from glmplan.errors import InputError
from glmplan.plan.document import Plan
from glmplan.validation.run_comparison import compare_run
from tests.validation.sample_run import sample_plan, write_run


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A plan."""
    return sample_plan(tmp_path_factory.mktemp("plan"))[0]


def test_time_speed_and_memory_stand_beside_the_plan(plan: Plan, tmp_path: Path) -> None:
    found = {item.quantity: item for item in compare_run(plan, write_run(tmp_path / "run", plan, plan.chosen))}
    assert found["step_time_s"].relative_error == pytest.approx(1 / 1.1 - 1)
    assert found["step_time_s"].low90 == pytest.approx(plan.chosen.estimate.step_time_low90_s)
    assert found["tokens_per_s_per_gpu"].relative_error == pytest.approx(0.1)
    assert found["tokens_per_s_per_gpu"].error == pytest.approx(1 / 1.1 - 1)
    assert found["peak_memory_gib"].relative_error == pytest.approx(0.25)


def test_a_run_of_an_alternative_is_held_against_that_alternative(plan: Plan, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", plan, plan.alternatives[1])
    assert compare_run(plan, run)[0].predicted == pytest.approx(plan.alternatives[1].estimate.step_time_s)


def test_a_run_of_a_layout_that_the_plan_has_not_is_refused(plan: Plan, tmp_path: Path) -> None:
    layout = plan.chosen.layout.model_dump(mode="json") | {"recompute": "full", "micro_batch": 32, "grad_accum": 1}
    run = write_run(tmp_path / "run", plan, plan.chosen, layout=layout)
    with pytest.raises(InputError, match=r"is none of the plan's \d+ options"):
        compare_run(plan, run)


def test_a_run_of_another_model_is_refused(plan: Plan, tmp_path: Path) -> None:
    model = plan.request.job.architecture.model_dump(mode="json") | {"layers": 2}
    run = write_run(tmp_path / "run", plan, plan.chosen, model=model)
    with pytest.raises(InputError, match=r"model\.layers is 2 in the run and 24 in the plan"):
        compare_run(plan, run)


def test_a_run_that_contradicts_itself_is_refused(plan: Plan, tmp_path: Path) -> None:
    hardware = {"gpu": "a100-sxm-80gb", "gpus": 64, "gpus_per_node": 8}
    run = write_run(tmp_path / "run", plan, plan.chosen, hardware=hardware)
    with pytest.raises(InputError, match="the measurement contradicts itself: world size"):
        compare_run(plan, run)
