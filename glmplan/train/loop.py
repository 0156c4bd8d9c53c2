"""The training loop: steps, their log, validation, checkpoints, and an early stop at a step's end."""

import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import distributed

from glmplan.errors import InputError
from glmplan.train.batch_prefetch import PrefetchedBatches
from glmplan.train.batches import Batches, TokenSource
from glmplan.train.checkpoint import save_checkpoint
from glmplan.train.devices import peak_memory_bytes, reset_peak_memory, synchronise
from glmplan.train.evaluation import Evaluation, evaluate
from glmplan.train.live_memory import LiveMemory
from glmplan.train.optimizer import learning_rate_at
from glmplan.train.progress import Display
from glmplan.train.run_record import WARMUP_STEPS, RunSettings
from glmplan.train.step_log import StepLog, StepRecord
from glmplan.train.stop_request import StopRequest
from glmplan.train.training_step import Replica, train_step

WARMUP_FRACTION = 0.2


@dataclass(slots=True, kw_only=True)
class Progression:
    """How far a run came in this process."""

    last_step: int
    interrupted: bool = False
    step_times_s: list[float] = field(default_factory=list)
    """Of every step, the first one first."""
    peak_memory_bytes: int | None = None
    """Tensor bytes of the fullest rank in a step after warm-up."""

    @property
    def timed_steps_s(self) -> list[float]:
        """Without the first fifth (two steps at least), in which memory is allocated and kernels are compiled."""
        count = len(self.step_times_s)
        skipped = min(count - 1, max(WARMUP_STEPS, math.ceil(WARMUP_FRACTION * count)))
        return self.step_times_s[max(0, skipped) :]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """What a run needs beside its replica. ``log`` is None on all ranks but 0."""

    replica: Replica
    settings: RunSettings
    run_dir: Path
    batches: Batches
    validation: TokenSource | None
    log: StepLog | None
    display: Display
    stop: StopRequest

    def run(self, resumed_from: int) -> Progression:
        """Trains from the step after ``resumed_from`` to the last one, or to an early stop. Collective.

        Raises InputError when the loss is no number any more, or a checkpoint cannot be written.
        """
        threads = self.settings.execution.loader_threads
        feed = PrefetchedBatches(self.batches, threads=threads, last_step=self.settings.steps)
        try:
            return self._train(feed, resumed_from)
        finally:
            feed.close()

    def _train(self, feed: PrefetchedBatches, resumed_from: int) -> Progression:
        settings = self.settings
        progression = Progression(last_step=resumed_from)
        for step in range(resumed_from + 1, settings.steps + 1):
            self._step(step, feed, progression)
            last = step == settings.steps
            due = last or progression.interrupted or _due(step, settings.checkpoint_every)
            if due and not settings.timing_only:
                save_checkpoint(self.replica, self.run_dir, step)
            if (last or _due(step, settings.validate_every)) and not progression.interrupted:
                self._validate(step)
            if len(progression.step_times_s) == WARMUP_STEPS:
                reset_peak_memory(self.replica.device)
            if progression.interrupted:
                break
        if progression.step_times_s and not progression.interrupted:
            progression.peak_memory_bytes = self._fullest_rank_bytes(progression.last_step)
        return progression

    def _step(self, step: int, feed: PrefetchedBatches, progression: Progression) -> None:
        device, job = self.replica.device, self.replica.job
        rate = self._learning_rate(step)
        synchronise(device)
        begin = time.perf_counter()
        loss, norm = train_step(self.replica, feed.of_step(step), learning_rate=rate)
        stop = torch.tensor(float(self.stop.wanted()), device=device)
        shared = torch.stack([loss, stop]).double()
        distributed.all_reduce(shared)
        shared /= distributed.get_world_size()
        mean_loss, stop_share, grad_norm = *shared.tolist(), norm.item()
        synchronise(device)
        step_time_s = time.perf_counter() - begin
        if not (math.isfinite(mean_loss) and math.isfinite(grad_norm)):
            raise InputError(
                f"step {step}: the loss is {mean_loss:g} with gradient norm {grad_norm:g}; lower --lr (it is "
                f"{self.settings.learning_rate:g}) or warm up longer"
            )
        progression.last_step = step
        progression.interrupted = stop_share > 0 and step < self.settings.steps
        progression.step_times_s.append(step_time_s)
        record = StepRecord(
            step=step,
            loss=mean_loss,
            step_time_s=step_time_s,
            tokens_per_s=job.tokens_per_step / step_time_s,
            grad_norm=grad_norm,
            learning_rate=rate,
            peak_memory_bytes=peak_memory_bytes(device),
        )
        if self.log is not None:
            self.log.step(record)
        self.display.step(record)

    def _learning_rate(self, step: int) -> float:
        settings = self.settings
        return learning_rate_at(
            step,
            peak=settings.learning_rate,
            warmup_steps=settings.warmup_steps,
            decay_steps=settings.decay_steps,
        )

    def _validate(self, step: int) -> Evaluation | None:
        if self.validation is None:
            return None
        result = evaluate(self.replica, self.validation)
        if self.log is not None:
            self.log.validation(step, result)
        self.display.validation(step, result)
        return result

    def _fullest_rank_bytes(self, last_step: int) -> int:
        """Peak of the fullest rank. Where the device keeps no count, one more step is run under a counter.

        That step comes after the last checkpoint, so that it leaves no trace in the run.
        """
        peak = peak_memory_bytes(self.replica.device)
        if peak is None:
            peak = count_step_bytes(self.replica, self.batches, last_step + 1)
        fullest = torch.tensor(float(peak), dtype=torch.float64, device=self.replica.device)
        distributed.all_reduce(fullest, op=distributed.ReduceOp.MAX)
        return int(fullest.item())


def count_step_bytes(replica: Replica, batches: Batches, step: int) -> int:
    """The most tensor bytes alive on this rank in ``step``, which is run for that. Changes the weights."""
    tensors: list[torch.Tensor] = [*replica.model.parameters()]
    tensors += [buffer for part in replica.parts for buffer in part.buffers()]
    for state in replica.optimizer.state.values():
        tensors += [value for value in state.values() if isinstance(value, torch.Tensor)]
    with LiveMemory(tensors) as counter:
        train_step(replica, batches.of_step(step), learning_rate=0.0)
    return counter.peak_bytes


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
