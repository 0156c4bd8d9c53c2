import math

import pytest

from glmplan.layout.parallel_layout import ParallelLayout, Sharding
from glmplan.train.evaluation import Evaluation
from tests.train.jobs import evaluation, tiny_job
from tests.train.worker_pool import WorkerPool


@pytest.mark.parametrize("sequences", [1, 7, 16])
def test_every_layout_evaluates_alike(pool: WorkerPool, sequences: int) -> None:
    job = tiny_job()
    expected = pool.run(1, evaluation, job, ParallelLayout(micro_batch=8), sequences)[0]
    layout = ParallelLayout(tp=2, dp=2, micro_batch=4, sharding=Sharding.FSDP, shard_group=2)
    for result in pool.run(4, evaluation, job, layout, sequences):
        assert result.loss == pytest.approx(expected.loss, rel=1e-6)
        assert result.accuracy == expected.accuracy
        assert result.tokens == expected.tokens == sequences * job.seq_len


def test_perplexity_is_the_exponential_of_the_loss() -> None:
    assert Evaluation(loss=2.0, accuracy=0.5, tokens=10).perplexity == pytest.approx(math.exp(2.0))
    assert math.isfinite(Evaluation(loss=1e9, accuracy=0.0, tokens=10).perplexity)
