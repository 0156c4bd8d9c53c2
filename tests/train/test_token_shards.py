"""Token shards: reading across shard borders, and refusing broken data sets."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmplan.documents import json_text, write_text
from glmplan.errors import InputError
from glmplan.train.token_shards import (
    ShardWriter,
    dtype_for,
    open_token_shards,
    read_data_summary,
    write_token_data_set,
)


def write_data_set(directory: Path, num_tokens: int, *, shard_tokens: int = 2**20, vocab_size: int = 70_000) -> None:
    """A data set whose train tokens are 0, 1, 2, ... (modulo the vocabulary)."""
    tokens = np.arange(num_tokens, dtype=np.int64) % vocab_size
    summary = write_token_data_set(directory, {"train": tokens}, vocab_size)
    if num_tokens > shard_tokens:
        with ShardWriter(directory, "train", dtype_for(vocab_size), shard_tokens) as writer:
            for part in np.array_split(tokens, 3):
                writer.write(part)
        smaller = summary.model_copy(update={"shards": tuple(writer.records)})
        write_text(directory / "data.json", json_text(smaller.model_dump(mode="json")))


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sharded")
    write_data_set(directory, 1000, shard_tokens=64)
    return directory


@given(start=st.integers(0, 5000), length=st.integers(0, 2500))
@settings(deadline=None)
def test_a_window_is_the_sequence_modulo_its_length(sharded: Path, start: int, length: int) -> None:
    window = open_token_shards(sharded, "train").window(start, length)
    assert window.dtype == np.int64
    np.testing.assert_array_equal(window, (np.arange(length) + start) % 1000)


def test_tokens_are_spread_over_full_shards(sharded: Path) -> None:
    summary = read_data_summary(sharded)
    assert [shard.tokens for shard in summary.shards] == [64] * 15 + [40]
    assert [shard.file for shard in summary.shards][:2] == ["train-00000.bin", "train-00001.bin"]
    open_token_shards(sharded, "train", verify=True)


@pytest.mark.parametrize(("vocab_size", "token_bytes"), [(65_536, 2), (65_537, 4)])
def test_the_stored_type_holds_every_token(tmp_path: Path, vocab_size: int, token_bytes: int) -> None:
    write_data_set(tmp_path, vocab_size, vocab_size=vocab_size)
    assert (tmp_path / "train-00000.bin").stat().st_size == vocab_size * token_bytes
    assert open_token_shards(tmp_path, "train").window(vocab_size - 1, 1).tolist() == [vocab_size - 1]


def test_a_shard_is_plain_little_endian_numbers(tmp_path: Path) -> None:
    write_data_set(tmp_path, 300, vocab_size=300)
    content = (tmp_path / "train-00000.bin").read_bytes()
    assert content[2 * 258 : 2 * 259] == b"\x02\x01"


def test_a_shard_of_the_wrong_size_is_refused(tmp_path: Path) -> None:
    write_data_set(tmp_path, 100)
    with (tmp_path / "train-00000.bin").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(InputError, match=r"train-00000\.bin: shard has 401 bytes, data\.json says 400"):
        open_token_shards(tmp_path, "train")


def test_a_missing_shard_is_refused(tmp_path: Path) -> None:
    write_data_set(tmp_path, 100)
    (tmp_path / "train-00000.bin").unlink()
    with pytest.raises(InputError, match=r"train-00000\.bin: shard is missing"):
        open_token_shards(tmp_path, "train")


def test_changed_content_is_found_by_verification(tmp_path: Path) -> None:
    write_data_set(tmp_path, 100)
    content = bytearray((tmp_path / "train-00000.bin").read_bytes())
    content[40] ^= 1
    (tmp_path / "train-00000.bin").write_bytes(content)
    open_token_shards(tmp_path, "train")
    with pytest.raises(InputError, match=r"train-00000\.bin: shard does not match its SHA-256"):
        open_token_shards(tmp_path, "train", verify=True)


def test_a_folder_without_an_index_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no data set"):
        open_token_shards(tmp_path, "train")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 99}, "schema_version: 99 is newer"),
        ({"vocab_size": -1}, "vocab_size"),
        ({"shards": []}, "shards"),
        ({"dtype": "float32"}, "dtype"),
        ({"surprise": 1}, "surprise: unknown field"),
    ],
)
def test_a_broken_index_is_refused_with_its_field(tmp_path: Path, change: dict[str, object], message: str) -> None:
    write_data_set(tmp_path, 100)
    data = json.loads((tmp_path / "data.json").read_text())
    (tmp_path / "data.json").write_text(json.dumps(data | change))
    with pytest.raises(InputError, match=message):
        open_token_shards(tmp_path, "train")


def test_an_index_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    write_data_set(tmp_path, 100)
    data = json.loads((tmp_path / "data.json").read_text())
    data["shards"][0]["file"] = "../train-00000.bin"
    (tmp_path / "data.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match=r"shards\[0\]\.file"):
        open_token_shards(tmp_path, "train")


def test_a_split_without_shards_is_refused(tmp_path: Path) -> None:
    write_data_set(tmp_path, 100)
    with pytest.raises(InputError, match="no validation split"):
        open_token_shards(tmp_path, "validation")


def test_given_tokens_become_both_splits(tmp_path: Path) -> None:
    tokens = np.array([5, 3, 5, 1])
    summary = write_token_data_set(tmp_path, {"train": tokens, "validation": tokens[:2]}, vocab_size=6)
    assert open_token_shards(tmp_path, "train", verify=True).window(0, 4).tolist() == [5, 3, 5, 1]
    assert open_token_shards(tmp_path, "validation", verify=True).window(0, 2).tolist() == [5, 3]
    assert summary.statistics.unigram_entropy_nats == pytest.approx(1.5 * np.log(2))  # 1/2, 1/4, 1/4
