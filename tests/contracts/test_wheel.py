"""The wheel holds all data, and works where the source tree is not."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content, in a folder far from the source tree."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=300, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_holds_every_data_file(unpacked: Path) -> None:
    for source, target in (
        (ROOT / "hardware_profiles", unpacked / "glmplan" / "_hardware_profiles"),
        (ROOT / "glmplan", unpacked / "glmplan"),
    ):
        files = {
            path.relative_to(source) for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts
        }
        files = {path for path in files if path.suffix not in (".pyc", ".so")}
        missing = {str(path) for path in files if not (target / path).is_file()}
        assert missing == set()


def test_the_wheel_holds_no_tests_and_no_generated_files(unpacked: Path) -> None:
    top = {path.name for path in unpacked.iterdir()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"glmplan"}
    assert not list(unpacked.rglob("__pycache__"))


def test_profiles_load_from_the_wheel_and_a_plan_is_made(unpacked: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1))\n"
        "import glmplan.hardware.catalog as catalog\n"
        "assert str(catalog.profiles_folder()).startswith(sys.path[0]), catalog.profiles_folder()\n"
        "names = catalog.list_names('cluster')\n"
        "assert len(names) > 40, names\n"
        "for name in names: catalog.load_cluster(name)\n"
        "from glmplan.software.catalog import list_stacks, load_stack\n"
        "assert [load_stack(name) for name in list_stacks()]\n"
        "from glmplan.architecture.catalog import list_architectures, load_architecture\n"
        "assert [load_architecture(name) for name in list_architectures()]\n"
        "sys.argv[0] = 'glmplan'\n"
        "from glmplan.cli.main import main\n"
        "main()\n"
    )
    plan = ["plan", "--model", "llama3-8b", "--cluster", "dgx-h100-pod", "--gpus", "8", "--global-batch", "8"]
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(unpacked), *plan, "--seq-len", "4096", "-o", "plan.json"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "plan.json").is_file()
