"""The command line that asks for a plan again, rebuilt from its request."""

import shlex

from glmplan.layout.choices import Choices
from glmplan.plan.request import PlanRequest
from glmplan.report.wording import switch

CHOICE_OPTIONS: dict[str, str] = {
    field: "--shard" if field == "sharding" else f"--{field.replace('_', '-')}" for field in Choices.model_fields
}
"""Field of the choices -> option of ``glmplan plan``."""


def plan_command(request: PlanRequest, *, output: str = "plan.json") -> str:
    """A command that a POSIX shell splits as meant, one option a line. Options at their default are left out.

    The model is named, not described: a shape that was read from a file needs that file's path instead.
    """
    job = request.job
    options: list[tuple[str, str]] = [
        ("--model", job.architecture.name),
        ("--cluster", request.cluster),
        ("--gpus", str(request.num_gpus)),
        ("--global-batch", str(job.global_batch)),
        ("--seq-len", str(job.seq_len)),
        ("--stack", request.stack),
        ("--precision", str(job.precision)),
    ]
    if job.tokens is not None:
        options.append(("--tokens", _number(job.tokens)))
    if job.optimizer != type(job).model_fields["optimizer"].default:
        options.append(("--optimizer", str(job.optimizer)))
    for field, option in CHOICE_OPTIONS.items():
        values = getattr(request.choices, field)
        if values is not None:
            options.append((option, ",".join(switch(value) for value in values)))
    for field in ("objective", "memory_margin", "memory_bound", "top"):
        value = getattr(request, field)
        if value != PlanRequest.model_fields[field].default:
            options.append((f"--{field.replace('_', '-')}", str(value)))
    options.append(("-o", output))
    return " \\\n  ".join(["glmplan plan", *(f"{option} {shlex.quote(value)}" for option, value in options)])


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
