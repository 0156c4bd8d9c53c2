"""Finding architectures by name and by path."""

import json
from pathlib import Path

import pytest

from glmplan.architecture.catalog import architecture_sha256, list_architectures, load_architecture
from glmplan.errors import DocumentError, InputError

CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "vocab_size": 1000,
}
YAML = "name: mine\nlayers: 2\nhidden: 64\nheads: 4\nkv_heads: 2\nhead_dim: 16\nffn_hidden: 128\nvocab: 100\n"


@pytest.mark.parametrize("name", list_architectures())
def test_every_preset_loads_under_its_own_name_with_a_source(name: str) -> None:
    arch = load_architecture(name)
    assert arch.name == name
    assert len(arch.source) > 20
    assert len(architecture_sha256(name)) == 64


def test_names_are_sorted_and_case_does_not_matter() -> None:
    names = list_architectures()
    assert names == sorted(names)
    assert len(names) >= 40
    assert load_architecture("LLaMA3-8B") == load_architecture("llama3-8b")


def test_a_yaml_file_of_ones_own_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(YAML)
    arch = load_architecture(str(path))
    assert (arch.name, arch.source, arch.hidden) == ("mine", "user", 64)


def test_a_preset_copied_to_a_file_is_the_same_architecture(tmp_path: Path) -> None:
    path = tmp_path / "copy.yaml"
    arch = load_architecture("deepseek-v3")
    path.write_text(json.dumps(arch.model_dump(mode="json")))
    assert load_architecture(str(path)) == arch


@pytest.mark.parametrize("given", ["folder", "file"])
def test_a_hugging_face_folder_or_file_is_read_and_named_after_the_folder(tmp_path: Path, given: str) -> None:
    folder = tmp_path / "my-llama"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    arch = load_architecture(str(folder if given == "folder" else folder / "config.json"))
    assert (arch.name, arch.layers, arch.kv_heads) == ("my-llama", 2, 4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("llama3-8", "model: no preset or file 'llama3-8'; did you mean llama3-8b"),
        ("zzz", "model: no preset or file 'zzz'; see `glmplan models list`, or give a path"),
        ("", "model: empty; give a preset name"),
        ("x" * 5000, "model: no preset or file 'xxx"),
        ("nul\0byte", "model: no preset or file"),
        ("../presets/gpt2", "model: no preset or file '../presets/gpt2'"),
    ],
)
def test_an_unknown_name_gets_one_line_with_a_hint(name: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        load_architecture(name)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_folder_without_config_and_a_file_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no config\.json"):
        load_architecture(str(tmp_path))
    (tmp_path / "weights.bin").write_bytes(b"\0")
    with pytest.raises(InputError, match=r"must end in \.yaml, \.yml or \.json"):
        load_architecture(str(tmp_path / "weights.bin"))


def test_faults_in_a_yaml_file_come_with_file_line_and_field(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(YAML.replace("layers: 2", "layers: -2").replace("kv_heads: 2", "kvheads: 2"))
    with pytest.raises(DocumentError) as caught:
        load_architecture(str(path))
    lines = str(caught.value).splitlines()
    assert f"{path}:2: layers: input should be greater than 0; got -2" in lines
    assert f"{path}:5: kvheads: unknown field; remove it or correct its name" in lines
    assert any("kv_heads: missing" in line for line in lines)
