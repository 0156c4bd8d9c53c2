"""A rank's stage of the pipeline: its chunks of the decoder, and torch's schedules over them.

Shape suffixes as in ``decoder_model``.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.pipelining import (
    PipelineStage,
    Schedule1F1B,
    ScheduleGPipe,
    ScheduleInterleaved1F1B,
    ScheduleInterleavedZeroBubble,
)
from torch.distributed.pipelining.schedules import PipelineScheduleMulti, PipelineScheduleSingle
from torch.distributed.pipelining.stage import _PipelineStageBase
from torch.distributed.tensor import DTensor

from glmplan.layout.parallel_layout import ParallelLayout, Schedule
from glmplan.precision import Precision
from glmplan.train.batches import MicroBatch
from glmplan.train.decoder_model import Decoder
from glmplan.train.mesh import RankGrid
from glmplan.train.pipeline_stages import chunk_layers, held_chunks
from glmplan.workload.job import TrainingJob

LossFunction = Callable[[Tensor, Tensor], Tensor]


class StageModel(nn.Module):
    """All that a rank of a pipeline trains, under the names it has in the whole decoder. It is never called."""

    def __init__(self, chunks: Sequence[Decoder]) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for chunk in chunks:
            for name, part in chunk.named_children():
                if name != "layers":
                    self.add_module(name, part)
            for name, layer in chunk.layers.named_children():
                self.layers.add_module(name, layer)


class _LeanStage(PipelineStage):
    """Holds what it receives only as long as the micro-batch needs it: torch's own holds all of a step for good."""

    def __init__(self, *arguments: Any, boundary: Tensor, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._boundary = boundary

    def get_fwd_recv_ops(self, fwd_chunk_id: int) -> list[distributed.P2POp]:
        self._refill(self.args_recv_info[fwd_chunk_id])
        return super().get_fwd_recv_ops(fwd_chunk_id)

    def get_bwd_recv_ops(self, bwd_chunk_id: int) -> list[distributed.P2POp]:
        if self.has_backward and not self.is_last:
            self._refill(self.grad_recv_info[bwd_chunk_id])
        return super().get_bwd_recv_ops(bwd_chunk_id)

    def forward_one_chunk(self, fwd_chunk_id: int, *arguments: Any, **options: Any) -> Any:
        output = super().forward_one_chunk(fwd_chunk_id, *arguments, **options)
        _drop(self.args_recv_info[fwd_chunk_id])
        return output

    def backward_one_chunk(self, bwd_chunk_id: int, *arguments: Any, **options: Any) -> None:
        super().backward_one_chunk(bwd_chunk_id, *arguments, **options)
        if not self.is_last:
            _drop(self.grad_recv_info[bwd_chunk_id])

    def _refill(self, arrivals: Iterable[Any]) -> None:
        for arrival in arrivals:
            if not arrival.is_root_arg and arrival.buffer is None:
                arrival.buffer = torch.empty_like(self._boundary, device=self.device, requires_grad=False)


def _drop(arrivals: Iterable[Any]) -> None:
    for arrival in arrivals:
        if not arrival.is_root_arg:
            arrival.buffer = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """This rank's chunks, by their number in the forward pass, and the schedule that runs them."""

    chunks: dict[int, Decoder]
    num_chunks: int
    mesh: DeviceMesh
    schedule: PipelineScheduleSingle | PipelineScheduleMulti
    boundary: Tensor
    """On the meta device: what stages send each other for one micro-batch."""
    tied: nn.Parameter | None
    """Of a model whose head is its embedding: that matrix, of which both end stages have a copy."""

    @property
    def opens(self) -> bool:
        """Whether this rank embeds tokens."""
        return 0 in self.chunks

    @property
    def closes(self) -> bool:
        """Whether this rank computes the loss."""
        return self.num_chunks - 1 in self.chunks

    def step(self, micro_batches: list[MicroBatch]) -> Tensor:
        """Forward and backward passes of one step. Returns the mean loss on the closing rank, 0 on the others."""
        inputs = (torch.cat([batch.tokens_BL for batch in micro_batches]),) if self.opens else ()
        if not self.closes:
            self.schedule.step(*inputs, return_outputs=False)
            return torch.zeros((), device=micro_batches[0].tokens_BL.device)
        losses: list[Tensor] = []
        targets = torch.cat([batch.targets_BL for batch in micro_batches])
        self.schedule.step(*inputs, target=targets, losses=losses, return_outputs=False)
        return torch.stack([loss.detach() for loss in losses]).mean()

    def sum_tied_gradient(self) -> None:
        """Adds up the gradients of the two copies, so that they stay equal. Collective over the end stages."""
        if self.tied is None or self.tied.grad is None:
            return
        gradient = self.tied.grad
        own = gradient.to_local() if isinstance(gradient, DTensor) else gradient
        others, group = torch.empty_like(own), self.mesh.get_group()
        peer = self.mesh.size() - 1 if self.opens else 0
        sends = distributed.P2POp(distributed.isend, own, group=group, group_peer=peer)
        receives = distributed.P2POp(distributed.irecv, others, group=group, group_peer=peer)
        for work in distributed.batch_isend_irecv([sends, receives]):
            work.wait()
        own += others

    def counted(self, model: nn.Module) -> list[nn.Parameter]:
        """The parameters of this rank's ``model`` that count in the norm of all gradients: one copy of each."""
        copy = self.tied if self.closes else None
        return [parameter for parameter in model.parameters() if parameter is not copy]

    def forward(self, tokens_BL: Tensor) -> Tensor | None:
        """Logits of one micro-batch on the closing rank, None on the others. Without gradients. Collective."""
        group, pp = self.mesh.get_group(), self.mesh.size()
        stage, output = self.mesh.get_local_rank(), None
        for number, chunk in self.chunks.items():
            if number == 0:
                arrived = tokens_BL
            else:
                arrived = torch.empty_like(self.boundary, device=tokens_BL.device, requires_grad=False)
                distributed.recv(arrived, group=group, group_src=(stage - 1) % pp)
            output = chunk(arrived)
            if number < self.num_chunks - 1:
                distributed.send(output, group=group, group_dst=(stage + 1) % pp)
                output = None
        return output


def make_chunks(job: TrainingJob, layout: ParallelLayout, stage: int) -> dict[int, Decoder]:
    """The chunks of ``stage``, whole and on the current device."""
    layers = chunk_layers(layout, job.architecture.layers)
    return {
        number: Decoder(
            job.architecture,
            num_positions=job.seq_len,
            held=layers[number],
            opens=number == 0,
            closes=number == len(layers) - 1,
        )
        for number in held_chunks(layout, stage)
    }


def make_pipeline(
    chunks: dict[int, Decoder],
    job: TrainingJob,
    layout: ParallelLayout,
    grid: RankGrid,
    device: torch.device,
    loss: LossFunction,
) -> Pipeline:
    """The pipeline over chunks that were split, sharded and filled. Collective over the stages."""
    num_chunks, mesh = layout.pp * layout.virtual_stages, grid.pipeline
    length = job.seq_len // layout.tp if layout.sequence_parallel else job.seq_len
    dtype = torch.bfloat16 if job.precision is Precision.BF16 else torch.float32
    hidden_BLD = torch.empty(
        layout.micro_batch, length, job.architecture.hidden, dtype=dtype, device="meta", requires_grad=True
    )
    tokens_BL = torch.empty(layout.micro_batch, job.seq_len, dtype=torch.int64, device="meta")
    # A collective on the whole group first: NCCL makes its communicator then, which mixed sends need.
    distributed.all_reduce(torch.zeros((), device=device), group=mesh.get_group())
    stages: list[_PipelineStageBase] = [
        # With the shapes given, no trial pass is run to find them. What the last chunk puts out goes nowhere.
        _LeanStage(
            chunk,
            number,
            num_chunks,
            device,
            boundary=hidden_BLD,
            input_args=tokens_BL if number == 0 else hidden_BLD,
            output_args=hidden_BLD,
            group=mesh.get_group(),
        )
        for number, chunk in chunks.items()
    ]
    schedule = _schedule(stages, layout, loss)
    copies = [chunk.embedding for chunk in chunks.values() if chunk.embedding is not None]
    return Pipeline(
        chunks=chunks,
        num_chunks=num_chunks,
        mesh=mesh,
        schedule=schedule,
        boundary=hidden_BLD,
        tied=cast(nn.Parameter, copies[0].weight) if copies and job.architecture.tied_embeddings else None,
    )


def _schedule(
    stages: list[_PipelineStageBase], layout: ParallelLayout, loss: LossFunction
) -> PipelineScheduleSingle | PipelineScheduleMulti:
    micro_batches = layout.grad_accum
    if layout.schedule is Schedule.INTERLEAVED:
        return ScheduleInterleaved1F1B(stages, micro_batches, loss_fn=loss)
    if layout.schedule is Schedule.ZERO_BUBBLE_H1 and micro_batches >= layout.pp:
        return ScheduleInterleavedZeroBubble(stages, micro_batches, loss_fn=loss)
    if layout.schedule is Schedule.ONE_F_ONE_B and micro_batches >= layout.pp:
        return Schedule1F1B(stages[0], micro_batches, loss_fn=loss)
    # With fewer micro-batches than stages 1F1B runs all forward passes before the first backward pass as well.
    return ScheduleGPipe(stages[0], micro_batches, loss_fn=loss)
