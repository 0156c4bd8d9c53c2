"""Launch scripts are read without being run."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from glmplan.frameworks.shell_arguments import read_arguments

SCRIPT = """
#!/bin/bash
# tensor parallel over the node
TP=8
PP=${PP:-4}
export SEQ_LEN=4096   # tokens
NODES=$(wc -l < hosts)
GPT_ARGS="
    --tensor-model-parallel-size $TP
    --pipeline-model-parallel-size ${PP} \\
    --seq-length ${SEQ_LEN}
"
TRAIN_ARGS=(
    --micro-batch-size 1
    --global-batch-size=1024
    --bf16
    --lr -1e-4
    "--clip-grad 1.0"
    # --ignored 3
)
if [ "$FP8" = 1 ]; then TRAIN_ARGS+=(--fp8-format hybrid); fi
torchrun --nnodes $NODES --nproc-per-node 8 pretrain_gpt.py ${GPT_ARGS} "${TRAIN_ARGS[@]}"
"""


def test_variables_arrays_and_defaults_are_followed() -> None:
    options, unresolved = read_arguments(SCRIPT)
    assert options["tensor_model_parallel_size"] == "8"
    assert options["pipeline_model_parallel_size"] == "4"
    assert options["seq_length"] == "4096"
    assert options["global_batch_size"] == "1024"
    assert options["bf16"] == "true"
    assert options["lr"] == "-1e-4"
    assert options["nproc_per_node"] == "8"
    assert options["clip_grad"] == "1.0"
    assert options["fp8_format"] == "hybrid"
    assert "ignored" not in options
    assert unresolved == ("nnodes",)


def test_nothing_in_a_script_is_run(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    read_arguments(f"TP=$(touch {marker})\npretrain --tensor-model-parallel-size `touch {marker}` --x $TP\n")
    assert not marker.exists()


def test_variables_that_name_each_other_end() -> None:
    bomb = "A0=xxxxxxxxxx\n" + "".join(f'A{i}="$A{i - 1} $A{i - 1} $A{i - 1} $A{i - 1}"\n' for i in range(1, 30))
    options, _ = read_arguments(f"{bomb}\nB=$C\nC=$B\nrun --a $A29 --b $B --c 1\n")
    assert options["c"] == "1"


@given(st.text(alphabet="-=$ {}()\"'`\\\nab1#;:", max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    options, unresolved = read_arguments(text)
    assert all("$" not in value for value in options.values())
    assert set(options).isdisjoint(unresolved)
