import numpy as np
import pytest
import torch

from glmplan.layout.parallel_layout import ParallelLayout, Sharding
from glmplan.train.decoder_model import Decoder
from glmplan.train.initialisation import materialise
from tests.train.jobs import CPU, SEQ_LEN, initial_weights, tiny_architecture, tiny_job
from tests.train.worker_pool import WorkerPool

SPLIT = [
    ParallelLayout(dp=4, micro_batch=2, sharding=Sharding.FSDP, shard_group=4),
    ParallelLayout(tp=4, micro_batch=8),
    ParallelLayout(tp=2, dp=2, micro_batch=4, sharding=Sharding.FSDP, shard_group=2, sequence_parallel=True),
    ParallelLayout(dp=4, micro_batch=2, sharding=Sharding.HSDP, shard_group=2),
]


@pytest.mark.parametrize("layout", SPLIT, ids=lambda layout: layout.label())
def test_the_parts_of_every_layout_make_the_same_weights(pool: WorkerPool, layout: ParallelLayout) -> None:
    job = tiny_job(vocab=97, hidden=40, ffn_hidden=200, qk_norm=True)
    expected = pool.run(1, initial_weights, job, ParallelLayout(micro_batch=8))[0]
    for weights in pool.run(layout.world_size, initial_weights, job, layout):
        assert weights.keys() == expected.keys()
        for name, value in expected.items():
            assert np.array_equal(weights[name], value), name


def make_model(seed: int) -> Decoder:
    with torch.device("meta"):
        model = Decoder(tiny_architecture(hidden=256, norm="layer", mlp_bias=True), num_positions=SEQ_LEN)
    materialise(model, CPU, seed)
    return model


def test_the_seed_changes_every_matrix() -> None:
    first, second = make_model(0), make_model(1)
    for (name, one), (_, other) in zip(first.named_parameters(), second.named_parameters(), strict=True):
        assert torch.equal(one, other) == (one.dim() == 1), name


def test_spread_and_constants_are_as_documented() -> None:
    weights = dict(make_model(0).named_parameters())
    assert weights["embedding.weight"].std().item() == pytest.approx(0.02, rel=0.05)
    assert weights["layers.0.mlp.down.weight"].std().item() == pytest.approx(0.02 / 2, rel=0.05)
    assert torch.all(weights["layers.1.mlp_norm.weight"] == 1)
    assert torch.all(weights["layers.1.mlp_norm.bias"] == 0)
    assert torch.all(weights["layers.1.mlp.up.bias"] == 0)
