"""Measures what one eager operator costs the host when there is next to nothing to compute."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from glmplan.probe.device_under_test import synchronise
from glmplan.probe.ranks import Rank
from glmplan.probe.section import Row
from glmplan.probe.timing import time_call

WIDTH = 16
"""Of the tiny tensors: a power that any kernel accepts, with work far below the cost of calling it."""
CHAIN_LAYERS = 4
ELEMENTWISE_OPS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCase:
    """One way of keeping the host busy."""

    name: str
    """``elementwise``: a chain of multiplications without gradients; ``elementwise_backward``: the same, forward and
    backward; ``module``: linear, norm and activation with residuals, forward and backward, as in a training step."""


def host_cases() -> list[HostCase]:
    """The module first: the planner uses it."""
    return [HostCase(name=name) for name in ("module", "elementwise", "elementwise_backward")]


def measure_host(case: HostCase, rank: Rank, budget_s: float) -> Row:
    """Seconds per operator: the time of the whole chain over the operators that it dispatches, views left out."""
    call = {"module": _module_step, "elementwise": _elementwise, "elementwise_backward": _elementwise_step}[case.name](
        rank.device
    )
    operators = count_operators(call)
    timing = time_call(call, lambda: synchronise(rank.device), budget_s)
    return Row(
        columns={"chain": case.name, "operators": operators},
        timing=type(timing)(
            seconds=timing.seconds / operators, spread_fraction=timing.spread_fraction, samples=timing.samples
        ),
    )


def _module_step(device: torch.device) -> Callable[[], object]:
    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = torch.nn.LayerNorm(WIDTH)
            self.up = torch.nn.Linear(WIDTH, 2 * WIDTH, bias=False)
            self.down = torch.nn.Linear(2 * WIDTH, WIDTH, bias=False)

        def forward(self, x_BD: torch.Tensor) -> torch.Tensor:
            hidden_BE = torch.nn.functional.silu(self.up(self.norm(x_BD)))
            out_BD: torch.Tensor = x_BD + self.down(hidden_BE)
            return out_BD

    module = torch.nn.Sequential(*(Block() for _ in range(CHAIN_LAYERS))).to(device)
    parameters = list(module.parameters())
    x_BD = torch.ones(WIDTH, WIDTH, device=device)

    def step() -> object:
        return torch.autograd.grad(module(x_BD).sum(), parameters)

    return step


def _elementwise(device: torch.device) -> Callable[[], object]:
    x = torch.ones(WIDTH, device=device)

    def chain() -> torch.Tensor:
        y = x
        with torch.no_grad():
            for _ in range(ELEMENTWISE_OPS):
                y = y * x
        return y

    return chain


def _elementwise_step(device: torch.device) -> Callable[[], object]:
    x = torch.ones(WIDTH, device=device, requires_grad=True)
    factor = torch.ones(WIDTH, device=device)

    def step() -> object:
        y = x
        for _ in range(ELEMENTWISE_OPS):
            y = y * factor
        return torch.autograd.grad(y.sum(), x)

    return step


def count_operators(call: Callable[[], object]) -> int:
    """How many operators ``call`` dispatches, its backward included; views and detaching compute nothing."""
    counter = _Counter()
    with counter:
        call()
    return counter.count


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func.is_view:
            self.count += 1
        return func(*args, **(kwargs or {}))
