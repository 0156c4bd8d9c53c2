"""One optimizer update on this rank: micro-batches forward and backward, clipping, the optimizer."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
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
from glmplan.workload.job import TrainingJob

LossFunction = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """What a rank trains: its part of the model, and the optimizer of that part."""

    model: Decoder
    optimizer: torch.optim.Optimizer
    loss: LossFunction
    job: TrainingJob
    layout: ParallelLayout
    grid: RankGrid
    device: torch.device


def make_replica(
    job: TrainingJob,
    layout: ParallelLayout,
    grid: RankGrid,
    device: torch.device,
    *,
    seed: int,
    compile_backend: str | None = None,
    execution: Execution | None = None,
) -> Replica:
    """Builds the model without storage, splits it, then gives this rank's part its initial values. Collective."""
    with torch.device("meta"):
        model = Decoder(job.architecture, num_positions=job.seq_len)
    parallelize(model, job, layout, grid, compile_backend=compile_backend, execution=execution or Execution())
    materialise(model, device, seed)
    loss: LossFunction = next_token_loss
    if compile_backend is not None and layout.tp == 1:
        loss = cast(LossFunction, torch.compile(next_token_loss, backend=compile_backend))
    optimizer = make_optimizer(model, job.optimizer)
    return Replica(model=model, optimizer=optimizer, loss=loss, job=job, layout=layout, grid=grid, device=device)


def next_token_loss(logits_BLV: Tensor, targets_BL: Tensor) -> Tensor:
    """Mean cross-entropy in nats, computed in fp32."""
    return F.cross_entropy(logits_BLV.flatten(0, 1).float(), targets_BL.flatten())


def train_step(replica: Replica, micro_batches: list[MicroBatch], *, learning_rate: float) -> tuple[Tensor, Tensor]:
    """Updates the weights once. Returns this data rank's mean loss and the global gradient norm before clipping.

    Collective over all ranks. Both results are fp32 scalars on the device.
    """
    model = replica.model
    total = torch.zeros((), device=replica.device)
    for index, batch in enumerate(micro_batches):
        prepare_backward(model, last_micro_batch=index == len(micro_batches) - 1)
        with loss_parallel() if replica.layout.tp > 1 else contextlib.nullcontext():
            loss = replica.loss(model(batch.tokens_BL), batch.targets_BL) / len(micro_batches)
            loss.backward()  # type: ignore[no-untyped-call]
        total += whole(loss.detach())
    settle_gradients(model)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM)
    set_learning_rate(replica.optimizer, learning_rate)
    replica.optimizer.step()
    replica.optimizer.zero_grad()
    return total, whole(norm)


def whole(value: Tensor) -> Tensor:
    """A distributed tensor as a plain one that holds all of it. Collective when distributed."""
    return value.full_tensor() if isinstance(value, DTensor) else value
