"""Co-design against enumeration, for ``make bench``: how much of the exact front a tenth of the evaluations finds."""

import time

import numpy as np

from glmplan.search.codesign import CodesignOptions, CodesignResult, result_of, search_designs
from glmplan.search.codesign_evaluation import Evaluator
from glmplan.search.codesign_request import request_of
from glmplan.search.codesign_space import CodesignSpace
from glmplan.search.pareto_front import hypervolume

SEEDS = 3
REQUEST: dict[str, object] = {
    "model": "llama3-8b",
    "seq_len": 4096,
    "tokens": "100B",
    "clusters": ["dgx-a100-pod", "dgx-h100-pod", "dgx-b200-pod", "oci-mi300x"],
    "gpus": [8, 16, 32, 64, 128, 256],
    "global_batches": [256, 512, 1024],
    "precisions": ["bf16", "fp8"],
    "stacks": ["megatron-core", "torchtitan"],
}
WAYS = (
    ("as shipped", True, True),
    ("warm start, then the sampler alone", True, False),
    ("the sampler alone", False, False),
)


def codesign_lines() -> list[str]:
    """The section of the benchmark's report, in Markdown."""
    request = request_of(REQUEST)
    space = CodesignSpace(request=request)
    evaluator = Evaluator(request)
    start = time.process_time()
    for index in space.indices():
        evaluator.evaluate(index)
    enumerated_s = time.process_time() - start
    exact = result_of(request, dict(evaluator.known))
    budget = space.size() // 10
    lines = [
        "## Co-design against enumeration",
        "",
        f"Llama 3 8B over {space.size()} designs (4 clusters, 6 sizes, 3 batches, 2 precisions, 2 stacks; goals days,"
        f" money, energy, GPUs): enumeration takes {enumerated_s:.0f} CPU s and finds a front of {len(exact.front)}."
        f" Hypervolume over that of the exact front after {budget} evaluations, worst to best of {SEEDS} seeds, and the"
        " share of the exact front's designs found:",
        "",
        "| sampler | way | hypervolume ratio | exact designs found |",
        "|---|---|---:|---:|",
    ]
    whole = _volume(exact, exact, evaluator)
    for sampler in ("nsga2", "tpe", "random"):
        for name, warm, guided in WAYS:
            ratios, shares = [], []
            for seed in range(SEEDS):
                options = CodesignOptions(
                    evaluations=budget,
                    sampler=sampler,
                    seed=seed,
                    warm_start=warm,
                    guided=guided,
                )
                found = search_designs(request, options, evaluator=evaluator)
                ratios.append(_volume(found, exact, evaluator) / whole)
                members = {index for index, _ in exact.front}
                shares.append(len(members & {index for index, _ in found.front}) / len(members))
            lines.append(
                f"| {sampler} | {name} | {min(ratios):.4f} to {max(ratios):.4f} | {min(shares):.0%} to"
                f" {max(shares):.0%} |"
            )
    return [*lines, ""]


def _volume(result: CodesignResult, exact: CodesignResult, evaluator: Evaluator) -> float:
    goals = exact.request.goals
    served = [found.planned for found in evaluator.known.values() if found.planned is not None]
    values = np.array([[planned.goals[goal] for goal in goals] for planned in served])
    front = [[planned.goals[goal] for goal in goals] for _, planned in result.front]
    return hypervolume(front, list(values.min(axis=0)), list(values.max(axis=0)))
