"""Speed of the planner on one core; ``make bench`` writes it to ``reports/benchmarks.md``.

Absolute times belong to the machine they were taken on: compare the ratios, which come from one run.
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from glmplan.architecture.catalog import load_architecture
from glmplan.documents import write_text
from glmplan.layout.candidates import candidates
from glmplan.plan.request import PlanRequest
from glmplan.search.planner import Problem, load_problem, make_plan
from glmplan.workload.job import TrainingJob

REPEATS = 5
SINGLE_LAYOUTS = 50

CASES = (
    ("GPT-3 175B, 1,024 A100", "gpt3-175b", "dgx-a100-pod", 1024, 1536, 2048),
    ("Llama 3 70B, 256 H100", "llama3-70b", "dgx-h100-pod", 256, 1024, 8192),
    ("Llama 3 405B, 16,384 H100", "llama3-405b", "llama3-24k", 16384, 2048, 8192),
    ("DeepSeek-V3, 2,048 H800", "deepseek-v3", "deepseek-h800", 2048, 15360, 4096),
)


def _problem(model: str, cluster: str, gpus: int, batch: int, seq_len: int) -> Problem:
    job = TrainingJob(architecture=load_architecture(model), seq_len=seq_len, global_batch=batch)
    return load_problem(PlanRequest(job=job, cluster=cluster, num_gpus=gpus, stack="megatron-core"))


def _median_s(work: Callable[[], object], repeats: int = REPEATS) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return median(seconds)


def _evaluation_rates(problem: Problem) -> tuple[int, float, float]:
    """Legal layouts; full evaluations per second of CPU time as tables, and one by one."""
    tables = [batch.table for batch in candidates(problem.context, problem.request.choices) if len(batch.table)]
    count = sum(len(table) for table in tables)
    together_s = _median_s(lambda: [problem.model.estimate(table) for table in tables])
    rows = np.linspace(0, len(tables[0]) - 1, SINGLE_LAYOUTS).astype(np.int64)
    singles = [tables[0].take(rows[i : i + 1]) for i in range(len(rows))]
    alone_s = _median_s(lambda: [problem.model.estimate(table) for table in singles], 3)
    return count, count / together_s, len(singles) / alone_s


def _start_up_s() -> float:
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "glmplan", "--help"], check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def report() -> str:
    """The benchmark's table in Markdown."""
    lines = [
        "# Speed of the planner",
        "",
        f"Made by `make bench` on one core ({platform.machine()}, Python {platform.python_version()}, NumPy"
        f" {np.__version__}). A full evaluation is time and memory of one layout; rates are per second of CPU time.",
        "",
        "| search | layouts considered | evaluations/s as tables | one by one | ratio | plan, CPU s |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, *what in CASES:
        problem = _problem(*what)
        _, together, alone = _evaluation_rates(problem)
        plan = make_plan(problem)
        plan_s = _median_s(lambda problem=problem: make_plan(problem), 3)
        lines.append(
            f"| {name} | {plan.search.considered:,} | {together:,.0f} | {alone:,.0f} | {together / alone:,.0f} |"
            f" {plan_s:.2f} |"
        )
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    lines += [
        "",
        f"`glmplan --help` takes {_start_up_s():.2f} s. Peak memory of all searches: {peak_mib:,.0f} MiB.",
        "",
        "For comparison: Calculon evaluates 75 to 1,300 layouts per second, SimuMax 16 (one by one in Python).",
        "",
    ]
    return "\n".join(lines)


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
