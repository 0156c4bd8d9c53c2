"""`glmplan codesign` from arguments to files and exit codes."""

import json
from collections.abc import Callable
from pathlib import Path

from tests.conftest import Outcome

Run = Callable[..., Outcome]
QUESTION = (
    *("codesign", "--model", "llama3-8b", "--seq-len", "4096", "--tokens", "100B", "--clusters", "dgx-h100-pod"),
    *("--gpus", "16,32", "--global-batches", "256"),
)


def test_a_question_leaves_the_front_as_json_and_page_and_says_what_it_rests_on(
    run_glmplan: Run, tmp_path: Path
) -> None:
    outcome = run_glmplan(*QUESTION, "-o", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert "dgx-h100-pod" in outcome.out
    assert "Energy is an estimate" in outcome.out
    content = (tmp_path / "out" / "codesign.json").read_text()
    data = json.loads(content)
    assert data["search"] == {"considered": 2, "space": 2, "exhaustive": True, "rejected": {}}
    days = [member["goals"]["days"] for member in data["front"]]
    assert days == sorted(days)
    page = (tmp_path / "out" / "codesign.html").read_text()
    assert "dgx-h100-pod" in page
    assert "http://" not in page.split("<script", 1)[0]
    again = run_glmplan(*QUESTION, "-o", tmp_path / "out")
    assert again.code == 0
    assert (tmp_path / "out" / "codesign.json").read_text() == content


def test_the_plan_command_of_a_design_gives_the_same_step(run_glmplan: Run, tmp_path: Path) -> None:
    import shlex

    assert run_glmplan(*QUESTION, "-o", tmp_path / "out").code == 0
    member = json.loads((tmp_path / "out" / "codesign.json").read_text())["front"][0]
    words = shlex.split(member["plan_command"])[1:-2]
    plan = json.loads(run_glmplan(*words, "--format", "json").out)
    assert plan["chosen"]["estimate"]["step_time_s"] == member["step_time_s"]


def test_the_example_is_a_request(run_glmplan: Run, tmp_path: Path) -> None:
    from glmplan.documents import read_yaml
    from glmplan.search.codesign_request import codesign_request

    (tmp_path / "request.yaml").write_text(run_glmplan("codesign", "--example").out)
    assert codesign_request(read_yaml(tmp_path / "request.yaml")).model == "llama3-8b"


def test_bad_questions_and_impossible_ones_are_one_line_with_their_exit_code(run_glmplan: Run, tmp_path: Path) -> None:
    cases = [
        (2, "--example prints a file", ("codesign", "-o", tmp_path)),
        (2, "give the folder", QUESTION),
        (2, "did you mean", (*QUESTION, "--stacks", "megatron-cor", "-o", tmp_path / "a")),
        (2, "gpus", (*QUESTION, "--gpus", "16,x", "-o", tmp_path / "b")),
        (3, "does not fit in memory", (*QUESTION, "--model", "llama3-405b", "--gpus", "8", "-o", tmp_path / "c")),
    ]
    for code, message, arguments in cases:
        outcome = run_glmplan(*arguments)
        assert outcome.code == code, (arguments, outcome.err)
        assert message in outcome.err
        assert "Traceback" not in outcome.err
