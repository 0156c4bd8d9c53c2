"""A stack as a record's run used it: the kernels that the record names instead of those of the preset."""

from collections.abc import Hashable
from typing import Any

from glmplan.plan.measurement import Measurement
from glmplan.software.stack import HOST_SHARE, Stack
from glmplan.validation.case_fields import Unusable
from glmplan.validation.case_rules import taken

STATED_KERNELS = "stated_kernels.yaml"
CUDA_GRAPHS = tuple(HOST_SHARE)


def as_run(stack: Stack, measurement: Measurement) -> Stack:
    """``stack`` with what the record says about its kernels: the CUDA-graph class, asynchronous
    tensor parallelism, the experts' dispatch.

    Raises Unusable for a CUDA-graph class that is not known.
    """
    kernels = _values("loss", measurement)
    stated = measurement.cuda_graph
    if stated is not None and stated not in CUDA_GRAPHS:
        raise Unusable(f"cuda_graph: expected one of {', '.join(CUDA_GRAPHS)}; got {stated!r}")
    if stated is not None and stated != stack.kernels.cuda_graph:
        kernels["cuda_graph"] = stated
    if measurement.layout.get("async_tp") is not None:
        kernels["async_tp"] = bool(measurement.layout["async_tp"])
    if not measurement.model.get("moe"):
        return _with_kernels(stack, kernels)
    kernels = _values("kernels", measurement) | kernels
    kernels = {name: tuple(value) if isinstance(value, list) else value for name, value in kernels.items()}
    experts = _values("experts", measurement)
    if experts:
        kernels["experts"] = stack.kernels.experts.model_copy(update=experts)
    stack = _with_kernels(stack, kernels)
    memory = _values("memory", measurement)
    return stack.model_copy(update={"memory": stack.memory.model_copy(update=memory)}) if memory else stack


def stated_key(measurement: Measurement) -> Hashable:
    """Equal for records whose runs used a stack in the same way."""
    stated = measurement.cuda_graph, measurement.layout.get("async_tp"), *_values("loss", measurement)
    if not measurement.model.get("moe"):
        return stated
    values = [*_values("kernels", measurement).items(), *_values("experts", measurement).items()]
    return *stated, repr(sorted([*values, *_values("memory", measurement).items()], key=repr))


def _with_kernels(stack: Stack, update: dict[str, Any]) -> Stack:
    return stack.model_copy(update={"kernels": stack.kernels.model_copy(update=update)}) if update else stack


def _values(topic: str, measurement: Measurement) -> dict[str, Any]:
    return {name: rule.value for name, rule in taken(STATED_KERNELS, topic, measurement).items()}
