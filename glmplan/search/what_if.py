"""What if: a layout (and the best one) with a figure of the machine, the stack, the job or the layout changed."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ValidationError

from glmplan.documents import faults_of
from glmplan.errors import DocumentError, InputError
from glmplan.layout.parallel_layout import ParallelLayout
from glmplan.plan.document import Option
from glmplan.search.adapted_layout import DERIVED, adapted_layout
from glmplan.search.changed_problem import LAUNCH, changed_problem
from glmplan.search.figures import cluster_figures
from glmplan.search.planner import Problem, make_plan, plan_of_layout
from glmplan.search.setting import Change, Setting, changed_value, factor_of, figure_text, parse_settings, unknown
from glmplan.search.setting_names import CONSTANT_UNITS, setting_values, shown
from glmplan.units import parse_count
from glmplan.workload.job import TrainingJob


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """A layout before and after a change, and the best layout after it."""

    changes: tuple[Change, ...]
    base: Problem
    problem: Problem
    """The changed one."""
    before: Option
    after: Option | None
    """The same layout; None where it cannot run after the change."""
    obstacle: str
    """Why it cannot; empty where it can."""
    replanned: Option | None
    """The best layout after the change, where it was asked for."""


@dataclass(slots=True, kw_only=True)
class _Draft:
    """Changes as they are collected, by what they change."""

    factors: dict[str, float] = field(default_factory=dict)
    constants: dict[str, float] = field(default_factory=dict)
    launch_factor: float = 1.0
    stack_parts: dict[str, dict[str, object]] = field(default_factory=dict)
    job: dict[str, object] = field(default_factory=dict)
    num_devices: int | None = None
    layout: dict[str, object] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)


def what_if(problem: Problem, layout: ParallelLayout, texts: Sequence[str], *, replan: bool) -> WhatIf:
    """``layout`` in ``problem`` under the settings ``texts`` (``NAME=VALUE``).

    Raises InputError for an unknown name, a value that is none, or (without ``replan``) a layout that cannot run
    after the change; DoesNotFit where ``replan`` finds nothing.
    """
    if not texts:
        raise InputError("--set: give at least one change, such as --set device.memory_bandwidth=+20%")
    draft = _draft(problem, layout, parse_settings(texts))
    changed = _changed(problem, draft)
    before = plan_of_layout(problem, layout).chosen
    request = changed.request
    after, obstacle = None, ""
    try:
        same = adapted_layout(layout, draft.layout, num_devices=request.num_gpus, global_batch=request.job.global_batch)
        after = plan_of_layout(changed, same).chosen
    except InputError as error:
        if not replan:
            reason = f"{_line(error)}; the same layout cannot run after the change, --replan finds one that can"
            raise InputError(reason) from None
        obstacle = _line(error)
    replanned = make_plan(changed).chosen if replan else None
    return WhatIf(
        changes=tuple(draft.changes),
        base=problem,
        problem=changed,
        before=before,
        after=after,
        obstacle=obstacle,
        replanned=replanned,
    )


def _line(error: InputError) -> str:
    return str(error).replace("\n", "; ")


def _draft(problem: Problem, layout: ParallelLayout, settings: Sequence[Setting]) -> _Draft:
    draft, known = _Draft(), [value.name for value in setting_values(problem, layout)]
    # the job goes first: a peak is that of its precision
    for setting in sorted(settings, key=lambda setting: not setting.name.startswith("job.")):
        space, _, name = setting.name.partition(".")
        if space == "layout" and name in DERIVED:
            raise InputError(f"--set: {setting.name} follows from {DERIVED[name]}")
        if setting.name not in known:
            raise unknown(setting.name, known)
        if space == "job":
            _set_job(draft, problem, setting, name)
        elif space == "layout":
            _set_field(draft, setting, layout, name, draft.layout)
        elif space == "stack":
            _set_stack(draft, problem, setting, name)
        else:
            _set_figure(draft, problem, setting)
    return draft


def _set_figure(draft: _Draft, problem: Problem, setting: Setting) -> None:
    job = problem.request.job.model_copy(update=draft.job)
    figure = cluster_figures(problem.cluster, job.precision)[setting.name]
    value = changed_value(setting, figure.value, figure.unit, whole=figure.whole)
    draft.factors[setting.name] = value / figure.value
    texts = (figure_text(number, figure.unit) for number in (figure.value, value))
    _note(draft, setting.name, *texts, assumption=figure.assumption)


def _set_stack(draft: _Draft, problem: Problem, setting: Setting, name: str) -> None:
    part, _, field_name = name.partition(".")
    if field_name:
        record = getattr(problem.stack, part)
        _set_field(draft, setting, record, field_name, draft.stack_parts.setdefault(part, {}))
        return
    unit = CONSTANT_UNITS.get(setting.name, "")
    constant = problem.stack.constants[name]
    before = problem.model.launch_s if setting.name == LAUNCH else constant.value
    value = changed_value(setting, before, unit)
    if name.endswith("_exposed") and value > 1:
        raise InputError(f"--set: {setting.name}: is a share and must not exceed 1; got {setting.text!r}")
    if setting.name == LAUNCH:
        draft.launch_factor = value / before
    else:
        draft.constants[name] = value
    outside = not constant.low <= value <= constant.high
    doubt = f"outside the {constant.low:g} to {constant.high:g} that measurements may fit" if outside else ""
    _note(draft, setting.name, figure_text(before, unit), figure_text(value, unit), assumption=doubt)


def _set_job(draft: _Draft, problem: Problem, setting: Setting, name: str) -> None:
    job, request = problem.request.job, problem.request
    if name in ("gpus", "global_batch", "seq_len"):
        before = request.num_gpus if name == "gpus" else getattr(job, name)
        value = int(changed_value(setting, before, whole=True, near=False))
        _note(draft, setting.name, f"{before:,}", f"{value:,}")
        if name == "gpus":
            draft.num_devices = value
        else:
            draft.job[name] = value
        return
    if name == "tokens" and factor_of(setting.text) is None:
        try:
            setting = Setting(name=setting.name, text=repr(parse_count(setting.text)))
        except ValueError as error:
            raise InputError(f"--set: {setting.name}: {error}") from None
    _set_field(draft, setting, job, name, draft.job)


def _set_field(draft: _Draft, setting: Setting, record: BaseModel, name: str, into: dict[str, object]) -> None:
    """One field of ``record``, checked as the record checks it."""
    before, text = getattr(record, name), setting.text
    value: object = text
    factor = factor_of(text)
    if factor is not None:
        if isinstance(before, bool) or not isinstance(before, int | float):
            raise InputError(f"--set: {setting.name}: {before} is no number to change by {text}; give the new value")
        value = changed_value(setting, before, whole=isinstance(before, int), near=False)
        value = int(value) if isinstance(before, int) else value
    elif text.lower() in ("none", "null") and before is None:
        value = None
    elif "," in text:
        value = [part.strip() for part in text.split(",")]
    try:
        checked = type(record).model_validate(record.model_dump(mode="json") | {name: value})
    except ValidationError as error:
        reasons = "; ".join(fault.reason.removeprefix(f"{name}: ") for fault in faults_of(error, {}))
        raise InputError(f"--set: {setting.name}: {reasons}") from None
    into[name] = getattr(checked, name)
    after, held = into[name], checked.model_dump(mode="json")[name]
    if isinstance(before, float) and isinstance(after, float) and isinstance(held, str):  # a size, written with a unit
        _note(draft, setting.name, figure_text(before, "B"), figure_text(after, "B"))
    else:
        _note(draft, setting.name, shown(before), shown(after))


def _note(draft: _Draft, name: str, before: str, after: str, *, assumption: str = "") -> None:
    draft.changes.append(Change(name=name, before=before, after=after, assumption=assumption))


def _changed(problem: Problem, draft: _Draft) -> Problem:
    stack = problem.stack
    constants = dict(stack.constants)
    for name, value in draft.constants.items():
        constants[name] = constants[name].model_copy(update={"value": value})
    updates: dict[str, object] = {
        part: getattr(stack, part).model_copy(update=fields) for part, fields in draft.stack_parts.items()
    }
    if draft.constants or draft.stack_parts or draft.launch_factor != 1.0:
        # nobody has measured the changed stack
        stack = stack.model_copy(update={"constants": constants, "calibrated_devices": (), **updates})
    job = problem.request.job
    if draft.job:
        try:
            job = TrainingJob.model_validate(job.model_dump(mode="json") | draft.job)
        except ValidationError as error:
            raise DocumentError("--set: job", faults_of(error, {})) from None
    return changed_problem(
        problem,
        factors=draft.factors,
        launch_factor=draft.launch_factor,
        stack=stack,
        job=job,
        num_devices=draft.num_devices,
    )
