"""Whole searches for ``make bench``: seconds and memory of one ``glmplan plan``, with and without bounds, over GPUs."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from glmplan.architecture.catalog import load_architecture
from glmplan.hardware.cluster import Cluster
from glmplan.hardware.described import described_cluster
from glmplan.plan.request import PlanRequest
from glmplan.search.exhaustive import TOO_LARGE, SearchResult, search_layouts
from glmplan.search.planner import Problem, load_problem
from glmplan.workload.job import TrainingJob

REPEATS = 3
GROWTH = ("llama3-70b", 16384, 8192, tuple(2**power for power in range(6, 18)))
"""Model, sequences a step and their tokens, numbers of GPUs."""
LARGEST_CLUSTER = """\
name: h100-131072
title: "131,072 H100 in one non-blocking fat tree, after the DGX H100 SuperPOD"
node: dgx-h100
fabric:
  kind: fat-tree
  rails: {value: 8, source: plan}
  levels:
    - {name: leaf, span_nodes: {value: 32, source: plan}}
    - {name: spine, span_nodes: {value: 512, source: plan}}
    - {name: core, span_nodes: {value: 16384, source: plan}}
sources:
  plan: {title: "a cluster that nobody has described yet"}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """One job to plan, and the CPU seconds that another planner needs for it."""

    name: str
    model: str
    cluster: str
    gpus: int
    batch: int
    seq_len: int
    calculon_s: str = "-"
    """Calculon without offload on one core of such a machine, measured apart from this run."""

    def problem(self) -> Problem:
        """The job, loaded."""
        job = TrainingJob(architecture=load_architecture(self.model), seq_len=self.seq_len, global_batch=self.batch)
        return load_problem(PlanRequest(job=job, cluster=self.cluster, num_gpus=self.gpus, stack="megatron-core"))

    def arguments(self, cluster: str) -> list[str]:
        """Of ``glmplan plan``."""
        named = {"model": self.model, "cluster": cluster, "gpus": self.gpus, "stack": "megatron-core"}
        named |= {"global-batch": self.batch, "seq-len": self.seq_len, "format": "json"}
        return [word for name, value in named.items() for word in (f"--{name}", str(value))]


LARGEST = "h100-131072"
SEARCHES = (
    Search(
        name="GPT-3 175B, 1,024 A100",
        model="gpt3-175b",
        cluster="dgx-a100-pod",
        gpus=1024,
        batch=1536,
        seq_len=2048,
        calculon_s="498",
    ),
    Search(
        name="Turing-NLG 530B, 2,520 A100",
        model="megatron-530b",
        cluster="dgx-a100-pod",
        gpus=2520,
        batch=2520,
        seq_len=2048,
        calculon_s="68 to 82",
    ),
    Search(
        name="Megatron 1T, 3,072 A100",
        model="megatron-1t",
        cluster="dgx-a100-pod",
        gpus=3072,
        batch=3072,
        seq_len=2048,
        calculon_s="168",
    ),
    Search(
        name="DeepSeek-V3, 2,048 H800",
        model="deepseek-v3",
        cluster="deepseek-h800",
        gpus=2048,
        batch=15360,
        seq_len=4096,
    ),
    Search(
        name="Llama 3 405B, 16,384 H100",
        model="llama3-405b",
        cluster="llama3-24k",
        gpus=16384,
        batch=2048,
        seq_len=8192,
    ),
    Search(
        name="Llama 3 405B, 131,072 H100",
        model="llama3-405b",
        cluster=LARGEST,
        gpus=131072,
        batch=16384,
        seq_len=8192,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One ``glmplan plan``, start-up included."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    legal: int
    considered: int


def planning_lines() -> list[str]:
    """The section of the benchmark's report, in Markdown."""
    lines = [
        "## One plan, start-up included",
        "",
        f"`glmplan plan` in a process of its own, median of {REPEATS}. *Legal layouts* are those that the answer is"
        " proven over: costed, too large, or ruled out by a lower bound of their time or by the memory of others;"
        " *considered* are those whose rules, memory and, where they fit, time were evaluated."
        " Calculon's CPU seconds for the same job without offload were measured on one core of such a machine, not in"
        " this run.",
        "",
        "| search | legal layouts | considered | wall s | CPU s | peak MiB | Calculon, CPU s | ratio |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    with _clusters() as paths:
        for search in SEARCHES:
            runs = [_process(search, paths.get(search.cluster, search.cluster)) for _ in range(REPEATS)]
            cpu_s, wall_s = median(run.cpu_s for run in runs), median(run.wall_s for run in runs)
            least = search.calculon_s.split()[0]
            ratio = "-" if least == "-" else f"{float(least) / cpu_s:,.0f}"
            lines.append(
                f"| {search.name} | {runs[0].legal:,} | {runs[0].considered:,} | {wall_s:.2f} |"
                f" {cpu_s:.2f} | {max(run.peak_mib for run in runs):,.0f} | {search.calculon_s} | {ratio} |"
            )
    return [*lines, ""]


@contextmanager
def _clusters() -> Iterator[dict[str, str]]:
    """Files of clusters that the catalogue does not have."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{LARGEST}.yaml"
        path.write_text(LARGEST_CLUSTER)
        yield {LARGEST: str(path)}


def _process(search: Search, cluster: str) -> Process:
    start = time.perf_counter()
    command = [sys.executable, "-m", "glmplan", "plan", *search.arguments(cluster)]
    with tempfile.TemporaryFile("w+") as out, subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE) as child:
        _, status, usage = os.wait4(child.pid, 0)
        wall_s = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise RuntimeError(f"{' '.join(command)}: {child.stderr.read().decode() if child.stderr else ''}")
        out.seek(0)
        found = json.load(out)
    return Process(
        wall_s=wall_s,
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_mib=usage.ru_maxrss / 1024,
        legal=_legal(found["search"]),
        considered=found["search"]["considered"],
    )


def _legal(search: dict[str, Any]) -> int:
    """Layouts that keep the rules, of a search's counts."""
    return int(search["feasible"] + search["rejected"].get(TOO_LARGE, 0) + sum(search["pruned"].values()))


def proof_lines() -> list[str]:
    """The same answers without lower bounds: every layout's memory and, where it fits, time."""
    lines = [
        "## With and without lower bounds",
        "",
        "The eleven best layouts of the search, and of one that evaluates memory and time of everything legal.",
        "",
        "| search | with, CPU s | without, CPU s | the same list |",
        "|---|---:|---:|---|",
    ]
    for search in SEARCHES[:5]:
        problem = search.problem()
        (with_s, pruned), (without_s, whole) = _searched(problem, prunes=True), _searched(problem, prunes=False)
        same = "yes, to the last bit" if pruned.best == whole.best else "NO"
        lines.append(f"| {search.name} | {with_s:.2f} | {without_s:.2f} | {same} |")
    return [*lines, ""]


def growth_lines() -> list[str]:
    """How a search grows with the number of GPUs."""
    model, batch, seq_len, sizes = GROWTH
    lines = [
        "## Growth",
        "",
        f"{model}, {batch:,} sequences of {seq_len:,} tokens a step, H100 nodes on one non-blocking network.",
        "",
        "| GPUs | legal layouts | considered | search, CPU s | step, s |",
        "|---:|---:|---:|---:|---:|",
    ]
    job = TrainingJob(architecture=load_architecture(model), seq_len=seq_len, global_batch=batch)
    for gpus in sizes:
        request = PlanRequest(job=job, cluster=LARGEST, num_gpus=gpus, stack="megatron-core")
        problem = load_problem(request, cluster=_h100s(gpus))
        runs = [_searched(problem, prunes=True) for _ in range(REPEATS)]
        result = runs[0][1]
        step = f"{result.best[0].estimate.step_time_s:.3f}" if result.best else "nothing fits"
        lines.append(
            f"| {gpus:,} | {_legal(asdict(result)):,} | {result.considered:,} |"
            f" {median(seconds for seconds, _ in runs):.2f} | {step} |"
        )
    return [*lines, ""]


def _h100s(gpus: int) -> Cluster:
    return described_cluster(
        name=LARGEST,
        device="h100-sxm-80gb",
        devices_per_node=8,
        num_nodes=gpus // 8,
        network_bytes_per_s_per_device=50e9,
    )


def _searched(problem: Problem, *, prunes: bool) -> tuple[float, SearchResult]:
    """CPU seconds, and the result."""
    start, request = time.process_time(), problem.request
    result = search_layouts(
        problem.model,
        problem.context,
        request.choices,
        objective="time",
        memory_margin=request.memory_margin,
        keep=request.top + 1,
        visit=None if prunes else lambda _: None,
    )
    return time.process_time() - start, result
