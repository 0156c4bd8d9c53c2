import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from glmplan.cli.plan import command as plan_command
from glmplan.cli.report import command
from glmplan.errors import DocumentError, InputError
from glmplan.plan.document import write_plan
from tests.report.sample_plan import sample_measurement, sample_plan, write_run


@pytest.fixture
def plan_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_plan(sample_plan(), tmp_path / "gpt3.json")
    return tmp_path / "gpt3.json"


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_page_goes_to_the_reports_folder_under_the_plans_name(plan_path: Path) -> None:
    result = run(plan_path)
    assert result.stdout == "reports/gpt3.html\n"
    assert Path("reports/gpt3.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_runs_are_laid_side_by_side(plan_path: Path, tmp_path: Path) -> None:
    plan = sample_plan()
    first = write_run(tmp_path / "one", sample_measurement(plan, plan.chosen, step_time_s=8.5))
    second = write_run(tmp_path / "two", sample_measurement(plan, plan.alternatives[1], step_time_s=9.3))
    text = run(plan_path, "--run", first, "--run", second, "--format", "md").stdout
    assert "| one | layout 1 |" in text
    assert "| two | layout 3 |" in text
    assert "| two | Step time | 9.146 s |" in text


def test_markdown_goes_to_stdout_or_to_the_named_file(plan_path: Path) -> None:
    printed = run(plan_path, "--format", "md").stdout
    assert not Path("reports").exists()
    assert run(plan_path, "-o", "out/report.md").stdout == "out/report.md\n"
    assert Path("out/report.md").read_text(encoding="utf-8") == printed


def test_an_earlier_report_is_replaced_and_a_foreign_file_is_not(plan_path: Path) -> None:
    output = Path("report.html")
    run(plan_path, "-o", output)
    run(plan_path, "-o", output)
    output.write_text("<!DOCTYPE html>\n<title>my notes</title>\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"report\.html: exists and was not made by glmplan"):
        run(plan_path, "-o", output)
    assert "my notes" in output.read_text(encoding="utf-8")


def test_a_folder_as_output_is_refused(plan_path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        run(plan_path, "-o", tmp_path)


def test_a_broken_plan_or_run_leaves_no_report(plan_path: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text(plan_path.read_text(encoding="utf-8")[:-200], encoding="utf-8")
    with pytest.raises(DocumentError, match=r"broken\.json"):
        run(broken)
    with pytest.raises(InputError, match="not a folder"):
        run(plan_path, "--run", tmp_path / "nowhere")
    assert not Path("reports").exists()


def test_the_command_on_the_page_makes_the_same_plan_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked = (
        "--model gpt2 --cluster dgx-a100-pod --gpus 8 --global-batch 32 --seq-len 1024 --tokens 1.5B --tp 1,2 "
        "--shard fsdp,zero2 --recompute none --sequence-parallel on,off --memory-margin 0.1 --top 4 --precision fp16"
    )
    first = CliRunner().invoke(plan_command, [*asked.split(), "-o", "first.json"], catch_exceptions=False)
    assert first.exit_code == 0, first.output
    text = run("first.json", "--format", "md").stdout
    match = re.search(r"```sh\nglmplan plan (.*?)\n```", text, flags=re.DOTALL)
    assert match is not None
    words = shlex.split(match.group(1).replace("\\\n", ""))
    assert CliRunner().invoke(plan_command, words, catch_exceptions=False).exit_code == 0
    assert Path("plan.json").read_bytes() == Path("first.json").read_bytes()


def test_a_missing_plan_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"plan\.json: no such file or directory"):
        run(tmp_path / "plan.json")
