"""When nothing fits: the smallest change that would."""

from dataclasses import replace

import numpy as np

from glmplan.cost.step import cost_model
from glmplan.errors import GlmplanError
from glmplan.hardware.cluster import Cluster
from glmplan.layout.candidates import candidates
from glmplan.layout.choices import Choices
from glmplan.layout.parallel_layout import ParallelLayout
from glmplan.layout.rules import Context
from glmplan.plan.request import PlanRequest
from glmplan.software.stack import Stack
from glmplan.units import format_bytes

MAX_DOUBLINGS = 8


def what_would_fit(request: PlanRequest, cluster: Cluster, stack: Stack) -> str:
    """The smallest change to ``request`` under which some layout fits, as a sentence."""
    if request.choices != Choices():
        freed = request.model_copy(update={"choices": Choices()})
        if (found := _smallest(freed, cluster, stack)) is not None and found[0] <= _limit(freed, cluster):
            return f"without the limits on the layout {found[1].label()} fits with {format_bytes(found[0])}"
    if request.memory_margin > 0 and (found := _smallest(request, cluster, stack)) is not None:
        capacity = cluster.device.memory_capacity_bytes
        if found[0] <= capacity:
            return f"it fits with --memory-margin {max(0.0, 1.0 - found[0] / capacity - 0.0005):.3f}"
    for doubling in range(1, MAX_DOUBLINGS + 1):
        more = request.num_gpus * 2**doubling
        batch = max(request.job.global_batch, more)
        try:
            larger = cluster.sized(more)
        except GlmplanError:
            break
        changed = request.model_copy(
            update={
                "num_gpus": more,
                "choices": Choices(),
                "job": request.job.model_copy(update={"global_batch": batch - batch % request.job.global_batch}),
            }
        )
        if (found := _smallest(changed, larger, stack)) is not None and found[0] <= _limit(changed, larger):
            return f"with {more} devices {found[1].label()} fits with {format_bytes(found[0])}"
    shorter = request.job.seq_len
    while shorter > 128:
        shorter //= 2
        changed = request.model_copy(update={"job": request.job.model_copy(update={"seq_len": shorter})})
        if (found := _smallest(changed, cluster, stack)) is not None and found[0] <= _limit(changed, cluster):
            return f"with sequences of {shorter} tokens {found[1].label()} fits with {format_bytes(found[0])}"
    return "use devices with more memory or a smaller model"


def _limit(request: PlanRequest, cluster: Cluster) -> float:
    return cluster.device.memory_capacity_bytes * (1.0 - request.memory_margin)


def _smallest(request: PlanRequest, cluster: Cluster, stack: Stack) -> tuple[float, ParallelLayout] | None:
    """Least peak bytes of any legal layout, and that layout."""
    model = cost_model(request.job, replace(cluster), stack)
    context = Context(job=request.job, num_devices=request.num_gpus, support=stack.support, stack_name=stack.name)
    best: tuple[float, ParallelLayout] | None = None
    for batch in candidates(context, request.choices):
        if not len(batch.table):
            continue
        peak = np.asarray(sum(model.memory(batch.table).values()))
        row = int(np.argmin(peak))
        if best is None or peak[row] < best[0]:
            best = (float(peak[row]), batch.table.row(row))
    return best
