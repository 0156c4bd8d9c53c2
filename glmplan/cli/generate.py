"""``glmplan generate``: continues a text with a trained model."""

from pathlib import Path

import click


@click.command()
@click.option("--run", type=click.Path(path_type=Path), required=True, help="Folder of a `glmplan train` run.")
@click.option("--prompt", required=True, help="Text to continue.")
@click.option("--max-tokens", type=int, default=100, show_default=True, help="Longest continuation.")
@click.option(
    "--temperature", type=float, default=0.8, show_default=True, help="0 takes the likeliest token each time."
)
@click.option("--top-k", type=int, default=0, show_default=True, help="Only the k likeliest tokens; 0 for all.")
@click.option("--top-p", type=float, default=1.0, show_default=True, help="Only tokens that together reach this share.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same text.")
def command(run: Path, prompt: str, max_tokens: int, temperature: float, top_k: int, top_p: float, seed: int) -> None:
    """Continue --prompt with the latest checkpoint of a run; the continuation goes to stdout.

    \b
    Example: glmplan generate --run run --prompt "def main(" --max-tokens 60
    """
    from glmplan.train.generation import Sampling, check_sampling, load_trained

    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    check_sampling(sampling, max_tokens)
    click.echo(load_trained(run).continuation(prompt, max_tokens, sampling))
