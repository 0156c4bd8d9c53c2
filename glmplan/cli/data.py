"""``glmplan data``: prepare text as token shards, and show a prepared data set."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from glmplan.cli.progress import progress_bar
from glmplan.cli.terminal import format_option, note, print_json, print_table
from glmplan.errors import InputError
from glmplan.units import BYTES, format_quantity, parse_quantity

if TYPE_CHECKING:
    from glmplan.train.token_shards import DataSummary


def _bytes(ctx: click.Context, param: click.Parameter, value: str) -> float:
    try:
        return parse_quantity(value, BYTES)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.group(name="data")
def command() -> None:
    """Prepare text as token shards for training, or show a prepared data set."""


@command.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("-o", "--out", "directory", required=True, type=click.Path(path_type=Path), help="Folder to write to.")
@click.option("--vocab-size", default=4096, show_default=True, help="Largest vocabulary of the trained tokenizer.")
@click.option("--tokenizer", type=click.Path(path_type=Path), help="Use this tokenizer.json instead of training one.")
@click.option("--validation-fraction", default=0.05, show_default=True, help="Share of the text kept for validation.")
@click.option("--remove-stop-words", metavar="en|zh|FILE", help="Remove the words of a list (for frequency studies).")
@click.option(
    "--unicode-form", type=click.Choice(["nfc", "nfkc", "none"]), default="nfc", show_default=True, help="Normal form."
)
@click.option("--collapse-whitespace", is_flag=True, help="One blank for runs of blanks (not for source code).")
@click.option(
    "--duplicate-line-chars",
    type=click.IntRange(min=0),
    default=100,
    show_default=True,
    help="Drop a line this long when it was seen before; 0 keeps all.",
)
@click.option("--text-field", default="text", show_default=True, help="Field of JSON records that holds the text.")
@click.option(
    "--max-bytes",
    callback=_bytes,
    default="20 MB",
    show_default=True,
    metavar="SIZE",
    help="Stop after this much text, such as '2 GB'.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Decides the split.")
@click.option("--overwrite", is_flag=True, help="Replace a data set that is already there.")
@format_option("text", "json")
def prepare(
    paths: tuple[str, ...],
    directory: Path,
    vocab_size: int,
    tokenizer: Path | None,
    validation_fraction: float,
    remove_stop_words: str | None,
    unicode_form: str,
    collapse_whitespace: bool,
    duplicate_line_chars: int,
    text_field: str,
    max_bytes: float,
    seed: int,
    overwrite: bool,
    output_format: str,
) -> None:
    """Clean, split and tokenise text files and folders.

    PATH is a text file, a folder (read with its subfolders), or the name python-stdlib: the sources of the Python
    standard library on this machine. JSON and JSON lines files give their text fields.

    Example: glmplan data prepare novels/ notes.jsonl -o data --vocab-size 8192
    """
    _require_tokenizers()
    from glmplan.train.corpus import prepare_corpus
    from glmplan.train.text_cleaning import Cleaning, load_stop_words

    cleaning = Cleaning.model_validate(
        {
            "unicode_form": unicode_form,
            "collapse_whitespace": collapse_whitespace,
            "duplicate_line_chars": duplicate_line_chars,
            "stop_words": load_stop_words(remove_stop_words) if remove_stop_words else (),
        }
    )
    with progress_bar("data") as progress:
        summary = prepare_corpus(
            paths,
            directory,
            vocab_size=vocab_size,
            tokenizer=tokenizer,
            validation_fraction=validation_fraction,
            cleaning=cleaning,
            text_field=text_field,
            max_bytes=max_bytes,
            seed=seed,
            overwrite=overwrite,
            progress=progress,
        )
    for reason, count in summary.statistics.skipped.items():
        if count:
            note(f"skipped: {count} {reason}")
    if summary.statistics.cut_short:
        note(f"stopped at {format_quantity(max_bytes, 'B')} of text; --max-bytes sets the limit")
    _print(summary, directory, output_format)


@command.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--verify", is_flag=True, help="Compare every shard with its SHA-256.")
@format_option()
def show(directory: Path, verify: bool, output_format: str) -> None:
    """Show the statistics of the data set in DIRECTORY; fails when a shard is broken.

    Example: glmplan data show data --verify
    """
    from glmplan.train.token_shards import check_shards, read_data_summary

    summary = read_data_summary(directory)
    check_shards(directory, summary.shards, summary.dtype, verify=verify)
    _print(summary, directory, output_format)


def _print(summary: "DataSummary", directory: Path, output_format: str) -> None:
    if output_format == "json":
        print_json(summary.model_dump(mode="json"))
        return
    statistics = summary.statistics
    rows = [
        ("documents", f"{statistics.documents:,}"),
        ("duplicate documents", f"{statistics.duplicate_documents:,}"),
        ("duplicate lines", f"{statistics.duplicate_lines:,}"),
        ("text", format_quantity(statistics.text_bytes, "B")),
        ("vocabulary", f"{summary.vocab_size:,}"),
        ("train tokens", f"{summary.tokens_of('train'):,}"),
        ("validation tokens", f"{summary.tokens_of('validation'):,}"),
        ("bytes per token", f"{statistics.bytes_per_token:.3f}"),
        ("unigram entropy (nats)", f"{statistics.unigram_entropy_nats:.4f}"),
        ("shards", f"{len(summary.shards)} of {summary.dtype}"),
    ]
    print_table(("quantity", "value"), rows, output_format, title=f"Data set {directory}")


def _require_tokenizers() -> None:
    try:
        import tokenizers  # noqa: F401
    except ModuleNotFoundError:
        raise InputError(
            "data prepare: the package 'tokenizers' is missing; install it with: pip install 'glmplan[train]'"
        ) from None
