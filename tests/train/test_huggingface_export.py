import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from transformers import AutoModelForCausalLM, AutoTokenizer

from glmplan.cli.weights import command as weights_command
from glmplan.errors import InputError
from glmplan.layout.parallel_layout import ParallelLayout
from glmplan.train.corpus import prepare_corpus
from glmplan.train.decoder_model import Decoder
from glmplan.train.huggingface_export import export_model
from glmplan.train.huggingface_form import differences, read_configuration
from glmplan.train.huggingface_import import check_weights, fill_model
from glmplan.train.launcher import run_training
from glmplan.train.sampling import Sampling
from glmplan.train.trained_model import load_trained
from tests.train.documents import write_test_plan
from tests.train.jobs import SEQ_LEN, tiny_job
from tests.train.test_decoder_model import make_model, some_tokens

EXPRESSIBLE: dict[str, tuple[str, dict[str, Any]]] = {
    "grouped queries": ("llama", {}),
    "tied": ("llama", {"tied_embeddings": True, "kv_heads": 8}),
    "wide heads, other constants": ("llama", {"head_dim": 8, "rope_theta": 500.0, "norm_epsilon": 1e-3}),
    "all biases": ("llama", {"attention_bias": True, "output_bias": True, "mlp_bias": True}),
    "biases on queries, keys and values": ("qwen2", {"attention_bias": True}),
    "norms on queries and keys": ("qwen3", {"qk_norm": True}),
    "heads that do not divide the width": ("mistral", {"heads": 5, "kv_heads": 5}),
    "sliding window": ("mistral", {"sliding_window": 5}),
}


def filled(**changes: Any) -> Decoder:
    """A model none of whose parameters is at a neutral value."""
    model = make_model(**changes)
    dice = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn(value.shape, generator=dice), alpha=0.2)
    return model


@pytest.mark.parametrize("shape", EXPRESSIBLE)
def test_transformers_loads_a_model_with_equal_logits(shape: str, tmp_path: Path) -> None:
    model_type, changes = EXPRESSIBLE[shape]
    model, tokens = filled(**changes), some_tokens(2)
    assert export_model(model, None, tmp_path / "model") == model_type
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert theirs.config.model_type == model_type
    with torch.no_grad():
        assert torch.allclose(theirs(tokens).logits, model(tokens), atol=1e-5)


@pytest.mark.parametrize("shape", EXPRESSIBLE)
def test_what_was_written_comes_back_bit_by_bit(shape: str, tmp_path: Path) -> None:
    model = filled(**EXPRESSIBLE[shape][1])
    export_model(model, None, tmp_path / "model", max_file_bytes=9000)
    assert len(list((tmp_path / "model").glob("model-*.safetensors"))) > 2
    configuration = read_configuration(tmp_path / "model")
    assert differences(configuration.architecture, model.arch) == {}
    assert configuration.num_positions == SEQ_LEN
    parameters = check_weights(tmp_path / "model", model.arch)
    assert parameters == sum(value.numel() for value in model.parameters())
    back = make_model(**EXPRESSIBLE[shape][1])
    fill_model(back, tmp_path / "model")
    for (name, value), (_, other) in zip(back.named_parameters(), model.named_parameters(), strict=True):
        assert torch.equal(value, other), name


def test_transformers_loads_weights_that_stand_in_several_files(tmp_path: Path) -> None:
    model, tokens = filled(), some_tokens(1)
    export_model(model, None, tmp_path / "model", max_file_bytes=9000)
    with torch.no_grad():
        theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "model")(tokens).logits
        assert torch.allclose(theirs, model(tokens), atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"norm": "layer"}, "norm is layer"),
        ({"gated_mlp": False}, "gated_mlp is false"),
        ({"learned_positions": 16}, "learned_positions is 16"),
        ({"post_norms": True}, "post_norms is true"),
        (
            {"heads": 5, "kv_heads": 5, "mlp_bias": True, "attention_bias": True, "output_bias": True},
            "heads 5 does not",
        ),
    ],
)
def test_a_shape_that_transformers_lacks_is_refused_by_its_field(
    changes: dict[str, Any], named: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=named) as caught:
        export_model(make_model(**changes), None, tmp_path / "model")
    assert len(str(caught.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(InputError, match="not an empty folder"):
        export_model(make_model(), None, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps on a little text, with its tokenizer."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "one.txt").write_text("the cat sat on the mat and the dog sat on the cat. " * 40)
    (folder / "two.txt").write_text("A second document, so that one can be held out. " * 20)
    data = prepare_corpus([folder / "one.txt", folder / "two.txt"], folder / "data", vocab_size=300)
    write_test_plan(folder / "plan.json", tiny_job(vocab=data.vocab_size), ParallelLayout(micro_batch=8))
    run_training(folder / "plan.json", folder / "data", folder / "run", 2)
    return folder / "run"


def test_a_run_speaks_the_same_in_transformers(run_dir: Path, tmp_path: Path) -> None:
    arguments = ["export", "--run", str(run_dir), "-o", str(tmp_path / "model"), "--format", "json"]
    answer = CliRunner().invoke(weights_command, arguments, catch_exceptions=False)
    told = json.loads(answer.output)
    assert (told["step"], told["model_type"], told["schema_version"]) == (2, "llama", 1)
    ours = load_trained(run_dir)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    prompt = "the cat, naïve 猫"
    encoded = tokenizer(prompt, return_tensors="pt")
    assert encoded["input_ids"][0].tolist() == ours.tokenizer.encode(prompt).ids
    assert tokenizer.decode(encoded["input_ids"][0]) == prompt
    assert tokenizer.eos_token == "<|endoftext|>"
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    ids = tokenizer("the", return_tensors="pt")
    made = theirs.generate(**ids, max_new_tokens=10, do_sample=False, pad_token_id=tokenizer.pad_token_id)
    (expected,), _ = ours.continuations(["the"], 10, Sampling(temperature=0))
    new = made[0, ids["input_ids"].shape[1] :]
    assert tokenizer.decode(new, skip_special_tokens=True) == expected.text


def test_an_exported_folder_generates_what_its_run_does(run_dir: Path, tmp_path: Path) -> None:
    arguments = ["export", "--run", str(run_dir), "-o", str(tmp_path / "model")]
    assert "after step 2 as llama" in CliRunner().invoke(weights_command, arguments, catch_exceptions=False).output
    sampling = Sampling(temperature=1.0, seed=5)
    texts = [
        load_trained(place).continuations(["a", "the cat"], 8, sampling)[0] for place in (run_dir, tmp_path / "model")
    ]
    assert texts[0] == texts[1]
    checked = CliRunner().invoke(weights_command, ["check", str(tmp_path / "model")], catch_exceptions=False)
    assert f"{SEQ_LEN} positions" in checked.output
