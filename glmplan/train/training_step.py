"""One optimizer update on this rank: micro-batches forward and backward, clipping, the optimizer."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, distributed, nn
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import loss_parallel
from torch.nn import functional as F

from glmplan.layout.parallel_layout import ParallelLayout
from glmplan.plan.execution import Execution
from glmplan.train.batches import MicroBatch
from glmplan.train.decoder_model import Decoder
from glmplan.train.initialisation import materialise
from glmplan.train.mesh import RankGrid
from glmplan.train.optimizer import MAX_GRADIENT_NORM, make_optimizer, set_learning_rate
from glmplan.train.parallelize import parallelize, prepare_backward, settle_gradients
from glmplan.train.pipeline import LossFunction, Pipeline, StageModel, make_chunks, make_pipeline
from glmplan.workload.job import TrainingJob


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """What a rank trains: its part of the model, and the optimizer of that part."""

    model: nn.Module
    """A decoder; with a pipeline what this rank holds of it."""
    pipeline: Pipeline | None = None
    optimizer: torch.optim.Optimizer
    loss: LossFunction
    job: TrainingJob
    layout: ParallelLayout
    grid: RankGrid
    device: torch.device

    @property
    def parts(self) -> list[nn.Module]:
        """What is called: the decoder, or this rank's chunks of it."""
        return [self.model] if self.pipeline is None else list(self.pipeline.chunks.values())


def make_replica(
    job: TrainingJob,
    layout: ParallelLayout,
    grid: RankGrid,
    device: torch.device,
    *,
    seed: int,
    compile_backend: str | None = None,
    execution: Execution | None = None,
    fill: Callable[[Decoder, torch.device, int], None] = materialise,
) -> Replica:
    """Builds the model without storage, splits it, then gives this rank's part its initial values. Collective.

    ``fill`` gives storage on a device and the values of a seed (a dry run gives neither).
    """
    with torch.device("meta"):
        chunks = make_chunks(job, layout, grid.stage)
    for chunk in chunks.values():
        parallelize(chunk, job, layout, grid, compile_backend=compile_backend, execution=execution or Execution())
        fill(chunk, device, seed)
    loss: LossFunction = next_token_loss
    if compile_backend is not None and layout.tp == 1:
        loss = cast(LossFunction, torch.compile(next_token_loss, backend=compile_backend))
    model: nn.Module = chunks[grid.stage]
    pipeline = None
    if layout.pp > 1:
        model = StageModel(list(chunks.values()))
        pipeline = make_pipeline(chunks, job, layout, grid, device, loss)
    return Replica(
        model=model,
        pipeline=pipeline,
        optimizer=make_optimizer(model, job.optimizer),
        loss=loss,
        job=job,
        layout=layout,
        grid=grid,
        device=device,
    )


def next_token_loss(logits_BLV: Tensor, targets_BL: Tensor) -> Tensor:
    """Mean cross-entropy in nats, computed in fp32."""
    return F.cross_entropy(logits_BLV.flatten(0, 1).float(), targets_BL.flatten())


def train_step(replica: Replica, micro_batches: list[MicroBatch], *, learning_rate: float) -> tuple[Tensor, Tensor]:
    """Updates the weights once. Returns this data rank's mean loss and the global gradient norm before clipping.

    Collective over all ranks. Both results are fp32 scalars on the device.
    """
    with loss_parallel() if replica.layout.tp > 1 else contextlib.nullcontext():
        if replica.pipeline is None:
            loss = _accumulate(replica, micro_batches)
        else:
            loss = whole(replica.pipeline.step(micro_batches))
    settle_gradients(replica.model)
    loss, norm = _clip(replica, loss)
    set_learning_rate(replica.optimizer, learning_rate)
    replica.optimizer.step()
    replica.optimizer.zero_grad()
    return loss, norm


def _accumulate(replica: Replica, micro_batches: list[MicroBatch]) -> Tensor:
    """Forward and backward passes one after the other; returns the mean loss."""
    total = torch.zeros((), device=replica.device)
    for index, batch in enumerate(micro_batches):
        prepare_backward(replica.model, last_micro_batch=index == len(micro_batches) - 1)
        loss = replica.loss(replica.model(batch.tokens_BL), batch.targets_BL) / len(micro_batches)
        loss.backward()  # type: ignore[no-untyped-call]
        total += whole(loss.detach())
    return total


def _clip(replica: Replica, loss: Tensor) -> tuple[Tensor, Tensor]:
    """Scales gradients down to the largest norm allowed. Returns the loss and the whole model's norm before.

    Both are summed over the stages of a pipeline: only the last has a loss, and each the gradients of its layers.
    """
    parameters = list(replica.model.parameters())
    if replica.pipeline is None:
        return loss, whole(torch.nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT_NORM))
    replica.pipeline.sum_tied_gradient()
    counted = replica.pipeline.counted(replica.model)
    norm = whole(torch.nn.utils.get_total_norm([p.grad for p in counted if p.grad is not None]))
    sums = torch.stack([loss.float(), norm.float().square()])
    distributed.all_reduce(sums, group=replica.pipeline.mesh.get_group())
    norm = sums[1].sqrt()
    torch.nn.utils.clip_grads_with_norm_(parameters, MAX_GRADIENT_NORM, norm)
    return sums[0], norm


def whole(value: Tensor) -> Tensor:
    """A distributed tensor as a plain one that holds all of it. Collective when distributed."""
    return value.full_tensor() if isinstance(value, DTensor) else value
