"""A given layout under other degrees, another batch or more devices: what follows from them is made anew."""

from collections.abc import Mapping

from glmplan.errors import InputError
from glmplan.layout.parallel_layout import ParallelLayout, Recompute, Schedule, Sharding

DERIVED = {
    "dp": "the devices and the other degrees; set job.gpus",
    "grad_accum": "the global batch, dp and micro_batch; set job.global_batch",
}
"""Fields that are not set, and what they follow from."""
STAGE_FIELDS = ("pp", "virtual_stages")
PER_STAGE = ("stage_layers", "stage_recompute_layers")


def adapted_layout(
    layout: ParallelLayout, fields: Mapping[str, object], *, num_devices: int, global_batch: int
) -> ParallelLayout:
    """``layout`` with ``fields`` replaced, filling ``num_devices`` and ``global_batch``.

    Sequence parallelism ends where there is no tensor parallelism, interleaving where there is one chunk a stage, and
    lists by stage where the stages change. Raises InputError where the degrees do not make the devices or the batch.
    """
    values = layout.model_dump() | dict(fields)
    if values["tp"] == 1:
        values |= _unless_set(fields, sequence_parallel=False)
    if values["pp"] == 1:
        values |= _unless_set(fields, virtual_stages=1)
    if any(values[name] != getattr(layout, name) for name in STAGE_FIELDS):
        values |= _unless_set(fields, **dict.fromkeys(PER_STAGE))
    if values["virtual_stages"] > 1:
        values |= _unless_set(fields, schedule=Schedule.INTERLEAVED)
    elif values["pp"] == 1 or values["schedule"] is Schedule.INTERLEAVED:
        values |= _unless_set(fields, schedule=Schedule.ONE_F_ONE_B)
    if values["recompute"] is not Recompute.FULL:
        values |= _unless_set(fields, recompute_layers=None, stage_recompute_layers=None)
    return ParallelLayout.model_validate(_filled(values, fields, num_devices, global_batch))


def _unless_set(fields: Mapping[str, object], **values: object) -> dict[str, object]:
    return {name: value for name, value in values.items() if name not in fields}


def _filled(
    values: dict[str, object], fields: Mapping[str, object], num_devices: int, global_batch: int
) -> dict[str, object]:
    """``values`` with dp, grad_accum and the group of a whole sharding."""
    tp, cp, pp, micro_batch = (int(str(values[name])) for name in ("tp", "cp", "pp", "micro_batch"))
    if num_devices % (tp * cp * pp):
        raise InputError(
            f"layout: tp {tp} x cp {cp} x pp {pp} = {tp * cp * pp} does not divide the {num_devices} devices;"
            " change one degree or job.gpus"
        )
    dp = num_devices // (tp * cp * pp)
    if global_batch % (dp * micro_batch):
        raise InputError(
            f"layout.micro_batch: dp {dp} x micro_batch {micro_batch} does not divide global_batch {global_batch};"
            " use a divisor, or change job.global_batch"
        )
    filled: dict[str, object] = {"dp": dp, "grad_accum": global_batch // (dp * micro_batch)}
    if values["sharding"] is not Sharding.HSDP:
        group = 1 if values["sharding"] is Sharding.NONE else dp * cp
        filled |= _unless_set(fields, shard_group=group)
    return values | filled
