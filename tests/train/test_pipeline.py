"""A pipeline trains like one process, whatever its stages, its schedule and what it is combined with."""

import pytest

from glmplan.layout.parallel_layout import ParallelLayout, Recompute, Schedule, Sharding
from glmplan.precision import Precision
from tests.train.jobs import evaluation, initial_weights, step_bytes, tiny_job, train
from tests.train.worker_pool import WorkerPool

LAYERS = 4
ONE = ParallelLayout(micro_batch=8)
PP_2 = ParallelLayout(pp=2, micro_batch=2, grad_accum=4)
PP_2_FSDP_2 = ParallelLayout(pp=2, dp=2, micro_batch=1, grad_accum=4, sharding=Sharding.FSDP, shard_group=2)
PP_2_TP_2 = ParallelLayout(pp=2, tp=2, micro_batch=2, grad_accum=4, sequence_parallel=True)
INTERLEAVED = PP_2.model_copy(update={"virtual_stages": 2, "schedule": Schedule.INTERLEAVED})
LAYOUTS = {
    "pp 2": PP_2,
    "pp 4": PP_2.model_copy(update={"pp": 4}),
    "pp 3, remainder": ParallelLayout(pp=3, micro_batch=1, grad_accum=8),
    "fewer micro-batches than stages": ParallelLayout(pp=4, micro_batch=4, grad_accum=2),
    "gpipe": PP_2.model_copy(update={"schedule": Schedule.GPIPE}),
    "zero bubble": PP_2.model_copy(update={"schedule": Schedule.ZERO_BUBBLE_H1, "recompute": Recompute.FULL}),
    "interleaved": INTERLEAVED,
    "uneven, first layers recomputed": PP_2.model_copy(
        update={"stage_layers": (1, 3), "recompute": Recompute.FULL, "stage_recompute_layers": (0, 2)}
    ),
    "no layer on the last stage": PP_2.model_copy(update={"stage_layers": (4, 0), "recompute": Recompute.SELECTIVE}),
    "pp 2 x replicated 2": ParallelLayout(pp=2, dp=2, micro_batch=1, grad_accum=4),
    "pp 2 x fsdp 2": PP_2_FSDP_2,
    "interleaved x fsdp 2": PP_2_FSDP_2.model_copy(update={"virtual_stages": 2, "schedule": Schedule.INTERLEAVED}),
    "pp 2 x tp 2": ParallelLayout(pp=2, tp=2, micro_batch=4, grad_accum=2),
    "interleaved, uneven x tp 2, sequence": PP_2_TP_2.model_copy(
        update={
            "virtual_stages": 2,
            "schedule": Schedule.INTERLEAVED,
            "stage_layers": (1, 1, 2, 0),
            "recompute": Recompute.FULL,
            "recompute_layers": 1,
        }
    ),
}


@pytest.fixture(scope="module")
def reference(pool: WorkerPool) -> list[tuple[float, float]]:
    history: list[tuple[float, float]] = pool.run(1, train, tiny_job(layers=LAYERS), ONE, steps=10)[0]
    return history


def assert_same(histories: list[list[tuple[float, float]]], expected: list[tuple[float, float]]) -> None:
    for history in histories:
        for (loss, norm), (expected_loss, expected_norm) in zip(history, expected, strict=True):
            assert loss == pytest.approx(expected_loss, rel=2e-6)
            assert norm == pytest.approx(expected_norm, rel=2e-5)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_pipeline_trains_like_one_process(
    pool: WorkerPool, reference: list[tuple[float, float]], name: str
) -> None:
    layout = LAYOUTS[name]
    steps = 10 if layout.tp == 1 else 4  # tensor parallelism on the CPU is slow, and two techniques meet in one step
    histories = pool.run(layout.world_size, train, tiny_job(layers=LAYERS), layout, steps=steps)
    assert_same(histories, reference[:steps])


@pytest.mark.parametrize("layout", [PP_2, PP_2_FSDP_2, PP_2_TP_2], ids=lambda layout: layout.label())
def test_both_copies_of_a_tied_embedding_learn_from_both_ends(pool: WorkerPool, layout: ParallelLayout) -> None:
    job = tiny_job(
        layers=LAYERS, tied_embeddings=True, learned_positions=32, embedding_norm=True, norm="layer", mlp_bias=True
    )
    expected = pool.run(1, train, job, ONE, steps=4)[0]
    assert_same(pool.run(layout.world_size, train, job, layout, steps=4), expected)


def test_bf16_stays_close_to_fp32(pool: WorkerPool, reference: list[tuple[float, float]]) -> None:
    history = pool.run(2, train, tiny_job(Precision.BF16, layers=LAYERS), PP_2)[0]
    assert [loss for loss, _ in history] == pytest.approx([loss for loss, _ in reference], rel=2e-3)


def test_compiled_blocks_compute_the_same(pool: WorkerPool, reference: list[tuple[float, float]]) -> None:
    history = pool.run(2, train, tiny_job(layers=LAYERS), PP_2, steps=3, compile_backend="aot_eager")[0]
    assert [loss for loss, _ in history] == pytest.approx([loss for loss, _ in reference[:3]], rel=2e-6)


@pytest.mark.parametrize("layout", [PP_2, INTERLEAVED, PP_2_FSDP_2, PP_2_TP_2], ids=lambda layout: layout.label())
def test_evaluation_is_that_of_one_process(pool: WorkerPool, layout: ParallelLayout) -> None:
    job = tiny_job(layers=LAYERS)
    expected = pool.run(1, evaluation, job, ONE, 11)[0]
    for found in pool.run(layout.world_size, evaluation, job, layout, 11):
        assert found.tokens == expected.tokens
        assert found.loss == pytest.approx(expected.loss, rel=1e-6)
        assert found.accuracy == pytest.approx(expected.accuracy)


def test_stages_hold_the_weights_of_one_process_between_them(pool: WorkerPool) -> None:
    expected = pool.run(1, initial_weights, tiny_job(layers=LAYERS), ONE)[0]
    first, second = pool.run(2, initial_weights, tiny_job(layers=LAYERS), INTERLEAVED)
    assert not first.keys() & second.keys()
    assert (first | second).keys() == expected.keys()
    assert all((value == expected[name]).all() for name, value in (first | second).items())


def test_memory_of_a_stage_does_not_grow_with_the_micro_batches(pool: WorkerPool) -> None:
    """1F1B keeps as many as there are stages, GPipe all of them (Narayanan 2021, section 2.2)."""

    def fullest(grad_accum: int, schedule: Schedule) -> int:
        layout = ParallelLayout(pp=2, micro_batch=2, grad_accum=grad_accum, schedule=schedule)
        job = tiny_job(layers=LAYERS, global_batch=layout.global_batch)
        return max(int(peak) for peak in pool.run(2, step_bytes, job, layout))

    assert fullest(16, Schedule.ONE_F_ONE_B) < 1.05 * fullest(4, Schedule.ONE_F_ONE_B)
    assert fullest(16, Schedule.GPIPE) > 2 * fullest(4, Schedule.GPIPE)


def test_recomputing_first_layers_saves_their_memory(pool: WorkerPool) -> None:
    def bytes_of(numbers: tuple[int, int]) -> list[int]:
        layout = PP_2.model_copy(update={"recompute": Recompute.FULL, "stage_recompute_layers": numbers})
        return pool.run(2, step_bytes, tiny_job(layers=LAYERS), layout)

    none, one, first_stage = bytes_of((0, 0)), bytes_of((1, 0)), bytes_of((2, 0))
    assert none[0] > one[0] > first_stage[0]
    assert first_stage[1] == pytest.approx(none[1], rel=0.01)
