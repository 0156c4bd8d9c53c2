"""Applies a parallel layout to a single-device decoder, always in this order: tensor, recompute, compile, shard.

Tensor parallelism goes first because its plan matches module names; sharding goes last because FSDP2 takes over what
it is given. Initial values come afterwards (``initialisation``).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_module, distribute_tensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    PrepareModuleInput,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)
from torch.utils.checkpoint import checkpoint

from glmplan.layout.parallel_layout import ParallelLayout, Recompute, Sharding
from glmplan.plan.execution import Execution
from glmplan.precision import Precision
from glmplan.train.decoder_model import AttentionCore, Block, Decoder
from glmplan.train.mesh import RankGrid
from glmplan.train.pipeline_stages import recomputed_layers
from glmplan.workload.job import TrainingJob

SEQUENCE_AXIS = 1
HEADS_AXIS = 2


def parallelize(
    model: Decoder,
    job: TrainingJob,
    layout: ParallelLayout,
    grid: RankGrid,
    *,
    compile_backend: str | None = None,
    execution: Execution | None = None,
) -> None:
    """Turns ``model`` (on the meta device; with a pipeline one chunk of it) into this rank's part of it, in place.

    ``compile_backend`` is a name that ``torch.compile`` knows, or None for eager execution.
    """
    if layout.tp > 1:
        _split_tensors(model, grid.tensor, sequence_parallel=layout.sequence_parallel)
    _recompute(model, layout, grid.stage)
    if compile_backend is not None:
        for layer in model.layers:
            layer.compile(backend=compile_backend)
    if layout.dp > 1 or job.precision is Precision.BF16:
        _shard(model, job.precision, layout, grid, execution or Execution())


class _Replicated(ParallelStyle):
    """Holds a module's parameters on every tensor-parallel rank as DTensors; activations stay plain tensors.

    Without it a model has plain and distributed parameters side by side, which clipping and the optimizer refuse.
    """

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        def distribute(_: str, part: nn.Module, mesh: DeviceMesh) -> None:
            for name, parameter in part.named_parameters(recurse=False):
                part.register_parameter(name, nn.Parameter(distribute_tensor(parameter, mesh, [Replicate()])))

        def enter(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(DTensor.from_local(value, device_mesh, [Replicate()], run_check=False) for value in inputs)

        def leave(_: nn.Module, inputs: tuple[Any, ...], output: DTensor) -> torch.Tensor:
            return output.to_local()

        distribute_module(module, device_mesh, distribute)
        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave)
        return module


def _split_tensors(model: Decoder, mesh: DeviceMesh, *, sequence_parallel: bool) -> None:
    """Megatron's split (Shoeybi 2019, arXiv:1909.08053, section 3), with sequence parallelism where asked for.

    The head's logits stay split over the vocabulary, as DTensors: the loss is computed on the parts.
    """
    stream = Shard(SEQUENCE_AXIS) if sequence_parallel else Replicate()
    norm: ParallelStyle = SequenceParallel(sequence_dim=SEQUENCE_AXIS, use_local_output=True)
    if not sequence_parallel:
        norm = _Replicated()
    lookup = RowwiseParallel(input_layouts=Replicate(), output_layouts=stream)
    outer: dict[str, ParallelStyle] = {
        name: lookup for name in ("embedding", "position_embedding") if getattr(model, name) is not None
    }
    if model.head is not None:
        outer["head"] = ColwiseParallel(input_layouts=stream, output_layouts=Shard(-1), use_local_output=False)
    outer |= {name: norm for name in ("embedding_norm", "norm") if getattr(model, name) is not None}
    parallelize_module(model, mesh, outer)
    model.tie_weights()
    for layer in model.layers:
        assert isinstance(layer, Block)
        parallelize_module(layer, mesh, _block_plan(layer, stream, norm, sequence_parallel=sequence_parallel))


def _block_plan(
    block: Block, stream: Shard | Replicate, norm: ParallelStyle, *, sequence_parallel: bool
) -> dict[str, ParallelStyle]:
    plan: dict[str, ParallelStyle] = {
        "attention.query": ColwiseParallel(),
        "attention.key": ColwiseParallel(),
        "attention.value": ColwiseParallel(),
        "attention.output": RowwiseParallel(output_layouts=stream),
        "mlp.up": ColwiseParallel(),
        "mlp.down": RowwiseParallel(output_layouts=stream),
    }
    if block.mlp.gate is not None:
        plan["mlp.gate"] = ColwiseParallel()
    names = ("attention_norm", "attention_post_norm", "mlp_norm", "mlp_post_norm")
    plan |= {name: norm for name in names if getattr(block, name) is not None}
    if block.attention.query_norm is not None:
        # The norm works on this rank's heads, so its weight's gradient must be summed over ranks.
        per_head = SequenceParallel(sequence_dim=HEADS_AXIS, use_local_output=True)
        plan |= {"attention.query_norm": per_head, "attention.key_norm": per_head}
    if sequence_parallel:
        gathered, split = Replicate(), Shard(SEQUENCE_AXIS)
        plan["attention"] = PrepareModuleInput(
            input_layouts=(split, None, None), desired_input_layouts=(gathered, None, None)
        )
        plan["mlp"] = PrepareModuleInput(input_layouts=(split,), desired_input_layouts=(gathered,))
    return plan


def _recompute(model: Decoder, layout: ParallelLayout, stage: int) -> None:
    repeated = recomputed_layers(layout, model.arch.layers, stage)
    for name, layer in model.layers.named_children():
        if int(name) in repeated:
            layer.forward = _recomputed(layer.forward)
    if layout.recompute is Recompute.SELECTIVE:
        for module in model.modules():
            if isinstance(module, AttentionCore):
                module.forward = _recomputed(module.forward)  # type: ignore[method-assign]


def _recomputed(forward: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def run(*inputs: Any) -> torch.Tensor:
        # Nothing here draws random numbers, so their state need not be kept.
        result = checkpoint(forward, *inputs, use_reentrant=False, preserve_rng_state=False)
        assert isinstance(result, torch.Tensor)
        return result

    return run


def _shard(model: Decoder, precision: Precision, layout: ParallelLayout, grid: RankGrid, execution: Execution) -> None:
    """FSDP2 by layer. Replication is a shard group of one: parameters are copied for use, gradients all-reduced."""
    if precision is Precision.BF16:
        # Inputs are not cast: token numbers come in, and the rotary table must stay fp32.
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)
    else:
        policy = MixedPrecisionPolicy()
    reshard = execution.reshard_after_forward
    if reshard is None:
        reshard = layout.sharding not in (Sharding.ZERO1, Sharding.ZERO2)
    # A pipeline gathers once a step: its micro-batches go forward and back in between one another.
    reshard = reshard and layout.pp == 1
    shard = partial(fully_shard, mesh=grid.data, mp_policy=policy)
    if not model.arch.tied_embeddings:
        embeddings = [part for part in (model.embedding, model.position_embedding) if part is not None]
        if embeddings:
            shard(embeddings, reshard_after_forward=reshard)
        # The head's backward comes right after its forward, so it stays gathered in between.
        last = [part for part in (model.norm, model.head) if part is not None]
        if last:
            shard(last, reshard_after_forward=False)
    layers = list(model.layers)
    buckets = [
        layers[at : at + execution.layers_per_bucket] for at in range(0, len(layers), execution.layers_per_bucket)
    ]
    for bucket in buckets:
        shard(bucket, reshard_after_forward=reshard)
    shard(model, reshard_after_forward=False)
    if execution.prefetch_layers:
        _prefetch(buckets, execution.prefetch_layers)


def _prefetch(buckets: list[list[nn.Module]], ahead: int) -> None:
    """Gathers ``ahead`` buckets before they are needed, on the way forward and on the way back."""
    units = [cast(FSDPModule, bucket[0]) for bucket in buckets]
    for index, unit in enumerate(units):
        unit.set_modules_to_forward_prefetch(units[index + 1 : index + 1 + ahead])
        # backward hooks belong to the bucket's last module too: the state of a bucket is shared
        unit.set_modules_to_backward_prefetch(units[max(0, index - ahead) : index][::-1])


def prepare_backward(model: nn.Module, *, last_micro_batch: bool) -> None:
    """Tells FSDP2 whether this backward pass ends the step: only then are replicas' gradients all-reduced."""
    if isinstance(model, FSDPModule):
        model.set_requires_all_reduce(last_micro_batch)


def release_gathered(model: nn.Module) -> None:
    """Frees parameters that forward passes without a backward pass left gathered."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def settle_gradients(model: nn.Module) -> None:
    """Brings gradients that tensor parallelism left as partial sums or copies into their parameter's placement.

    FSDP2 does so itself; without it, clipping and the optimizer would each reduce them again.
    """
    for parameter in model.parameters():
        gradient = parameter.grad
        if isinstance(parameter, DTensor) and isinstance(gradient, DTensor):
            assert not any(isinstance(placement, Partial) for placement in parameter.placements)
            if gradient.placements != parameter.placements:
                parameter.grad = gradient.redistribute(placements=parameter.placements)
