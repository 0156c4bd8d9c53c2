"""Bytes of optimizer state per parameter."""

from glmplan.workload.job import Optimizer

STATE_BYTES: dict[Optimizer, float] = {
    Optimizer.ADAMW: 8.0,  # two fp32 moments (Loshchilov 2019, arXiv:1711.05101, algorithm 2)
    Optimizer.SGD: 0.0,
}
"""Optimizer -> bytes of state per parameter, in fp32."""
MAIN_BYTES = 4.0
"""Of the fp32 copy of a parameter that an optimizer on the host updates."""
