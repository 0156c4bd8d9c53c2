"""A planning problem on paper: the same question with other figures of the machine, stack or job."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from glmplan.cost.collective import collective_model
from glmplan.cost.rescaling import rescaled_collectives, rescaled_device
from glmplan.cost.step import CostModel, cost_model
from glmplan.hardware.cluster import Cluster
from glmplan.hardware.tiers import Tier, reduce_to_tiers
from glmplan.layout.host_offload import possible_offloads
from glmplan.search.figures import cluster_figures, rewired
from glmplan.search.planner import Problem
from glmplan.software.stack import Stack
from glmplan.workload.job import TrainingJob

UNCHANGED: Mapping[str, float] = MappingProxyType({})
LAUNCH = "stack.host_launch_s"
"""What the host takes for one launch: the machine's own where it was measured, else the stack's constant."""
RATES = ("device.peak_flops", "device.memory_bandwidth", "device.compute_derate")
"""Figures whose change makes a device that nobody has measured."""


def changed_problem(
    problem: Problem,
    *,
    factors: Mapping[str, float] = UNCHANGED,
    launch_factor: float = 1.0,
    stack: Stack | None = None,
    job: TrainingJob | None = None,
    num_devices: int | None = None,
) -> Problem:
    """``problem`` with figures of its cluster multiplied by ``factors``, and with another stack, job or size.

    Raises InputError for a size the cluster cannot have, or figures that do not go together.
    """
    stack = problem.stack if stack is None else stack
    if any(name in RATES for name in factors):
        stack = stack.model_copy(update={"calibrated_devices": ()})
    request = problem.request
    updates: dict[str, object] = {"job": job or request.job, "num_gpus": num_devices or request.num_gpus}
    request = request.model_copy(update=updates)
    cluster = _scaled(problem.cluster, problem.request.job, factors)
    if num_devices or _links(cluster) != _links(problem.cluster):
        cluster = rewired(cluster, request.num_gpus)
    return replace(
        problem,
        request=request,
        cluster=cluster,
        stack=stack,
        model=_cost_model(problem, cluster, stack, request.job, launch_factor),
        context=replace(
            problem.context,
            job=request.job,
            num_devices=request.num_gpus,
            support=stack.support,
            offloads=possible_offloads(cluster.host),
        ),
    )


def _scaled(cluster: Cluster, job: TrainingJob, factors: Mapping[str, float]) -> Cluster:
    figures = cluster_figures(cluster, job.precision)
    for name, factor in factors.items():
        cluster = figures[name].scaled(cluster, factor)
    return cluster


def _cost_model(problem: Problem, cluster: Cluster, stack: Stack, job: TrainingJob, launch_factor: float) -> CostModel:
    """The cost model of ``cluster``, with the surfaces that were measured on the problem's own cluster."""
    real = problem.cluster
    model = cost_model(job, real, stack)
    before, after = (c.device.peak_flops_per_s(job.precision) for c in (real, cluster))
    device = rescaled_device(
        model.device,
        flops_ratio=after / before,
        bandwidth_ratio=cluster.device.memory_bandwidth_bytes_per_s / real.device.memory_bandwidth_bytes_per_s,
    )
    collectives = model.collectives if cluster.tiers == real.tiers else collective_model(cluster)
    inner, changed_inner = _innermost(real), _innermost(cluster)
    if real.machine != cluster.machine and inner is not None and changed_inner is not None:
        collectives = rescaled_collectives(
            collectives,
            bandwidth_ratio=changed_inner.bandwidth_bytes_per_s / inner.bandwidth_bytes_per_s,
            latency_ratio=changed_inner.latency_s / inner.latency_s if inner.latency_s else 1.0,
        )
    launch_s = problem.model.launch_s * launch_factor
    return replace(model, cluster=cluster, device=device, collectives=collectives, launch_s=launch_s)


def _links(cluster: Cluster) -> tuple[object, ...]:
    """What tiers are derived from."""
    return cluster.machine, cluster.fabric


def _innermost(cluster: Cluster) -> Tier | None:
    """The tier of a whole machine, however few of its devices are used."""
    return next(iter(reduce_to_tiers(None, cluster.machine)), None)
