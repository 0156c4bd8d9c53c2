"""plan.json: what is written is what is read, and what is broken is refused."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmplan.errors import DocumentError, InputError
from glmplan.layout.choices import Choices
from glmplan.plan.document import SCHEMA_VERSION, Plan, plan_text, read_plan, write_plan
from glmplan.plan.request import PlanRequest
from glmplan.search.planner import load_problem, make_plan
from tests.small_jobs import MODELS, job_of, model


def plan_of(kind: str = "dense", num_gpus: int = 4, top: int = 3, tokens: float | None = 1e9) -> Plan:
    job = job_of(model(kind), tokens=tokens)
    choices = Choices(micro_batch=(1, 2))
    request = PlanRequest(
        job=job, cluster="dgx-a100-pod", num_gpus=num_gpus, stack="megatron-core", choices=choices, top=top
    )
    return make_plan(load_problem(request))


@settings(max_examples=12)
@given(
    kind=st.sampled_from(MODELS),
    num_gpus=st.sampled_from([1, 2, 8]),
    top=st.integers(1, 5),
    tokens=st.none() | st.floats(1e6, 1e15),
)
def test_a_plan_comes_back_from_its_text_as_it_went_in(
    kind: str, num_gpus: int, top: int, tokens: float | None
) -> None:
    plan = plan_of(kind, num_gpus, top, tokens)
    again = Plan.model_validate_json(plan_text(plan))
    assert again == plan
    assert plan_text(again) == plan_text(plan)


def test_a_plan_comes_back_from_its_file(tmp_path: Path) -> None:
    plan, path = plan_of(), tmp_path / "folder" / "plan.json"
    write_plan(plan, path)
    assert read_plan(path) == plan
    assert json.loads(path.read_text())["schema_version"] == SCHEMA_VERSION


@pytest.fixture(scope="module")
def text() -> str:
    return plan_text(plan_of())


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_plan_is_refused(tmp_path: Path, text: str, share: float) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text[: int(len(text) * share)])
    with pytest.raises(DocumentError, match=r"plan\.json.*not JSON"):
        read_plan(path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("schema_version", 99, "schema_version: 99 is newer than this glmplan reads (1); update glmplan or plan again"),
        ("surprise", 1, "surprise: unknown field; remove it or correct its name"),
        ("chosen", None, "chosen: input should be a valid dictionary"),
        ("request", {}, "request.job: missing; it must be given"),
    ],
)
def test_a_foreign_plan_says_what_is_wrong(tmp_path: Path, text: str, field: str, value: object, message: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(json.loads(text) | {field: value}))
    with pytest.raises(DocumentError) as caught:
        read_plan(path)
    assert message in str(caught.value)


def test_a_plan_without_a_field_and_with_an_illegal_value_names_both(tmp_path: Path, text: str) -> None:
    data = json.loads(text)
    del data["search"]["gap"]
    data["chosen"]["layout"]["tp"] = 0
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(data))
    with pytest.raises(DocumentError) as caught:
        read_plan(path)
    assert "search.gap: missing" in str(caught.value)
    assert "chosen.layout.tp: input should be greater than 0; got 0" in str(caught.value)


def test_a_plan_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_plan(tmp_path / "plan.json")
