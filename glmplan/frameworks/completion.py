"""A configuration and what the user adds to it -> a planning request for exactly that layout."""

from dataclasses import dataclass

from pydantic import ValidationError

from glmplan.architecture.catalog import load_architecture
from glmplan.architecture.transformer import Architecture
from glmplan.documents import faults_of
from glmplan.errors import DocumentError, InputError
from glmplan.frameworks.configuration import Configuration, Value
from glmplan.layout.choices import Choices
from glmplan.layout.parallel_layout import Offload, ParallelLayout, Sharding
from glmplan.plan.request import PlanRequest
from glmplan.search.single import layout_of_choices
from glmplan.workload.job import TrainingJob


@dataclass(frozen=True, slots=True, kw_only=True)
class Additions:
    """What the user says besides the file; it wins over the file."""

    model: str | None = None
    cluster: str
    num_gpus: int | None = None
    global_batch: int | None = None
    seq_len: int | None = None
    stack: str | None = None


def request_of(configuration: Configuration, additions: Additions) -> PlanRequest:
    """The request whose only layout is the configuration's.

    Raises InputError naming what neither says, or what contradicts itself.
    """
    file, layout = configuration.file, dict(configuration.layout)
    num_gpus = additions.num_gpus or configuration.num_gpus
    if num_gpus is None:
        raise InputError(f"{file}: does not say on how many GPUs it runs; give --gpus")
    degrees = {name: int(layout.get(name, 1)) for name in ("tp", "pp", "cp")}
    ranks = degrees["tp"] * degrees["pp"] * degrees["cp"]
    if num_gpus % ranks:
        raise InputError(
            f"{file}: tp {degrees['tp']} x pp {degrees['pp']} x cp {degrees['cp']} = {ranks} does not divide the"
            f" {num_gpus} GPUs; change one degree or --gpus"
        )
    dp = num_gpus // ranks
    job = _job(configuration, additions, dp)
    if (stated := layout.get("grad_accum")) and "micro_batch" in layout:
        made = int(stated) * int(layout["micro_batch"]) * dp
        if made != job.global_batch:
            raise InputError(
                f"{file}: micro-batch {layout['micro_batch']} x accumulation {stated} x {dp} data-parallel ranks ="
                f" {made} is not the batch of {job.global_batch}; change one of them"
            )
    return PlanRequest(
        job=job,
        cluster=additions.cluster,
        num_gpus=num_gpus,
        stack=additions.stack or configuration.stack,
        choices=_choices(file, layout, job.architecture, dp * degrees["cp"]),
    )


def _job(configuration: Configuration, additions: Additions, dp: int) -> TrainingJob:
    stated, local = configuration.job, configuration.layout.get("local_batch")
    seq_len = additions.seq_len or stated.get("seq_len")
    global_batch = additions.global_batch or stated.get("global_batch") or (int(local) * dp if local else None)
    for value, option in ((seq_len, "--seq-len"), (global_batch, "--global-batch")):
        if value is None:
            raise InputError(f"{configuration.file}: does not say it; give {option}")
    try:
        return TrainingJob.model_validate(
            {
                "architecture": _architecture(configuration, additions.model),
                "seq_len": seq_len,
                "global_batch": global_batch,
                "precision": stated.get("precision", "bf16"),
                "optimizer": stated.get("optimizer", "adamw"),
            }
        )
    except ValidationError as error:
        raise DocumentError(configuration.file, faults_of(error, {})) from None


def _architecture(configuration: Configuration, model: str | None) -> Architecture:
    if model is not None:
        return load_architecture(model)
    fields: dict[str, object] = dict(configuration.model)
    if "preset" in fields:
        return load_architecture(str(fields["preset"]))
    for name in [name for name in fields if "." in name]:
        record, _, field = name.partition(".")
        nested = fields.setdefault(record, {})
        assert isinstance(nested, dict)
        nested[field] = fields.pop(name)
    missing = [name for name in ("layers", "hidden", "heads", "vocab") if name not in fields]
    if missing:
        raise InputError(f"{configuration.file}: does not say the model's {', '.join(missing)}; give --model")
    try:
        return Architecture.model_validate(
            {"name": "model of the configuration", "source": configuration.file} | fields
        )
    except ValidationError as error:
        raise DocumentError(configuration.file, faults_of(error, {})) from None


def _choices(file: str, layout: dict[str, Value], arch: Architecture, data_ranks: int) -> Choices:
    fields: dict[str, object] = {}
    for name in Choices.model_fields:
        if name in layout:
            fields[name] = (layout[name],)
    if data_ranks == 1:
        fields["sharding"] = (Sharding.NONE,)
    replicas = int(layout.get("replicas", 1))
    if layout.get("sharding") == Sharding.HSDP and "shard_group" not in layout:
        fields["shard_group"] = (data_ranks // replicas,)
    try:
        return Choices.model_validate(fields)
    except ValidationError as error:
        raise DocumentError(file, faults_of(error, {}, ("layout",))) from None


def layout_of(configuration: Configuration, request: PlanRequest) -> ParallelLayout:
    """The configuration's layout. Raises InputError where its degrees, batch or stages contradict each other."""
    stated = configuration.layout
    layout = layout_of_choices(request)
    changes: dict[str, object] = {}
    if (layers := stated.get("recompute_layers")) is not None:
        changes["recompute_layers"] = int(layers)
    if "optimizer" in str(stated.get("offload", "")):
        changes["offload"] = Offload.OPTIMIZER
    if "stage_layers" in stated:
        changes["stage_layers"] = tuple(map(int, str(stated["stage_layers"]).split(",")))
    if "first_stage_layers" in stated or "last_stage_layers" in stated:
        changes["stage_layers"] = _stages(configuration, layout, request.job.architecture.total_layers)
    return layout.model_copy(update=changes)


def _stages(configuration: Configuration, layout: ParallelLayout, layers: int) -> tuple[int, ...]:
    """Megatron's other counts for the first and the last stage; the inner stages share what is left."""
    file, pp = configuration.file, layout.pp
    if layout.virtual_stages > 1 or pp < 3:
        raise InputError(f"{file}: layers of the first and last stage: are read for pp above 2 without virtual stages")
    ends = [configuration.layout.get(f"{end}_stage_layers") for end in ("first", "last")]
    inner = pp - sum(end is not None for end in ends)
    left = layers - sum(int(end) for end in ends if end is not None)
    if left < inner or left % inner:
        raise InputError(
            f"{file}: layers of the first and last stage: leave {left} layers for {inner} stages; change one of them"
        )
    each = left // inner
    first, last = (each if end is None else int(end) for end in ends)
    return (first, *[each] * (pp - 2), last)
