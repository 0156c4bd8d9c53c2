"""Made-up tokens for timing: a step takes as long whatever the text."""

from pathlib import Path

import numpy as np

from glmplan.train.token_shards import DATA_FILE, write_token_data_set
from glmplan.workload.job import TrainingJob

SEQUENCES = 64


def synthetic_data(job: TrainingJob, directory: Path) -> Path:
    """A data set of uniform random tokens of the job's vocabulary; made once, the same each time."""
    if not (directory / DATA_FILE).is_file():
        vocab = job.architecture.vocab
        count = SEQUENCES * job.seq_len + 1
        tokens = np.random.default_rng(0).integers(vocab, size=count, dtype=np.int64)
        write_token_data_set(directory, {"train": tokens, "validation": tokens[:0]}, vocab)
    return directory
