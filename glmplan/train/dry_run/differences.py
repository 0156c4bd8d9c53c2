"""What a dry run counted against what the cost model predicts, figure by figure. No torch here."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from glmplan.train.dry_run.counts import MODEL, CollectiveCount, StepCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One figure, both ways."""

    name: str
    unit: str
    """``FLOP``, ``B``, or empty for a count."""
    counted: float
    predicted: float | None
    """None where the cost model has no such figure."""

    @property
    def relative(self) -> float | None:
        """Of the prediction over what was counted; None where that says nothing."""
        return None if self.predicted is None or not self.counted else self.predicted / self.counted - 1.0


def differences(counted: StepCounts, predicted: StepCounts) -> list[Difference]:
    """FLOPs, collectives, memory, in this order."""
    found = [Difference(name="FLOPs", unit="FLOP", counted=counted.flops, predicted=predicted.flops)]
    found += _collectives(counted.collectives, predicted.collectives)
    for part in sorted(counted.memory.keys() | predicted.memory.keys()):
        of_both = counted.memory.get(part, 0.0), predicted.memory.get(part, 0.0)
        if any(of_both):
            name = part.removesuffix("_bytes").replace("_", " ")
            found.append(Difference(name=f"{name} at the peak", unit="B", counted=of_both[0], predicted=of_both[1]))
    peaks = counted.peak_memory_bytes, predicted.peak_memory_bytes
    return [*found, Difference(name="peak memory", unit="B", counted=peaks[0], predicted=peaks[1])]


def _collectives(counted: Iterable[CollectiveCount], predicted: Iterable[CollectiveCount]) -> Iterator[Difference]:
    by_key = [{(c.part, c.kind, c.group, c.ranks): c for c in each} for each in (counted, predicted)]
    for key in sorted(by_key[0].keys() | by_key[1].keys()):
        part, kind, group, ranks = key
        ours, theirs = by_key[0].get(key), by_key[1].get(key)
        name = f"{kind.replace('_', '-')} {group} x{ranks}" + ("" if part == MODEL else f" ({part})")
        known = part == MODEL
        for label, unit in (("count", ""), ("bytes", "B")):
            yield Difference(
                name=f"{name}, {label}",
                unit=unit,
                counted=getattr(ours, label) if ours else 0.0,
                predicted=(getattr(theirs, label) if theirs else 0.0) if known else None,
            )
