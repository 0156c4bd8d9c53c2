"""``glmplan generate``: continues texts with a trained model."""

import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from glmplan.cli.terminal import format_option, note, print_json
from glmplan.documents import read_text
from glmplan.errors import InputError

if TYPE_CHECKING:
    from glmplan.train.sampling import Sampling
    from glmplan.train.trained_model import Pace, TrainedModel


@click.command()
@click.option(
    "--run",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of a `glmplan train` run, or of a model in Hugging Face form.",
)
@click.option("--prompt", "prompts", multiple=True, help="Text to continue; several make a batch.")
@click.option("--prompts", "file", type=click.Path(path_type=Path), help="File with a prompt on each line.")
@click.option("--interactive", is_flag=True, help="Continue each line of stdin as it comes.")
@click.option("--max-tokens", type=int, default=100, show_default=True, help="Longest continuation.")
@click.option(
    "--temperature", type=float, default=0.8, show_default=True, help="0 takes the likeliest token each time."
)
@click.option("--top-k", type=int, default=0, show_default=True, help="Only the k likeliest tokens; 0 for all.")
@click.option("--top-p", type=float, default=1.0, show_default=True, help="Only tokens that together reach this share.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same text.")
@format_option("text", "json")
def command(
    run: Path,
    prompts: tuple[str, ...],
    file: Path | None,
    interactive: bool,
    max_tokens: int,
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int,
    output_format: str,
) -> None:
    """Continue prompts with the latest checkpoint of a run; continuations go to stdout, their pace to stderr.

    \b
    Example: glmplan generate --run run --prompt "def main(" --max-tokens 60
    """
    from glmplan.train.sampling import Sampling, check_sampling
    from glmplan.train.trained_model import load_trained

    if sum((bool(prompts), file is not None, interactive)) != 1:
        raise InputError("prompt: give one of --prompt (as often as you like), --prompts FILE or --interactive")
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    check_sampling(sampling, max_tokens)
    texts = list(prompts) if file is None else _lines_of(file)
    trained = load_trained(run)
    if interactive:
        _converse(trained, max_tokens, sampling)
        return
    continuations, pace = trained.continuations(texts, max_tokens, sampling)
    _tell(pace)
    if output_format == "json":
        print_json({"schema_version": 1, "continuations": [asdict(item) for item in continuations]})
    elif len(continuations) == 1:
        click.echo(continuations[0].text)
    else:
        for item in continuations:
            click.echo(f"==> {item.prompt}\n{item.text}\n")


def _lines_of(file: Path) -> list[str]:
    lines = [line for line in read_text(file).splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{file}: holds no prompt; expected one on each line")
    return lines


def _tell(pace: "Pace") -> None:
    note(f"read {pace.prompt_tokens} tokens in {pace.prefill_s:.3g} s, wrote {pace.tokens_per_s:.0f} tokens/s")


def _converse(trained: "TrainedModel", max_tokens: int, sampling: "Sampling") -> None:
    """A continuation for each line; an empty line is passed over, the end of stdin ends it."""
    for line in _typed():
        for piece in trained.stream(line, max_tokens, sampling):
            click.echo(piece, nl=False)
        click.echo()


def _typed() -> Iterator[str]:
    asked = sys.stdin.isatty()
    while True:
        if asked:
            click.echo("> ", nl=False, err=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.rstrip("\n")
