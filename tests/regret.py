"""The planner's regret on this machine: every legal layout of a small model trained for a few steps.

``make regret`` writes it to ``reports/regret.md``. Regret is what the layout that is predicted fastest loses to the one
measured fastest. The predictions are those of the machine's own probe, before any training run is seen, and once more
after a calibration on three of the runs. Needs a machine that does nothing else.
"""

import argparse
import platform
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

import numpy as np

from glmplan.architecture.catalog import load_architecture
from glmplan.cli.quickstart_loop import MAX_TEXT_BYTES, STACK, fit_runs
from glmplan.documents import read_json, write_text
from glmplan.errors import GlmplanError
from glmplan.hardware.catalog import load_cluster
from glmplan.plan.document import Option, Plan, write_plan
from glmplan.plan.request import PlanRequest
from glmplan.precision import Precision
from glmplan.probe.machine import probe_machine, write_profile
from glmplan.search.planner import load_problem, make_plan
from glmplan.train.corpus import prepare_corpus
from glmplan.train.launcher import run_training
from glmplan.workload.job import TrainingJob

MODEL = "tiny-llama-3m"
SEQ_LEN = 256
GLOBAL_BATCH = 8
EVERY_LAYOUT = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One layout, as predicted and as measured; times in seconds a step."""

    label: str
    predicted_s: float
    calibrated_s: float
    measured_s: float


def rank_correlation(first: list[float], second: list[float]) -> float:
    """Spearman's coefficient (no correction for ties: measured times have none)."""
    ranks = [np.argsort(np.argsort(values)) for values in (first, second)]
    return float(np.corrcoef(*ranks)[0, 1])


def regret(predicted: list[float], measured: list[float]) -> float:
    """Measured time of the layout predicted fastest over that of the fastest, less one."""
    return measured[int(np.argmin(predicted))] / min(measured) - 1.0


def every_plan(machine: Path, ranks: int) -> Plan:
    """A plan that keeps every legal layout of ``ranks`` ranks."""
    load_cluster(str(machine))
    job = TrainingJob(
        architecture=load_architecture(MODEL), seq_len=SEQ_LEN, global_batch=GLOBAL_BATCH, precision=Precision.FP32
    )
    request = PlanRequest(job=job, cluster=str(machine), num_gpus=ranks, stack=STACK, top=EVERY_LAYOUT)
    return make_plan(load_problem(request))


def measure(plan: Plan, folder: Path, data: Path, steps: int, most: int, seed: int) -> tuple[list[Trial], int]:
    """Trains the best layout and a random sample of the others, ``most`` in all; also returns how many failed."""
    options = [plan.chosen, *plan.alternatives]
    rest = list(range(1, len(options)))
    random.Random(seed).shuffle(rest)
    chosen = sorted([0, *rest[: most - 1]])
    path = folder / "plan.json"
    write_plan(plan, path)
    measured: dict[int, float] = {}
    for count, index in enumerate(chosen, start=1):
        print(f"  {count}/{len(chosen)} {options[index].layout.label()}", flush=True)
        try:
            result = run_training(path, data, folder / f"run-{index}", steps, option=index, seed=seed)
        except GlmplanError as error:
            print(f"    failed: {error}", flush=True)
            continue
        if not result.finished:
            raise KeyboardInterrupt
        record = read_json(folder / f"run-{index}" / "measurement.json").data
        measured[index] = float(record["measured"]["step_time_s"])
    return _trials(plan, options, measured, folder), len(chosen) - len(measured)


def _trials(plan: Plan, options: list[Option], measured: dict[int, float], folder: Path) -> list[Trial]:
    seen = sorted(measured)[:: max(len(measured) // 3, 1)][:3]
    calibration = fit_runs([folder / f"run-{index}" for index in seen], folder / "calibration.yaml")
    again = make_plan(load_problem(plan.request, calibration))
    after = {option.layout: option.estimate.step_time_s for option in (again.chosen, *again.alternatives)}
    return [
        Trial(
            label=options[index].layout.label(),
            predicted_s=options[index].estimate.step_time_s,
            calibrated_s=after[options[index].layout],
            measured_s=seconds,
        )
        for index, seconds in measured.items()
    ]


def report(by_ranks: dict[int, tuple[list[Trial], int, int]], steps: int, seed: int) -> str:
    """The study in Markdown; per number of ranks the trials, how many failed, and how many layouts were legal."""
    lines = [
        "# The planner's regret on this machine",
        "",
        f"Made by `make regret`: {MODEL}, sequences of {SEQ_LEN}, batch {GLOBAL_BATCH}, {steps} steps a layout, seed"
        f" {seed}, CPU ranks with gloo ({platform.machine()}). *Probed*: predictions from the machine's own probe.",
        "*Calibrated*: after three of the runs were seen.",
        "",
        "| ranks | legal | measured | failed | slowest / fastest | regret, probed | regret, calibrated |"
        " rank correlation, probed | calibrated | median error, calibrated |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    regrets = []
    for ranks, (trials, failed, legal) in by_ranks.items():
        measured = [trial.measured_s for trial in trials]
        probed, fitted = [t.predicted_s for t in trials], [t.calibrated_s for t in trials]
        regrets.append((regret(probed, measured), regret(fitted, measured)))
        error = median(abs(t.calibrated_s / t.measured_s - 1.0) for t in trials)
        lines.append(
            f"| {ranks} | {legal} | {len(trials)} | {failed} | {max(measured) / min(measured):.1f} |"
            f" {regrets[-1][0]:.1%} | {regrets[-1][1]:.1%} | {rank_correlation(probed, measured):.2f} |"
            f" {rank_correlation(fitted, measured):.2f} | {error:.1%} |"
        )
    lines += [
        "",
        f"Mean regret {mean(r[0] for r in regrets):.1%} probed, {mean(r[1] for r in regrets):.1%} calibrated.",
        "",
        "| ranks | layout | measured, s | probed | calibrated |",
        "|---:|---|---:|---:|---:|",
    ]
    for ranks, (trials, _, _) in by_ranks.items():
        lines += [
            f"| {ranks} | {t.label} | {t.measured_s:.4f} | {t.predicted_s / t.measured_s - 1:+.0%} |"
            f" {t.calibrated_s / t.measured_s - 1:+.0%} |"
            for t in sorted(trials, key=lambda t: t.measured_s)
        ]
    return "\n".join([*lines, ""])


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--ranks", default="1,2,4")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--most", type=int, default=60, help="Layouts to train for each number of ranks.")
    parser.add_argument("--probe-seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    found: dict[int, tuple[list[Trial], int, int]] = {}
    with tempfile.TemporaryDirectory(prefix="glmplan-regret-") as name:
        folder = Path(name)
        vocab = load_architecture(MODEL).vocab
        prepare_corpus(("python-stdlib",), folder / "data", vocab_size=vocab, max_bytes=MAX_TEXT_BYTES, seed=given.seed)
        for ranks in map(int, given.ranks.split(",")):
            print(f"{ranks} ranks", flush=True)
            machine = folder / f"machine-{ranks}.yaml"
            probed = probe_machine(
                ranks=ranks,
                seconds=given.probe_seconds,
                seed=given.seed,
                dtypes=None,
                folder=folder,
                progress=lambda section, fraction: None,
            )
            write_profile(probed, machine)
            plan = every_plan(machine, ranks)
            place = folder / f"ranks-{ranks}"
            place.mkdir()
            trials, failed = measure(plan, place, folder / "data", given.steps, given.most, given.seed)
            found[ranks] = trials, failed, 1 + len(plan.alternatives)
    text = report(found, given.steps, given.seed)
    print(text)
    if given.output is not None:
        write_text(given.output, text)


if __name__ == "__main__":
    main()
