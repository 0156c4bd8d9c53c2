"""A case's layout record as a parallel layout, with the batch that goes with it."""

import re
from enum import StrEnum
from typing import TypeVar

from glmplan.layout.parallel_layout import Offload, ParallelLayout, Recompute, Schedule, Sharding
from glmplan.plan.measurement import Measurement
from glmplan.precision import Precision, Recipe
from glmplan.validation.case_fields import Fields, Unusable

ChoiceT = TypeVar("ChoiceT", bound=StrEnum)
_ADAM = re.compile(r"^(decoupled_|skip-step )?adamw?(?P<host> \(CPU offload\))?$", re.IGNORECASE)
_OFFLOADS = {frozenset(kind.split("+")): kind for kind in Offload}
_RECIPE_NAMES = {"current": "tensorwise", "dynamic": "tensorwise"}
_SCHEDULES = {
    "1f1b": Schedule.ONE_F_ONE_B,
    "gpipe": Schedule.GPIPE,
    "interleaved": Schedule.INTERLEAVED,
    "zero-bubble zb1p": Schedule.ZERO_BUBBLE_H1,
    "zero-bubble zb2p": Schedule.ZERO_BUBBLE_2P,
}


def case_layout(measurement: Measurement, fields: Fields) -> tuple[ParallelLayout, int]:
    """The layout of ``measurement`` and its global batch in sequences.

    The batch may end in a smaller micro-batch; ``grad_accum`` counts it. Raises Unusable where a needed field is not
    stated, ValidationError where values are out of range.
    """
    offload = _offload(measurement, fields)
    gpus = fields.whole("hardware.gpus")
    tp, pp, cp = (fields.whole(f"layout.{name}") for name in ("tp", "pp", "cp"))
    if gpus % (tp * pp * cp):
        raise Unusable(f"contradictory: tp {tp} x cp {cp} x pp {pp} does not divide hardware.gpus {gpus}")
    dp = fields.whole("layout.dp", default=gpus // (tp * pp * cp))
    if tp * pp * cp * dp != gpus:
        raise Unusable(f"contradictory: tp {tp} x cp {cp} x pp {pp} x dp {dp} is not hardware.gpus {gpus}")
    micro_batch, global_batch = fields.whole("layout.micro_batch"), fields.whole("layout.global_batch")
    virtual_stages = fields.whole("layout.virtual_stages")
    sharding, shard_group = _sharding(measurement, fields, dp * cp)
    layout = ParallelLayout(
        tp=tp,
        cp=cp,
        pp=pp,
        virtual_stages=virtual_stages,
        ep=fields.whole("layout.ep"),
        expert_tp=_expert_tp(fields, tp),
        dp=dp,
        sharding=sharding,
        shard_group=shard_group,
        micro_batch=micro_batch,
        grad_accum=-(-global_batch // (dp * micro_batch)),
        recompute=_choice(Recompute, "recompute", fields),
        schedule=_schedule(measurement, virtual_stages),
        sequence_parallel=tp > 1 and bool(fields.need("layout.sequence_parallel")),
        offload=offload,
    )
    return layout, global_batch


def case_precision(fields: Fields) -> Precision:
    """The format of the matmuls. Raises Unusable for one that is not known."""
    return _choice(Precision, "precision", fields)


def _expert_tp(fields: Fields, tp: int) -> int | None:
    """None where the experts are split as the dense parts are."""
    degree = fields.whole("layout.expert_tp", default=tp) if tp > 1 else tp
    return None if degree == tp else degree


def case_recipe(measurement: Measurement) -> Recipe | None:
    """How the run scaled tensors to 8 bits, where the source says. Raises Unusable for a recipe that is not known."""
    stated = measurement.fp8_recipe
    if stated is None:
        return None
    try:
        return Recipe(_RECIPE_NAMES.get(stated, stated))
    except ValueError:
        raise Unusable(f"fp8_recipe: {stated} is not modelled; {', '.join(Recipe)} are") from None


def _offload(measurement: Measurement, fields: Fields) -> Offload:
    """What lies on the host, by the optimizer's name and by ``layout.cpu_offload``."""
    optimizer = str(fields.get("layout.optimizer"))
    adam = _ADAM.match(optimizer)
    if adam is None:
        raise Unusable(f"layout.optimizer: {optimizer} is not modelled; only Adam is")
    stated = set(str(measurement.layout.get("cpu_offload") or "").split("+")) - {""}
    if adam["host"]:
        stated.add("optimizer")
    offload = _OFFLOADS.get(frozenset(stated or {"none"}))
    if offload is None:
        raise Unusable(f"layout.cpu_offload: moving {'+'.join(sorted(stated))} to the host is not modelled")
    return offload


def _sharding(measurement: Measurement, fields: Fields, ranks: int) -> tuple[Sharding, int]:
    if ranks == 1:
        return Sharding.NONE, 1
    sharding = _choice(Sharding, "sharding", fields)
    if sharding is Sharding.NONE:
        return sharding, 1
    given = measurement.layout.get("shard_group")
    if sharding is Sharding.HSDP:
        return sharding, min(ranks, int(given or fields.whole("hardware.gpus_per_node")))
    if given and given < ranks and sharding in (Sharding.FSDP, Sharding.ZERO3):
        return Sharding.HSDP, int(given)
    return sharding, ranks


def _schedule(measurement: Measurement, virtual_stages: int) -> Schedule:
    variant = measurement.layout.get("schedule_variant") or ""
    stated = f"{measurement.layout.get('schedule') or ''} {variant}".strip()
    known = stated.removesuffix(" (modified)")
    if stated and known not in _SCHEDULES:
        raise Unusable(f"layout.schedule: {stated} is not modelled; {', '.join(_SCHEDULES)} are")
    if known == "interleaved" and virtual_stages == 1 and not measurement.layout.get("virtual_stages"):
        raise Unusable("the source does not state: layout.virtual_stages")
    if virtual_stages > 1:
        return Schedule.INTERLEAVED
    return Schedule.ONE_F_ONE_B if known in ("", "interleaved") else _SCHEDULES[known]


def _choice(kind: type[ChoiceT], name: str, fields: Fields) -> ChoiceT:
    value = fields.need(f"layout.{name}")
    try:
        return kind(value)
    except ValueError:
        raise Unusable(f"layout.{name}: {value} is not modelled; {', '.join(kind)} are") from None
