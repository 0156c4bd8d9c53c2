"""Half of the stages on A100, half on H100."""

import pytest

from glmplan.cost.step import cost_model
from glmplan.errors import DoesNotFit, InputError
from glmplan.hardware.catalog import load_cluster
from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout, Recompute
from glmplan.search.mixed_cluster import ClusterShare, MixedPipeline, mixed_pipeline
from glmplan.search.stage_problem import even_stage_layers
from glmplan.software.catalog import load_stack
from glmplan.workload.job import TrainingJob
from tests.small_jobs import cluster_of, job_of, model

A100, H100 = "dgx-a100-pod", "dgx-h100-pod"


def large_job() -> TrainingJob:
    arch = model(layers=32, hidden=4096, heads=32, kv_heads=8, head_dim=128, ffn_hidden=14336, vocab=32000)
    return job_of(arch, seq_len=4096, global_batch=64)


def share(name: str, num_devices: int) -> ClusterShare:
    return ClusterShare(cluster=load_cluster(name), num_devices=num_devices)


def halves(layout: ParallelLayout, *clusters: str, memory_margin: float = 0.05) -> MixedPipeline:
    shares = [share(name, layout.world_size // len(clusters)) for name in clusters]
    return mixed_pipeline(large_job(), load_stack("megatron-core"), shares, layout, memory_margin=memory_margin)


LAYOUT = ParallelLayout(tp=4, pp=4, grad_accum=64, recompute=Recompute.FULL)


def test_half_a100_half_h100_is_faster_split_by_speed_than_evenly() -> None:
    found = halves(LAYOUT, A100, H100)
    assert found.layout.stage_layers is not None and found.even_step_time_s is not None
    of_kind = {
        name: sum(
            layers for layers, at in zip(found.layout.stage_layers, found.stage_clusters, strict=True) if at == name
        )
        for name in (A100, H100)
    }
    assert of_kind[H100] > 2 * of_kind[A100]
    assert found.step_time_s < 0.75 * found.even_step_time_s
    assert found.bound_step_time_s == pytest.approx(found.step_time_s, rel=1e-6)


def test_a_mixed_pipeline_lies_between_its_kinds() -> None:
    mixed = halves(LAYOUT, A100, H100).step_time_s
    assert halves(LAYOUT, H100, H100).step_time_s < mixed < halves(LAYOUT, A100, A100).step_time_s


def test_the_order_in_which_clusters_are_named_does_not_matter() -> None:
    assert halves(LAYOUT, A100, H100).step_time_s == halves(LAYOUT, H100, A100).step_time_s


def test_like_devices_twice_cost_what_one_cluster_of_them_does() -> None:
    found = halves(LAYOUT, A100, A100)
    model_ = cost_model(large_job(), cluster_of(A100, 16), load_stack("megatron-core"))
    step_s = float(model_.estimate(LayoutTable.of(found.layout)).step_time_s[0])
    assert found.step_time_s == pytest.approx(step_s, rel=0.01)


def test_every_stage_keeps_to_the_memory_of_its_device() -> None:
    found = halves(LAYOUT, "dgx-a100-40gb-pod", H100)
    for cluster, held in zip(found.stage_clusters, found.peak_memory_bytes, strict=True):
        assert held <= 0.95 * cluster_of(cluster, 8).device.memory_capacity_bytes * (1 + 1e-9)


def test_what_does_not_fit_says_which_stage_lacks_memory() -> None:
    with pytest.raises(DoesNotFit, match=r"mixed cluster: .* does not fit: stage \d lacks"):
        halves(LAYOUT, A100, H100, memory_margin=0.85)


def test_devices_that_make_no_whole_stages_are_refused() -> None:
    job, stack = large_job(), load_stack("megatron-core")
    with pytest.raises(InputError, match="4 devices of dgx-a100-pod are no whole stages"):
        mixed_pipeline(job, stack, [share(A100, 4), share(H100, 8)], LAYOUT.model_copy(update={"tp": 8}))
    with pytest.raises(InputError, match=r"layout.pp: 4 is not 1 \+ 2 stages of the clusters; use 3"):
        mixed_pipeline(job, stack, [share(A100, 4), share(H100, 8)], LAYOUT)


def test_even_stages_follow_the_even_split_of_layouts() -> None:
    assert even_stage_layers(10, 4).tolist() == [2, 3, 3, 2]
    assert even_stage_layers(126, 16).tolist() == [7, *[8] * 14, 7]
    assert even_stage_layers(5, 1).tolist() == [5]
    assert even_stage_layers(5, 2).sum() == 5
