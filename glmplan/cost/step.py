"""The step: layouts in, estimates out. One layout is a table of length one; there is no second way."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glmplan.architecture.model_flops import model_flops_per_token
from glmplan.cost.block_work import block_work
from glmplan.cost.collective import CollectiveModel, collective_model
from glmplan.cost.device_surfaces import device_model
from glmplan.cost.estimate import Grade, MemoryBreakdown, StepEstimate, TimeBreakdown
from glmplan.cost.grade import grade_of
from glmplan.cost.host import HostWork, host_work
from glmplan.cost.interval import Interval, load_intervals, peak_bounds, work_of
from glmplan.cost.memory import PARTS, KeptBytes, kept_bytes, memory_parts, moment_parts, needed_bytes, sent_away_bytes
from glmplan.cost.roofline import DeviceModel
from glmplan.cost.step_work import TIME_PARTS, StepWork, step_times, step_work
from glmplan.hardware.cluster import Cluster
from glmplan.layout.distinct import distinct
from glmplan.layout.parallel_layout import LayoutTable
from glmplan.layout.partition import BLOCK_COLUMNS, RankBlock, element_bytes_of, partition_block
from glmplan.layout.rank_memory import RankMemory, rank_memory
from glmplan.layout.rank_step import RankStep, rank_step
from glmplan.layout.stages import Stages
from glmplan.software.kernel_factors import kernel_factors
from glmplan.software.stack import Stack
from glmplan.workload.forward_flops import forward_flops
from glmplan.workload.graph import Block, BlockKind, workload_blocks
from glmplan.workload.job import TrainingJob

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EstimateTable:
    """Estimates of the layouts of a table, one array a field. Times in seconds, sizes in bytes."""

    time: dict[str, Floats]
    """Part -> seconds; the parts of TimeBreakdown."""
    memory: dict[str, Floats]
    """Part -> bytes; the parts of MemoryBreakdown, ``cached_bytes`` and ``host_bytes``."""
    step_time_s: Floats
    peak_memory_bytes: Floats
    memory_capacity_bytes: float
    model_flops: float
    executed_flops: Floats
    peak_flops_per_s: float
    num_devices: Floats
    tokens_per_step: float
    grade: Grade
    time_interval: Interval
    memory_interval: Interval
    """Of allocated bytes."""
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
        low, high = self.time_interval.low, self.time_interval.high
        tokens_per_s = self.tokens_per_step / step_s
        per_hour = None if self.usd_per_device_hour is None else self.usd_per_device_hour * devices
        per_billion = None if per_hour is None else per_hour / 3600.0 / tokens_per_s * 1e9
        days = None if self.tokens is None else self.tokens / tokens_per_s / 86400.0
        reserve = self.memory["reserve_bytes"][index]
        least, most = peak_bounds(self.peak_memory_bytes[index], reserve, self.memory_interval)
        return StepEstimate(
            step_time_s=step_s,
            step_time_low90_s=step_s * low,
            step_time_high90_s=step_s * high,
            tokens_per_s=tokens_per_s,
            tokens_per_s_per_gpu=tokens_per_s / devices,
            mfu=float(self.mfu[index]),
            hfu=float(self.hfu[index]),
            model_flops=self.model_flops,
            peak_memory_bytes=float(self.peak_memory_bytes[index]),
            peak_memory_low90_bytes=float(least),
            peak_memory_high90_bytes=float(most),
            memory_capacity_bytes=self.memory_capacity_bytes,
            cached_memory_bytes=float(self.memory["cached_bytes"][index]),
            host_memory_bytes=float(self.memory["host_bytes"][index]),
            memory=MemoryBreakdown(**{name: float(self.memory[name][index]) for name in PARTS}),
            time=TimeBreakdown(**{name: float(self.time[name][index]) for name in TIME_PARTS}),
            grade=self.grade,
            usd_per_hour=per_hour,
            usd_per_billion_tokens=per_billion,
            usd_per_billion_tokens_low90=None if per_billion is None else per_billion * low,
            usd_per_billion_tokens_high90=None if per_billion is None else per_billion * high,
            train_days=days,
            train_low90_days=None if days is None else days * low,
            train_high90_days=None if days is None else days * high,
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

    @property
    def grade(self) -> Grade:
        """How well device and stack are measured."""
        return grade_of(self.cluster, self.stack)

    @property
    def memory_interval(self) -> Interval:
        """Measured over predicted allocated bytes."""
        return load_intervals().memory["allocated"][self.grade]

    def memory(self, table: LayoutTable) -> dict[str, Floats]:
        """Bytes by part of each layout's fullest rank."""
        return memory_parts(self._held(table), self.job, self.stack, self._kept(table), self.element_bytes)

    def stage_bytes(self, table: LayoutTable, stages: Stages) -> Floats:
        """``[moments, stages, layouts]``: what each of ``stages`` needs, whatever the layouts say of their stages."""
        held = self._held(table, stages)
        parts = moment_parts(held, self.job, self.stack, self._kept(table), self.element_bytes)
        return np.asarray(sum(parts.values()))

    def _held(self, table: LayoutTable, stages: Stages | None = None) -> RankMemory:
        reduces_each = self.stack.support.reduces_each_micro_batch
        return rank_memory(self.blocks, table, self.job, reduces_each_micro_batch=reduces_each, stages=stages)

    def _kept(self, table: LayoutTable) -> dict[BlockKind, KeptBytes]:
        unique, inverse = distinct(table, BLOCK_COLUMNS)
        return {block.kind: kept_bytes(self._on_rank(block, unique)).take(inverse) for block in self.blocks}

    def fits_host(self, memory: dict[str, Floats]) -> npt.NDArray[np.bool_]:
        """Layouts whose part of the host's memory is there; where its size is not known, all of them."""
        host = self.cluster.host
        room = np.inf if host is None or host.capacity_bytes is None else host.capacity_bytes
        return np.asarray(memory["host_bytes"] <= room)

    def estimate(self, table: LayoutTable) -> EstimateTable:
        """Time and memory of every layout of ``table``."""
        return self.with_time(table, self.memory(table))

    def with_time(self, table: LayoutTable, memory: dict[str, Floats]) -> EstimateTable:
        """Times of layouts whose memory is already known."""
        work = self.work(table)
        time = self.times(work)
        grade = self.grade
        price = self.cluster.usd_per_device_hour
        return EstimateTable(
            time=time,
            memory=memory,
            step_time_s=np.asarray(sum(time.values())),
            peak_memory_bytes=needed_bytes(memory),
            memory_capacity_bytes=self.cluster.device.memory_capacity_bytes,
            model_flops=self._model_flops(),
            executed_flops=self._executed_flops(work.step.stages),
            peak_flops_per_s=self.device.peak_flops_per_s,
            num_devices=table.world_size.astype(float),
            tokens_per_step=float(self.job.tokens_per_step),
            grade=grade,
            time_interval=load_intervals().step_time[grade][work_of(self.job)],
            memory_interval=self.memory_interval,
            usd_per_device_hour=None if price is None else price.value,
            tokens=self.job.tokens,
        )

    def rank_blocks(self, table: LayoutTable) -> list[RankBlock]:
        """The blocks as one rank of each layout of ``table`` runs them."""
        return [self._on_rank(block, table) for block in self.blocks]

    def _on_rank(self, block: Block, table: LayoutTable) -> RankBlock:
        kernels = self.stack.kernels
        gathered = kernels.saves_gathered_input
        return partition_block(block, table, self.job, saves_gathered_input=gathered, experts=kernels.experts)

    def work(self, table: LayoutTable) -> StepWork:
        """What the layouts of ``table`` do in a step, whatever the stack's constants."""
        unique, rows = distinct(table, BLOCK_COLUMNS)
        arch, kernels = self.job.architecture, self.stack.kernels
        head_dim = arch.mla.qk_head_dim if arch.mla else arch.head_dim
        factors = kernel_factors(kernels, self.cluster.device.architecture, head_dim).slowed(
            compute=self.cluster.compute_derate, matmul=self.cluster.matmul_derate
        )
        blocks = {}
        for block in self.blocks:
            on_rank = self._on_rank(block, unique)
            blocks[block.kind] = block_work(on_rank, self.device, self.collectives, kernels, factors, len(unique))
        step = rank_step(self.blocks, table, self.job, self.stack)
        return step_work(step, blocks, rows, self.collectives, self._host_work(step, table))

    def _host_work(self, step: RankStep, table: LayoutTable) -> HostWork | None:
        if step.host is None:
            return None
        sent_away = sent_away_bytes(self._held(table), self._kept(table))
        return host_work(step.host, sent_away, self.cluster, self.job.optimizer, self.element_bytes)

    def times(self, work: StepWork) -> dict[str, Floats]:
        """Seconds by part of ``work`` in the model's stack."""
        return step_times(work, self.device, self.stack, self.launch_s)

    def _model_flops(self) -> float:
        per_token = model_flops_per_token(self.job.architecture, self.job.seq_len)
        return per_token.total * self.job.tokens_per_step

    def _executed_flops(self, stages: Stages) -> Floats:
        """Model FLOPs plus those of the matmuls and attentions that recomputation repeats."""
        per_token = model_flops_per_token(self.job.architecture, self.job.seq_len)
        again = np.zeros(stages.exists.shape[1])
        for kind, forward in forward_flops(self.blocks, self.job).items():
            again = again + stages.all_repeated[kind] * forward.whole
            again = again + stages.all_partly_repeated[kind] * forward.chosen
        return np.asarray(per_token.total * self.job.tokens_per_step + again * self.job.global_batch)


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
