"""`glmplan models` on the command line."""

import csv
import io
import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from glmplan.architecture.catalog import list_architectures
from glmplan.cli.models import command
from glmplan.errors import InputError


def run(*arguments: str) -> str:
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_list_gives_every_preset_as_json() -> None:
    document = json.loads(run("list", "--format", "json"))
    assert document["schema_version"] == 1
    assert [model["name"] for model in document["models"]] == list_architectures()
    assert all(model["active"] <= model["parameters"] and model["source"] for model in document["models"])


@pytest.mark.parametrize("output_format", ["text", "csv", "md"])
def test_list_names_every_preset_in_every_format(output_format: str) -> None:
    output = run("list", "--format", output_format)
    assert all(name in output for name in list_architectures())


def test_show_gives_parameters_flops_and_source_as_json() -> None:
    document = json.loads(run("show", "llama3-8b", "--seq-len", "8192", "--format", "json"))
    assert document["parameters"]["total"] == 8_030_261_248
    assert document["flops_per_token"]["seq_len"] == 8192
    flops = document["flops_per_token"]
    assert flops["total"] == flops["matmul"] + flops["attention"] + flops["head"]
    assert "arXiv:2407.21783" in document["source"]
    assert len(document["sha256"]) == 64


def test_show_as_text_says_total_formula_and_source() -> None:
    output = run("show", "mixtral-8x7b")
    for expected in (
        "46,702,792,704",
        "12,879,925,248",
        "at 4096 tokens",
        "formula: ",
        "counted in full",
        "source: Jiang",
    ):
        assert expected in output


def test_show_as_csv_has_one_number_a_row() -> None:
    rows = list(csv.DictReader(io.StringIO(run("show", "t5-small", "--format", "csv"))))
    total = next(row for row in rows if row["part"] == "total")
    assert int(total["value"]) == 60_506_624
    assert [row for row in rows if row["quantity"].startswith("flops")]


def test_show_stays_within_the_learned_positions() -> None:
    assert json.loads(run("show", "gpt2", "--format", "json"))["flops_per_token"]["seq_len"] == 1024
    with pytest.raises(InputError, match="seq_len: 2048 exceeds the 1024 learned positions of gpt2; use at most 1024"):
        run("show", "gpt2", "--seq-len", "2048")


def test_a_mistyped_name_is_one_line_and_exit_code_2() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "glmplan", "models", "show", "lama3-8b"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("glmplan: model: no preset or file 'lama3-8b'; did you mean llama3-8b")
    assert done.stderr.count("\n") == 1
