"""Which matmuls a job quantises, and the bytes that quantising their operands moves. No device, no seconds."""

import math
from dataclasses import dataclass, replace

import numpy as np

from glmplan.architecture.parameters import parameter_counts
from glmplan.precision import BYTES_PER_ELEMENT, activation_precision, recipe_of
from glmplan.software.quantisation_kernels import QuantisationKernels, quantisation_kernels
from glmplan.software.stack import Kernels
from glmplan.workload.job import TrainingJob
from glmplan.workload.operation import Kept, Matmul, Number, Operation, Quantisation

PLAIN = ("router",)
"""Matmuls of a layer that no recipe quantises; so are attention's products, the embedding and the vocabulary
(Transformer Engine and torchao replace the linear layers; DeepSeek-V3, arXiv:2412.19437, section 3.3.1)."""
AFTER_NORM = ("qkv", "cross_qkv", "query_down", "query_up", "key_value_down", "key_value_up", "mlp_up")
"""Matmuls whose input a norm wrote."""
TRANSPOSE_BYTES = 2.0
"""To transpose an 8-bit element: a read and a write. Gathered tensors are transposed after they are gathered
(Transformer Engine, FP8 current scaling, "All-gather of columnwise tensors")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PassBytes:
    """Bytes of one forward and one backward pass."""

    forward: Number
    backward: Number


def job_quantisation(job: TrainingJob, kernels: Kernels) -> QuantisationKernels | None:
    """The kernels that quantise for ``job``; None in formats that need none.

    Raises NoData when the stack's library has none for the recipe.
    """
    recipe = recipe_of(job.precision, job.fp8_recipe, kernels.fp8_recipe)
    return None if recipe is None else quantisation_kernels(kernels.quantisation, recipe)


def quantised(operation: Operation, job: TrainingJob, kernels: Kernels) -> Operation:
    """``operation`` of a layer as ``job`` runs it: a quantised matmul also keeps its input in fewer bytes."""
    found = job_quantisation(job, kernels)
    if found is None or not isinstance(operation, Matmul) or operation.name in PLAIN:
        return operation
    share = 1.0 - min(1.0, found.plain_layers / job.architecture.total_layers)
    narrow = BYTES_PER_ELEMENT[job.precision] / BYTES_PER_ELEMENT[activation_precision(job.precision)]
    quantisation = Quantisation(
        kernels=found,
        after_norm=operation.name in AFTER_NORM,
        layers_share=share,
        repeated_share=1.0 if kernels.selective == "every_second_matmul" else 0.0,
        gathered_share=1.0 - share * (1.0 - narrow) if found.gathers_quantised else 1.0,
    )
    kept = operation.kept
    if found.keeps_quantised:
        # what attention writes it keeps for itself as well
        beside = 1.0 if operation.name.endswith("attention_output") else 0.0
        kept = tuple(_narrowed(item, operation, 1.0 - share * (1.0 - narrow - beside)) for item in kept)
    return replace(operation, quantisation=quantisation, kept=kept)


def _narrowed(kept: Kept, matmul: Matmul, share: float) -> Kept:
    """``kept`` in ``share`` of its bytes where it is the matmul's input."""
    is_input = math.isclose(float(kept.elements), float(matmul.tokens * matmul.depth * matmul.batch))
    return replace(kept, elements=kept.elements * share) if is_input else kept


def quantisation_bytes(matmul: Matmul, *, transposes: bool) -> PassBytes:
    """Bytes read and written to quantise the operands of ``matmul``, both orientations of each.

    ``transposes``: the device multiplies row-major 8-bit operands only. A tensor that is gathered is quantised in
    parts, one a rank, and transposed whole.
    """
    quantisation = matmul.quantisation
    if quantisation is None:
        return PassBytes(forward=0.0, backward=0.0)
    kernels = quantisation.kernels
    rows = matmul.tokens * matmul.batch
    inputs, gradients = rows * matmul.depth, rows * matmul.columns
    weights = matmul.depth * matmul.columns * matmul.batch
    of_input = kernels.normed_input if quantisation.after_norm else kernels.input

    def transposed(bytes_: float, share: Number) -> Number:
        again = np.where(np.asarray(share) < 1.0, TRANSPOSE_BYTES, bytes_) if bytes_ else 0.0
        return again if transposes else 0.0

    forward = of_input.forward * quantisation.input_share * inputs
    forward = forward + kernels.weight.forward * weights + kernels.product.forward * gradients
    backward = (of_input.backward * quantisation.input_share) * inputs
    backward = backward + transposed(of_input.transposed, quantisation.input_share) * inputs
    backward = backward + (kernels.weight.backward + transposed(kernels.weight.transposed, 1.0)) * weights
    backward = backward + kernels.gradient.backward * quantisation.gradient_share * gradients
    backward = backward + transposed(kernels.gradient.transposed, quantisation.gradient_share) * gradients
    backward = backward + kernels.product.backward * (inputs * len(matmul.parts) + weights)
    return PassBytes(forward=forward * quantisation.layers_share, backward=backward * quantisation.layers_share)


def gathered_parameter_bytes(job: TrainingJob, kernels: Kernels) -> float:
    """Mean bytes of a parameter while data-parallel ranks gather it: quantised ones travel quantised, if any do."""
    plain = BYTES_PER_ELEMENT[activation_precision(job.precision)]
    found = job_quantisation(job, kernels)
    if found is None or not found.gathers_parameters:
        return plain
    counts = parameter_counts(job.architecture)
    linear = counts.attention + counts.cross_attention + counts.dense_mlp
    linear += counts.routed_experts + counts.shared_experts
    share = linear / counts.total * (1.0 - min(1.0, found.plain_layers / job.architecture.total_layers))
    return plain - share * (plain - BYTES_PER_ELEMENT[job.precision])
