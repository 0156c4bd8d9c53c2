"""What each process of a run executes: ``torchrun -m glmplan.train.worker --directory DIR``. Ends as the run did."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import click
import torch
from torch import distributed

from glmplan.errors import DocumentError, DoesNotFit, GlmplanError, InputError
from glmplan.plan.document import read_plan
from glmplan.plan.measurement import write_measurement
from glmplan.precision import Precision
from glmplan.train import devices
from glmplan.train.batches import Batches, TokenSource
from glmplan.train.capabilities import notes_on
from glmplan.train.checkpoint import load_checkpoint
from glmplan.train.checkpoint_folder import clear_unfinished
from glmplan.train.huggingface_import import check_weights, fill_model
from glmplan.train.loop import Loop, Progression
from glmplan.train.mesh import RankGrid, make_rank_grid
from glmplan.train.outcome import Outcome, write_outcome
from glmplan.train.process_group import joined, own_place
from glmplan.train.progress import Display, Silence, Terminal
from glmplan.train.run_measurement import run_measurement
from glmplan.train.run_record import (
    Requested,
    TrainingRun,
    chosen_option,
    design_run,
    planned_execution,
    read_run,
    write_run,
)
from glmplan.train.step_log import StepLog
from glmplan.train.stop_request import StopRequest
from glmplan.train.token_shards import open_token_shards, read_data_summary
from glmplan.train.training_step import Replica, make_replica
from glmplan.units import format_bytes

COMPILE_BACKEND = "inductor"


@click.command()
@click.option("--directory", "run_dir", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option("--control", type=click.Path(path_type=Path), required=True, help="Folder where the launcher listens.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def command(run_dir: Path, control: Path, quiet: bool) -> None:
    """One process of a training run. Users call `glmplan train`."""
    here = own_place()
    stop = StopRequest(control)
    stop.listen()
    try:
        run = read_run(run_dir)
        with joined(
            here,
            device_kind=run.plan.cluster.device_kind,
            world_size=run.layout.world_size,
            threads=run.settings.execution.threads,
        ) as device:
            outcome = train(run, device, stop, quiet=quiet)
    except GlmplanError as error:
        outcome = Outcome(exit_code=error.exit_code, message=str(error))
    except (RuntimeError, MemoryError) as error:
        if not devices.is_out_of_memory(error):
            raise
        write_outcome(control, out_of_memory(here.rank, error))
        os._exit(DoesNotFit.exit_code)  # the other ranks wait in a collective; the launcher ends them
    if here.rank == 0:
        write_outcome(control, outcome)


def join_training(
    plan_path: Path, data_dir: Path, out_dir: Path, requested: Requested, *, resume: bool, quiet: bool
) -> Outcome:
    """The same, for a process that torchrun started itself: rank 0 checks and writes what the launcher would.

    Raises GlmplanError on every rank when rank 0 meets one.
    """
    here = own_place()
    stop = StopRequest()
    stop.listen()
    plan = read_plan(plan_path)
    layout = chosen_option(plan, requested.option).layout
    threads = planned_execution(plan, requested.option).threads
    with joined(here, device_kind=plan.cluster.device_kind, world_size=layout.world_size, threads=threads) as device:
        run = _from_first_rank(lambda: _designed(plan_path, data_dir, out_dir, requested, resume))
        try:
            return train(run, device, stop, quiet=quiet)
        except (RuntimeError, MemoryError) as error:
            if not devices.is_out_of_memory(error):
                raise
            raise DoesNotFit(out_of_memory(here.rank, error).message) from None


def _designed(plan_path: Path, data_dir: Path, out_dir: Path, requested: Requested, resume: bool) -> TrainingRun:
    run = design_run(plan_path, data_dir, out_dir, requested, resume=resume)
    write_run(run)
    return run


def _from_first_rank(make: Callable[[], TrainingRun]) -> TrainingRun:
    answer: list[TrainingRun | GlmplanError | None] = [None]
    if distributed.get_rank() == 0:
        try:
            answer = [make()]
        except GlmplanError as error:
            answer = [type(error)(str(error)) if not isinstance(error, DocumentError) else InputError(str(error))]
    distributed.broadcast_object_list(answer)
    result = answer[0]
    if isinstance(result, GlmplanError):
        raise result
    assert result is not None
    return result


def out_of_memory(rank: int, error: RuntimeError | MemoryError) -> Outcome:
    """The device's memory did not suffice."""
    reason = str(error).splitlines()[0].split(". ")[0] if str(error) else "no memory"
    mend = "use a smaller micro_batch, recompute full, or split the model over more devices"
    return Outcome(exit_code=DoesNotFit.exit_code, message=f"rank {rank} ran out of device memory: {reason}; {mend}")


def train(run: TrainingRun, device: torch.device, stop: StopRequest, *, quiet: bool) -> Outcome:
    """Trains ``run`` on this process. Collective over the process group. Raises GlmplanError on bad input."""
    # Sequence parallelism's embedding returns a view; nothing here writes into it.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    if run.job.precision is Precision.TF32:
        torch.set_float32_matmul_precision("high")
    first = distributed.get_rank() == 0
    display: Display = Terminal(run.resumed_from + 1, run.settings.steps) if first and not quiet else Silence()
    grid = make_rank_grid(run.layout, device)
    if first:
        clear_unfinished(run.directory)
        _introduce(run, device, display)
    if run.resumed_from >= run.settings.steps:
        return Outcome(last_step=run.resumed_from, message=f"the run is at step {run.resumed_from} already")
    replica = make_replica(
        run.job,
        run.layout,
        grid,
        device,
        seed=run.settings.seed,
        compile_backend=COMPILE_BACKEND if run.settings.compile_model else None,
        execution=run.settings.execution,
    )
    if run.resumed_from:
        load_checkpoint(replica, run.directory, run.resumed_from)
    elif run.settings.init_from:
        check_weights(Path(run.settings.init_from), run.job.architecture)
        fill_model(replica.model, Path(run.settings.init_from))
    log = StepLog(run.directory, run.resumed_from, board=not run.settings.timing_only) if first else None
    try:
        with display:
            progression = _loop(run, replica, grid, log, display, stop).run(run.resumed_from)
    finally:
        if log is not None:
            log.close()
    if first and not progression.interrupted:
        _measure(run, device, progression)
    return Outcome(last_step=progression.last_step, interrupted=progression.interrupted)


def _loop(
    run: TrainingRun, replica: Replica, grid: RankGrid, log: StepLog | None, display: Display, stop: StopRequest
) -> Loop:
    data_dir = Path(run.settings.data_dir)
    batches = Batches(
        source=open_token_shards(data_dir, "train"),
        seq_len=run.job.seq_len,
        layout=run.layout,
        data_rank=grid.data_rank,
        seed=run.settings.seed,
        device=replica.device,
    )
    validation: TokenSource | None = None
    if read_data_summary(data_dir).tokens_of("validation") and not run.settings.timing_only:
        validation = open_token_shards(data_dir, "validation")
    return Loop(
        replica=replica,
        settings=run.settings,
        run_dir=run.directory,
        batches=batches,
        validation=validation,
        log=log,
        display=display,
        stop=stop,
    )


def _introduce(run: TrainingRun, device: torch.device, display: Display) -> None:
    where = f"step {run.resumed_from}" if run.resumed_from else run.settings.init_from or "fresh weights"
    display.note(
        f"{run.job.architecture.name} on {run.layout.world_size} x {devices.device_name(device)}: {run.layout.label()}"
        f", {run.job.precision}, from {where}"
    )
    if device.type == "cpu" and run.plan.cluster.device_kind != "cpu":
        display.note(f"the plan is for {run.plan.cluster.device}; there is none here, so this trains on the CPU")
    for text in notes_on(run.layout):
        display.note(text)


def _measure(run: TrainingRun, device: torch.device, progression: Progression) -> None:
    if not progression.step_times_s or progression.peak_memory_bytes is None:
        return
    times = progression.timed_steps_s
    notes = f"median of {len(times)} steps; memory is tensor bytes of the fullest rank"
    reserved = devices.peak_reserved_bytes(device)
    if reserved is not None:
        notes += f"; allocator held {format_bytes(reserved)} on rank 0; device {devices.device_name(device)}"
    notes += f"; process of rank 0 occupied {format_bytes(devices.peak_resident_bytes())}"
    measurement = run_measurement(
        run,
        device_kind=device.type,
        device_name=devices.device_name(device),
        step_times_s=times,
        peak_memory_bytes=progression.peak_memory_bytes,
        notes=notes,
    )
    write_measurement(measurement, run.directory / "measurement.json")


if __name__ == "__main__":
    command()
