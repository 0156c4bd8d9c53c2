"""Co-design against enumeration, stopped and gone on with, and its answers when nothing serves."""

import json
from pathlib import Path

import numpy as np
import pytest

from glmplan.errors import DocumentError, DoesNotFit, InputError
from glmplan.search.codesign import CodesignOptions, CodesignResult, default_evaluations, result_of, search_designs
from glmplan.search.codesign_evaluation import Evaluation, Evaluator, cluster_with
from glmplan.search.codesign_request import CodesignRequest, FabricChoice, Goal, request_of
from glmplan.search.codesign_screening import Screening
from glmplan.search.codesign_space import CodesignSpace, Index
from glmplan.search.codesign_text import document
from glmplan.search.pareto_front import hypervolume
from glmplan.search.planner import load_problem, make_plan

REQUEST = {
    "model": "llama3-8b",
    "seq_len": 4096,
    "tokens": "100B",
    "clusters": ["dgx-a100-pod", "dgx-h100-pod", "dgx-b200-pod"],
    "gpus": [8, 16, 32, 64, 128, 256],
    "global_batches": [256, 512, 1024],
    "precisions": ["bf16", "fp8"],
    "stacks": ["torchtitan", "torchtitan-eager"],
}
WORLD: dict[str, object] = {"model": "llama3-8b", "seq_len": 4096, "tokens": "100B", "global_batches": [256]}


class Landscape(Evaluator):
    """Made-up goals with the shape of the real ones: faster, dearer machines, and batches and stacks that matter."""

    def _evaluate(self, design: object) -> Evaluation:
        raise AssertionError("only known designs are asked for")

    def evaluate(self, index: Index) -> Evaluation:
        if index not in self.known:
            self.known[index] = made_up(self._request, index)
        return self.known[index]


SAMPLE: dict[str, Evaluation] = {}


def sample() -> Evaluation:
    """One real evaluation, whose goals the landscape replaces."""
    if not SAMPLE:
        request = request_of(WORLD | {"clusters": ["dgx-h100-pod"], "gpus": [16]})
        SAMPLE["one"] = Evaluator(request).evaluate((0,) * 7)
    return SAMPLE["one"]


def made_up(request: CodesignRequest, index: Index) -> Evaluation:
    cluster, _, gpus, precision, batch, stack, _ = index
    if cluster == 0 and precision == 1:
        return Evaluation(reason="no peak")
    count = request.gpus[gpus]
    loss = 1 + 0.1 * gpus + 0.15 * abs(batch - gpus / 3) + 0.2 * stack
    days = 400 * loss / (count * (1, 2.5, 5)[cluster] * (1, 1.5)[precision])
    goals = {
        Goal.DAYS: days,
        Goal.USD: days * count * (30, 70, 150)[cluster],
        Goal.ENERGY: days * count * (0.4, 0.7, 1.0)[cluster],
        Goal.GPUS: float(count),
    }
    planned = sample().planned
    assert planned is not None
    return Evaluation(planned=planned.model_copy(update={"goals": goals}))


def volume_ratio(result: CodesignResult, everything: dict[Index, Evaluation]) -> float:
    def values(members: list[dict[Goal, float]]) -> list[list[float]]:
        return [[goals[goal] for goal in result.request.goals] for goals in members]

    served = values([found.planned.goals for found in everything.values() if found.planned is not None])
    ideal, nadir = np.min(served, axis=0), np.max(served, axis=0)
    front = values([planned.goals for _, planned in result.front])
    return hypervolume(front, ideal, nadir) / hypervolume(served, ideal, nadir)


@pytest.mark.parametrize("sampler", ["nsga2", "tpe"])
def test_a_tenth_of_the_evaluations_finds_most_of_the_front(sampler: str) -> None:
    """On a landscape whose axes interact; on the real one `make bench` holds both to 0.98."""
    request = request_of(REQUEST)
    space = CodesignSpace(request=request)
    everything = {index: made_up(request, index) for index in space.indices()}
    ratios = []
    for seed in range(3):
        options = CodesignOptions(evaluations=space.size() // 10, sampler=sampler, seed=seed)  # type: ignore[arg-type]
        result = search_designs(request, options, evaluator=Landscape(request))
        assert result.considered == space.size() // 10
        ratios.append(volume_ratio(result, everything))
    assert min(ratios) > 0.85, ratios
    assert np.mean(ratios) > 0.92, ratios


def test_the_same_seed_gives_the_same_bytes_in_memory_on_disk_and_after_a_stop(tmp_path: Path) -> None:
    request = request_of(REQUEST)
    options = CodesignOptions(evaluations=24, seed=3)

    class Stopped(Landscape):
        def evaluate(self, index: Index) -> Evaluation:
            if len(self.known) == 17 and index not in self.known:
                raise KeyboardInterrupt
            return super().evaluate(index)

    once = document(search_designs(request, options, evaluator=Landscape(request)))
    with pytest.raises(KeyboardInterrupt):
        search_designs(request, options, folder=tmp_path, evaluator=Stopped(request))
    heard: list[int] = []
    resumed = search_designs(
        request, options, folder=tmp_path, evaluator=Landscape(request), progress=lambda done, _: heard.append(done)
    )
    assert json.dumps(document(resumed)) == json.dumps(once)
    assert heard == list(range(18, 25))  # what was evaluated before the stop was kept


def test_another_request_does_not_enter_the_study(tmp_path: Path) -> None:
    request = request_of(REQUEST)
    search_designs(request, CodesignOptions(evaluations=2), folder=tmp_path, evaluator=Landscape(request))
    other = request.model_copy(update={"seq_len": 2048})
    with pytest.raises(InputError, match="another request"):
        search_designs(other, CodesignOptions(evaluations=2), folder=tmp_path, evaluator=Landscape(other))
    (tmp_path / "study.db").write_bytes(b"not a database, but as long as one " * 20)
    with pytest.raises(InputError, match="cannot be read"):
        search_designs(request, CodesignOptions(evaluations=2), folder=tmp_path, evaluator=Landscape(request))


def test_a_small_space_is_enumerated_and_each_design_is_planned_as_by_the_planner() -> None:
    request = request_of(WORLD | {"clusters": ["dgx-h100-pod", "dgx-a100-pod"], "gpus": [16, 12]})
    result = search_designs(request, CodesignOptions(evaluations=60))
    assert result.exhaustive
    assert result.rejected == {
        "gpus: 12 is not a multiple of the 8 devices of a node (dgx-h100); use 8 or 16": 1,
        "gpus: 12 is not a multiple of the 8 devices of a node (dgx-a100-80gb); use 8 or 16": 1,
    }
    space, evaluator = CodesignSpace(request=request), Evaluator(request)
    for index, planned in result.front:
        problem = evaluator.problem(space.design(index))
        chosen = make_plan(load_problem(problem.request)).chosen
        assert chosen.layout == planned.layout
        assert planned.goals[Goal.DAYS] == chosen.estimate.train_days


def test_goals_that_have_no_figure_and_limits_reject_with_a_reason() -> None:
    request = request_of(WORLD | {"clusters": ["v100-pod"], "gpus": [16], "precisions": ["fp16"]})
    with pytest.raises(DoesNotFit, match="no price is known for cluster v100-pod"):
        search_designs(request, CodesignOptions(evaluations=9))
    cheap = request_of(WORLD | {"clusters": ["dgx-h100-pod"], "gpus": [16], "limits": {"usd": 1.0}})
    with pytest.raises(DoesNotFit, match="1 over the limit of usd"):
        search_designs(cheap, CodesignOptions(evaluations=9))


def test_a_network_of_fewer_cards_is_slower_and_costs_what_was_given() -> None:
    own = cluster_with("dgx-h100-pod", FabricChoice(link="own"))
    few = cluster_with("dgx-h100-pod", FabricChoice(link="own", nics=2))
    slow = cluster_with("dgx-h100-pod", FabricChoice(link="roce-100"))
    spans = [cluster.tier_of(512).bandwidth_bytes_per_s for cluster in (own, few, slow)]
    assert spans[0] == pytest.approx(4 * spans[1])
    assert spans[0] == pytest.approx(4 * spans[2])
    fabrics = [{"link": "own"}, {"link": "own", "nics": 8, "extra_usd_per_device_hour": "1 USD/h"}]
    request = request_of(WORLD | {"clusters": ["dgx-h100-pod"], "gpus": [16], "fabrics": fabrics})
    evaluator = Evaluator(request)
    plain, extra = (evaluator.evaluate((0, fabric, 0, 0, 0, 0, 0)).planned for fabric in (0, 1))
    assert plain is not None
    assert extra is not None
    assert extra.goals[Goal.USD] - plain.goals[Goal.USD] == pytest.approx(16 * 24 * extra.goals[Goal.DAYS])


def test_blocking_checkpoints_cost_their_share_of_the_time() -> None:
    """8.03e9 parameters x 12 bytes / 65 GB/s = 1.48 s every minute."""
    world = WORLD | {"clusters": ["dgx-h100-pod"], "gpus": [16]}
    stored = request_of(world | {"storages": ["ddn-ai400x2"], "checkpoint_every": "60 s"})
    planned = Evaluator(stored).evaluate((0,) * 7).planned
    free = Evaluator(request_of(world)).evaluate((0,) * 7).planned
    assert planned is not None
    assert free is not None
    assert planned.checkpoint_fraction == pytest.approx(1.48 / 61.48, rel=0.01)
    assert planned.goals[Goal.DAYS] == pytest.approx(free.goals[Goal.DAYS] * (1 + 1.48 / 60), rel=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clusters": ["dgx-h100-pdo"]}, "did you mean dgx-h100-pod"),
        ({"stacks": ["megatron-cor"]}, "megatron-core"),
        ({"fabrics": ["ib-ndrr"]}, "ib-ndr"),
        ({"model": "llama3-8bb"}, "llama3-8b"),
        ({"tokens": "many"}, "tokens"),
        ({"goals": ["speed"]}, "goals"),
        ({"storages": ["ddn-ai400x2"]}, "checkpoint_every"),
        ({"gpus": [0]}, "gpus"),
        ({"limits": {"days": float("nan")}}, "limits.days"),
        ({"colour": 1}, "unknown field"),
    ],
)
def test_a_request_with_a_fault_is_refused_by_name(change: dict[str, object], message: str) -> None:
    with pytest.raises((InputError, DocumentError), match=message):
        request_of(REQUEST | change)


def test_the_first_opinion_covers_the_goals_and_tells_no_impossible_design() -> None:
    request = request_of(REQUEST)
    space = CodesignSpace(request=request)
    first = [space.design(index) for index in Screening(request).promising()]
    assert any(design.gpus == 8 for design in first)
    assert any(design.gpus == 256 and design.cluster == "dgx-b200-pod" for design in first)
    assert all(design.precision != "fp8" for design in first if design.cluster == "dgx-a100-pod")


def test_a_space_is_enumerated_by_default_where_that_is_cheap() -> None:
    space = CodesignSpace(request=request_of(REQUEST))
    assert space.size() == 3 * 6 * 3 * 2 * 2
    assert default_evaluations(space) == 60
    assert len(set(space.indices())) == space.size()


def test_nothing_evaluated_is_nothing_found() -> None:
    with pytest.raises(DoesNotFit):
        result_of(request_of(REQUEST), {})
