"""``glmplan train``: trains a plan with the built-in trainer."""

import os
import signal
import sys
from pathlib import Path

import click

from glmplan.cli.terminal import note

EXIT_INTERRUPTED = 128 + signal.SIGTERM
"""As a shell reports a process that a signal ended."""


@click.command()
@click.argument("plan", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder made by `glmplan data prepare`.")
@click.option("--steps", type=int, required=True, help="Train up to this step (one step is one optimizer update).")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option(
    "--option", type=int, default=0, show_default=True, help="Alternative of the plan; 0 is the chosen layout."
)
@click.option("--checkpoint-every", type=int, metavar="K", help="Steps between checkpoints.  [default: at the end]")
@click.option("--validate-every", type=int, metavar="K", help="Steps between validations.  [default: at the end]")
@click.option("--seed", type=int, help="Of initial weights and of the order of the data.  [default: 0]")
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in --out; any layout may do so.")
@click.option(
    "--init-from",
    type=click.Path(path_type=Path),
    help="Start with the weights of a Hugging Face folder (safetensors).",
)
@click.option("--lr", type=float, help="Peak learning rate.  [default: by the model's width]")
@click.option("--warmup-steps", type=int, help="Steps until the peak is reached.  [default: 20]")
@click.option(
    "--compile/--no-compile", "compile_model", default=None, help="torch.compile.  [default: as the plan's stack]"
)
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def command(
    plan: Path,
    data: Path,
    steps: int,
    out: Path,
    option: int,
    checkpoint_every: int | None,
    validate_every: int | None,
    seed: int | None,
    resume: bool,
    init_from: Path | None,
    lr: float | None,
    warmup_steps: int | None,
    compile_model: bool | None,
    quiet: bool,
) -> None:
    """Train PLAN with the built-in PyTorch trainer.

    Starts torchrun itself where the layout needs more than one process; under torchrun it is one of them. Ctrl-C saves
    at the end of the step. --out then holds metrics.jsonl, validation.jsonl, measurement.json and checkpoints.

    \b
    Example: glmplan train plan.json --data data --steps 200 --out run
    """
    from glmplan.train.run_record import Requested

    requested = Requested(
        steps=steps,
        option=option,
        seed=seed,
        checkpoint_every=checkpoint_every,
        validate_every=validate_every,
        learning_rate=lr,
        warmup_steps=warmup_steps,
        compile_model=compile_model,
        init_from=None if init_from is None else str(init_from.resolve()),
    )
    if {"RANK", "WORLD_SIZE"} <= os.environ.keys():
        from glmplan.train.worker import join_training

        outcome = join_training(plan, data, out, requested, resume=resume, quiet=quiet)
        sys.exit(EXIT_INTERRUPTED if outcome.interrupted else 0)
    from glmplan.train.launcher import launch

    result = launch(plan, data, out, requested, resume=resume, quiet=quiet)
    if result.message:
        note(result.message)
    if result.finished:
        note(f"trained to step {result.last_step}; results are in {out}")
        return
    note(f"stopped after step {result.last_step}; go on with the same command and --resume")
    sys.exit(128 + result.signal_number if result.signal_number else EXIT_INTERRUPTED)
