"""The names that a what-if may set: figures of the cluster, constants and policy of the stack, the job, the layout."""

from dataclasses import dataclass

from glmplan.layout.parallel_layout import ParallelLayout
from glmplan.search.adapted_layout import DERIVED
from glmplan.search.changed_problem import LAUNCH
from glmplan.search.figures import cluster_figures
from glmplan.search.planner import Problem
from glmplan.search.setting import figure_text
from glmplan.software.stack import CONSTANT_MEANINGS

JOB_FIELDS = ("global_batch", "seq_len", "tokens", "precision", "optimizer")
STACK_PARTS = {"kernels": "what the stack executes", "memory": "what a rank keeps"}
"""Records of a stack whose fields may be set, beside its constants."""
CONSTANT_UNITS = {LAUNCH: "s", "stack.fixed_step_s": "s"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedValue:
    """A name that may be set, what it is now, and what it means."""

    name: str
    value: str
    meaning: str


def setting_values(problem: Problem, layout: ParallelLayout) -> list[NamedValue]:
    """Every name that may be set for ``layout`` in ``problem``."""
    request, stack = problem.request, problem.stack
    figures = cluster_figures(problem.cluster, request.job.precision).values()
    found = [NamedValue(name=f.name, value=figure_text(f.value, f.unit), meaning=f.meaning) for f in figures]
    for constant, meaning in CONSTANT_MEANINGS.items():
        name = f"stack.{constant}"
        value = problem.model.launch_s if name == LAUNCH else stack[constant]
        found.append(NamedValue(name=name, value=figure_text(value, CONSTANT_UNITS.get(name, "")), meaning=meaning))
    for part, meaning in STACK_PARTS.items():
        fields = getattr(stack, part).model_dump(mode="json")
        found += [
            NamedValue(name=f"stack.{part}.{name}", value=shown(value), meaning=meaning)
            for name, value in fields.items()
            if not isinstance(value, dict | list)
        ]
    found.append(NamedValue(name="job.gpus", value=f"{request.num_gpus:,}", meaning="the job"))
    found += [
        NamedValue(name=f"job.{field}", value=shown(getattr(request.job, field)), meaning="the job")
        for field in JOB_FIELDS
    ]
    found += [
        NamedValue(name=f"layout.{field}", value=shown(value), meaning="the layout")
        for field, value in layout
        if field not in DERIVED
    ]
    return found


def shown(value: object) -> str:
    """A setting's value for people."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int | float):
        return figure_text(value)
    return "none" if value is None else str(value)
