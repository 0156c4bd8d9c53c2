"""Rules of the house that no other tool checks."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "glmplan").rglob("*.py"))
NAMES = {"utils", "util", "helpers", "common", "misc", "base", "manager"}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_no_file_is_longer_than_three_hundred_lines() -> None:
    lengths = {relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {path: lines for path, lines in lengths.items() if lines > 300} == {}


def test_no_function_is_longer_than_sixty_lines() -> None:
    long = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                lines = node.end_lineno - node.lineno + 1
                if lines > 60:
                    long[f"{relative(path)}:{node.name}"] = lines
    assert long == {}


def test_package_files_are_empty_but_the_top() -> None:
    packages = [path for path in FILES if path.name == "__init__.py" and path.parent != ROOT / "glmplan"]
    assert packages
    assert [relative(path) for path in packages if path.read_text()] == []


def test_every_module_says_what_it_holds() -> None:
    silent = []
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        if text.strip() and ast.get_docstring(ast.parse(text)) is None:
            silent.append(relative(path))
    assert silent == []


def test_files_are_called_by_what_they_hold() -> None:
    assert [relative(path) for path in FILES if path.stem in NAMES] == []


@pytest.mark.parametrize("folder", [path for path in (ROOT / "glmplan").iterdir() if (path / "__init__.py").exists()])
def test_every_package_has_tests(folder: Path) -> None:
    tests = ROOT / "tests" / folder.name
    assert list(tests.glob("test_*.py")), f"tests/{folder.name} has no tests"
