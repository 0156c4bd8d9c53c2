"""Who measured a case."""

import pytest

from glmplan.validation.case_source import machine_of, source_of
from tests.validation.records import inputs, measurement


def named(ref: str, **changes: object) -> str:
    return source_of(measurement(source={"title": "t", "ref": ref, "year": 2025, "how": "table"}, **changes))


@pytest.mark.parametrize(
    ("ref", "source"),
    [
        ("VIA-Research/vTrain data/ground_truth_multi.csv@f8dda847", "vtrain"),
        ("VIA-Research/vTrain data/ground_truth_single.csv@f8dda847", "vtrain"),
        ("arXiv:2205.05198", "selene"),
        ("some/repo docs/table.md@abc", "some/repo"),
        ("arXiv:2407.21783v3", "arXiv:2407.21783"),
        ("", "t"),
    ],
)
def test_tables_of_one_group_are_one_source(ref: str, source: str) -> None:
    assert named(ref) == source


def test_recipes_of_one_publisher_part_by_their_software() -> None:
    ref = "NVIDIA/dgxc-benchmarking llama3.1/README.md@v25.04.02"
    assert named(ref, software="nemo (megatron-core)") == "nemo"
    assert named(ref, software="nemo/megatron-bridge (megatron-core)") == "megatron-bridge"


def test_a_machine_is_a_source_on_a_device() -> None:
    assert machine_of(inputs()) == "A sample a100-sxm-80gb"
