"""When nothing fits: the smallest change that would, found by trying it."""

import math
from collections.abc import Iterator

import numpy as np

from glmplan.cost.memory import needed_bytes
from glmplan.cost.step import cost_model
from glmplan.errors import InputError
from glmplan.hardware.cluster import Cluster
from glmplan.layout.candidates import candidates
from glmplan.layout.choices import Choices
from glmplan.layout.parallel_layout import ParallelLayout
from glmplan.layout.rules import Context
from glmplan.plan.request import PlanRequest
from glmplan.software.stack import Stack
from glmplan.units import format_bytes

MAX_DOUBLINGS = 8
SHORTEST_SEQUENCE = 128


def what_would_fit(request: PlanRequest, cluster: Cluster, stack: Stack) -> str:
    """The smallest change to ``request`` under which some layout fits, as a sentence."""
    for words, changed in _changes(request):
        try:
            sized = cluster.sized(changed.num_gpus)
        except InputError:
            continue
        found = _smallest(changed, sized, stack)
        if found is None:
            continue
        peak_bytes, layout = found
        if peak_bytes <= sized.device.memory_capacity_bytes * (1.0 - changed.memory_margin):
            if changed.memory_margin < request.memory_margin:
                words = f"with --memory-margin {_margin(peak_bytes / sized.device.memory_capacity_bytes):.3f}"
            return f"{words} it fits: {layout.label()}, the leanest layout, needs {format_bytes(peak_bytes)}"
    return "use devices with more memory or a smaller model"


def _changes(request: PlanRequest) -> Iterator[tuple[str, PlanRequest]]:
    """Changes to try, the least painful first, each with its words."""
    if request.choices != Choices():
        yield "without the limits on the layout", _changed(request, choices=Choices())
    if request.memory_margin > 0:
        yield "with a smaller margin", _changed(request, memory_margin=0.0)
    free = "" if request.choices == Choices() else " and without the limits on the layout"
    batch = request.job.global_batch
    for doubling in range(1, MAX_DOUBLINGS + 1):
        more = request.num_gpus * 2**doubling
        yield f"with --gpus {more}{free}", _changed(request, num_gpus=more, choices=Choices())
        if (larger := math.lcm(batch, more)) > batch:
            job = request.job.model_copy(update={"global_batch": larger})
            words = f"with --gpus {more} --global-batch {larger}{free}"
            yield words, _changed(request, num_gpus=more, choices=Choices(), job=job)
    shorter = request.job.seq_len // 2
    while shorter >= SHORTEST_SEQUENCE:
        job = request.job.model_copy(update={"seq_len": shorter})
        yield f"with --seq-len {shorter}", _changed(request, job=job)
        shorter //= 2


def _changed(request: PlanRequest, **fields: object) -> PlanRequest:
    return request.model_copy(update=fields)


def _margin(used_fraction: float) -> float:
    """The largest margin of three digits that leaves room for ``used_fraction``."""
    return math.floor((1.0 - used_fraction) * 1000.0) / 1000.0


def _smallest(request: PlanRequest, cluster: Cluster, stack: Stack) -> tuple[float, ParallelLayout] | None:
    """Least peak bytes of any legal layout, and that layout; None when none is legal."""
    model = cost_model(request.job, cluster, stack)
    context = Context(job=request.job, num_devices=request.num_gpus, support=stack.support, stack_name=stack.name)
    best: tuple[float, ParallelLayout] | None = None
    for batch in candidates(context, request.choices):
        if not len(batch.table):
            continue
        peak = needed_bytes(model.memory(batch.table))
        row = int(np.argmin(peak))
        if best is None or peak[row] < best[0]:
            best = (float(peak[row]), batch.table.row(row))
    return best
