"""One layout from a request whose every dimension has at most one value."""

from glmplan.errors import InputError
from glmplan.layout.parallel_layout import ParallelLayout, Schedule, Sharding
from glmplan.layout.rules import divisors
from glmplan.plan.request import PlanRequest


def layout_of_choices(request: PlanRequest) -> ParallelLayout:
    """The layout; a dimension left open is 1, unsharded, without recomputation; dp and grad_accum follow.

    Raises InputError when a dimension has several values or the degrees do not make the devices and the batch.
    """
    chosen = {}
    for name, values in request.choices:
        if values is not None:
            if len(values) > 1:
                raise InputError(f"--{name.replace('_', '-')}: estimate takes one value; got {len(values)}; use plan")
            chosen[name] = values[0]
    partial = ParallelLayout(**{k: v for k, v in chosen.items() if k in ("tp", "cp", "pp", "micro_batch")})
    model_ranks = partial.tp * partial.cp * partial.pp
    if request.num_gpus % model_ranks:
        raise InputError(
            f"layout: tp {partial.tp} x cp {partial.cp} x pp {partial.pp} = {model_ranks} does not divide the"
            f" {request.num_gpus} devices; change one degree or --gpus: {_near(model_ranks, request.num_gpus)} would"
        )
    dp = request.num_gpus // model_ranks
    batch = request.job.global_batch
    if batch % (dp * partial.micro_batch):
        raise InputError(
            f"layout.micro_batch: dp {dp} x micro_batch {partial.micro_batch} does not divide global_batch {batch};"
            f" use {_near(partial.micro_batch, batch // dp) if batch % dp == 0 else 'other degrees'}"
        )
    sharding = chosen.get("sharding", Sharding.NONE)
    group = 1 if sharding is Sharding.NONE else dp * partial.cp
    interleaved = chosen.get("virtual_stages", 1) > 1
    defaults = {
        "dp": dp,
        "grad_accum": batch // (dp * partial.micro_batch),
        "shard_group": group,
        "schedule": Schedule.INTERLEAVED if interleaved else Schedule.ONE_F_ONE_B,
    }
    return ParallelLayout(**(defaults | chosen))


def _near(value: int, whole: int) -> str:
    """The divisors of ``whole`` nearest below and above ``value``, such as ``4 or 8``."""
    below = [divisor for divisor in divisors(whole) if divisor < value][-1:]
    above = [divisor for divisor in divisors(whole) if divisor > value][:1]
    return " or ".join(str(divisor) for divisor in below + above)
