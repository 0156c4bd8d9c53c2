"""The step: layouts in, estimates out. One layout is a table of length one; there is no second way.

What one micro-batch of one block takes depends on few columns, so it is computed once for each distinct combination and
handed to the rows that share it. Only what depends on the whole layout is computed row by row, in NumPy.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glmplan.architecture.model_flops import model_flops_per_token
from glmplan.cost.block import BlockTimes, block_parts, block_times
from glmplan.cost.collective import CollectiveModel, collective_model
from glmplan.cost.device_surfaces import device_model
from glmplan.cost.estimate import Grade, MemoryBreakdown, StepEstimate, TimeBreakdown
from glmplan.cost.interval import load_intervals
from glmplan.cost.memory import PARTS, KeptBytes, kept_bytes, memory_parts
from glmplan.cost.overlap import exposed_s
from glmplan.cost.roofline import DeviceModel
from glmplan.hardware.cluster import Cluster
from glmplan.layout.data_parallel import GradientBytes, data_communications
from glmplan.layout.parallel_layout import RECOMPUTES, LayoutTable, Recompute, Sharding
from glmplan.layout.partition import BLOCK_COLUMNS, RankBlock, element_bytes_of, partition_block
from glmplan.layout.pipeline_parallel import Stages, bubble_divisor, split_into_stages, stage_transfer
from glmplan.layout.placement import is_sharding
from glmplan.layout.state_shards import StateShards, shard_divisors, state_shards
from glmplan.layout.tensor_parallel import sequence_divisor
from glmplan.software.stack import Stack
from glmplan.workload.graph import LAYER_KINDS, Block, BlockKind, workload_blocks
from glmplan.workload.job import TrainingJob

Floats = npt.NDArray[np.float64]
DATA_COLUMNS = ("tp", "cp", "pp", "ep", "dp", "sharding", "shard_group", "grad_accum")
TIME_PARTS = tuple(TimeBreakdown.model_fields)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EstimateTable:
    """Estimates of the layouts of a table, one array a field. Times in seconds, sizes in bytes."""

    time: dict[str, Floats]
    """Part -> seconds; the parts of TimeBreakdown."""
    memory: dict[str, Floats]
    """Part -> bytes; the parts of MemoryBreakdown."""
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
        unique, inverse = _distinct(table, (*BLOCK_COLUMNS, "recompute"))
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
        stages = split_into_stages(self.blocks, table)
        shards = state_shards(self.job.architecture, table, stages)
        time = self._time(table, stages, shards)
        grade = grade_of(self.cluster, self.stack, self.device)
        interval = load_intervals().step_time[grade]
        price = self.cluster.usd_per_device_hour
        return EstimateTable(
            time=time,
            memory=memory,
            step_time_s=np.asarray(sum(time.values())),
            peak_memory_bytes=np.asarray(sum(memory.values())),
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

    def _block_times(self, table: LayoutTable) -> dict[BlockKind, BlockTimes]:
        unique, inverse = _distinct(table, BLOCK_COLUMNS)
        times = {}
        for block in self.blocks:
            rank_block = self._on_rank(block, unique)
            distinct = block_times(rank_block, self.device, self.collectives, self.stack, self.launch_s, len(unique))
            times[block.kind] = distinct.take(inverse)
        return times

    def _time(self, table: LayoutTable, stages: Stages, shards: StateShards) -> dict[str, Floats]:
        """Seconds by part. A micro-batch takes what the slowest stage takes; the bubble is the rest of one passage."""
        per_block = {kind: block_parts(times, table, kind) for kind, times in self._block_times(table).items()}
        parts = {
            name: np.stack(
                [sum(stages.counts[kind][s] * per_block[kind][name] for kind in per_block) for s in range(3)]
            )
            for name in next(iter(per_block.values()))
        }
        stage_s = np.where(stages.exists, sum(parts.values()), 0.0)
        slowest, rows = np.argmax(stage_s, axis=0), np.arange(len(table))
        passage = sum(block.count * sum(per_block[block.kind].values()) for block in self.blocks)
        longest = stage_s[slowest, rows]
        m = table.grad_accum.astype(float)
        time = {name: np.zeros(len(table)) for name in TIME_PARTS}
        for name, values in parts.items():
            time[name] = m * values[slowest, rows]
        bubble_s = np.where(table.pp > 1, np.maximum(passage - longest, 0.0), 0.0)
        time["pipeline_bubble_s"] = bubble_s / bubble_divisor(table)
        time["pipeline_transfer_s"] = self._transfer(table)
        backward_s = parts["backward_s"][slowest, rows] + parts["recompute_s"][slowest, rows]
        time["data_parallel_s"] = self._data_parallel(table, stages, shards, longest * m, backward_s)
        time["optimizer_s"] = self._optimizer(table, stages, shards)
        time["other_s"] = np.full(len(table), self.stack["fixed_step_s"])
        derate = self.stack["machine_derate"]
        return {name: values * derate for name, values in time.items()}

    def _transfer(self, table: LayoutTable) -> Floats:
        tokens = table.micro_batch * self.job.seq_len / table.cp / sequence_divisor(table)
        message = stage_transfer(table, tokens * self.job.architecture.hidden * self.element_bytes)
        seconds = self.collectives.seconds(message) * message.count
        return seconds * self.stack["collective_time_factor"] * self.stack["pipeline_exposed"]

    def _data_parallel(
        self, table: LayoutTable, stages: Stages, shards: StateShards, compute_s: Floats, last_backward_s: Floats
    ) -> Floats:
        """Exposed seconds of gradient and parameter collectives of the stage that sends most."""
        unique, inverse = _distinct(table, DATA_COLUMNS)
        first = np.unique(inverse, return_index=True)[1]
        policy = self.stack.memory
        width = GradientBytes(
            gradient=policy.reduced_gradient_bytes,
            gathered=self.element_bytes,
            stored=self.element_bytes,
        )
        heaviest = np.argmax(np.where(stages.exists, shards.dense + shards.experts, -1.0), axis=0)[first]
        layers = sum(counts for kind, counts in stages.counts.items() if kind in LAYER_KINDS)
        sent = np.zeros(len(unique))
        for message in data_communications(
            unique,
            shards.dense[heaviest, first],
            shards.experts[heaviest, first],
            np.asarray(layers)[heaviest, first] + 1.0,
            width,
            reduces_each_micro_batch=self.stack.support.reduces_each_micro_batch,
        ):
            sent = sent + self.collectives.seconds(message) * message.count
        seconds = sent[inverse] * self.stack["collective_time_factor"]
        layerwise = is_sharding(table, Sharding.ZERO3, Sharding.FSDP, Sharding.HSDP)
        hiding = np.where(layerwise, compute_s, last_backward_s)
        return np.asarray(exposed_s(seconds, hiding, self.stack["data_parallel_exposed"]))

    def _optimizer(self, table: LayoutTable, stages: Stages, shards: StateShards) -> Floats:
        by = shard_divisors(table)
        held = np.where(stages.exists, shards.dense / by.optimizer + shards.experts / by.expert_optimizer, 0.0)
        return self.device.transfer_s(held.max(axis=0) * self.stack["optimizer_bytes_per_parameter"])

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


def _distinct(table: LayoutTable, columns: tuple[str, ...]) -> tuple[LayoutTable, npt.NDArray[np.int64]]:
    """Rows that differ in ``columns``, and for each row of ``table`` the one it equals there."""
    key = np.zeros(len(table), dtype=np.int64)
    for name in columns:
        values, codes = np.unique(getattr(table, name), return_inverse=True)
        key = key * len(values) + codes
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    return table.take(first), inverse
