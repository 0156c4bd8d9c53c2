import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen3Config

from glmplan.errors import GlmplanError, InputError
from glmplan.layout.parallel_layout import ParallelLayout, Sharding
from glmplan.train.batches import Batches
from glmplan.train.decoder_model import Decoder
from glmplan.train.huggingface_export import export_model
from glmplan.train.huggingface_form import CONFIG_FILE, INDEX_FILE, WEIGHTS_FILE, read_configuration
from glmplan.train.huggingface_import import check_weights, fill_model
from glmplan.train.initialisation import materialise
from glmplan.train.launcher import launch
from glmplan.train.run_record import Requested, design_run, read_settings
from glmplan.train.token_shards import open_token_shards
from glmplan.train.training_step import next_token_loss, whole
from glmplan.workload.job import TrainingJob
from tests.train.documents import write_test_data, write_test_plan
from tests.train.jobs import CPU, SEQ_LEN, new_replica, tiny_job
from tests.train.test_decoder_model import make_model, some_tokens
from tests.train.test_huggingface_export import filled
from tests.train.worker_pool import WorkerPool

THEIRS = {
    "llama": LlamaConfig(
        vocab_size=96,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=SEQ_LEN,
        rms_norm_eps=1e-5,
    ),
    "qwen3": Qwen3Config(
        vocab_size=96,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=8,
        max_position_embeddings=SEQ_LEN,
        tie_word_embeddings=True,
    ),
}


def loaded(folder: Path) -> Decoder:
    configuration = read_configuration(folder)
    check_weights(folder, configuration.architecture)
    with torch.device("meta"):
        model = Decoder(configuration.architecture, num_positions=configuration.num_positions)
    materialise(model, CPU, seed=0)
    fill_model(model, folder)
    return model.eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", THEIRS)
def test_a_model_that_transformers_saved_gives_its_logits(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(THEIRS[kind]).to(dtype).save_pretrained(tmp_path / "model")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    with torch.no_grad():
        expected = theirs(some_tokens(2)).logits
        assert torch.allclose(loaded(tmp_path / "model")(some_tokens(2)), expected, atol=1e-5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound folder, to be spoilt."""
    export_model(make_model(), None, tmp_path / "model")
    return tmp_path / "model"


def change_config(folder: Path, **fields: Any) -> None:
    path = folder / CONFIG_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def change_weights(folder: Path, **tensors: torch.Tensor | None) -> None:
    held = load_file(folder / WEIGHTS_FILE) | {name.replace("__", "."): value for name, value in tensors.items()}
    save_file({name: value for name, value in held.items() if value is not None}, folder / WEIGHTS_FILE)


def pickled_only(folder: Path) -> None:
    (folder / WEIGHTS_FILE).rename(folder / "pytorch_model.bin")


def truncated(folder: Path) -> None:
    path = folder / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:-100])


def far_index(folder: Path) -> None:
    (folder / WEIGHTS_FILE).rename(folder.parent / WEIGHTS_FILE)
    index = {"weight_map": {"lm_head.weight": f"../{WEIGHTS_FILE}"}}
    (folder / INDEX_FILE).write_text(json.dumps(index))


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda folder: (folder / CONFIG_FILE).unlink(), "holds no config.json"),
    "other type": (lambda folder: change_config(folder, model_type="gpt2"), "model_type: must be one of llama"),
    "scaled positions": (
        lambda folder: change_config(folder, rope_parameters={"rope_type": "llama3", "rope_theta": 1e4}),
        "rope_scaling: the trainer's rotary positions are not scaled",
    ),
    "other activation": (lambda folder: change_config(folder, hidden_act="gelu"), "hidden_act: must be silu"),
    "pickled": (pickled_only, "holds no model.safetensors"),
    "truncated": (truncated, "model.safetensors: not a whole safetensors file"),
    "index leads out": (far_index, "which is no file in that folder"),
    "missing tensor": (lambda folder: change_weights(folder, lm_head__weight=None), "misses lm_head.weight"),
    "extra tensor": (
        lambda folder: change_weights(folder, surplus=torch.zeros(2)),
        "the model has no place for surplus",
    ),
    "wrong shape": (
        lambda folder: change_weights(folder, model__norm__weight=torch.zeros(31)),
        r"model.norm.weight: must have shape \[32\]; got \[31\]",
    ),
    "wrong kind": (
        lambda folder: change_weights(folder, model__norm__weight=torch.zeros(32, dtype=torch.int8)),
        "model.norm.weight: must be F32, F16, BF16, F64; got I8",
    ),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_folder_that_does_not_fit_is_refused_in_one_line(how: str, folder: Path) -> None:
    spoil, told = SPOILT[how]
    spoil(folder)
    with pytest.raises(GlmplanError, match=told) as caught:
        loaded(folder)
    assert caught.value.exit_code == 2
    assert len(str(caught.value).splitlines()) == 1


def imported_weights(job: TrainingJob, layout: ParallelLayout, folder: Path) -> dict[str, Any]:
    """Every whole parameter of a replica that was given the weights in ``folder``."""
    replica = new_replica(job, layout)
    fill_model(replica.model, folder)
    return {name: whole(value.detach()).numpy() for name, value in replica.model.named_parameters()}


@pytest.mark.parametrize(
    "layout",
    [
        ParallelLayout(dp=4, micro_batch=2, sharding=Sharding.FSDP, shard_group=4),
        ParallelLayout(tp=2, dp=2, micro_batch=4, sharding=Sharding.FSDP, shard_group=2, sequence_parallel=True),
        ParallelLayout(pp=2, micro_batch=4, grad_accum=2),
    ],
    ids=lambda layout: layout.label(),
)
def test_every_rank_reads_its_part(pool: WorkerPool, layout: ParallelLayout, folder: Path) -> None:
    expected = dict(loaded(folder).named_parameters())
    found = set()
    for weights in pool.run(layout.world_size, imported_weights, tiny_job(), layout, folder):
        assert weights
        for name, value in weights.items():
            assert np.array_equal(value, expected[name].detach().numpy()), name
        found |= weights.keys()
    assert found == expected.keys()


def test_a_plan_for_another_model_is_refused_by_its_fields(folder: Path, tmp_path: Path) -> None:
    plan = write_test_plan(tmp_path / "plan.json", tiny_job(layers=3, kv_heads=8), ParallelLayout(micro_batch=8))
    data = write_test_data(tmp_path / "data")
    with pytest.raises(InputError, match="another model: layers is 2, the plan has 3; kv_heads is 4, the plan has 8"):
        design_run(plan, data, tmp_path / "run", Requested(steps=1, init_from=str(folder)))
    assert not (tmp_path / "run").exists()


def test_weights_that_do_not_fit_leave_no_run_behind(folder: Path, tmp_path: Path) -> None:
    change_weights(folder, model__norm__weight=torch.zeros(31))
    plan = write_test_plan(tmp_path / "plan.json", tiny_job(), ParallelLayout(micro_batch=8))
    data = write_test_data(tmp_path / "data")
    with pytest.raises(InputError, match="must have shape"):
        launch(plan, data, tmp_path / "run", Requested(steps=1, init_from=str(folder)), resume=False, quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_training_starts_with_the_weights_and_resumes_without_them(tmp_path: Path) -> None:
    model, folder = filled(), tmp_path / "model"
    export_model(model, None, folder)
    layout = ParallelLayout(micro_batch=8)
    plan = write_test_plan(tmp_path / "plan.json", tiny_job(), layout)
    data = write_test_data(tmp_path / "data")
    shards = open_token_shards(data, "train")
    batches = Batches(source=shards, seq_len=SEQ_LEN, layout=layout, data_rank=0, seed=0, device=CPU)
    (first,) = batches.of_step(1)
    expected = next_token_loss(model(first.tokens_BL), first.targets_BL).item()
    assert abs(expected - math.log(96)) > 0.5, "a fresh model would do as well"

    def losses() -> list[float]:
        lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line)["loss"] for line in lines]

    launch(plan, data, tmp_path / "run", Requested(steps=2, init_from=str(folder)), resume=False, quiet=True)
    assert losses()[0] == pytest.approx(expected, rel=1e-4)
    with pytest.raises(InputError, match="is at step 2 already"):
        design_run(plan, data, tmp_path / "run", Requested(steps=3, init_from=str(folder)), resume=True)
    shutil.rmtree(folder)
    launch(plan, data, tmp_path / "run", Requested(steps=3), resume=True, quiet=True)
    assert read_settings(tmp_path / "run").init_from == str(folder)
    assert len(losses()) == 3
