"""Offload: what leaves the device's memory, what the link and the host take for it, and what compute hides."""

from dataclasses import replace

import numpy as np
import pytest

from glmplan.cost.host import UPDATE_EFFICIENCY
from glmplan.cost.step import CostModel, cost_model
from glmplan.errors import NoData
from glmplan.hardware.catalog import load_cluster
from glmplan.layout.parallel_layout import LayoutTable, Offload, ParallelLayout, Recompute, Sharding
from glmplan.software.catalog import load_stack
from tests.small_jobs import cluster_of, job_of, model

ZERO3 = ParallelLayout(dp=8, sharding=Sharding.ZERO3, shard_group=8)


def cost_of(stack: str = "deepspeed", **job_fields: int) -> CostModel:
    job = job_of(model(), **job_fields)
    return cost_model(job, cluster_of("dgx-a100-pod", 8), load_stack(stack))


def each_offload(layout: ParallelLayout) -> LayoutTable:
    return LayoutTable.of(*(layout.model_copy(update={"offload": kind}) for kind in Offload))


@pytest.mark.parametrize("stack", ["deepspeed", "megatron-core", "torchtitan"])
def test_what_is_offloaded_leaves_the_device_and_lies_on_the_host(stack: str) -> None:
    """Ren 2021 (arXiv:2101.06840, section 4.1): of 16 bytes a parameter the device keeps the 2 it computes with."""
    memory = cost_of(stack, seq_len=4096).memory(each_offload(ZERO3))
    none, optimizer, activations, both = range(4)
    assert memory["host_bytes"][none] == 0
    for name in ("optimizer_bytes", "main_parameters_bytes"):
        assert memory[name][[optimizer, both]].tolist() == [0, 0]
    parameters = memory["optimizer_bytes"][none] / 8
    assert memory["parameters_bytes"][optimizer] == 2 * parameters
    assert memory["host_bytes"][optimizer] == pytest.approx(14 * parameters)
    kept = memory["activations_bytes"]
    assert kept[activations] == kept[both] < kept[none] == kept[optimizer]
    assert kept[none] - kept[activations] == pytest.approx(memory["host_bytes"][activations])


def test_no_offload_changes_nothing() -> None:
    """A table with offloading rows prices the others as one without."""
    cost = cost_of()
    together, alone = cost.estimate(each_offload(ZERO3)), cost.estimate(LayoutTable.of(ZERO3))
    assert together.step_time_s[0] == alone.step_time_s[0]
    assert together.peak_memory_bytes[0] == alone.peak_memory_bytes[0]
    assert together.time["offload_s"][0] == 0


def test_the_host_updates_at_the_speed_of_its_memory() -> None:
    """28 bytes a parameter (state and main copy twice, gradient and new value) over the share of one of 8 devices."""
    layout = ZERO3.model_copy(update={"offload": Offload.OPTIMIZER})
    cost = cost_of()
    table = LayoutTable.of(ZERO3, layout)
    estimate, memory = cost.estimate(table), cost.memory(table)
    parameters = memory["optimizer_bytes"][0] / 8
    launches_s = 4 * cost.stack["host_launches_per_update"] * cost.launch_s
    expected = 28 * parameters / (409.6e9 / 8 * UPDATE_EFFICIENCY) + launches_s
    assert estimate.time["optimizer_s"][1] == pytest.approx(expected * cost.stack["machine_derate"])


def test_activations_that_compute_hides_cost_no_time() -> None:
    """Long sequences: the attention grows with their square, what is sent linearly."""
    layout = ZERO3.model_copy(update={"offload": Offload.ACTIVATIONS, "recompute": Recompute.FULL})
    hidden = cost_of(seq_len=16384).estimate(LayoutTable.of(layout)).time["offload_s"].item()
    assert hidden == 0
    slow = cost_of(seq_len=16384)
    port = slow.cluster.machine.host
    assert port is not None
    machine = replace(slow.cluster.machine, host=replace(port, copy_bytes_per_s=1e6))
    slow = replace(slow, cluster=replace(slow.cluster, machine=machine))
    assert slow.estimate(LayoutTable.of(layout)).time["offload_s"].item() > 0


def test_a_faster_host_never_slows_a_step() -> None:
    job = job_of(model(), seq_len=1024)
    clusters = [cluster_of("dgx-a100-pod", 8), cluster_of("dgx-a100-pod", 8)]
    port = clusters[1].machine.host
    assert port is not None
    faster = replace(clusters[1].machine, host=replace(port, copy_bytes_per_s=10 * port.copy_bytes_per_s))
    clusters[1] = replace(clusters[1], machine=faster)
    slow_s, fast_s = (
        cost_model(job, cluster, load_stack("deepspeed")).estimate(each_offload(ZERO3)).step_time_s
        for cluster in clusters
    )
    assert (fast_s <= slow_s).all()
    assert np.isfinite(slow_s).all()


def test_without_the_hosts_figures_there_is_no_prediction() -> None:
    cluster = load_cluster("rtx-4090-workstation").sized(2)
    layout = ParallelLayout(dp=2, grad_accum=4, offload=Offload.OPTIMIZER)
    cost = cost_model(job_of(), cluster, load_stack("torchtitan"))
    with pytest.raises(NoData, match=r"host\.memory_bandwidth"):
        cost.estimate(LayoutTable.of(layout))
