"""FLOPs of a layer's forward pass, whole and as far as selective recomputation repeats it."""

from dataclasses import dataclass

from glmplan.architecture.model_flops import model_flops_per_token
from glmplan.workload.graph import LAYER_KINDS, Block, BlockKind
from glmplan.workload.job import TrainingJob
from glmplan.workload.operation import Attention, Matmul


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardFlops:
    """Of one layer for one sequence: matmuls and attention, as model FLOPs count them."""

    whole: float
    chosen: float
    """Of the operations that the stack's selective recomputation repeats."""


def forward_flops(blocks: tuple[Block, ...], job: TrainingJob) -> dict[BlockKind, ForwardFlops]:
    """Layer kind -> FLOPs of its forward pass.

    Model FLOPs count causal attention in full, the operations the half that a kernel executes: the attention of all
    layers is scaled to what model FLOPs say, a third of which is the forward pass.
    """
    layers = [block for block in blocks if block.kind in LAYER_KINDS]
    executed = sum(block.count * _sum(block, Attention).whole for block in layers)
    counted = model_flops_per_token(job.architecture, job.seq_len).attention / 3.0 * job.seq_len
    scale = counted / executed if executed else 0.0
    found = {}
    for block in layers:
        matmul, attention = _sum(block, Matmul), _sum(block, Attention)
        found[block.kind] = ForwardFlops(
            whole=matmul.whole + scale * attention.whole, chosen=matmul.chosen + scale * attention.chosen
        )
    return found


def _sum(block: Block, kind: type[Matmul] | type[Attention]) -> ForwardFlops:
    operations = [operation for operation in block.operations() if isinstance(operation, kind)]
    return ForwardFlops(
        whole=sum(float(operation.flops) for operation in operations),
        chosen=sum(float(operation.flops) * operation.repeated_share for operation in operations),
    )
