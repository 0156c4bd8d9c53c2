"""The sections of the probe in order, each with its share of the time; what one rank runs from start to end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from glmplan.precision import Precision
from glmplan.probe.attention import AttentionCase, attention_cases, measure_attention
from glmplan.probe.collectives import (
    SIZES_IN_ANY_CASE,
    CollectiveCase,
    collective_cases,
    make_groups,
    measure_collective,
)
from glmplan.probe.host import host_cases, measure_host
from glmplan.probe.matmul import MatmulCase, matmul_cases, measure_matmul
from glmplan.probe.memory import CopyCase, copy_cases, measure_copy
from glmplan.probe.ranks import Rank
from glmplan.probe.section import Row, measure_cases
from glmplan.probe.storage import measure_storage

SHARES = {"matmul": 0.40, "attention": 0.22, "memory": 0.06, "host": 0.04, "collectives": 0.20, "storage": 0.08}
"""Of the measuring time. What one rank alone does not need goes to the others."""

Rows = dict[str, list[Row]]
"""Section -> rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbePlan:
    """What every rank is told: a picklable function of its rank."""

    kind: str
    ranks: int
    seconds: float
    seed: int
    dtypes: tuple[Precision, ...]
    folder: Path
    """Where rank 0 measures the disk."""

    def shares(self) -> dict[str, float]:
        """Section -> its part of the time, summing to 1."""
        used = {name: share for name, share in SHARES.items() if name != "collectives" or self.ranks > 1}
        return {name: share / sum(used.values()) for name, share in used.items()}

    def __call__(self, rank: Rank) -> Rows:
        """Measures everything as ``rank``; all ranks do so together."""
        rows: Rows = {}
        done = 0.0
        for name, share in self.shares().items():
            rank.report(name, min(1.0, done))
            on_case = _share_reporter(rank, name, done, share)
            rows[name] = _SECTIONS[name](self, rank, share * self.seconds, on_case)
            done += share
        rank.report("done", 1.0)
        return rows


def _share_reporter(rank: Rank, name: str, done: float, share: float) -> Callable[[float], None]:
    return lambda fraction: rank.report(name, min(1.0, done + share * fraction))


def _matmul(plan: ProbePlan, rank: Rank, budget_s: float, on_case: Callable[[float], None]) -> list[Row]:
    cases = matmul_cases(plan.kind, plan.dtypes, plan.seed)
    return measure_cases(
        cases,
        lambda case, slice_s: measure_matmul(case, rank, slice_s),
        MatmulCase.flops,
        rank,
        budget_s,
        on_case,
        at_least=len(plan.dtypes),
    )


def _attention(plan: ProbePlan, rank: Rank, budget_s: float, on_case: Callable[[float], None]) -> list[Row]:
    cases = attention_cases(plan.kind, plan.dtypes, plan.seed)
    return measure_cases(
        cases,
        lambda case, slice_s: measure_attention(case, rank, slice_s),
        AttentionCase.flops,
        rank,
        budget_s,
        on_case,
        at_least=min(2, len(cases)),
    )


def _memory(plan: ProbePlan, rank: Rank, budget_s: float, on_case: Callable[[float], None]) -> list[Row]:
    return measure_cases(
        copy_cases(plan.kind),
        lambda case, slice_s: measure_copy(case, rank, slice_s),
        CopyCase.moved_bytes,
        rank,
        budget_s,
        on_case,
        at_least=2,
    )


def _host(plan: ProbePlan, rank: Rank, budget_s: float, on_case: Callable[[float], None]) -> list[Row]:
    return measure_cases(
        host_cases(), lambda case, slice_s: measure_host(case, rank, slice_s), lambda case: 1.0, rank, budget_s, on_case
    )


def _collectives(plan: ProbePlan, rank: Rank, budget_s: float, on_case: Callable[[float], None]) -> list[Row]:
    groups = make_groups(rank)
    cases = collective_cases(plan.kind, rank.count)
    return measure_cases(
        cases,
        lambda case, slice_s: measure_collective(case, groups, rank, slice_s),
        CollectiveCase.moved_bytes,
        rank,
        budget_s,
        on_case,
        at_least=sum(case.size_bytes in SIZES_IN_ANY_CASE for case in cases),
    )


def _storage(plan: ProbePlan, rank: Rank, budget_s: float, on_case: Callable[[float], None]) -> list[Row]:
    return measure_storage(plan.folder, budget_s, on_case) if rank.index == 0 else []


Section = Callable[[ProbePlan, Rank, float, Callable[[float], None]], list[Row]]
_SECTIONS: dict[str, Section] = {
    "matmul": _matmul,
    "attention": _attention,
    "memory": _memory,
    "host": _host,
    "collectives": _collectives,
    "storage": _storage,
}


def rows_of(rows: Sequence[Row], **columns: str | int) -> list[Row]:
    """The rows whose columns have these values."""
    return [row for row in rows if all(row.columns.get(name) == value for name, value in columns.items())]
