"""What may be tuned follows from the plan; the model orders what it knows."""

import pytest

from glmplan.errors import InputError
from glmplan.layout.parallel_layout import ParallelLayout, Sharding
from glmplan.plan.execution import Execution
from glmplan.tune.ranking import estimator_of, ranked
from glmplan.tune.space import tuning_space
from tests.tune.tiny import tiny_plan

FSDP = ParallelLayout(dp=2, micro_batch=2, grad_accum=2, sharding=Sharding.FSDP, shard_group=2)


def test_one_process_has_no_communication_to_tune() -> None:
    names = [axis.name for axis in tuning_space(tiny_plan(), cores=4).axes]
    assert names == ["micro_batch", "recompute", "compile_model", "threads", "loader_threads"]


def test_sharded_ranks_have_gathers_and_buckets_to_tune() -> None:
    axes = {axis.name: axis for axis in tuning_space(tiny_plan(FSDP), cores=2).axes}
    assert axes["reshard_after_forward"].start is True
    assert axes["layers_per_bucket"].values == (1, 2)  # the model has two layers
    assert axes["prefetch_layers"].values == (0, 1, 2)
    assert axes["threads"].values == (1, 2)


def test_every_setting_keeps_the_global_batch_and_the_start_is_among_them() -> None:
    plan = tiny_plan(FSDP)
    space = tuning_space(plan, cores=2)
    settings = space.settings()
    assert len(settings) == space.size()
    assert space.start() in settings
    assert space.layout_of(space.start()) == plan.chosen.layout
    assert {space.layout_of(setting).global_batch for setting in settings} == {8}
    assert {space.layout_of(setting).dp for setting in settings} == {2}


def test_the_starts_own_values_are_tried_even_where_they_are_unusual() -> None:
    layout = ParallelLayout(micro_batch=8)
    plan = tiny_plan(layout)
    space = tuning_space(plan, cores=64)
    threads = next(axis for axis in space.axes if axis.name == "threads")
    assert threads.start == 64
    assert threads.values == (1, 64)


@pytest.mark.parametrize(("only", "message"), [("micro_bach", "did you mean micro_batch"), ("prefetch_layers", "use ")])
def test_axes_that_are_unknown_or_idle_are_refused(only: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        tuning_space(tiny_plan(), cores=2, only=[only])


def test_the_model_orders_what_it_tells_apart_and_nothing_else() -> None:
    plan = tiny_plan()
    space = tuning_space(plan, cores=2)
    order = ranked(space, estimator_of(plan, None))
    assert len(order) == 4 * 3 * 2  # micro-batches 1, 2, 4, 8; recomputation; compiled or not
    times = [found.predicted_step_time_s for found in order]
    assert times == sorted(times)
    assert {found.setting["threads"] for found in order} == {space.start()["threads"]}


def test_a_settings_execution_is_the_starts_with_the_axes_changed() -> None:
    space = tuning_space(tiny_plan(), cores=2, only=["loader_threads"])
    assert space.execution_of({"loader_threads": 1}) == Execution(loader_threads=1)
