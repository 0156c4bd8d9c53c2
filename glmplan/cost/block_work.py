"""What one block takes on the measured device and links, whatever the constants of a software stack: the first of two
steps (the second is ``block``).
"""

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from glmplan.cost.collective import CollectiveModel
from glmplan.cost.overlap import pieces_exposed_s
from glmplan.cost.roofline import DeviceModel
from glmplan.layout.communication import Collective, Communication, Purpose
from glmplan.layout.partition import RankBlock
from glmplan.software.kernel_factors import KernelFactors
from glmplan.software.stack import Kernels
from glmplan.workload.graph import BlockKind
from glmplan.workload.operation import Attention, Matmul, Number, Operation, Region, Stream

Floats = npt.NDArray[np.float64]
Exchanges = dict[tuple[Purpose, bool], Floats]
"""(purpose, in the backward pass) -> seconds."""
COPIED = (Collective.ALL_GATHER, Collective.REDUCE_SCATTER)
"""What joins or cuts tensors; an all-reduce leaves them as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockWork:
    """Arrays over layouts, in seconds on the measured device and links. One device runs one kernel after the other."""

    kind: BlockKind
    launches: float
    """Kernels of the forward pass, as the operations count them."""
    quantising_launches: float
    """Kernels that quantise, in the forward pass."""
    local_experts: Floats
    """Experts that the rank holds of one layer; 0 in other blocks."""
    matmul_forward_s: Floats
    matmul_backward_s: Floats
    attention_s: Floats
    attention_backward_s: Floats
    stream_forward_s: Floats
    stream_backward_s: Floats
    repeated_matmul_s: Floats
    """Of ``matmul_forward_s``, what selective recomputation repeats."""
    repeated_attention_s: Floats
    repeated_stream_s: Floats
    counted_forward_s: Floats
    """Passes over memory whose bytes are counted, so that no constant corrects them: quantising, joining pieces."""
    counted_backward_s: Floats
    repeated_counted_s: Floats
    last_matmul_s: Floats
    """Of ``matmul_forward_s``, the last one's where full recomputation leaves it out."""
    exchanges: Exchanges
    repeated_exchanges: Exchanges
    """Of ``exchanges``, what selective recomputation repeats."""
    last_exchanges: Exchanges
    """Of ``exchanges``, what full recomputation leaves out."""
    beside_attention: dict[bool, tuple[Floats, Floats]]
    """In the backward pass or not -> seconds of what travels during attention, and the share of attention it has."""


def block_work(
    rank_block: RankBlock,
    device: DeviceModel,
    collectives: CollectiveModel,
    kernels: Kernels,
    factors: KernelFactors,
    size: int,
) -> BlockWork:
    """The work of ``rank_block`` over its ``size`` layouts; ``factors`` tell its kernels from the tables'."""
    works = [rank_block.graph.nodes[name]["work"] for name in rank_block.graph]
    matmuls = {work.name: _matmul_passes_s(work, device, factors) for work in works if isinstance(work, Matmul)}
    last = _last_matmul(works) if kernels.recompute_stops_early else None
    ledger = _Ledger(size)
    for work in works:
        match work:
            case Communication():
                seconds = collectives.seconds(work) * work.count
                ledger.enter_communication(work, _seen_s(work, seconds, matmuls, kernels), last)
                _enter_passes_around(ledger, work, device, kernels)
            case Matmul():
                ledger.enter_matmul(work, matmuls[work.name], last)
                _enter_passes_before(ledger, work, device)
            case Attention():
                core = device.attention_s(work) * factors.attention
                ledger.add("attention_s", core)
                ledger.add("repeated_attention_s", core * work.repeated_share)
                ratio = device.attention_backward_factor(work, factors.attention_backward)
                ledger.add("attention_backward_s", core * ratio)
                ledger.launches += 1.0
            case Stream():
                ahead, back = device.stream_passes_s(work)
                ledger.add("stream_forward_s", ahead)
                ledger.add("stream_backward_s", back)
                ledger.add("repeated_stream_s", ahead * work.repeated_share)
                ledger.launches += work.launches
    return ledger.closed(rank_block.block.kind)


class _Ledger:
    """Sums of a block's work while its operations are gone through."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.launches = 0.0
        self.quantising_launches = 0.0
        names = [field.name for field in fields(BlockWork) if field.name.endswith(("_s", "_experts"))]
        self.sums: dict[str, Number] = {name: np.zeros(size) for name in names}
        self.exchanges: Exchanges = {}
        self.repeated: Exchanges = {}
        self.left_out: Exchanges = {}
        self.beside: dict[bool, tuple[Floats, Floats]] = {}

    def add(self, name: str, seconds: Number) -> None:
        """Adds to a sum."""
        self.sums[name] = self.sums[name] + seconds

    def enter_communication(self, work: Communication, seconds: Floats, last: str | None) -> None:
        """Adds seconds to what is exchanged, and to the part that is repeated or left out."""
        books = [self.exchanges] if work.beside_attention is None else []
        books += [self.repeated] if work.repeated else []
        books += [self.left_out] if last is not None and work.name.startswith(f"{last}_sum") else []
        key = work.purpose, work.backward
        for book in books:
            book[key] = book.get(key, np.zeros(self.size)) + seconds
        if work.beside_attention is not None:
            sent = self.beside[work.backward][0] if work.backward in self.beside else np.zeros(self.size)
            self.beside[work.backward] = sent + seconds, np.asarray(work.beside_attention)

    def enter_matmul(self, work: Matmul, passes: tuple[Floats, Floats], last: str | None) -> None:
        """Adds a matmul without the passes over memory around it."""
        ahead, back = passes
        self.add("matmul_forward_s", ahead)
        self.add("matmul_backward_s", back)
        self.add("repeated_matmul_s", ahead * work.repeated_share)
        self.launches += work.launches
        if work.name == last:
            self.add("last_matmul_s", ahead)
        if work.region is Region.EXPERT:
            self.sums["local_experts"] = np.maximum(self.sums["local_experts"], work.batch)

    def closed(self, kind: BlockKind) -> BlockWork:
        """The sums as a record."""
        sums = {name: np.broadcast_to(value, (self.size,)) for name, value in self.sums.items()}
        return BlockWork(
            kind=kind,
            launches=self.launches,
            quantising_launches=self.quantising_launches,
            exchanges=self.exchanges,
            repeated_exchanges=self.repeated,
            last_exchanges=self.left_out,
            beside_attention=self.beside,
            **{name: np.asarray(value, dtype=float) for name, value in sums.items()},
        )


def _seen_s(
    work: Communication, seconds: Floats, matmuls: dict[str, tuple[Floats, Floats]], kernels: Kernels
) -> Floats:
    """Of ``seconds``, what the matmul beside it does not hide."""
    if not (kernels.async_tp and _in_pieces(work)):
        return seconds
    ahead, back = matmuls[str(work.beside)]
    # of the two backward matmuls, the one that waits for the tensor, or makes it
    return pieces_exposed_s(seconds, back / 2.0 if work.backward else ahead, work.group.ranks)


def _in_pieces(work: Communication) -> bool:
    """Whether pieces of ``work`` can run beside pieces of one matmul."""
    return work.beside is not None and work.partial_sums == 1


def _enter_passes_around(ledger: _Ledger, work: Communication, device: DeviceModel, kernels: Kernels) -> None:
    """Adds what is copied or added up before or after ``work``."""
    sent_bytes, name = work.bytes * work.count, "counted_backward_s" if work.backward else "counted_forward_s"
    if kernels.async_tp and _in_pieces(work):
        if work.collective is Collective.REDUCE_SCATTER:
            # the pieces are added up on arrival: all are read, one is written
            ledger.add(name, device.pass_s(sent_bytes * (1.0 + 1.0 / work.group.ranks)))
    elif kernels.copies_gathered and work.purpose is Purpose.TENSOR and work.collective in COPIED:
        copy_s = device.pass_s(2.0 * sent_bytes)  # read and written
        ledger.add(name, copy_s)
        ledger.add("repeated_counted_s", copy_s * work.repeated)


def _enter_passes_before(ledger: _Ledger, work: Matmul, device: DeviceModel) -> None:
    """Adds what a matmul of several parts, or of quantised operands, reads and writes besides."""
    if len(work.parts) > 1:
        ledger.add("stream_backward_s", device.summed_gradients_s(work))
    if work.quantisation is not None:
        ahead, back = device.quantisation_passes_s(work)
        ledger.add("counted_forward_s", ahead)
        ledger.add("counted_backward_s", back)
        ledger.add("repeated_counted_s", ahead * max(work.repeated_share, work.quantisation.repeated_share))
        ledger.quantising_launches += work.quantisation.kernels.launches * work.launches


def _last_matmul(works: list[Operation | Communication]) -> str | None:
    """The name of the last matmul, where no operation after it keeps anything for the backward pass."""
    operations = [work for work in works if not isinstance(work, Communication)]
    for operation in reversed(operations):
        if isinstance(operation, Matmul):
            return operation.name
        if any(np.any(np.asarray(kept.elements + kept.mask_elements) > 0) for kept in operation.kept):
            return None
    return None


def _matmul_passes_s(work: Matmul, device: DeviceModel, factors: KernelFactors) -> tuple[Floats, Floats]:
    """Forward and backward seconds of the stack's kernels."""
    ahead, back = (seconds * factors.matmul for seconds in device.matmul_passes_s(work))
    if work.region is Region.EXPERT and factors.grouped is not None:
        forward, backward = factors.grouped.factors(work.tokens)
        return ahead * forward, back * backward
    return ahead, back
