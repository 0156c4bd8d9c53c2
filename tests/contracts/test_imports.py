"""What is imported when: layers, and a start-up that stays light."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "plotly", "tokenizers", "optuna", "pandas", "matplotlib")


def run_python(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def modules_after(*arguments: str) -> set[str]:
    """Top-level modules that one run of the command line leaves imported."""
    code = (
        "import sys\nsys.argv[0] = 'glmplan'\nfrom glmplan.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "print('MODULES', *sorted({name.split('.')[0] for name in sys.modules}))\n"
    )
    last = run_python(code, *arguments).splitlines()[-1]
    assert last.startswith("MODULES ")
    return set(last.split()[1:])


@pytest.mark.parametrize(
    "arguments",
    [
        (
            "plan",
            "--model",
            "llama3-8b",
            "--cluster",
            "dgx-a100-pod",
            "--gpus",
            "8",
            "--global-batch",
            "8",
            "--seq-len",
            "4096",
        ),
        ("models", "show", "llama3-8b"),
        ("hardware", "list"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_planning_imports_no_training_and_no_charts(arguments: tuple[str, ...]) -> None:
    assert modules_after(*arguments).isdisjoint(HEAVY)


def test_help_imports_nothing_heavy_at_all() -> None:
    assert modules_after("--help").isdisjoint({*HEAVY, "numpy", "pydantic", "networkx", "rich", "yaml"})


def test_help_comes_in_a_third_of_a_second() -> None:
    """Best of several starts: a busy machine slows some of them."""
    best = float("inf")
    for _ in range(8):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "glmplan", "--help"], capture_output=True, timeout=60, check=True, cwd=ROOT
        )
        best = min(best, time.perf_counter() - start)
        if best < 0.3:
            break
    assert best < 0.3


def test_imports_run_downwards() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout
