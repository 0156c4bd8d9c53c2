"""The step: layouts in, estimates out. One layout is a table of length one; there is no second way."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glmplan.architecture.model_flops import model_flops_per_token
from glmplan.cost.block import block_work
from glmplan.cost.collective import CollectiveModel, collective_model
from glmplan.cost.device_surfaces import device_model
from glmplan.cost.estimate import Grade, MemoryBreakdown, StepEstimate, TimeBreakdown
from glmplan.cost.interval import load_intervals
from glmplan.cost.memory import PARTS, KeptBytes, kept_bytes, memory_parts, needed_bytes
from glmplan.cost.roofline import DeviceModel
from glmplan.cost.step_work import (
    TIME_PARTS,
    StepWork,
    block_counts,
    data_seconds,
    distinct,
    step_times,
    updated_parameters,
)
from glmplan.hardware.cluster import Cluster
from glmplan.layout.data_parallel import GradientBytes
from glmplan.layout.parallel_layout import RECOMPUTES, LayoutTable, Recompute
from glmplan.layout.partition import BLOCK_COLUMNS, RankBlock, element_bytes_of, partition_block
from glmplan.layout.pipeline_parallel import split_into_stages, stage_transfer
from glmplan.layout.state_shards import state_shards
from glmplan.layout.tensor_parallel import sequence_divisor
from glmplan.software.kernel_factors import kernel_factors
from glmplan.software.stack import Stack
from glmplan.workload.graph import Block, workload_blocks
from glmplan.workload.job import TrainingJob

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EstimateTable:
    """Estimates of the layouts of a table, one array a field. Times in seconds, sizes in bytes."""

    time: dict[str, Floats]
    """Part -> seconds; the parts of TimeBreakdown."""
    memory: dict[str, Floats]
    """Part -> bytes; the parts of MemoryBreakdown, and ``cached_bytes``."""
    step_time_s: Floats
    peak_memory_bytes: Floats
    memory_capacity_bytes: float
    model_flops: float
    executed_flops: Floats
    peak_flops_per_s: float
    num_devices: Floats
    tokens_per_step: float
    grade: Grade
    low_factor: float
    high_factor: float
    usd_per_device_hour: float | None
    tokens: float | None

    @property
    def tokens_per_s_per_gpu(self) -> Floats:
        """Tokens per second and device."""
        return self.tokens_per_step / self.step_time_s / self.num_devices

    @property
    def mfu(self) -> Floats:
        """Model FLOP/s over peak."""
        return self.model_flops / self.step_time_s / (self.num_devices * self.peak_flops_per_s)

    @property
    def hfu(self) -> Floats:
        """Executed FLOP/s over peak."""
        return self.executed_flops / self.step_time_s / (self.num_devices * self.peak_flops_per_s)

    def fits(self, margin: float = 0.0) -> npt.NDArray[np.bool_]:
        """Rows whose peak leaves ``margin`` of the device's memory free."""
        return self.peak_memory_bytes <= self.memory_capacity_bytes * (1.0 - margin)

    def row(self, index: int) -> StepEstimate:
        """One layout's estimate."""
        step_s, devices = float(self.step_time_s[index]), float(self.num_devices[index])
        tokens_per_s = self.tokens_per_step / step_s
        per_hour = None if self.usd_per_device_hour is None else self.usd_per_device_hour * devices
        return StepEstimate(
            step_time_s=step_s,
            step_time_low90_s=step_s * self.low_factor,
            step_time_high90_s=step_s * self.high_factor,
            tokens_per_s=tokens_per_s,
            tokens_per_s_per_gpu=tokens_per_s / devices,
            mfu=float(self.mfu[index]),
            hfu=float(self.hfu[index]),
            model_flops=self.model_flops,
            peak_memory_bytes=float(self.peak_memory_bytes[index]),
            memory_capacity_bytes=self.memory_capacity_bytes,
            cached_memory_bytes=float(self.memory["cached_bytes"][index]),
            memory=MemoryBreakdown(**{name: float(self.memory[name][index]) for name in PARTS}),
            time=TimeBreakdown(**{name: float(self.time[name][index]) for name in TIME_PARTS}),
            grade=self.grade,
            usd_per_hour=per_hour,
            usd_per_billion_tokens=None if per_hour is None else per_hour / 3600.0 / tokens_per_s * 1e9,
            train_days=None if self.tokens is None else self.tokens / tokens_per_s / 86400.0,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CostModel:
    """A job on a cluster with a stack, ready to cost layouts. Made once for many tables."""

    job: TrainingJob
    cluster: Cluster
    stack: Stack
    device: DeviceModel
    collectives: CollectiveModel
    blocks: tuple[Block, ...]
    element_bytes: float
    launch_s: float

    def memory(self, table: LayoutTable) -> dict[str, Floats]:
        """Bytes by part of each layout's fullest rank."""
        unique, inverse = distinct(table, (*BLOCK_COLUMNS, "recompute"))
        kept = {}
        for block in self.blocks:
            held = kept_bytes(self._on_rank(block, unique), unique.recompute)
            kept[block.kind] = KeptBytes(kept=held.kept[inverse], working=held.working[inverse])
        stages = split_into_stages(self.blocks, table)
        shards = state_shards(self.job.architecture, table, stages)
        return memory_parts(table, self.job, self.stack, stages, shards, kept, self.element_bytes)

    def estimate(self, table: LayoutTable) -> EstimateTable:
        """Time and memory of every layout of ``table``."""
        return self.with_time(table, self.memory(table))

    def with_time(self, table: LayoutTable, memory: dict[str, Floats]) -> EstimateTable:
        """Times of layouts whose memory is already known."""
        time = self.times(self.work(table))
        grade = grade_of(self.cluster, self.stack, self.device)
        interval = load_intervals().step_time[grade]
        price = self.cluster.usd_per_device_hour
        return EstimateTable(
            time=time,
            memory=memory,
            step_time_s=np.asarray(sum(time.values())),
            peak_memory_bytes=needed_bytes(memory),
            memory_capacity_bytes=self.cluster.device.memory_capacity_bytes,
            model_flops=self._model_flops(),
            executed_flops=self._executed_flops(table),
            peak_flops_per_s=self.device.peak_flops_per_s,
            num_devices=(table.tp * table.cp * table.pp * table.dp).astype(float),
            tokens_per_step=float(self.job.tokens_per_step),
            grade=grade,
            low_factor=interval.low,
            high_factor=interval.high,
            usd_per_device_hour=None if price is None else price.value,
            tokens=self.job.tokens,
        )

    def _on_rank(self, block: Block, table: LayoutTable) -> RankBlock:
        gathered = self.stack.kernels.saves_gathered_input
        return partition_block(block, table, self.job, saves_gathered_input=gathered)

    def work(self, table: LayoutTable) -> StepWork:
        """What the layouts of ``table`` do in a step, whatever the stack's constants."""
        stages = split_into_stages(self.blocks, table)
        shards = state_shards(self.job.architecture, table, stages)
        unique, rows = distinct(table, BLOCK_COLUMNS)
        arch = self.job.architecture
        head_dim = arch.mla.qk_head_dim if arch.mla else arch.head_dim
        factors = kernel_factors(self.stack.kernels, self.cluster.device.architecture, head_dim).slowed(
            compute=self.cluster.compute_derate, matmul=self.cluster.matmul_derate
        )
        tokens = table.micro_batch * self.job.seq_len / table.cp / sequence_divisor(table)
        boundary = stage_transfer(table, tokens * self.job.architecture.hidden * self.element_bytes)
        width = GradientBytes(
            gradient=self.stack.memory.reduced_gradient_bytes, gathered=self.element_bytes, stored=self.element_bytes
        )
        return StepWork(
            table=table,
            stages=stages,
            blocks={
                block.kind: block_work(
                    self._on_rank(block, unique),
                    self.device,
                    self.collectives,
                    self.stack.kernels,
                    factors,
                    len(unique),
                )
                for block in self.blocks
            },
            rows=rows,
            counts=block_counts(self.blocks),
            transfer_s=self.collectives.seconds(boundary) * boundary.count,
            data_s=data_seconds(
                table,
                stages,
                shards,
                self.collectives,
                width,
                reduces_each_micro_batch=self.stack.support.reduces_each_micro_batch,
            ),
            held_parameters=updated_parameters(table, stages, shards),
        )

    def times(self, work: StepWork) -> dict[str, Floats]:
        """Seconds by part of ``work`` in the model's stack."""
        return step_times(work, self.device, self.stack, self.launch_s)

    def _model_flops(self) -> float:
        per_token = model_flops_per_token(self.job.architecture, self.job.seq_len)
        return per_token.total * self.job.tokens_per_step

    def _executed_flops(self, table: LayoutTable) -> Floats:
        """Model FLOPs plus what recomputation repeats: a third of the layers' (full) or of attention's (selective)."""
        per_token = model_flops_per_token(self.job.architecture, self.job.seq_len)
        layers = per_token.total - per_token.head
        again = np.where(
            table.recompute == RECOMPUTES.index(Recompute.FULL),
            layers / 3.0,
            np.where(table.recompute == RECOMPUTES.index(Recompute.SELECTIVE), per_token.attention / 3.0, 0.0),
        )
        return np.asarray((per_token.total + again) * self.job.tokens_per_step)


def cost_model(job: TrainingJob, cluster: Cluster, stack: Stack) -> CostModel:
    """The cost model of a job on a cluster (already sized) with a stack.

    Raises NoData when the device has no peak for the job's precision.
    """
    measured_launch = cluster.measured.host_launch_s
    return CostModel(
        job=job,
        cluster=cluster,
        stack=stack,
        device=device_model(cluster, job.precision, stack.kernels),
        collectives=collective_model(cluster),
        blocks=workload_blocks(job, stack.kernels),
        element_bytes=element_bytes_of(job),
        launch_s=stack["host_launch_s"] if measured_launch is None else measured_launch,
    )


def estimate(table: LayoutTable, job: TrainingJob, cluster: Cluster, stack: Stack) -> EstimateTable:
    """Time and memory of the layouts of ``table``. Raises NoData when the device has no peak for the precision."""
    return cost_model(job, cluster, stack).estimate(table)


def grade_of(cluster: Cluster, stack: Stack, device: DeviceModel) -> Grade:
    """How well device and stack are measured."""
    if cluster.device.name in stack.calibrated_devices:
        return Grade.CALIBRATED
    return Grade.DATASHEET if device.grade == "assumed" and not stack.calibrated_devices else Grade.TRANSFERRED
