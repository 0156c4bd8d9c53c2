"""What a design gives: its best layout by exhaustive search, then days, money, energy and devices of the whole run."""

import math
from collections.abc import Callable
from functools import lru_cache

from pydantic import BaseModel, ConfigDict, ValidationError

from glmplan.architecture.catalog import load_architecture
from glmplan.architecture.parameters import parameter_counts
from glmplan.cost.estimate import StepEstimate
from glmplan.documents import faults_of
from glmplan.errors import DocumentError, GlmplanError, InputError, NoData
from glmplan.hardware.catalog import cluster_of, load_cluster, load_cluster_profile, load_node, load_storage
from glmplan.hardware.cluster import Cluster
from glmplan.hardware.fabric import FatTree
from glmplan.hardware.fact import CountFact
from glmplan.layout.parallel_layout import ParallelLayout
from glmplan.plan.request import PlanRequest
from glmplan.search.codesign_request import OWN_FABRIC, CodesignRequest, FabricChoice, Goal
from glmplan.search.codesign_space import CodesignSpace, Design, Index
from glmplan.search.exhaustive import TOO_LARGE, search_layouts
from glmplan.search.planner import Problem, load_problem
from glmplan.search.run_energy import energy_kwh, training_draw
from glmplan.workload.job import TrainingJob
from glmplan.workload.optimizer_state import STATE_BYTES

DAY_S = 86400.0
SAVED_BYTES = 4.0
"""Of a parameter in a checkpoint beside the optimizer's state: its fp32 value (Rajbhandari 2020, section 3.1)."""


class Planned(BaseModel):
    """A design that can serve, with its best layout."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    goals: dict[Goal, float]
    layout: ParallelLayout
    estimate: StepEstimate
    watts: float | None = None
    """Of the machines, in training; an estimate from ratings."""
    checkpoint_fraction: float = 0.0
    """Of the time, lost to blocking checkpoints."""


class Evaluation(BaseModel):
    """What came of a design: planned, or the reason why not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    planned: Planned | None = None
    reason: str = ""


class Evaluator:
    """Evaluates designs of one request; every design once."""

    def __init__(self, request: CodesignRequest) -> None:
        self._request = request
        self._space = CodesignSpace(request=request)
        self.known: dict[Index, Evaluation] = {}
        self._clusters: Callable[[str, FabricChoice], Cluster] = lru_cache(maxsize=256)(cluster_with)

    def evaluate(self, index: Index) -> Evaluation:
        """The evaluation at ``index``; planned at the first call only."""
        if index not in self.known:
            self.known[index] = self._evaluate(self._space.design(index))
        return self.known[index]

    def problem(self, design: Design) -> Problem:
        """The planning problem of a design. Raises InputError or NoData where there is none."""
        request = self._request
        try:
            job = TrainingJob(
                architecture=load_architecture(request.model),
                seq_len=request.seq_len,
                global_batch=design.global_batch,
                precision=design.precision,
                optimizer=request.optimizer,
                tokens=request.tokens,
            )
        except ValidationError as error:
            raise DocumentError("request", faults_of(error, {})) from None
        plan_request = PlanRequest(
            job=job,
            cluster=design.cluster,
            num_gpus=design.gpus,
            stack=design.stack,
            memory_margin=request.memory_margin,
            top=1,
        )
        return load_problem(plan_request, cluster=self._clusters(design.cluster, design.fabric))

    def _evaluate(self, design: Design) -> Evaluation:
        try:
            problem = self.problem(design)
            found = search_layouts(
                problem.model,
                problem.context,
                problem.request.choices,
                objective="time",
                memory_margin=self._request.memory_margin,
                keep=1,
            )
            if not found.best:
                kept_rules = found.smallest is not None
                return Evaluation(reason=TOO_LARGE if kept_rules else "no layout keeps the rules")
            best = found.best[0]
            planned = self._planned(design, problem.cluster, best.layout, best.estimate)
        except GlmplanError as error:
            return Evaluation(reason=str(error).splitlines()[0])
        over = _over_limits(planned, self._request)
        return Evaluation(reason=over) if over else Evaluation(planned=planned)

    def _planned(self, design: Design, cluster: Cluster, layout: ParallelLayout, estimate: StepEstimate) -> Planned:
        assert estimate.train_days is not None
        lost = self._checkpoint_fraction(design)
        days = estimate.train_days / (1.0 - lost)
        goals: dict[Goal, float] = {Goal.DAYS: days, Goal.GPUS: float(design.gpus)}
        if estimate.usd_per_hour is not None:
            extra = design.fabric.extra_usd_per_device_hour * design.gpus
            stored = design.storage.usd_per_hour if design.storage is not None else 0.0
            goals[Goal.USD] = (estimate.usd_per_hour + extra + stored) * days * 24.0
        elif Goal.USD in self._request.goals or self._request.limits.usd is not None:
            raise NoData(f"no price is known for cluster {cluster.name}")
        watts = None
        if Goal.ENERGY in self._request.goals or self._request.limits.energy_kwh is not None:
            watts = training_draw(cluster).watts
            goals[Goal.ENERGY] = energy_kwh(watts, days * DAY_S, self._request.pue)
        return Planned(goals=goals, layout=layout, estimate=estimate, watts=watts, checkpoint_fraction=lost)

    def _checkpoint_fraction(self, design: Design) -> float:
        """Share of the time that blocking checkpoints take: w / (w + interval), w the seconds of writing one."""
        storage, interval_s = design.storage, self._request.checkpoint_every
        if storage is None or interval_s is None:
            return 0.0
        bandwidth = load_storage(storage.name).write_bandwidth
        assert bandwidth is not None
        parameters = parameter_counts(load_architecture(self._request.model)).total
        saved_bytes = parameters * (SAVED_BYTES + STATE_BYTES[self._request.optimizer])
        write_s = saved_bytes / (bandwidth.value * storage.units)
        return write_s / (write_s + interval_s)


def cluster_with(name: str, fabric: FabricChoice) -> Cluster:
    """The cluster at its largest, with ``fabric`` in place of its own network.

    Raises InputError where the cluster has no network to replace.
    """
    if fabric.link == OWN_FABRIC and fabric.nics is None:
        return load_cluster(name)
    profile = load_cluster_profile(name)
    node = load_node(profile.node) if isinstance(profile.node, str) else profile.node
    if node.scale_out is None or profile.fabric is None:
        raise InputError(f"cluster {name} has no network between nodes to replace")
    changes: dict[str, object] = {}
    if fabric.link != OWN_FABRIC:
        changes |= {"link": fabric.link, "nic_bandwidth": None}
    if fabric.nics is not None:
        changes["nics"] = CountFact(value=fabric.nics, source="request", how="assumed")
    node = node.model_copy(update={"scale_out": node.scale_out.model_copy(update=changes)})
    network = profile.fabric
    if fabric.nics is not None and isinstance(network, FatTree) and network.rails is not None:
        rails = math.gcd(network.rails.value, fabric.nics)
        network = network.model_copy(update={"rails": CountFact(value=rails, source="request", how="assumed")})
    return cluster_of(profile.model_copy(update={"node": node, "fabric": network}))


def _over_limits(planned: Planned, request: CodesignRequest) -> str:
    """The first limit that the design exceeds, in words; empty when it keeps all."""
    for goal in Goal:
        limit = getattr(request.limits, goal.value)
        value = planned.goals.get(goal)
        if limit is not None and value is not None and value > limit:
            return f"over the limit of {goal.value}"
    return ""
