"""The steps of the quickstart, in order. Each leaves a file in the folder, and is skipped when that file is there."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from glmplan.architecture.catalog import load_architecture
from glmplan.cli.quickstart_summary import Row, Summary
from glmplan.documents import json_text, write_text, yaml_text
from glmplan.errors import InputError
from glmplan.hardware.calibration import Calibration
from glmplan.hardware.catalog import load_calibration, load_cluster
from glmplan.layout.parallel_layout import ParallelLayout
from glmplan.plan.document import Plan, read_plan, write_plan
from glmplan.plan.request import PlanRequest
from glmplan.precision import Precision
from glmplan.search.planner import load_problem, make_plan
from glmplan.software.catalog import load_stack
from glmplan.workload.job import TrainingJob

MARKER = "quickstart.json"
STACK = "glmplan"
SEQ_LEN = 256
GLOBAL_BATCH = 8
SHORT_RUNS = 3
"""The chosen layout and two others."""
MAX_TEXT_BYTES = 6_000_000

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the command line asks for."""

    out: Path
    model: str
    sources: tuple[str, ...]
    steps: int
    probe_seconds: float
    seed: int
    overwrite: bool


def run_loop(settings: Settings, say: Say) -> Summary:
    """The whole loop. Raises InputError for a folder that is not a quickstart's, and what its steps raise."""
    out = settings.out
    _claim(settings)
    machine = out / "machine.yaml"
    if not machine.exists():
        say(f"[1/8] measuring this machine for {settings.probe_seconds:.0f} s")
        _probe(settings, machine)
    if not (out / "data" / "data.json").exists():
        say("[2/8] preparing text")
        _prepare(settings)
    say("[3/8] planning")
    request = _request(settings, machine)
    plan = make_plan(load_problem(request))
    write_plan(plan, out / "plan.json")
    say(f"      {plan.search.considered:,} layouts considered; chosen: {plan.chosen.layout.label()}")
    options = options_to_train(plan)
    runs = [_train(settings, out / "plan.json", out / f"run-{k}", k, f"[4/8] option {k}", say) for k in options]
    say("[5/8] holding predictions against measurements")
    rows = [row_of(plan, run, "before calibration") for run in runs]
    say("[6/8] calibrating")
    calibration = fit_runs(runs, out / "calibration.yaml")
    say("[7/8] planning again with the calibration, and measuring afresh")
    again = make_plan(load_problem(request, calibration))
    write_plan(again, out / "plan-calibrated.json")
    if (out / "run-fresh" / "plan.json").exists() and read_plan(out / "run-fresh" / "plan.json") != again:
        shutil.rmtree(out / "run-fresh")
    fresh = _train(
        settings, out / "plan-calibrated.json", out / "run-fresh", 0, f"      {again.chosen.layout.label()}", say
    )
    rows += [row_of(again, run, "calibrated") for run in runs if _holds(again, run)]
    rows.append(row_of(again, fresh, "fresh"))
    say("[8/8] writing the report")
    report = _report(out, [*runs, fresh])
    summary = Summary(
        runs=tuple(rows),
        chosen=plan.chosen.layout.label(),
        chosen_again=again.chosen.layout.label(),
        report=str(report),
        losses=_losses(fresh),
    )
    write_text(out / MARKER, json_text(summary.document()))
    return summary


def _claim(settings: Settings) -> None:
    """Makes the folder ours, or refuses one that holds something else."""
    out = settings.out
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give --out a folder")
    ours = (out / MARKER).exists()
    if out.exists() and any(out.iterdir()) and not ours:
        raise InputError(f"{out}: holds files that are not a quickstart's; give --out an empty or new folder")
    if ours and settings.overwrite:
        shutil.rmtree(out)
    if not (out / MARKER).exists():
        write_text(out / MARKER, json_text({"schema_version": 1, "finished": False}))


def _probe(settings: Settings, machine: Path) -> None:
    from glmplan.cli.progress import progress_bar
    from glmplan.probe.machine import probe_machine, write_profile

    with progress_bar("probe") as progress:
        data = probe_machine(
            ranks=None,
            seconds=settings.probe_seconds,
            seed=settings.seed,
            dtypes=None,
            folder=machine.parent,
            progress=progress,
        )
    write_profile(data, machine)


def _prepare(settings: Settings) -> None:
    from glmplan.cli.progress import progress_bar
    from glmplan.train.corpus import prepare_corpus

    vocab = load_architecture(settings.model).vocab
    with progress_bar("data") as progress:
        prepare_corpus(
            settings.sources,
            settings.out / "data",
            vocab_size=vocab,
            max_bytes=MAX_TEXT_BYTES,
            seed=settings.seed,
            progress=progress,
        )


def _request(settings: Settings, machine: Path) -> PlanRequest:
    cluster = load_cluster(str(machine))
    ranks = cluster.num_devices
    batch = max(GLOBAL_BATCH, ranks)
    precision = Precision.BF16 if cluster.device.runtime == "cuda" else Precision.FP32
    job = TrainingJob(
        architecture=load_architecture(settings.model),
        seq_len=SEQ_LEN,
        global_batch=batch + -batch % ranks,
        precision=precision,
    )
    return PlanRequest(job=job, cluster=str(machine), num_gpus=ranks, stack=STACK, top=100)


def options_to_train(plan: Plan) -> list[int]:
    """The chosen layout and the best layouts that differ from those before in how ranks share the work."""
    kept = [0]
    kinds = {_kind(plan.chosen.layout)}
    for index, option in enumerate(plan.alternatives, start=1):
        if len(kept) < SHORT_RUNS and _kind(option.layout) not in kinds:
            kept.append(index)
            kinds.add(_kind(option.layout))
    others = [index for index in range(1, len(plan.alternatives) + 1) if index not in kept]
    return kept + others[: SHORT_RUNS - len(kept)]


def _kind(layout: ParallelLayout) -> tuple[int, str]:
    return layout.tp, str(layout.sharding)


def _train(settings: Settings, plan_path: Path, folder: Path, option: int, label: str, say: Say) -> Path:
    from glmplan.train.launcher import run_training

    if (folder / "measurement.json").exists():
        return folder
    plan = read_plan(plan_path)
    layout = (plan.chosen, *plan.alternatives)[option].layout
    say(f"{label}: training {layout.label()} for {settings.steps} steps")
    result = run_training(
        plan_path,
        settings.out / "data",
        folder,
        settings.steps,
        option=option,
        seed=settings.seed,
        resume=folder.exists(),
    )
    if not result.finished:
        raise KeyboardInterrupt
    return folder


def row_of(plan: Plan, run: Path, when: str) -> Row:
    """One run against what ``plan`` predicts for its layout."""
    from glmplan.validation.run_comparison import compare_run

    found = {comparison.quantity: comparison for comparison in compare_run(plan, run)}
    time, memory = found["step_time_s"], found.get("peak_memory_gib")
    return Row(
        when=when,
        layout=read_layout(run).label(),
        predicted_s=time.predicted,
        measured_s=time.measured,
        predicted_gib=None if memory is None else memory.predicted,
        measured_gib=None if memory is None else memory.measured,
    )


def read_layout(run: Path) -> ParallelLayout:
    """The layout that a run was trained with."""
    from glmplan.documents import read_json

    given = read_json(run / "measurement.json").data["layout"]
    return ParallelLayout(**{name: value for name, value in given.items() if name in ParallelLayout.model_fields})


def _holds(plan: Plan, run: Path) -> bool:
    layout = read_layout(run)
    return any(option.layout == layout for option in (plan.chosen, *plan.alternatives))


def fit_runs(runs: list[Path], output: Path) -> Calibration:
    from glmplan.validation.calibrate import calibrate, select
    from glmplan.validation.case_file import case_files, read_cases
    from glmplan.validation.estimator import CostModelEstimator
    from glmplan.validation.outcome import usable_cases

    usable, _ = usable_cases(read_cases(case_files([str(run) for run in runs])))
    chosen, _ = select(usable, STACK, None)
    made_by = "glmplan quickstart"
    result = calibrate(chosen, load_stack(STACK), CostModelEstimator(), made_by=made_by)
    data = result.calibration.model_dump(mode="json", exclude_none=True)
    write_text(output, yaml_text(data, f"Fitted constants, generated by: {made_by}"))
    return load_calibration(str(output))


def _report(out: Path, runs: list[Path]) -> Path:
    from glmplan.report.publication import write_report

    plan = read_plan(out / "plan-calibrated.json")
    page = out / "report.html"
    write_report(out / "plan-calibrated.json", tuple(run for run in runs if _holds(plan, run)), page, "html")
    return page


def _losses(run: Path) -> tuple[float, float]:
    """First and last training loss of a run."""
    import json

    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [float(json.loads(line)["loss"]) for line in lines]
    return losses[0], losses[-1]
