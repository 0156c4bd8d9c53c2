"""The placement program equals trying every placement."""

import itertools
import math
import random
from collections.abc import Iterator, Mapping

import pytest

from glmplan.errors import InputError
from glmplan.search.group_placement import (
    Factors,
    PlacementProblem,
    factorings,
    nested_placement,
    place_groups,
    placement_seconds,
    primes,
)


def random_problem(seed: int) -> PlacementProblem:
    """Groups of random dimensions whose seconds follow no law at all."""
    rng = random.Random(seed)
    total = rng.choice([24, 36, 48, 64, 72, 96, 128])
    sizes, tiers = _split(total, rng.choice([3, 4]), rng), tuple(_split(total, rng.choice([2, 3]), rng))
    dimensions = dict(zip("abcd", sizes, strict=False))
    groups = {
        f"group {index}": tuple(rng.sample(list(dimensions), rng.randint(1, len(dimensions))))
        for index in range(rng.choice([2, 3, 4]))
    }

    def seconds(group: str, factors: Factors) -> float:
        alone = math.prod(factors) == 1
        return 0.0 if alone else random.Random(f"{seed} {group} {factors}").uniform(0.0, 1.0)

    return PlacementProblem(dimensions=dimensions, tiers=tiers, groups=groups, seconds=seconds)


def _split(total: int, parts: int, rng: random.Random) -> list[int]:
    sizes = [1] * parts
    for p in primes(total):
        while total % p == 0:
            sizes[rng.randrange(parts)] *= p
            total //= p
    return sizes


def placements(problem: PlacementProblem) -> Iterator[Mapping[str, Factors]]:
    """All of them."""
    names = list(problem.dimensions)
    ways = [list(factorings(problem.dimensions[name], problem.tiers)) for name in names]
    for chosen in itertools.product(*ways):
        columns = zip(*chosen, strict=True)
        if all(math.prod(column) == parts for column, parts in zip(columns, problem.tiers, strict=True)):
            yield dict(zip(names, chosen, strict=True))


@pytest.mark.parametrize("seed", range(50))
def test_the_program_equals_trying_every_placement(seed: int) -> None:
    problem = random_problem(seed)
    best = min(placement_seconds(problem, factors) for factors in placements(problem))
    found = place_groups(problem)
    assert found.seconds == pytest.approx(best, abs=1e-9)
    assert found.gap == 0.0
    assert found.proof.bound <= best + 1e-9
    assert found.factors in list(placements(problem))


@pytest.mark.parametrize("seed", range(8))
def test_the_fallback_solver_finds_the_same(seed: int) -> None:
    problem = random_problem(seed)
    assert place_groups(problem, solver="cbc").seconds == pytest.approx(place_groups(problem).seconds, abs=1e-9)


@pytest.mark.parametrize("seed", range(50))
def test_nesting_in_order_is_a_placement_and_never_better(seed: int) -> None:
    problem = random_problem(seed)
    nested = nested_placement(problem)
    assert nested in list(placements(problem))
    assert place_groups(problem).seconds <= placement_seconds(problem, nested) + 1e-9


def test_the_dimension_that_sends_most_lies_inside_the_node() -> None:
    # 8 devices a node, 4 nodes; leaving the node costs 10 times as much a byte
    sent = {"tensor": 100.0, "data": 1.0, "pipeline": 0.1}

    def seconds(group: str, factors: Factors) -> float:
        return sent[group] * (1.0 if factors[1] == 1 else 10.0) * (math.prod(factors) > 1)

    problem = PlacementProblem(
        dimensions={"pp": 4, "dp": 2, "tp": 4},
        tiers=(8, 4),
        groups={"tensor": ("tp",), "data": ("dp",), "pipeline": ("pp",)},
        seconds=seconds,
    )
    found = place_groups(problem)
    assert found.factors == {"pp": (1, 4), "dp": (2, 1), "tp": (4, 1)}
    assert found.seconds == pytest.approx(100.0 + 1.0 + 1.0)
    assert placement_seconds(problem, nested_placement(problem)) > 10 * found.seconds * 0.9


def test_ranks_that_do_not_fill_the_devices_are_refused() -> None:
    problem = PlacementProblem(dimensions={"tp": 4}, tiers=(8,), groups={}, seconds=lambda group, factors: 0.0)
    with pytest.raises(InputError, match="dimensions of 4 ranks do not fill tiers of 8 devices"):
        place_groups(problem)
