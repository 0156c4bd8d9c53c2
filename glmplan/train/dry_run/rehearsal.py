"""The real trainer's step without storage and without peers, counted: FLOPs, collectives, peak memory of one rank."""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.device_mesh import DeviceMesh

from glmplan.errors import InputError
from glmplan.layout.parallel_layout import ParallelLayout
from glmplan.plan.execution import Execution
from glmplan.train.batches import MicroBatch
from glmplan.train.capabilities import check_supported
from glmplan.train.decoder_model import Decoder
from glmplan.train.dry_run.collectives import Call, CollectiveLog, Tally
from glmplan.train.dry_run.counts import CollectiveCount, StepCounts
from glmplan.train.dry_run.fake_rank import fake_rank
from glmplan.train.dry_run.flops import FlopLog
from glmplan.train.dry_run.gpu_kernels import gpu_kernels
from glmplan.train.dry_run.memory import MemoryLog, Use
from glmplan.train.dry_run.phase import Clock, Phase
from glmplan.train.mesh import RankGrid, make_rank_grid
from glmplan.train.training_step import Replica, make_replica, train_step
from glmplan.workload.job import TrainingJob

CPU = torch.device("cpu")
_LEARNING_RATE = 1e-3


@dataclass(slots=True)
class _Rehearsed:
    """A replica whose step tells the clock where it is."""

    replica: Replica
    clock: Clock
    batches: list[MicroBatch]
    memory: MemoryLog | None = None

    def step(self) -> None:
        self.clock.phase = Phase.FORWARD
        train_step(self.replica, self.batches, learning_rate=_LEARNING_RATE)


def rehearse(
    job: TrainingJob, layout: ParallelLayout, *, rank: int = 0, on_gpu: bool, execution: Execution | None = None
) -> StepCounts:
    """What ``rank`` of ``layout.world_size`` ranks does in one step. With ``on_gpu`` by the kernels of a GPU.

    Raises InputError when the trainer does not run the layout, or there is no such rank.
    """
    check_supported(job, layout)
    if layout.pp > 1:
        raise InputError(f"layout.pp: the dry run does not run pipelines (pp {layout.pp}) yet; use a layout with pp 1")
    if not 0 <= rank < layout.world_size:
        raise InputError(f"rank: the plan has ranks 0 to {layout.world_size - 1}; got {rank}")
    kernels = gpu_kernels() if on_gpu else contextlib.nullcontext()
    with warnings.catch_warnings(), fake_rank(rank, layout.world_size) as fake:
        warnings.simplefilter("ignore")
        rehearsed, grid = _prepare(job, layout, fake, execution)
        with fake, kernels:
            rehearsed.step()  # makes the optimizer's state and FSDP2's buffers, which later steps find
            flops, collectives = FlopLog(), CollectiveLog(rehearsed.clock)
            with flops, collectives:
                memory = _memory_of_step(rehearsed)
        axes = _axes(grid)
    return StepCounts(
        flops=sum(flops.by_operator.values()),
        flops_by_operator=flops.by_operator,
        collectives=tuple(_collective_counts(collectives.tallies, axes)),
        peak_memory_bytes=float(sum(memory.peak.values())),
        memory={use.value: float(memory.peak.get(use, 0)) for use in Use},
    )


def _prepare(
    job: TrainingJob, layout: ParallelLayout, fake: FakeTensorMode, execution: Execution | None
) -> tuple[_Rehearsed, RankGrid]:
    grid = make_rank_grid(layout, CPU)

    def without_storage(model: Decoder, device: torch.device, seed: int) -> None:
        with fake, _accepting_real(fake):
            model.to_empty(device=device)
            model.tie_weights()

    replica = make_replica(job, layout, grid, CPU, seed=0, execution=execution, fill=without_storage)
    clock = Clock()
    with fake:
        shape = layout.micro_batch, job.seq_len
        batches = [
            MicroBatch(
                tokens_BL=torch.empty(shape, dtype=torch.int64, device=CPU),
                targets_BL=torch.empty(shape, dtype=torch.int64, device=CPU),
            )
            for _ in range(layout.grad_accum)
        ]
    rehearsed = _Rehearsed(replica=replica, clock=clock, batches=batches)
    rehearsed.replica = replace(replica, loss=_telling(rehearsed, replica.loss))
    replica.model.register_forward_pre_hook(lambda *_: _turn(clock, Phase.FORWARD))
    return rehearsed, grid


def _turn(clock: Clock, phase: Phase) -> None:
    clock.phase = phase


def _telling(rehearsed: _Rehearsed, loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """``loss``, which begins its phase; the phase ends when the gradient of the logits is there."""

    def told(logits_BLV: Tensor, targets_BL: Tensor) -> Tensor:
        _turn(rehearsed.clock, Phase.LOSS)
        if rehearsed.memory is not None:
            rehearsed.memory.enter([logits_BLV], Use.LOSS)
        logits_BLV.register_hook(lambda _: _turn(rehearsed.clock, Phase.BACKWARD))  # type: ignore[no-untyped-call]
        return loss(logits_BLV, targets_BL)

    return told


@contextlib.contextmanager
def _accepting_real(fake: FakeTensorMode) -> Iterator[None]:
    fake.allow_non_fake_inputs = True
    try:
        yield
    finally:
        fake.allow_non_fake_inputs = False


def _memory_of_step(rehearsed: _Rehearsed) -> MemoryLog:
    replica, memory = rehearsed.replica, MemoryLog(rehearsed.clock)
    memory.enter(replica.model.parameters(), Use.PARAMETERS)
    memory.enter(replica.model.buffers(), Use.WORKSPACE)
    for state in replica.optimizer.state.values():
        memory.enter((value for value in state.values() if isinstance(value, Tensor)), Use.OPTIMIZER)
    for batch in rehearsed.batches:
        memory.enter((batch.tokens_BL, batch.targets_BL), Use.WORKSPACE)

    def filed(parameter: Tensor) -> None:
        memory.enter([parameter.grad], Use.GRADIENTS)

    hooks = [
        parameter.register_post_accumulate_grad_hook(filed)  # type: ignore[no-untyped-call]
        for parameter in replica.model.parameters()
    ]
    rehearsed.memory = memory
    try:
        with memory:
            rehearsed.step()
    finally:
        rehearsed.memory = None
        for hook in hooks:
            hook.remove()
    return memory


def _axes(grid: RankGrid) -> dict[tuple[int, ...], str]:
    """Ranks of a group -> the axis of the grid that it lies along."""
    names = grid.mesh.mesh_dim_names or ()
    return {_ranks(grid.mesh[name]): name for name in names if grid.mesh[name].size() > 1}


def _ranks(mesh: DeviceMesh) -> tuple[int, ...]:
    return tuple(int(rank) for rank in mesh.mesh.flatten().tolist())


def _collective_counts(tallies: dict[Call, Tally], axes: dict[tuple[int, ...], str]) -> Iterator[CollectiveCount]:
    for call, tally in sorted(tallies.items(), key=lambda entry: (entry[0].kind, entry[0].ranks, entry[0].part)):
        yield CollectiveCount(
            kind=call.kind.value,
            group=axes.get(call.ranks, "several axes"),
            ranks=len(call.ranks),
            part=call.part,
            count=tally.count,
            bytes=float(tally.num_bytes),
        )
