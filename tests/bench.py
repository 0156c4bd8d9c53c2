"""Speed of the planner on one core; ``make bench`` writes it to ``reports/benchmarks.md``.

Absolute times belong to the machine they were taken on: compare the ratios, which come from one run.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from glmplan.documents import write_text
from glmplan.layout.candidates import candidates
from glmplan.layout.parallel_layout import LayoutTable
from glmplan.search.planner import Problem
from tests.codesign_bench import codesign_lines
from tests.planning_bench import SEARCHES, Search, growth_lines, planning_lines, proof_lines

REPEATS = 3
MOST_LAYOUTS = 500_000
"""Of a search's legal layouts, the first so many tables of them are costed for the rate."""
COMPARED_LAYOUTS = 10_000
"""Over all searches: costed in tables and one by one."""
REFERENCES = (
    ("Calculon, its unused debug log left out", 450, 500),
    ("Calculon as shipped", 61, 72),
    ("SimuMax", 6, 29),
    ("llm-analysis, which has no pipeline, communication or search", 3500, 3500),
)
"""Full evaluations per CPU second of other planners on one core of such a machine, measured apart from this run."""


def _median_s(work: Callable[[], object], repeats: int = REPEATS) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return median(seconds)


def _start_up_s() -> float:
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "glmplan", "--help"], check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _tables(problem: Problem) -> list[LayoutTable]:
    found: list[LayoutTable] = []
    for batch in candidates(problem.context, problem.request.choices):
        if sum(len(table) for table in found) >= MOST_LAYOUTS:
            break
        found += [batch.table] if len(batch.table) else []
    return found


def _differing(problem: Problem, tables: list[LayoutTable], number: int) -> tuple[int, float]:
    """Of ``number`` random layouts those whose estimates differ in any bit when costed alone; CPU seconds for one."""
    model, rng = problem.model, np.random.default_rng(number)
    table = tables[rng.integers(len(tables))]
    rows = rng.choice(len(table), size=min(number, len(table)), replace=False)
    together = model.estimate(table)
    start, differing = time.process_time(), 0
    for row in rows:
        alone = model.estimate(table.take(slice(row, row + 1)))
        pairs = [(together.step_time_s, alone.step_time_s)]
        pairs += [(together.time[part], seconds) for part, seconds in alone.time.items()]
        pairs += [(together.memory[part], bytes_) for part, bytes_ in alone.memory.items()]
        differing += any(many[row] != one[0] for many, one in pairs)
    return differing, (time.process_time() - start) / len(rows)


def _rates() -> tuple[list[str], float]:
    """The section on single evaluations, and the lowest rate in it."""
    lines = [
        "## Evaluations",
        "",
        f"Full evaluations per CPU second as tables and one by one; of {COMPARED_LAYOUTS:,} layouts drawn at random,"
        " those whose time or memory differs in any bit between the two.",
        "",
        "| search | as tables, 1/s | one by one, 1/s | ratio | compared | differing |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lowest = np.inf
    compared: tuple[Search, ...] = SEARCHES[:5]
    each = COMPARED_LAYOUTS // len(compared)
    for search in compared:
        problem = search.problem()
        tables = _tables(problem)
        seconds = _median_s(lambda model=problem.model, tables=tables: [model.estimate(table) for table in tables])  # type: ignore[misc]
        rate = sum(len(table) for table in tables) / seconds
        differing, alone_s = _differing(problem, tables, each)
        lowest = min(lowest, rate)
        lines.append(
            f"| {search.name} | {rate:,.0f} | {1 / alone_s:,.0f} | {rate * alone_s:,.0f} | {each:,} | {differing:,} |"
        )
    return [*lines, ""], lowest


def _reference_lines(lowest: float) -> list[str]:
    lines = [
        "## Beside other planners",
        "",
        f"The lowest rate above, {lowest:,.0f} full evaluations per CPU second, over what others reach on one core of"
        " such a machine (measured apart from this run).",
        "",
        "| planner | evaluations per CPU second | ratio |",
        "|---|---:|---:|",
    ]
    for name, least, most in REFERENCES:
        span = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        ratio = f"{lowest / most:,.0f}" if least == most else f"{lowest / most:,.0f} to {lowest / least:,.0f}"
        lines.append(f"| {name} | {span} | {ratio} |")
    return [*lines, ""]


def report() -> str:
    """The benchmark in Markdown."""
    rates, lowest = _rates()
    lines = [
        "# Speed of the planner",
        "",
        f"Made by `make bench` on one core ({platform.machine()}, Python {platform.python_version()}, NumPy"
        f" {np.__version__}). A full evaluation is time and memory of one layout."
        f" `glmplan --help` takes {_start_up_s():.2f} s.",
        "",
        *rates,
        *planning_lines(),
        *proof_lines(),
        *growth_lines(),
        *_reference_lines(lowest),
    ]
    return "\n".join([*lines, *codesign_lines()])


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path)
    output = parser.parse_args().output
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    text = report()
    print(text)
    if output is not None:
        write_text(output, text)


if __name__ == "__main__":
    main()
