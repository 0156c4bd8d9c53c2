"""``glmplan gpu``: on a machine with a GPU, hold predictions against real steps within a few minutes."""

import datetime
import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from glmplan.cli.terminal import note
from glmplan.units import SECONDS, parse_quantity

NUM_TOKENS = 2**20


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("reports"), show_default=True, help="Folder of the report."
)
@click.option("--minutes", type=click.FloatRange(min=0.1), default=8.0, show_default=True, help="Time to spend.")
@click.option("--toy", is_flag=True, help="A toy model, on the CPU where there is no GPU: tries the session itself.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def command(out: Path, minutes: float, toy: bool, seed: int) -> None:
    """Probe this GPU, plan a 1B model for it, train several layouts, write predicted against measured.

    The report, its raw record, the measurements as cases and the machine's profile go to
    OUT/gpu-DEVICE.{md,json,jsonl,yaml}. Where there is no GPU, nothing is done. Needs no network.

    Example: glmplan gpu --minutes 8
    """
    if importlib.util.find_spec("torch") is None:
        note("torch is not installed, so there is nothing to measure with")
        return
    from glmplan.probe.gpu_scale import FULL, TOY
    from glmplan.probe.gpu_session import Tools, gpu_at_hand, probe_one_device, run_gpu_session

    if not toy and not gpu_at_hand():
        note("no GPU at hand: nothing to measure (glmplan gpu --toy tries the session on the CPU)")
        return
    from glmplan.search.planner import load_problem, make_plan

    scale = TOY if toy else FULL
    with tempfile.TemporaryDirectory(prefix="glmplan-data-") as folder:
        tools = Tools(
            probe=probe_one_device,
            plan=lambda request: make_plan(load_problem(request)),
            train=_trainer(Path(folder), scale.model, seed),
            say=note,
            date=datetime.date.today().isoformat(),
            command="glmplan gpu --toy" if toy else f"glmplan gpu --minutes {minutes:g}",
        )
        budget_s = parse_quantity(f"{minutes!r} min", SECONDS)
        report = run_gpu_session(out=out, scale=scale, budget_s=budget_s, seed=seed, tools=tools)
    click.echo(report)


def _trainer(data: Path, model: str, seed: int) -> Callable[..., None]:
    """The built-in trainer on uniformly random tokens, which are written to ``data``."""
    import numpy as np

    from glmplan.architecture.catalog import load_architecture
    from glmplan.train.launcher import run_training
    from glmplan.train.token_shards import write_token_data_set

    vocab_size = load_architecture(model).vocab
    tokens = np.random.default_rng(seed).integers(vocab_size, size=NUM_TOKENS)
    write_token_data_set(data, {"train": tokens, "validation": tokens[: NUM_TOKENS // 16]}, vocab_size)

    def train(plan_path: Path, out_dir: Path, *, steps: int, option: int, compiled: bool, seed: int) -> None:
        result = run_training(plan_path, data, out_dir, steps, option=option, seed=seed, compile_model=compiled)
        if not result.finished:
            raise KeyboardInterrupt

    return train
