"""The grid of ranks: a layout as a DeviceMesh with the axes pipeline, replicate, shard and tensor, tensor innermost."""

from dataclasses import dataclass

import torch
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from glmplan.layout.parallel_layout import ParallelLayout, Sharding

PIPELINE, REPLICATE, SHARD, TENSOR = "pipeline", "replicate", "shard", "tensor"


@dataclass(frozen=True, slots=True, kw_only=True)
class RankGrid:
    """This rank's place among all ranks."""

    mesh: DeviceMesh
    data_rank: int
    """Number among the ranks that see different sequences, 0 to dp - 1."""

    @property
    def tensor(self) -> DeviceMesh:
        """The ranks that share this rank's sequences."""
        return self.mesh[TENSOR]

    @property
    def data(self) -> DeviceMesh:
        """The ranks that share this rank's part of the parameters, as FSDP2 takes them: (replicate, shard)."""
        return self.mesh[REPLICATE, SHARD]

    @property
    def pipeline(self) -> DeviceMesh:
        """The ranks that hold the other stages of this rank's replica."""
        return self.mesh[PIPELINE]

    @property
    def stage(self) -> int:
        """Number of this rank's pipeline stage, 0 to pp - 1."""
        return self.pipeline.get_local_rank()

    @property
    def shard(self) -> DeviceMesh:
        """The ranks among which parameters are split."""
        return self.mesh[SHARD]


def mesh_shape(layout: ParallelLayout) -> tuple[int, int, int, int]:
    """Sizes of the axes pipeline, replicate, shard, tensor; their product is the world size."""
    if layout.sharding is Sharding.NONE:
        shard = 1
    elif layout.sharding is Sharding.HSDP:
        shard = layout.shard_group
    else:
        shard = layout.dp
    return layout.pp, layout.dp // shard, shard, layout.tp


def make_rank_grid(layout: ParallelLayout, device: torch.device) -> RankGrid:
    """The grid for ``layout``; the default process group must hold exactly its world size. Collective."""
    mesh = init_device_mesh(device.type, mesh_shape(layout), mesh_dim_names=(PIPELINE, REPLICATE, SHARD, TENSOR))
    shard_size = mesh[SHARD].size()
    if layout.tp > 1:
        mesh[SHARD, TENSOR]._flatten()  # lets DTensor reduce gradient norms over both axes in one operation
    data_rank = mesh[REPLICATE].get_local_rank() * shard_size + mesh[SHARD].get_local_rank()
    return RankGrid(mesh=mesh, data_rank=data_rank)
