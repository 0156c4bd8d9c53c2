"""Options that several commands share, and how their text becomes a request. Heavy imports wait until needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from glmplan.errors import InputError

if TYPE_CHECKING:
    from glmplan.hardware.calibration import Calibration
    from glmplan.layout.choices import Choices
    from glmplan.plan.request import PlanRequest

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

# option -> (field of Choices, kind of value)
DIMENSIONS: dict[str, tuple[str, str]] = {
    "tp": ("tp", "degree"),
    "pp": ("pp", "degree"),
    "cp": ("cp", "degree"),
    "context": ("context", "context"),
    "ep": ("ep", "degree"),
    "expert-tp": ("expert_tp", "degree"),
    "virtual-stages": ("virtual_stages", "degree"),
    "shard": ("sharding", "sharding"),
    "shard-group": ("shard_group", "degree"),
    "micro-batch": ("micro_batch", "degree"),
    "recompute": ("recompute", "recompute"),
    "schedule": ("schedule", "schedule"),
    "recompute-layers": ("recompute_layers", "count"),
    "sequence-parallel": ("sequence_parallel", "bool"),
    "offload": ("offload", "offload"),
}
DIMENSION_HELP = {
    "tp": "Tensor-parallel degree.",
    "pp": "Pipeline-parallel degree.",
    "cp": "Context-parallel degree.",
    "context": "What context-parallel ranks exchange: ring, gathered-blocks, all-gather, all-to-all or hierarchical.",
    "ep": "Expert-parallel degree.",
    "expert-tp": "Tensor-parallel degree of the experts; auto: as the stack does it.",
    "virtual-stages": "Model chunks per pipeline rank.",
    "shard": "none, zero1, zero2, zero3, fsdp or hsdp.",
    "shard-group": "Ranks that share one HSDP shard set.",
    "micro-batch": "Sequences per forward pass.",
    "recompute": "none, selective or full.",
    "schedule": "gpipe, 1f1b, interleaved, zb-h1 or zb-2p.",
    "recompute-layers": "With full recomputation: only the first so many layers of each stage.",
    "sequence-parallel": "on or off.",
    "offload": "To the host: none, optimizer, activations or optimizer+activations; auto is none.",
}


def job_options(command: CommandT, gpus: Callable[[CommandT], CommandT] | None = None) -> CommandT:
    """The options that describe what is trained where; ``gpus`` replaces the option for the number of devices."""
    number: Callable[[CommandT], CommandT] = gpus or click.option(
        "--gpus", "num_gpus", type=click.IntRange(min=1), required=True, help="Devices to use."
    )
    options: list[Callable[[CommandT], CommandT]] = [
        click.option("--model", required=True, help="Preset, YAML, or Hugging Face config.json."),
        click.option("--cluster", required=True, help="Catalogue name or YAML (see `glmplan hardware list`)."),
        number,
        click.option("--global-batch", type=click.IntRange(min=1), required=True, help="Sequences per step."),
        click.option("--seq-len", type=click.IntRange(min=1), required=True, help="Tokens per sequence."),
        click.option("--precision", default="bf16", show_default=True, help="fp32, bf16, fp16, fp8, mxfp8 or nvfp4."),
        click.option("--optimizer", default="adamw", show_default=True, help="adamw or sgd."),
        click.option("--tokens", help="Tokens of the whole run, such as 15T."),
        click.option("--stack", default="megatron-core", show_default=True, help="Software stack preset or YAML."),
        click.option(
            "--calibration", type=click.Path(path_type=Path), help="Fitted constants from `glmplan calibrate`."
        ),
    ]
    return _apply(command, options)


def layout_options(command: CommandT) -> CommandT:
    """One option for each dimension of a layout: auto, a value, or a list."""
    options = [
        click.option(f"--{name}", default="auto", show_default=True, help=f"{DIMENSION_HELP[name]} auto, or a list.")
        for name in DIMENSIONS
    ]
    return _apply(command, options)


def _apply(command: CommandT, options: Sequence[Callable[[CommandT], CommandT]]) -> CommandT:
    for option in reversed(options):
        command = option(command)
    return command


def parse_choices(values: dict[str, str]) -> Choices:
    """The text of the dimension options as Choices. Raises InputError naming option, value and what is allowed."""
    from glmplan.layout.choices import Choices

    chosen: dict[str, Any] = {}
    for option, (field, kind) in DIMENSIONS.items():
        text = values[option.replace("-", "_")].strip().lower()
        if text != "auto":
            chosen[field] = tuple(_value(option, kind, part.strip()) for part in text.split(","))
    return Choices(**chosen)


def _value(option: str, kind: str, text: str) -> object:
    from glmplan.layout.parallel_layout import CONTEXT_KINDS, OFFLOADS, RECOMPUTES, SCHEDULES, SHARDINGS

    if kind in ("degree", "count"):
        least = 1 if kind == "degree" else 0
        if not text.isdecimal() or int(text) < least or len(text) > 9:
            bound = "above 0" if least else "from 0"
            raise InputError(
                f"--{option}: expected auto, a whole number {bound}, or a list such as 1,2,4; got {text!r}"
            )
        return int(text)
    if kind == "bool":
        if text not in ("on", "off", "true", "false"):
            raise InputError(f"--{option}: expected auto, on or off; got {text!r}")
        return text in ("on", "true")
    members = {
        "sharding": SHARDINGS,
        "recompute": RECOMPUTES,
        "schedule": SCHEDULES,
        "context": CONTEXT_KINDS,
        "offload": OFFLOADS,
    }
    allowed: Sequence[str] = members[kind]
    if text not in allowed:
        raise InputError(f"--{option}: expected auto, {', '.join(allowed)}, or a list of them; got {text!r}")
    return next(item for item in allowed if item == text)


def gpu_list_option(command: CommandT) -> CommandT:
    """``--gpus`` for commands that look at several numbers of devices."""
    return click.option("--gpus", "gpu_list", required=True, help="Numbers of devices, such as 64,128,256.")(command)


def parse_gpu_list(text: str) -> list[int]:
    """The numbers of devices in ``text``. Raises InputError."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 0 < len(part) <= 9 and int(part) > 0 for part in parts):
        raise InputError(f"--gpus: expected whole numbers above 0, such as 64,128,256; got {text!r}")
    return sorted({int(part) for part in parts})


def parse_tokens(text: str | None) -> float | None:
    """``15T``, ``300B`` or ``1e9`` as a number. Raises InputError."""
    if text is None:
        return None
    from glmplan.units import parse_count

    try:
        value = parse_count(text)
    except ValueError as error:
        raise InputError(f"--tokens: {error}") from None
    if not 0 < value < 1e18:
        raise InputError(f"--tokens: must be above 0 and below 1e18; got {text!r}")
    return value


def read_calibration(path: Path | None) -> Calibration | None:
    """The calibration in ``path``. Raises InputError or DocumentError."""
    from glmplan.hardware.catalog import load_calibration

    return None if path is None else load_calibration(str(path))


def build_request(options: dict[str, Any], **extra: Any) -> PlanRequest:
    """The request that the options describe. Raises InputError with every fault found."""
    from pydantic import ValidationError

    from glmplan.architecture.catalog import load_architecture
    from glmplan.documents import faults_of
    from glmplan.errors import DocumentError
    from glmplan.plan.request import PlanRequest
    from glmplan.workload.job import TrainingJob

    architecture = load_architecture(options["model"])
    try:
        job = TrainingJob(
            architecture=architecture,
            seq_len=options["seq_len"],
            global_batch=options["global_batch"],
            precision=options["precision"],
            optimizer=options["optimizer"],
            tokens=parse_tokens(options["tokens"]),
        )
        return PlanRequest(
            job=job,
            cluster=options["cluster"],
            num_gpus=options["num_gpus"],
            stack=options["stack"],
            choices=parse_choices(options),
            **extra,
        )
    except ValidationError as error:
        raise DocumentError("request", faults_of(error, {})) from None
