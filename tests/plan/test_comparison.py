"""Options and plans side by side."""

from pathlib import Path

import pytest

from glmplan.errors import InputError
from glmplan.layout.parallel_layout import ParallelLayout
from glmplan.plan.comparison import (
    Subject,
    change_text,
    difference_sentences,
    distinguishable,
    option_rows,
    relative_change,
)
from glmplan.plan.document import Option, Plan, write_plan
from glmplan.plan.plan_comparison import plan_rows, plan_sentences, read_plans
from tests.report.sample_plan import sample_option, sample_plan

LAYOUT = ParallelLayout(tp=8, pp=8, dp=8)


def subject(name: str, *, slowdown: float = 1.0, activations_gib: float = 18.5, tokens: int = 3_145_728) -> Subject:
    option = sample_option(LAYOUT, slowdown=slowdown, activations_gib=activations_gib)
    return Subject(name=name, option=option, tokens_per_step=tokens)


def test_an_option_beside_itself_differs_in_nothing() -> None:
    rows = option_rows([subject("a"), subject("b")])
    assert all(change in (None, 0.0) for row in rows for change in row.changes)
    sentences = difference_sentences(subject("a"), subject("b"), same_machine=True)
    assert sentences[0].startswith("b and a are predicted to train the same ")


def test_rows_hold_the_estimates_figures_and_leave_out_parts_that_none_has() -> None:
    one, other = subject("a"), subject("b", slowdown=2.0)
    rows = {(row.section, row.name): row for row in option_rows([one, other])}
    step = rows["summary", "step time"]
    assert step.values == (one.option.estimate.step_time_s, other.option.estimate.step_time_s)
    assert rows["time", "the forward pass"].changes[0] == pytest.approx(1.0)
    assert ("time", "exposed expert-parallel communication") not in rows
    assert rows["memory", "activations"].changes == (0.0,)


def test_overlapping_intervals_are_not_distinguishable_and_others_are() -> None:
    base = subject("a")
    near, far = subject("b", slowdown=1.05), subject("b", slowdown=5.0)
    assert not distinguishable(base, near)
    assert distinguishable(base, far)
    assert "overlap: not distinguishable" in difference_sentences(base, near, same_machine=False)[0]
    assert "do not overlap" in difference_sentences(base, far, same_machine=False)[0]
    assert "cancel in part" in difference_sentences(base, near, same_machine=True)[0]


def test_the_largest_part_of_the_difference_is_named_first() -> None:
    sentences = difference_sentences(subject("a"), subject("b", slowdown=2.0), same_machine=False)
    assert sentences[1].startswith("b spends 4.3 s more on the backward pass, 2.1 s more on the forward pass")
    memory = difference_sentences(subject("a"), subject("b", activations_gib=10.5), same_machine=False)
    assert any(
        "needs 8 GiB less memory on its fullest device" in text and "8 GiB less on activations" in text
        for text in memory
    )


def test_steps_of_different_size_are_compared_by_the_token() -> None:
    one, double = subject("a"), subject("b", tokens=2 * 3_145_728)
    assert any(
        "for the 3,145,728 tokens of a step of a" in t for t in difference_sentences(one, double, same_machine=False)
    )


@pytest.mark.parametrize(
    ("before", "after", "change", "text"),
    [
        (2.0, 3.0, 0.5, "+50.0%"),
        (2.0, 2.0001, 0.00005, "0%"),
        (0.0, 3.0, None, ""),
        (None, 3.0, None, ""),
        (2.0, None, None, ""),
        ("yes", "no", None, ""),
    ],
)
def test_a_change_is_relative_or_none(before: object, after: object, change: float | None, text: str) -> None:
    found = relative_change(before, after)  # type: ignore[arg-type]
    assert found == (None if change is None else pytest.approx(change))
    assert change_text(found) == text


def two_plans() -> dict[str, Plan]:
    first = sample_plan()
    other = first.model_copy(
        update={"chosen": Option(layout=LAYOUT, estimate=subject("x", slowdown=1.3).option.estimate)}
    )
    return {"first": first, "second": other}


def test_plans_show_what_differs_and_only_that() -> None:
    plans = two_plans()
    rows = plan_rows(plans)
    assert not [row for row in rows if row.section == "request"]
    fields = {row.name for row in rows if row.section == "layout"} - {"layout"}
    first, second = (plan.chosen.layout.model_dump(mode="json") for plan in plans.values())
    assert fields == {name for name in first if first[name] != second[name]}
    job = plans["second"].request.job.model_copy(update={"global_batch": 3072})
    plans["second"] = plans["second"].model_copy(
        update={"request": plans["second"].request.model_copy(update={"job": job})}
    )
    rows = plan_rows(plans)
    assert [(row.name, row.texts) for row in rows if row.section == "request"] == [("global batch", ("1,536", "3,072"))]
    assert "second was asked for global batch 3,072 instead of 1,536." in plan_sentences(plans)


def test_different_models_are_not_like_for_like() -> None:
    plans = two_plans()
    job = plans["second"].request.job
    smaller = job.model_copy(update={"architecture": job.architecture.model_copy(update={"layers": 12})})
    request = plans["second"].request.model_copy(update={"job": smaller})
    plans["second"] = plans["second"].model_copy(update={"request": request})
    assert any("train different models" in sentence for sentence in plan_sentences(plans))


def test_files_that_share_a_name_are_told_apart(tmp_path: Path) -> None:
    paths = [tmp_path / "a" / "plan.json", tmp_path / "b" / "plan.json", tmp_path / "c.json"]
    for path in paths:
        write_plan(sample_plan(), path)
    assert list(read_plans(paths)) == [str(paths[0]), str(paths[1]), "c"]


def test_one_plan_or_the_same_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give at least two plans"):
        read_plans([tmp_path / "a.json"])
    with pytest.raises(InputError, match=r"a\.json is given twice"):
        read_plans([tmp_path / "a.json", tmp_path / "a.json"])
