import json

import pytest
from click.testing import CliRunner

from glmplan.cli.main import cli
from glmplan.documents import yaml_text
from glmplan.errors import GlmplanError, InputError
from tests.hardware.clusters import fact, level, node, profile


def run(*arguments):
    result = CliRunner().invoke(cli, ["hardware", *arguments])
    if result.exception is not None and not isinstance(result.exception, (SystemExit, GlmplanError)):
        raise result.exception
    return result


def fails(*arguments):
    result = run(*arguments)
    assert isinstance(result.exception, InputError), result.output
    assert result.exception.exit_code == 2
    return str(result.exception)


def test_list_as_json_has_every_kind():
    data = json.loads(run("list", "--format", "json").output)
    assert data["schema_version"] == 1
    assert {"devices", "nodes", "clusters", "links", "storage"} < set(data)
    assert "h100-sxm-80gb" in {row["name"] for row in data["devices"]}
    assert all(row["name"] for kind in ("nodes", "clusters", "links", "storage") for row in data[kind])


def test_list_of_one_kind_as_csv():
    lines = run("list", "--kind", "storage", "--format", "csv").output.splitlines()
    assert lines[0].startswith("name,")
    assert any(line.startswith("nfs,") for line in lines)


def test_show_of_a_cluster_has_graph_and_tiers():
    data = json.loads(run("show", "dgx-h100-pod", "--gpus", "512", "--format", "json").output)
    assert data["graph"]["vertices"]["device"] == 512
    assert [tier["name"] for tier in data["tiers"]] == ["nvlink4", "leaf", "spine"]
    assert data["usd_per_device_hour"]["source"] == "skypilot-catalog"
    text = run("show", "dgx-h100-pod").output
    assert "graph of 64 nodes" in text
    assert "aws-p5.48xlarge" in text


def test_show_of_a_device_has_sources_and_grades():
    text = run("show", "a100-sxm-80gb").output
    assert "312 TFLOP/s" in text
    assert "ml-engineering-accelerator" in text
    assert json.loads(run("show", "nfs", "--format", "json").output)["kind"] == "storage"


def test_an_unknown_name_is_bad_input_with_a_hint():
    assert "did you mean" in fails("show", "dgx-h10-pod")


def test_a_size_for_what_has_none_is_bad_input():
    assert "only a cluster has a size" in fails("show", "nfs", "--gpus", "8")


def test_the_schema_names_the_fields():
    data = json.loads(run("schema", "--kind", "device").output)
    assert "peak_flops" in data["properties"]
    assert data["additionalProperties"] is False


def test_check_says_ok(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml_text(profile(node(), {"levels": [level("leaf", 4)]})))
    assert run("check", str(path)).output == f"ok: {path}: cluster test\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, "node.colour: unknown field; remove it or correct its name"),
        ({"power": fact("10 GB")}, "node.power.value: expected a power with a unit, such as '700 W'; got '10 GB'"),
        ({"power": {"value": "10 kW"}}, "node.power.source: missing; it must be given"),
        ({"power": {"value": "10 kW", "source": "nowhere"}}, "node.power.source: unknown source 'nowhere'; add it"),
        ({"local_read_bandwidth": fact("-1 GB/s")}, "node.local_read_bandwidth.value: must not be negative"),
        ({"device": "h100-sxm-81gb"}, "device: no 'h100-sxm-81gb' in the catalogue; did you mean h100-sxm-80gb"),
    ],
)
def test_check_says_where_and_what_is_wrong(tmp_path, change, message):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml_text(profile({**node(), **change}, None)))
    text = fails("check", str(path))
    assert text.startswith(str(path))
    assert message in text


def test_check_reports_all_faults_of_all_files_at_once(tmp_path):
    first, second = tmp_path / "one.yaml", tmp_path / "two.yaml"
    first.write_text(yaml_text(profile({**node(), "colour": "red", "power": fact("10 GB")}, None)))
    second.write_text("name: [")
    lines = fails("check", str(first), str(second)).splitlines()
    assert len(lines) == 3
    assert all(line.startswith((f"{first}:", f"{second}:")) for line in lines)
    assert f"{first}:" in lines[0] and lines[0].split(":")[1].isdigit()


def test_check_refuses_a_circle_of_switches(tmp_path):
    switches = [
        {"name": "a", "parent": "b", "uplink": fact("1 GB/s"), "nodes": 1},
        {"name": "b", "parent": "a", "uplink": fact("1 GB/s")},
    ]
    path = tmp_path / "mine.yaml"
    path.write_text(yaml_text(profile(node(), {"kind": "tree", "switches": switches})))
    assert "fabric: switches: cyclic topology a -> b -> a" in fails("check", str(path))
