"""When nothing fits, or nothing keeps the rules: the smallest changes that would help, found by trying them."""

import itertools
import math
from collections.abc import Iterator

import numpy as np

from glmplan.cost.step import cost_model
from glmplan.errors import InputError
from glmplan.hardware.cluster import Cluster
from glmplan.layout.candidates import candidates
from glmplan.layout.choices import Choices
from glmplan.layout.host_offload import possible_offloads
from glmplan.layout.parallel_layout import OFFLOADS, ParallelLayout
from glmplan.layout.rules import Context
from glmplan.plan.request import PlanRequest
from glmplan.search.exhaustive import limiting_bytes
from glmplan.software.stack import Stack
from glmplan.units import format_bytes

MAX_DOUBLINGS = 8
SHORTEST_SEQUENCE = 128
MOST_MENDS = 3
"""So many different changes are named at most."""
OPTION_OF = {"sharding": "shard"}
"""Field of Choices -> its option, where the names differ."""

Change = tuple[str, PlanRequest]
"""A changed request, and the change in words."""


def what_would_fit(request: PlanRequest, cluster: Cluster, stack: Stack) -> str:
    """The smallest change of each of up to MOST_MENDS kinds under which some layout fits, as a sentence."""
    fitting = (_first_fitting(kind, request, cluster, stack) for kind in _kinds(request))
    mends = list(itertools.islice((mend for mend in fitting if mend), MOST_MENDS))
    if not mends:
        return "use devices with more memory or a smaller model"
    return f"it fits {_or(mends)}"


def what_would_be_legal(request: PlanRequest, context: Context) -> str:
    """The smallest change under which some layout keeps the rules, as a sentence."""
    mends = []
    for words, changed in _wider(request):
        if any(len(batch.table) for batch in candidates(context, changed.choices)):
            mends.append(words)
    if mends:
        return f"some do {_or(mends[:MOST_MENDS])}"
    batch = request.job.global_batch
    if (larger := math.lcm(batch, request.num_gpus)) > batch:
        job = request.job.model_copy(update={"global_batch": larger})
        divisible = Context(
            job=job,
            num_devices=context.num_devices,
            support=context.support,
            stack_name=context.stack_name,
            offloads=context.offloads,
        )
        if any(len(found.table) for found in candidates(divisible, request.choices)):
            return f"some do with --global-batch {larger}"
    return "allow more values or change --gpus or --global-batch"


def _or(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} or {texts[-1]}"


def _kinds(request: PlanRequest) -> Iterator[Iterator[Change]]:
    """Kinds of change, the least painful first; within a kind the smallest first."""
    yield _wider(request)
    yield _less_careful(request)
    yield _offloaded(request)
    yield _more_devices(request)
    yield _shorter(request)


def _wider(request: PlanRequest) -> Iterator[Change]:
    """Without one of the limits on the layout, then without any."""
    limited = [name for name, values in request.choices if values is not None]
    for name in limited:
        option = OPTION_OF.get(name, name.replace("_", "-"))
        choices = request.choices.model_copy(update={name: None})
        yield f"without --{option}", _changed(request, choices=choices)
    if len(limited) > 1:
        yield "without the limits on the layout", _changed(request, choices=Choices())


def _less_careful(request: PlanRequest) -> Iterator[Change]:
    if request.memory_bound != "predicted":
        yield "with --memory-bound predicted", _changed(request, memory_bound="predicted")
    if request.memory_margin > 0:
        yield "with a smaller margin", _changed(request, memory_margin=0.0)


def _offloaded(request: PlanRequest) -> Iterator[Change]:
    if request.choices.offload is None:
        for offload in OFFLOADS[1:]:
            choices = request.choices.model_copy(update={"offload": (offload,)})
            yield f"with --offload {offload}", _changed(request, choices=choices)


def _more_devices(request: PlanRequest) -> Iterator[Change]:
    batch = request.job.global_batch
    free = _changed(request, choices=Choices())
    variants = [(request, "")]
    if free != request:
        variants.append((free, " and without the limits on the layout"))
    for doubling in range(1, MAX_DOUBLINGS + 1):
        more = request.num_gpus * 2**doubling
        for variant, words in variants:
            yield f"with --gpus {more}{words}", _changed(variant, num_gpus=more)
        if (larger := math.lcm(batch, more)) > batch:
            job = request.job.model_copy(update={"global_batch": larger})
            for variant, words in variants:
                text = f"with --gpus {more} --global-batch {larger}{words}"
                yield text, _changed(variant, num_gpus=more, job=job)


def _shorter(request: PlanRequest) -> Iterator[Change]:
    shorter = request.job.seq_len // 2
    while shorter >= SHORTEST_SEQUENCE:
        job = request.job.model_copy(update={"seq_len": shorter})
        yield f"with --seq-len {shorter}", _changed(request, job=job)
        shorter //= 2


def _first_fitting(changes: Iterator[Change], request: PlanRequest, cluster: Cluster, stack: Stack) -> str | None:
    """The first of ``changes`` under which some layout fits, with the leanest layout."""
    for words, changed in changes:
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
            return f"{words} ({layout.label()}: {format_bytes(peak_bytes)})"
    return None


def _changed(request: PlanRequest, **fields: object) -> PlanRequest:
    return request.model_copy(update=fields)


def _margin(used_fraction: float) -> float:
    """The largest margin of three digits that leaves room for ``used_fraction``."""
    return math.floor((1.0 - used_fraction) * 1000.0) / 1000.0


def _smallest(request: PlanRequest, cluster: Cluster, stack: Stack) -> tuple[float, ParallelLayout] | None:
    """Least peak bytes of any legal layout whose host has room for it, and that layout; None when there is none."""
    model = cost_model(request.job, cluster, stack)
    context = Context(
        job=request.job,
        num_devices=request.num_gpus,
        support=stack.support,
        stack_name=stack.name,
        offloads=possible_offloads(cluster.host),
    )
    best: tuple[float, ParallelLayout] | None = None
    for batch in candidates(context, request.choices):
        if not len(batch.table):
            continue
        memory = model.memory(batch.table)
        peak = np.where(model.fits_host(memory), limiting_bytes(model, memory, request.memory_bound), np.inf)
        row = int(np.argmin(peak))
        if np.isfinite(peak[row]) and (best is None or peak[row] < best[0]):
            best = (float(peak[row]), batch.table.row(row))
    return best
