import shlex

from hypothesis import given, settings
from hypothesis import strategies as st

from glmplan.layout.choices import Choices
from glmplan.layout.parallel_layout import Sharding
from glmplan.report.reproduction import plan_command
from tests.report.sample_plan import sample_plan


def test_the_command_names_the_whole_request() -> None:
    words = shlex.split(plan_command(sample_plan().request).replace("\\\n", ""))
    assert words[:2] == ["glmplan", "plan"]
    options = dict(zip(words[2::2], words[3::2], strict=True))
    assert options == {
        "--model": "gpt3-175b",
        "--cluster": "selene_a100_1024",
        "--gpus": "1024",
        "--global-batch": "1536",
        "--seq-len": "2048",
        "--stack": "megatron-2022",
        "--precision": "bf16",
        "--tokens": "300000000000",
        "-o": "plan.json",
    }


def test_choices_and_limits_away_from_their_default_are_options() -> None:
    request = sample_plan().request.model_copy(
        update={
            "choices": Choices(tp=(4, 8), sharding=(Sharding.FSDP, Sharding.HSDP), sequence_parallel=(True,)),
            "memory_margin": 0.1,
            "objective": "memory",
        }
    )
    command = plan_command(request)
    for option in (
        "--tp 4,8",
        "--shard fsdp,hsdp",
        "--sequence-parallel on",
        "--memory-margin 0.1",
        "--objective memory",
    ):
        assert f"  {option} \\\n" in command
    assert "--top" not in command


@settings(deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=40))
def test_a_shell_reads_any_cluster_name_as_one_word(name: str) -> None:
    request = sample_plan().request.model_copy(update={"cluster": name})
    words = shlex.split(plan_command(request))
    assert words[words.index("--cluster") + 1] == name
