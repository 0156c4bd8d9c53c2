"""What a review finds in a launch configuration, and the commands around it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Outcome

Run = Callable[..., Outcome]
MEGATRON = """
torchrun --nnodes {nodes} --nproc-per-node 8 pretrain_gpt.py --num-layers 32 --hidden-size 4096 \\
  --ffn-hidden-size 14336 --num-attention-heads 32 --group-query-attention --num-query-groups 8 --swiglu \\
  --normalization RMSNorm --position-embedding-type rope --vocab-size 128256 --disable-bias-linear \\
  --untie-embeddings-and-output-weights --seq-length 8192 --bf16 --use-distributed-optimizer \\
  --global-batch-size {batch} --micro-batch-size {micro} --tensor-model-parallel-size {tp} {more}
"""


def script(path: Path, *, nodes: int = 2, batch: int = 128, micro: int = 1, tp: int = 1, more: str = "") -> Path:
    path.write_text(MEGATRON.format(nodes=nodes, batch=batch, micro=micro, tp=tp, more=more))
    return path


def checked(run: Run, path: Path, *more: str, framework: str = "megatron") -> tuple[int, dict[str, object]]:
    outcome = run("check", path, "--framework", framework, "--cluster", "dgx-h100-pod", "--format", "json", *more)
    return outcome.code, json.loads(outcome.out)


def messages(result: dict[str, object], severity: str) -> str:
    findings = result["findings"]
    assert isinstance(findings, list)
    return " | ".join(f"{f['field']}: {f['message']}" for f in findings if f["severity"] == severity)


def test_a_sound_configuration_has_no_errors(run_glmplan: Run, tmp_path: Path) -> None:
    code, result = checked(run_glmplan, script(tmp_path / "a.sh", tp=2, more="--sequence-parallel"))
    assert code == 0
    assert result["runs"] is True
    assert not messages(result, "error")
    assert result["layout"]["dp"] == 8  # type: ignore[index]


def test_what_does_not_fit_is_an_error_with_its_excess(run_glmplan: Run, tmp_path: Path) -> None:
    code, result = checked(run_glmplan, script(tmp_path / "a.sh", micro=8), "--no-search")
    assert code == 3
    assert "too much; the largest part is activations" in messages(result, "error")


def test_tensor_parallelism_across_nodes_is_warned_about(run_glmplan: Run, tmp_path: Path) -> None:
    _, result = checked(run_glmplan, script(tmp_path / "a.sh", tp=16, more="--sequence-parallel"), "--no-search")
    assert "layout.tp: 16 reaches beyond the 8 devices of the fastest links" in messages(result, "warning")


def test_broken_rules_and_contradictory_arithmetic_are_errors(run_glmplan: Run, tmp_path: Path) -> None:
    code, result = checked(
        run_glmplan,
        script(tmp_path / "c.sh", more="--pipeline-model-parallel-size 2 --num-virtual-stages-per-pipeline-rank 5"),
        "--no-search",
    )
    assert code == 3
    assert "layout.virtual_stages: 5 needs" in messages(result, "error")
    code, result = checked(run_glmplan, script(tmp_path / "b.sh", batch=100, tp=2), "--no-search")
    assert code == 3
    assert "does not divide global_batch 100" in messages(result, "error")


def test_slow_choices_are_warned_about(run_glmplan: Run, tmp_path: Path) -> None:
    more = "--recompute-granularity full --recompute-method uniform --recompute-num-layers 1"
    code, result = checked(run_glmplan, script(tmp_path / "a.sh", tp=8, more=more))
    warnings = messages(result, "warning")
    assert code == 0
    assert "layout.sequence_parallel: off with tp above 1" in warnings
    assert "layout.recompute: full, though selective fits" in warnings
    assert "is predicted to take" in warnings


def test_what_is_missing_is_asked_for(run_glmplan: Run, tmp_path: Path) -> None:
    path = tmp_path / "args.sh"
    path.write_text("--tensor-model-parallel-size 2 --micro-batch-size 1\n")
    outcome = run_glmplan("check", path, "--framework", "megatron", "--cluster", "dgx-h100-pod")
    assert (outcome.code, outcome.out) == (2, "")
    assert "does not say on how many GPUs it runs; give --gpus" in outcome.err
    outcome = run_glmplan("check", path, "--framework", "megatron", "--cluster", "dgx-h100-pod", "--gpus", 8)
    assert "give --seq-len" in outcome.err


@pytest.mark.parametrize(
    ("framework", "text", "message"),
    [
        ("torchtitan", "[training\n", "no valid TOML"),
        ("torchtitan", "[parallelism]\ntensor_parallel_degree = 0\n", "expected a whole number above 0; got '0'"),
        ("deepspeed", "{", "not JSON"),
        ("deepspeed", '{"train_batch_size": -4}', "train_batch_size: expected a whole number above 0"),
        ("nemo", "model: [", "YAML"),
        ("megatron", "echo hello\n", "holds no --options"),
        ("megatron", "--micro-batch-size many --seq-length 1", "micro_batch_size: expected a whole number"),
    ],
)
def test_unreadable_files_are_one_line_each(
    run_glmplan: Run, tmp_path: Path, framework: str, text: str, message: str
) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    outcome = run_glmplan("check", path, "--framework", framework, "--cluster", "dgx-h100-pod", "--gpus", 8)
    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err


def test_deepspeed_batch_arithmetic_is_checked(run_glmplan: Run, tmp_path: Path) -> None:
    path = tmp_path / "ds.json"
    path.write_text(
        '{"train_batch_size": 64, "train_micro_batch_size_per_gpu": 4, "gradient_accumulation_steps": 3,'
        ' "zero_optimization": {"stage": 3}, "bf16": {"enabled": true}}'
    )
    more = ("--gpus", 8, "--model", "llama3-8b", "--seq-len", 2048, "--cluster", "dgx-h100-pod")
    outcome = run_glmplan("check", path, "--framework", "deepspeed", *more)
    assert outcome.code == 2
    assert "micro-batch 4 x accumulation 3 x 8 data-parallel ranks = 96 is not the batch of 64" in outcome.err


def test_export_writes_a_file_and_refuses_what_cannot_run(run_glmplan: Run, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    job = ("--model", "llama3-8b", "--cluster", "dgx-h100-pod", "--gpus", 16, "--global-batch", 128)
    run_glmplan("estimate", *job, "--seq-len", 8192, "--pp", 2, "--micro-batch", 1, "-o", plan)
    outcome = run_glmplan("export", plan, "--to", "megatron", "-o", tmp_path / "run.sh")
    assert outcome.code == 0
    assert "--pipeline-model-parallel-size 2" in (tmp_path / "run.sh").read_text()
    refused = run_glmplan("export", plan, "--to", "deepspeed", "-o", tmp_path / "ds.json")
    assert refused.code == 2
    assert "layout.pp: 2 cannot be said to DeepSpeed" in refused.err
    assert not (tmp_path / "ds.json").exists()
