"""A first opinion of every design in microseconds: model FLOPs over peak, states over memory, price and power.

It orders the designs to try first, and is corrected by what was evaluated (``codesign_surrogate``). No figure of it is
reported: those come from the full search.
"""

from dataclasses import dataclass
from functools import cache

from glmplan.architecture.catalog import load_architecture
from glmplan.architecture.model_flops import model_flops_per_token
from glmplan.architecture.parameters import parameter_counts
from glmplan.errors import GlmplanError
from glmplan.hardware.cluster import Cluster
from glmplan.search.codesign_evaluation import DAY_S, cluster_with
from glmplan.search.codesign_request import OWN_FABRIC, CodesignRequest, FabricChoice, Goal
from glmplan.search.codesign_space import CodesignSpace, Index
from glmplan.search.pareto_front import front_rows
from glmplan.search.run_energy import energy_kwh, training_draw
from glmplan.workload.optimizer_state import STATE_BYTES

LEAST_BYTES = 4.0
"""Of a parameter and its gradient in 16 bit, the least that training keeps beside the optimizer's state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """Days at peak speed, and what a day costs."""

    days: float
    usd_per_day: float
    kwh_per_day: float
    gpus: int

    def goals(self, requested: tuple[Goal, ...], days: float | None = None) -> list[float]:
        """The goals, with other ``days`` where given."""
        days = self.days if days is None else days
        values = {
            Goal.DAYS: days,
            Goal.USD: days * self.usd_per_day,
            Goal.ENERGY: days * self.kwh_per_day,
            Goal.GPUS: float(self.gpus),
        }
        return [values[goal] for goal in requested]


class Screening:
    """Opinions of one request."""

    def __init__(self, request: CodesignRequest) -> None:
        self._request, self._space = request, CodesignSpace(request=request)
        architecture = load_architecture(request.model)
        self._flops = model_flops_per_token(architecture, request.seq_len).total * request.tokens
        self._state_bytes = parameter_counts(architecture).total * (LEAST_BYTES + STATE_BYTES[request.optimizer])
        self._sized = cache(_sized)

    def opinion(self, index: Index) -> Opinion | None:
        """The opinion of a design; None where it cannot work."""
        design, request = self._space.design(index), self._request
        try:
            cluster = self._sized(design.cluster, design.gpus)
            peak = cluster.device.peak_flops_per_s(design.precision)
            watts = training_draw(cluster).watts if Goal.ENERGY in request.goals else 0.0
        except GlmplanError:
            return None
        price = cluster.usd_per_device_hour
        if price is None and Goal.USD in request.goals:
            return None
        if self._state_bytes / design.gpus > cluster.device.memory_capacity_bytes:
            return None
        per_hour = (0.0 if price is None else price.value) + design.fabric.extra_usd_per_device_hour
        stored = 0.0 if design.storage is None else design.storage.usd_per_hour
        return Opinion(
            days=self._flops / (peak * design.gpus) / DAY_S,
            usd_per_day=24.0 * (per_hour * design.gpus + stored),
            kwh_per_day=energy_kwh(watts, DAY_S, request.pue),
            gpus=design.gpus,
        )

    def promising(self) -> list[Index]:
        """Designs to try first: the best in each goal, then the front of the opinions, spread over its length."""
        goals = self._request.goals
        seen = [(index, opinion) for index in _told_apart(self._space) if (opinion := self.opinion(index)) is not None]
        if not seen:
            return []
        values = [opinion.goals(goals) for _, opinion in seen]
        front = sorted(front_rows(values), key=lambda row: (values[row], row))
        best = [min(front, key=lambda row: (values[row][column], values[row], row)) for column in range(len(goals))]
        return [seen[row][0] for row in dict.fromkeys(best + _spread(front))]


def _sized(name: str, gpus: int) -> Cluster:
    return cluster_with(name, FabricChoice(link=OWN_FABRIC)).sized(gpus)


def _told_apart(space: CodesignSpace) -> list[Index]:
    """One position for each combination that the opinion tells apart: first network and stack, largest batch."""
    clusters, _, gpus, precisions, batches, _, _ = space.lengths
    return [
        (cluster, 0, count, precision, batches - 1, 0, 0)
        for cluster in range(clusters)
        for count in range(gpus)
        for precision in range(precisions)
    ]


def _spread(rows: list[int]) -> list[int]:
    """The same rows, ends first, then halving the gaps: any first part of the list covers the whole."""
    if len(rows) <= 2:
        return rows
    order, gaps = [0, len(rows) - 1], [(0, len(rows) - 1)]
    while gaps:
        low, high = gaps.pop(0)
        middle = (low + high) // 2
        if middle not in (low, high):
            order.append(middle)
            gaps += [(low, middle), (middle, high)]
    return [rows[at] for at in order]
