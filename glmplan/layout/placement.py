"""Where the groups of a layout lie: how many ranks, and how far apart in the order in which ranks fill nodes.

The order is tensor, context, data, pipeline, innermost first (Narayanan 2021, arXiv:2104.04473, section 3: tensor
parallelism inside a node). Expert and shard groups are cut from the data and context ranks, innermost first; experts
that are split less than the dense parts take tensor-parallel ranks before those.
"""

import numpy as np

from glmplan.layout.communication import Group
from glmplan.layout.parallel_layout import SHARDINGS, UNSTATED, Ints, LayoutTable, Sharding


def tensor_group(table: LayoutTable) -> Group:
    """Ranks that split each matrix."""
    return Group(ranks=table.tp.astype(float), stride=1.0)


def context_group(table: LayoutTable) -> Group:
    """Ranks that split each sequence."""
    return Group(ranks=table.cp.astype(float), stride=table.tp.astype(float))


def expert_tp(table: LayoutTable) -> Ints:
    """Ranks that split each matrix of an expert."""
    return np.where(table.expert_tp == UNSTATED, table.tp, table.expert_tp)


def expert_tensor_group(table: LayoutTable) -> Group:
    """The same as a group."""
    return Group(ranks=expert_tp(table).astype(float), stride=1.0)


def expert_group(table: LayoutTable) -> Group:
    """Ranks that split the experts."""
    return Group(ranks=table.ep.astype(float), stride=expert_tp(table).astype(float))


def data_group(table: LayoutTable) -> Group:
    """Ranks that hold the same parameters: data and context parallel together."""
    return Group(ranks=(table.dp * table.cp).astype(float), stride=table.tp.astype(float))


def shard_group(table: LayoutTable) -> Group:
    """Ranks that share one shard set."""
    return Group(ranks=table.shard_group.astype(float), stride=table.tp.astype(float))


def replicate_group(table: LayoutTable) -> Group:
    """Ranks that hold the same shard (HSDP)."""
    ranks = (table.dp * table.cp) // np.maximum(table.shard_group, 1)
    return Group(ranks=ranks.astype(float), stride=(table.tp * table.shard_group).astype(float))


def expert_data_group(table: LayoutTable) -> Group:
    """Ranks that hold the same experts."""
    split = expert_tp(table) * table.ep
    ranks = np.maximum((table.dp * table.cp * table.tp) // split, 1)
    return Group(ranks=ranks.astype(float), stride=split.astype(float))


def expert_shard_group(table: LayoutTable) -> Group:
    """Ranks that share one shard set of the same experts."""
    split = (expert_tp(table) * table.ep).astype(float)
    return Group(ranks=np.maximum(table.shard_group * table.tp / split, 1.0), stride=split)


def pipeline_group(table: LayoutTable) -> Group:
    """Neighbouring stages: two ranks, as far apart as a stage has ranks."""
    return Group(
        ranks=np.where(table.pp > 1, 2.0, 1.0),
        stride=(table.tp * table.cp * table.dp).astype(float),
        chain=table.pp.astype(float),
    )


def is_sharding(table: LayoutTable, *kinds: Sharding) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Rows whose sharding is one of ``kinds``."""
    return np.isin(table.sharding, [SHARDINGS.index(kind) for kind in kinds])
