"""What the next network card, more device memory or a wider scale-up domain would be worth, each planned anew."""

from collections.abc import Mapping
from dataclasses import dataclass

from glmplan.errors import InputError
from glmplan.plan.document import Option
from glmplan.search.changed_problem import changed_problem
from glmplan.search.figures import cluster_figures
from glmplan.search.planner import Problem, best_option
from glmplan.search.sensitivity import CAPACITY, Progress
from glmplan.search.setting import figure_text

NICS = "node.scale_out.nics"
DOMAIN = "node.scale_up_domain"
MORE_MEMORY = 1.25
RACK_DEVICES = 72
"""Devices of the largest scale-up domain that is sold (GB200 NVL72)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """One change of the machine and what the best layout makes of it."""

    name: str
    before: str
    after: str
    option: Option | None
    """The best layout with it; None where nothing fits."""
    gain_fraction: float | None
    """Of tokens per second over the best layout without it; None where either does not fit."""
    usd_per_device_hour: float | None
    """What it may add to the price of a device-hour before a token costs more; None where no price is known."""


def upgrades(problem: Problem, *, progress: Progress) -> tuple[Option | None, list[Upgrade]]:
    """The best layout of ``problem`` as it is (None where nothing fits), and every upgrade that its machine allows."""
    candidates = _candidates(problem)
    progress("upgrades", 0.0)
    base = _best(problem, {})
    found = []
    for index, (words, name, factor) in enumerate(candidates, start=1):
        progress("upgrades", index / (len(candidates) + 1))
        option = _best(problem, {name: factor})
        gain = None
        if base is not None and option is not None:
            gain = option.estimate.tokens_per_s / base.estimate.tokens_per_s - 1.0
        price = problem.cluster.usd_per_device_hour
        figure = cluster_figures(problem.cluster, problem.request.job.precision)[name]
        found.append(
            Upgrade(
                name=words,
                before=figure_text(figure.value, figure.unit),
                after=figure_text(figure.value * factor, figure.unit),
                option=option,
                gain_fraction=gain,
                usd_per_device_hour=None if price is None or gain is None else price.value * gain,
            )
        )
    return base, found


def _best(problem: Problem, factors: Mapping[str, float]) -> Option | None:
    return best_option(changed_problem(problem, factors=factors) if factors else problem)


def _candidates(problem: Problem) -> list[tuple[str, str, float]]:
    """Words, figure and factor of each upgrade that this machine can have."""
    cluster = problem.cluster
    found = []
    if cluster.machine.nics is not None and cluster.num_nodes > 1:
        found.append(("twice the network cards", NICS, 2.0))
    found.append((f"{MORE_MEMORY - 1:.0%} more device memory", CAPACITY, MORE_MEMORY))
    domain, per_node = cluster.machine.devices, cluster.machine.devices_per_node
    largest = min(RACK_DEVICES, problem.request.num_gpus)
    wider = [size for size in range(largest - largest % per_node, domain, -per_node) if _possible(problem, size)]
    sizes = {2 * domain} & set(wider) | set(wider[:1])
    return found + [(f"a scale-up domain of {size} devices", DOMAIN, size / domain) for size in sorted(sizes)]


def _possible(problem: Problem, domain: int) -> bool:
    """Whether the machine's switch can be widened to ``domain`` devices, and the fabric joins such domains."""
    machine = problem.cluster.machine
    if machine.scale_up is None:
        return False
    try:
        changed_problem(problem, factors={DOMAIN: domain / machine.devices})
    except InputError:
        return False
    return True
