"""Projections of one input that are matmuls of their own: query, key and value; gate and up."""

from dataclasses import replace

from glmplan.architecture.transformer import Architecture
from glmplan.software.stack import Kernels
from glmplan.workload.operation import Matmul, Operation


def separated(operation: Operation, arch: Architecture, kernels: Kernels) -> Operation:
    """``operation`` as the products that the stack launches for it; with one kernel for all it stays as it is."""
    if not kernels.separate_projections or not isinstance(operation, Matmul):
        return operation
    name = operation.name.removeprefix("cross_")
    if name == "qkv":
        width = arch.heads + 2.0 * arch.kv_heads
        return replace(operation, parts=(arch.heads / width, arch.kv_heads / width, arch.kv_heads / width))
    if name.endswith("_up") and name.removesuffix("_up") in ("mlp", "expert", "shared_expert") and arch.gated_mlp:
        return replace(operation, parts=(0.5, 0.5))
    return operation
