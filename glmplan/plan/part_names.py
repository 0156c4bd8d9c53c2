"""The parts of a step's time and of a rank's memory, in words."""

from glmplan.cost.estimate import Grade

TIME_NAMES = {
    "forward_s": "the forward pass",
    "backward_s": "the backward pass",
    "recompute_s": "recomputation",
    "tensor_parallel_s": "exposed tensor-parallel communication",
    "context_parallel_s": "exposed context-parallel communication",
    "expert_parallel_s": "exposed expert-parallel communication",
    "pipeline_transfer_s": "transfers between pipeline stages",
    "pipeline_bubble_s": "the pipeline bubble",
    "data_parallel_s": "exposed gradient and parameter communication",
    "straggler_s": "waiting for the slowest device",
    "offload_s": "waiting for copies between device and host",
    "optimizer_s": "the optimizer step",
    "other_s": "the fixed cost of a step",
}
MEMORY_NAMES = {
    "parameters_bytes": "parameters",
    "main_parameters_bytes": "fp32 main parameters",
    "gradients_bytes": "gradients",
    "optimizer_bytes": "optimizer state",
    "gathered_parameters_bytes": "gathered parameters",
    "activations_bytes": "activations",
    "loss_bytes": "logits and loss",
    "workspace_bytes": "workspace",
    "reserve_bytes": "reserve of the stack",
}
GRADE_SENTENCES = {
    Grade.CALIBRATED: "This device and this stack were measured, so the prediction is calibrated.",
    Grade.TRANSFERRED: "Kernels of this device or of its generation were measured, this stack on it was not: the"
    " prediction is transferred.",
    Grade.DATASHEET: "Neither this device's generation nor this stack on it was measured: the prediction rests on the"
    " datasheet.",
}


def largest_parts(values: dict[str, float], names: dict[str, str], whole: float) -> list[str]:
    """The parts of at least a fiftieth of ``whole``, the largest first, each with its share."""
    largest = sorted(values.items(), key=lambda item: -item[1])
    return [f"{names[name]} {value / whole:.0%}" for name, value in largest if value >= 0.02 * whole]
