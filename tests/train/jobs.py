"""What the pool's workers run. Module-level, so that other processes can find it by name."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import distributed

from glmplan.architecture.transformer import Architecture
from glmplan.layout.parallel_layout import ParallelLayout
from glmplan.precision import Precision
from glmplan.train.batches import Batches
from glmplan.train.checkpoint import load_checkpoint, save_checkpoint
from glmplan.train.evaluation import Evaluation, evaluate
from glmplan.train.loop import count_step_bytes
from glmplan.train.mesh import make_rank_grid
from glmplan.train.training_step import Replica, make_replica, train_step, whole
from glmplan.workload.job import TrainingJob

CPU = torch.device("cpu")
SEQ_LEN = 16


class SyntheticTokens:
    """A token source with some structure to learn: each token is a fixed function of the one before, with noise."""

    def __init__(self, num_tokens: int = 4000, vocab: int = 96, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        follower = random.permutation(vocab)
        tokens = np.empty(num_tokens, dtype=np.int64)
        tokens[0] = 1
        for index in range(1, num_tokens):
            surprise = random.random() < 0.1
            tokens[index] = random.integers(vocab) if surprise else follower[tokens[index - 1]]
        self._tokens = tokens
        self.num_tokens = num_tokens
        self.vocab_size = vocab

    def window(self, start: int, length: int) -> npt.NDArray[np.int64]:
        """As a token data set gives it."""
        return np.take(self._tokens, np.arange(start, start + length), mode="wrap")


def tiny_architecture(**changes: Any) -> Architecture:
    """Two layers, grouped-query attention, gated MLP; every degree up to 4 divides it."""
    fields: dict[str, Any] = {
        "name": "tiny",
        "layers": 2,
        "hidden": 32,
        "heads": 8,
        "kv_heads": 4,
        "head_dim": 4,
        "ffn_hidden": 64,
        "vocab": 96,
    }
    return Architecture(**fields | changes)


def tiny_job(precision: Precision = Precision.FP32, global_batch: int = 8, **changes: Any) -> TrainingJob:
    """A job on ``tiny_architecture(**changes)``."""
    return TrainingJob(
        architecture=tiny_architecture(**changes), seq_len=SEQ_LEN, global_batch=global_batch, precision=precision
    )


def new_replica(job: TrainingJob, layout: ParallelLayout, **options: Any) -> Replica:
    """A replica on this process group, seed 0."""
    grid = make_rank_grid(layout, CPU)
    return make_replica(job, layout, grid, CPU, seed=0, **options)


def run_steps(replica: Replica, first: int, last: int) -> list[tuple[float, float]]:
    """(loss over all ranks, gradient norm) of the steps ``first`` to ``last``."""
    batches = Batches(
        source=SyntheticTokens(),
        seq_len=SEQ_LEN,
        layout=replica.layout,
        data_rank=replica.grid.data_rank,
        seed=0,
        device=CPU,
    )
    history = []
    for step in range(first, last + 1):
        loss, norm = train_step(replica, batches.of_step(step), learning_rate=1e-3)
        distributed.all_reduce(loss)
        history.append((loss.item() / distributed.get_world_size(), norm.item()))
    return history


def train(job: TrainingJob, layout: ParallelLayout, steps: int = 10, **options: Any) -> list[tuple[float, float]]:
    """(loss, gradient norm) of each step."""
    return run_steps(new_replica(job, layout, **options), 1, steps)


def save_after(job: TrainingJob, layout: ParallelLayout, run_dir: Path, step: int) -> list[tuple[float, float]]:
    """Trains to ``step``, saves there, and returns the history."""
    replica = new_replica(job, layout)
    history = run_steps(replica, 1, step)
    save_checkpoint(replica, run_dir, step)
    return history


def resume_from(
    job: TrainingJob, layout: ParallelLayout, run_dir: Path, step: int, last: int
) -> list[tuple[float, float]]:
    """Loads the checkpoint of ``step`` into fresh weights and returns the history of the steps after it."""
    grid = make_rank_grid(layout, CPU)
    replica = make_replica(job, layout, grid, CPU, seed=99)
    load_checkpoint(replica, run_dir, step)
    return run_steps(replica, step + 1, last)


def initial_weights(job: TrainingJob, layout: ParallelLayout) -> dict[str, npt.NDArray[np.float32]]:
    """Every whole parameter of a fresh model."""
    replica = new_replica(job, layout)
    return {name: whole(value.detach()).numpy() for name, value in replica.model.named_parameters()}


def evaluation(job: TrainingJob, layout: ParallelLayout, max_sequences: int) -> Evaluation:
    """Of fresh weights on synthetic tokens, with one training step before and one after."""
    replica = new_replica(job, layout)
    run_steps(replica, 1, 1)
    result = evaluate(replica, SyntheticTokens(seed=0), max_sequences)
    run_steps(replica, 2, 2)
    return result


def step_bytes(job: TrainingJob, layout: ParallelLayout) -> int:
    """Peak tensor bytes of a step."""
    replica = new_replica(job, layout)
    run_steps(replica, 1, 2)
    batches = Batches(
        source=SyntheticTokens(),
        seq_len=SEQ_LEN,
        layout=layout,
        data_rank=replica.grid.data_rank,
        seed=0,
        device=CPU,
    )
    return count_step_bytes(replica, batches, 3)
