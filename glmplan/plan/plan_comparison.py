"""Whole plans side by side: what was asked for, the layouts, and their estimates."""

from collections.abc import Callable, Sequence
from pathlib import Path

from glmplan.errors import InputError
from glmplan.layout.parallel_layout import ParallelLayout
from glmplan.plan.comparison import Row, Subject, Value, difference_sentences, option_rows, row_of
from glmplan.plan.document import Plan, read_plan

SHOWN_DIFFERENCES = 6


def read_plans(paths: Sequence[Path]) -> dict[str, Plan]:
    """The plans in ``paths`` by a short name: the file's, or the whole path where files share a name.

    Raises InputError for fewer than two or the same file twice, DocumentError for a broken plan.
    """
    if len(paths) < 2:
        raise InputError("compare: give at least two plans, such as a.json b.json")
    if twice := [str(path) for index, path in enumerate(paths) if path in paths[:index]]:
        raise InputError(f"compare: {twice[0]} is given twice; give different plans")
    stems = [path.stem for path in paths]
    names = [path.stem if stems.count(path.stem) == 1 else str(path) for path in paths]
    return {name: read_plan(path) for name, path in zip(names, paths, strict=True)}


def plan_rows(plans: dict[str, Plan]) -> list[Row]:
    """What was asked for and the layouts where they differ, then every figure of the estimates."""
    rows = [row_of("request", name, values) for name, values in _requests(plans).items() if len(set(values)) > 1]
    rows.append(row_of("layout", "layout", [plan.chosen.layout.label() for plan in plans.values()]))
    rows += [row_of("layout", name, values) for name, values in _layouts(plans).items() if len(set(values)) > 1]
    return rows + option_rows(_subjects(plans))


def plan_sentences(plans: dict[str, Plan]) -> list[str]:
    """How each plan differs from the first."""
    subjects, (first, *others) = _subjects(plans), plans.values()
    sentences = []
    for subject, plan in zip(subjects[1:], others, strict=True):
        sentences += _input_sentences(subjects[0].name, first, subject.name, plan)
        same = (first.cluster.name, first.request.stack) == (plan.cluster.name, plan.request.stack)
        sentences += difference_sentences(subjects[0], subject, same_machine=same)
    return sentences


def _subjects(plans: dict[str, Plan]) -> list[Subject]:
    return [
        Subject(name=name, option=plan.chosen, tokens_per_step=plan.request.job.tokens_per_step)
        for name, plan in plans.items()
    ]


def _requests(plans: dict[str, Plan]) -> dict[str, list[Value]]:
    """What was asked for, as words: a number's relative change would say nothing here."""
    read: dict[str, Callable[[Plan], str]] = {
        "model": lambda plan: plan.request.job.architecture.name,
        "cluster": lambda plan: plan.cluster.name,
        "device": lambda plan: plan.cluster.device,
        "GPUs": lambda plan: f"{plan.request.num_gpus:,}",
        "stack": lambda plan: plan.request.stack,
        "precision": lambda plan: str(plan.request.job.precision),
        "optimizer": lambda plan: str(plan.request.job.optimizer),
        "sequence length": lambda plan: f"{plan.request.job.seq_len:,}",
        "global batch": lambda plan: f"{plan.request.job.global_batch:,}",
        "objective": lambda plan: plan.request.objective,
        "memory margin": lambda plan: f"{plan.request.memory_margin:.0%}",
    }
    return {name: [reading(plan) for plan in plans.values()] for name, reading in read.items()}


def _layouts(plans: dict[str, Plan]) -> dict[str, list[Value]]:
    layouts = [plan.chosen.layout.model_dump(mode="json") for plan in plans.values()]
    return {name: [_word(layout[name]) for layout in layouts] for name in ParallelLayout.model_fields}


def _word(value: object) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else "-" if value is None else str(value)


def _input_sentences(first_name: str, first: Plan, other_name: str, other: Plan) -> list[str]:
    pair = {first_name: first, other_name: other}
    sentences = []
    asked = {name: values for name, values in _requests(pair).items() if values[0] != values[1]}
    if asked:
        words = ", ".join(f"{name} {b} instead of {a}" for name, (a, b) in asked.items())
        sentences.append(f"{other_name} was asked for {words}.")
    if first.request.job.architecture.model_dump(
        exclude={"name", "source"}
    ) != other.request.job.architecture.model_dump(exclude={"name", "source"}):
        sentences.append(
            f"{first_name} and {other_name} train different models: a token of one is not one of the other."
        )
    fields = {name: values for name, values in _layouts(pair).items() if values[0] != values[1]}
    if not fields:
        sentences.append(f"{other_name} has the layout of {first_name}.")
    else:
        shown = [f"{name} {b} instead of {a}" for name, (a, b) in list(fields.items())[:SHOWN_DIFFERENCES]]
        more = f" and {len(fields) - SHOWN_DIFFERENCES} more" if len(fields) > SHOWN_DIFFERENCES else ""
        sentences.append(f"The layout of {other_name} has {', '.join(shown)}{more}.")
    return sentences
