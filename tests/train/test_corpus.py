"""Preparing a corpus: sources, cleaning, the split and the files that result."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmplan.errors import InputError
from glmplan.train.corpus import prepare_corpus
from glmplan.train.text_cleaning import Cleaner, Cleaning, load_stop_words, normal_form, stop_word_remover
from glmplan.train.text_sources import PYTHON_STDLIB, TextSources
from glmplan.train.token_shards import entropy_nats, open_token_shards, read_data_summary
from glmplan.train.tokenizer import END_OF_TEXT, load_tokenizer

CHINESE = "深度学习是机器学习的一个分支。我们用很多数据来训练模型，然后评估它。\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A source folder with 40 different short documents."""
    source = tmp_path / "source"
    source.mkdir()
    for number in range(40):
        lines = [f"document {number} line {line}: the square is {line * line}\n" for line in range(30)]
        (source / f"text{number:02d}.txt").write_text("".join(lines), encoding="utf-8")
    return source


def tokens_of(directory: Path, split: str) -> list[int]:
    shards = open_token_shards(directory, split)  # type: ignore[arg-type]
    return shards.window(0, shards.num_tokens).tolist()


def files_of(directory: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(directory.iterdir())}


def test_the_tokens_decode_to_the_source_text(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    prepare_corpus([folder], out, vocab_size=400)
    tokenizer = load_tokenizer(out)
    tokens = tokens_of(out, "train") + tokens_of(out, "validation")
    found = tokenizer.decode(tokens, skip_special_tokens=False).split(END_OF_TEXT)
    expected = [path.read_text(encoding="utf-8") for path in folder.iterdir()]
    assert sorted(found) == sorted(["", *expected])


def test_the_same_inputs_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        prepare_corpus([folder], tmp_path / name, vocab_size=400, seed=3)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_another_seed_gives_another_split(folder: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        prepare_corpus([folder], tmp_path / str(seed), vocab_size=300, seed=seed)
    assert tokens_of(tmp_path / "0", "validation") != tokens_of(tmp_path / "1", "validation")


def test_the_validation_share_is_near_the_asked_one(folder: Path, tmp_path: Path) -> None:
    summary = prepare_corpus([folder], tmp_path / "data", vocab_size=300, validation_fraction=0.25)
    assert summary.tokens_of("validation") / summary.statistics.tokens == pytest.approx(0.25, abs=0.03)


def test_a_single_file_is_split_too(tmp_path: Path) -> None:
    source = tmp_path / "one.txt"
    source.write_text("".join(f"line {number} of the only file\n" for number in range(400)))
    summary = prepare_corpus([source], tmp_path / "data", vocab_size=300)
    assert summary.statistics.documents == 1
    assert summary.tokens_of("validation") / summary.statistics.tokens == pytest.approx(0.05, abs=0.02)


def test_no_validation_text_is_in_the_train_split(folder: Path, tmp_path: Path) -> None:
    prepare_corpus([folder], tmp_path / "data", vocab_size=300, validation_fraction=0.2)
    tokenizer = load_tokenizer(tmp_path / "data")
    train = tokenizer.decode(tokens_of(tmp_path / "data", "train"))
    validation = tokenizer.decode(tokens_of(tmp_path / "data", "validation"))
    assert not set(train.splitlines()) & set(validation.splitlines())


def test_fraction_zero_leaves_everything_for_training(folder: Path, tmp_path: Path) -> None:
    prepare_corpus([folder], tmp_path / "data", vocab_size=300, validation_fraction=0)
    with pytest.raises(InputError, match="no validation split"):
        open_token_shards(tmp_path / "data", "validation")


def test_one_line_cannot_be_split(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one line")
    with pytest.raises(InputError, match="validation split"):
        prepare_corpus([tmp_path / "a.txt"], tmp_path / "data", vocab_size=300)


def test_statistics_count_what_was_read(folder: Path, tmp_path: Path) -> None:
    (folder / "copy.txt").write_bytes((folder / "text00.txt").read_bytes())
    (folder / "picture.txt").write_bytes(b"\x89PNG\0\0")
    (folder / "latin1.txt").write_bytes(b"caf\xe9")
    (folder / "archive.zip").write_bytes(b"PK")
    (folder / "broken.txt").symlink_to(folder / "nowhere")
    (folder / "empty.txt").write_text("")
    summary = prepare_corpus([folder], tmp_path / "data", vocab_size=300)
    statistics = summary.statistics
    assert (statistics.documents, statistics.duplicate_documents) == (40, 1)
    assert statistics.skipped == {
        "binary files or files not in UTF-8": 2,
        "empty documents": 1,
        "files of other types": 1,
        "unreadable files": 1,
    }
    assert statistics.text_bytes == sum(path.stat().st_size for path in folder.glob("text*.txt"))
    assert statistics.bytes_per_token == pytest.approx(statistics.text_bytes / statistics.tokens)


def test_the_entropy_is_that_of_the_train_tokens(folder: Path, tmp_path: Path) -> None:
    summary = prepare_corpus([folder], tmp_path / "data", vocab_size=300)
    tokens = tokens_of(tmp_path / "data", "train")
    shares = [tokens.count(token) / len(tokens) for token in set(tokens)]
    assert summary.statistics.unigram_entropy_nats == pytest.approx(-sum(p * math.log(p) for p in shares))


@given(st.integers(1, 500), st.integers(1, 50))
@settings(deadline=None)
def test_the_entropy_of_equal_counts_is_the_logarithm_of_their_number(kinds: int, count: int) -> None:
    assert entropy_nats(np.full(kinds, count)) == pytest.approx(math.log(kinds))


def test_chinese_text_comes_back_as_it_went_in(tmp_path: Path) -> None:
    text = "".join(f"第{number}段：{CHINESE}" for number in range(60))
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    summary = prepare_corpus([tmp_path / "a.txt"], tmp_path / "data", vocab_size=512, validation_fraction=0)
    tokenizer = load_tokenizer(tmp_path / "data")
    assert tokenizer.decode(tokens_of(tmp_path / "data", "train")) == text
    assert summary.statistics.bytes_per_token > 3  # more than one character a token: merges across characters


def test_json_lines_give_one_document_a_line(tmp_path: Path) -> None:
    lines = [{"text": "first"}, {"other": "no text"}, "plain string", {"text": "second", "id": 2}]
    source = tmp_path / "a.jsonl"
    source.write_text("\n".join(map(json.dumps, lines)) + "\n{broken\n\n")
    sources = TextSources([source])
    assert list(sources.documents()) == ["first", "plain string", "second"]
    assert sources.skipped == {"lines without a 'text' field": 2}


def test_json_gives_its_text_fields_or_itself(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"body": "first"}, {"body": "second"}]')
    (tmp_path / "b.json").write_text('{"name": "no body"}')
    assert list(TextSources([tmp_path], text_field="body").documents()) == ["first", "second", '{"name": "no body"}']


def test_folders_are_read_in_sorted_order_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b/x.txt", "a/y.txt", ".git/z.txt", "a/__pycache__/w.py", "c.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert list(TextSources([tmp_path]).documents()) == ["c.txt", "a/y.txt", "b/x.txt"]


def test_the_output_folder_is_not_read(folder: Path) -> None:
    first = prepare_corpus([folder], folder / "data", vocab_size=300)
    again = prepare_corpus([folder], folder / "data", vocab_size=300, overwrite=True)
    assert again == first


def test_utf16_and_declared_encodings_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("größe", encoding="utf-16")
    (tmp_path / "b.py").write_bytes("# -*- coding: latin-1 -*-\n# größe\n".encode("latin-1"))
    assert list(TextSources([tmp_path]).documents()) == ["größe", "# -*- coding: latin-1 -*-\n# größe\n"]


def test_the_standard_library_is_a_source() -> None:
    documents = list(TextSources([PYTHON_STDLIB]).documents())
    assert any("def dataclass(" in text for text in documents)
    assert any(text.startswith(("math\n", "time\n")) for text in documents)


def test_a_limit_cuts_at_a_whole_character(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(CHINESE * 50, encoding="utf-8")
    summary = prepare_corpus([tmp_path / "a.txt"], tmp_path / "data", vocab_size=300, max_bytes=1000)
    assert summary.statistics.text_bytes <= 1000
    assert "�" not in load_tokenizer(tmp_path / "data").decode(tokens_of(tmp_path / "data", "train"))


def test_a_limit_over_several_files_is_told(folder: Path, tmp_path: Path) -> None:
    summary = prepare_corpus([folder], tmp_path / "data", vocab_size=300, max_bytes=5000)
    assert summary.statistics.cut_short
    assert summary.statistics.text_bytes == 5000


def test_special_tokens_inside_a_text_stay_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"before {END_OF_TEXT} after\nsecond line\n" * 3)
    prepare_corpus([tmp_path / "a.txt"], tmp_path / "data", vocab_size=300, validation_fraction=0)
    assert tokens_of(tmp_path / "data", "train").count(0) == 1


def test_an_existing_data_set_is_kept(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    prepare_corpus([folder], out, vocab_size=300)
    before = files_of(out)
    with pytest.raises(InputError, match="--overwrite"):
        prepare_corpus([folder], out, vocab_size=400)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no text found"):
        prepare_corpus([tmp_path / "empty"], out, vocab_size=400, overwrite=True)
    assert files_of(out) == before


def test_an_interruption_leaves_no_data_set(folder: Path, tmp_path: Path) -> None:
    def interrupt(phase: str, fraction: float) -> None:
        if phase == "tokenising" and fraction > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_corpus([folder], tmp_path / "data", vocab_size=300, progress=interrupt)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"validation_fraction": 0.9}, "validation fraction"),
        ({"vocab_size": 100}, "vocab size: 100 is too small; use 258"),
        ({"max_bytes": 0}, "max bytes"),
        ({"tokenizer": Path("nowhere.json")}, "nowhere.json: no such file"),
    ],
)
def test_arguments_out_of_range_are_refused(
    folder: Path, tmp_path: Path, arguments: dict[str, float], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        prepare_corpus([folder], tmp_path / "data", **arguments)  # type: ignore[arg-type]
    assert not (tmp_path / "data").exists()


def test_a_given_tokenizer_is_used(folder: Path, tmp_path: Path) -> None:
    prepare_corpus([folder], tmp_path / "one", vocab_size=320)
    prepare_corpus([folder], tmp_path / "two", tokenizer=tmp_path / "one" / "tokenizer.json")
    assert read_data_summary(tmp_path / "two").vocab_size == 320
    assert tokens_of(tmp_path / "two", "train") == tokens_of(tmp_path / "one", "train")


def test_normal_form_removes_control_characters_and_keeps_lines() -> None:
    assert normal_form("a\r\nb\rc\x00\x0c\x1b\td\ufeff\ud800", Cleaning()) == "a\nb\nc\td\n"


def test_unicode_forms_differ_as_the_standard_says() -> None:
    # Unicode Standard Annex 15, figures 3 and 6: A + ring composes; the ligature fi only folds under NFKC.
    assert normal_form("A\u030aﬁ", Cleaning()) == "Åﬁ\n"
    assert normal_form("A\u030aﬁ", Cleaning(unicode_form="nfkc")) == "Åfi\n"
    assert normal_form("A\u030aﬁ", Cleaning(unicode_form="none")) == "A\u030aﬁ\n"


def test_collapsed_white_space_keeps_paragraphs() -> None:
    assert normal_form("a  b \t c \n\n\n\n d", Cleaning(collapse_whitespace=True)) == "a b c\n\nd\n"


@given(st.text())
@settings(deadline=None)
def test_cleaning_a_clean_text_changes_nothing(text: str) -> None:
    for cleaning in (Cleaning(), Cleaning(unicode_form="nfkc", collapse_whitespace=True)):
        once = normal_form(text, cleaning)
        once.encode("utf-8")
        assert normal_form(once, cleaning) == once


def test_long_repeated_lines_are_dropped_and_short_ones_kept() -> None:
    cleaner = Cleaner(Cleaning(duplicate_line_chars=20))
    licence = "this licence line is long enough"
    assert cleaner.clean(f"{licence}\none\n") == f"{licence}\none\n"
    assert cleaner.clean(f"{licence}\ntwo\n") == "two\n"
    assert cleaner.clean("one\n") == "one\n"
    assert cleaner.counts.duplicate_lines == 1


def test_stop_words_of_spaced_scripts_go_as_whole_words() -> None:
    remove = stop_word_remover(load_stop_words("en"))
    assert remove("The cat and the hat are in another sandbox; I don't.") == "cat hat another sandbox; don't."


def test_stop_words_of_chinese_go_longest_first() -> None:
    remove = stop_word_remover(load_stop_words("zh"))
    assert remove("我们的模型为什么没有学习了？") == "模型学习？"


def test_stop_words_come_from_a_file_too(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("# mine\nfoo\n数据\n", encoding="utf-8")
    remove = stop_word_remover(load_stop_words(str(tmp_path / "words.txt")))
    assert remove("Foo food 大数据") == "food 大"
    with pytest.raises(InputError, match="neither a built-in list"):
        load_stop_words("de")
    (tmp_path / "none.txt").write_text("# nothing\n")
    with pytest.raises(InputError, match="holds no word"):
        load_stop_words(str(tmp_path / "none.txt"))
