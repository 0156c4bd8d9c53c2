"""Holds a plan's own estimate against the run that was trained from it."""

from pathlib import Path
from typing import Any

from glmplan.errors import InputError
from glmplan.layout.parallel_layout import ParallelLayout
from glmplan.plan.document import Option, Plan
from glmplan.plan.measurement import Measurement
from glmplan.validation.case_file import case_files, read_cases
from glmplan.validation.comparison import Comparison, Membership, size_label, technique_label
from glmplan.validation.contradiction import contradictions
from glmplan.validation.quantity import memory_quantity


def compare_run(plan: Plan, run: Path) -> list[Comparison]:
    """Step time, speed and memory of the run in folder ``run`` beside what ``plan`` said of its layout.

    Raises InputError when the folder holds no measurement, or one of another model, batch or layout than the plan's.
    """
    measurement = read_cases(case_files([str(run)]))[0].measurement
    found = contradictions(measurement)
    if found:
        raise InputError(f"{run}: the measurement contradicts itself: {'; '.join(found)}")
    _same_job(plan, measurement, run)
    option = _option(plan, measurement, run)
    return [*_speeds(plan, measurement, option), *_memory(plan, measurement, option)]


def _same_job(plan: Plan, measurement: Measurement, run: Path) -> None:
    job = plan.request.job
    planned: dict[str, Any] = {
        f"model.{name}": value for name, value in job.architecture.model_dump(mode="json").items()
    }
    planned |= {"seq_len": job.seq_len, "layout.precision": str(job.precision)}
    given = {f"model.{name}": value for name, value in measurement.model.items()}
    given |= {"seq_len": measurement.seq_len, "layout.precision": measurement.layout.get("precision")}
    for name in ("model.layers", "model.hidden", "model.heads", "model.vocab", "seq_len", "layout.precision"):
        if given.get(name) is not None and given[name] != planned[name]:
            raise InputError(
                f"{run}: {name} is {given[name]} in the run and {planned[name]} in the plan; give its own plan"
            )


def _option(plan: Plan, measurement: Measurement, run: Path) -> Option:
    """The option of the plan that was run: equal in every layout field that the measurement gives."""
    given = {name: value for name, value in measurement.layout.items() if name in ParallelLayout.model_fields}
    for option in (plan.chosen, *plan.alternatives):
        layout = option.layout.model_dump(mode="json")
        if all(layout[name] == value for name, value in given.items()):
            return option
    raise InputError(
        f"{run}: its layout ({', '.join(f'{name} {value}' for name, value in given.items())}) is none of the plan's "
        f"{1 + len(plan.alternatives)} options; give the plan it was trained from"
    )


def _speeds(plan: Plan, measurement: Measurement, option: Option) -> list[Comparison]:
    found = []
    measured, estimate = measurement.measured, option.estimate
    if measured.step_time_s is not None:
        found.append(
            _comparison(
                plan,
                measurement,
                option,
                quantity="step_time_s",
                measured=measured.step_time_s,
                values=(estimate.step_time_s, estimate.step_time_low90_s, estimate.step_time_high90_s),
            )
        )
    if measured.tokens_per_s_per_gpu is not None:
        speed = estimate.tokens_per_s_per_gpu
        found.append(
            _comparison(
                plan,
                measurement,
                option,
                quantity="tokens_per_s_per_gpu",
                measured=measured.tokens_per_s_per_gpu,
                values=(
                    speed,
                    speed * estimate.step_time_s / estimate.step_time_high90_s,
                    speed * estimate.step_time_s / estimate.step_time_low90_s,
                ),
            )
        )
    return found


def _memory(plan: Plan, measurement: Measurement, option: Option) -> list[Comparison]:
    memory = memory_quantity(measurement)
    if memory is None:
        return []
    values = (memory.predicted_gib(option.estimate), *memory.bounds_gib(option.estimate))
    return [
        _comparison(plan, measurement, option, quantity="peak_memory_gib", measured=memory.measured_gib, values=values)
    ]


def _comparison(
    plan: Plan,
    measurement: Measurement,
    option: Option,
    *,
    quantity: str,
    measured: float,
    values: tuple[float, float | None, float | None],
) -> Comparison:
    predicted, low90, high90 = values
    faster_is_more = quantity == "tokens_per_s_per_gpu"
    return Comparison(
        id=measurement.id,
        quantity=quantity,
        measured=measured,
        predicted=predicted,
        low90=low90,
        high90=high90,
        grade=str(option.estimate.grade),
        error=(measured / predicted if faster_is_more else predicted / measured) - 1,
        membership=Membership(
            configuration=measurement.configuration or measurement.id,
            sweep="",
            trusted=True,
            labels={
                "source": str(measurement.source.get("title", "not stated")),
                "software": measurement.software,
                "stack": plan.request.stack,
                "device": plan.cluster.device,
                "model size": size_label(plan.request.job.architecture),
                "technique": technique_label(option.layout),
                "precision": str(plan.request.job.precision),
                "grade": str(option.estimate.grade),
            },
        ),
    )
