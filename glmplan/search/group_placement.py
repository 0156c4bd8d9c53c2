"""Parallel groups on the tiers of a cluster: which dimension lies inside the NVLink domain, which across rails and
switches. The integer program.

Sets
    d in D      dimensions of the grid of ranks (tensor, context, expert, data, pipeline ... as far as they nest)
    i in I      tiers, innermost first;  p in P  primes that divide the number of devices
    g in G      kinds of groups; D[g] the dimensions that make up a group
    F in F[g]   ways to write the size of g as a product of one factor for each tier

Data
    m[d,p]      multiplicity of p in the size of dimension d
    R[i,p]      multiplicity of p in the number of parts of tier i-1 (devices, for the first) that make up tier i
    k[F,i,p]    multiplicity of p in the factor of F in tier i
    c[g,F]      seconds of all messages of group g in a step, F[i] of its members being together in tier i

Variables
    e[d,i,p] integer >= 0   multiplicity of p in the part of dimension d that lies in tier i
    z[g,F] in {0,1}         group g lies on the tiers as F says

Minimise    sum_gF c[g,F] z[g,F]
Subject to
    sum_i e[d,i,p] = m[d,p]                                 every dimension lies somewhere
    sum_d e[d,i,p] = R[i,p]                                 and fills every tier
    sum_F z[g,F] = 1
    sum_F k[F,i,p] z[g,F] = sum_{d in D[g]} e[d,i,p]        a group lies where its dimensions lie

The numbers of ranks are products, so the program is written in exponents of primes, which add.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pulp

from glmplan.errors import InputError
from glmplan.search.integer_program import Proof, solve

Factors = tuple[int, ...]
"""One for each tier, innermost first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementProblem:
    """The data of the program."""

    dimensions: Mapping[str, int]
    """Name -> size."""
    tiers: tuple[int, ...]
    """Parts of each tier, innermost first; their product is that of the dimensions."""
    groups: Mapping[str, tuple[str, ...]]
    """Name -> the dimensions that it is made up of."""
    seconds: Callable[[str, Factors], float]
    """Of a group's messages in a step, with so many of its members together in each tier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A solution."""

    factors: Mapping[str, Factors]
    """Dimension -> how much of it lies in each tier."""
    seconds: float
    """Of all messages in a step, one after the other."""
    proof: Proof

    @property
    def gap(self) -> float:
        """Upper bound of the relative distance to the optimum."""
        return self.proof.gap(self.seconds)


def placement_seconds(problem: PlacementProblem, factors: Mapping[str, Factors]) -> float:
    """The objective."""
    return sum(problem.seconds(group, _product(problem, group, factors)) for group in problem.groups)


def nested_placement(problem: PlacementProblem) -> dict[str, Factors]:
    """Dimensions laid from the innermost tier outwards in their own order, each as far in as it goes."""
    left, factors = list(problem.tiers), {}
    for name, size in problem.dimensions.items():
        found = []
        for tier, parts in enumerate(left):
            found.append(math.gcd(size, parts))
            left[tier], size = parts // found[-1], size // found[-1]
        factors[name] = tuple(found)
    return factors


def place_groups(problem: PlacementProblem, *, time_limit_s: float = 30.0, solver: str | None = None) -> Placement:
    """The placement with the least communication. Raises InputError where dimensions and tiers differ in size."""
    total = math.prod(problem.dimensions.values())
    if total != math.prod(problem.tiers):
        raise InputError(
            f"placement: dimensions of {total} ranks do not fill tiers of {math.prod(problem.tiers)} devices;"
            " use as many ranks as devices"
        )
    costs = {
        (group, factors): problem.seconds(group, factors)
        for group in problem.groups
        for factors in factorings(_size(problem, group), problem.tiers)
    }
    unit_s = max(sum(costs.values()) / max(len(costs), 1), 1e-12)
    program, e = _program(problem, costs, unit_s)
    proof = solve(program, time_limit_s=time_limit_s, solver=solver, relaxation=True)
    if not proof.solved:
        raise InputError("placement: no placement found within the time limit; allow more seconds")
    factors = {
        name: tuple(
            math.prod(p ** round(e[name, tier, p].varValue) for p in primes(total))
            for tier in range(len(problem.tiers))
        )
        for name in problem.dimensions
    }
    value = placement_seconds(problem, factors)
    bound, relaxed = min(value, proof.bound * unit_s), proof.relaxed * unit_s
    return Placement(
        factors=factors,
        seconds=value,
        proof=Proof(outcome=proof.outcome, bound=bound, relaxed=relaxed, solver=proof.solver),
    )


def _program(
    problem: PlacementProblem, c: Mapping[tuple[str, Factors], float], unit_s: float
) -> tuple[pulp.LpProblem, dict[tuple[str, int, int], Any]]:
    """The program in units of ``unit_s``, and e."""
    D, R, G = problem.dimensions, problem.tiers, problem.groups
    I, P = range(len(R)), primes(math.prod(R))  # noqa: E741 (the letter of the mathematics)
    program = pulp.LpProblem("placement", pulp.LpMinimize)
    e = {
        (d, i, p): program.add_variable(f"e_{n}_{i}_{p}", 0, _multiplicity(D[d], p), pulp.LpInteger)
        for n, d in enumerate(D)
        for i in I
        for p in P
    }
    z = {key: program.add_variable(f"z_{n}", cat=pulp.LpBinary) for n, key in enumerate(c)}
    program += pulp.lpSum(seconds / unit_s * z[key] for key, seconds in c.items())
    for p in P:
        for d in D:
            program += pulp.lpSum(e[d, i, p] for i in I) == _multiplicity(D[d], p)
        for i in I:
            program += pulp.lpSum(e[d, i, p] for d in D) == _multiplicity(R[i], p)
    for g in G:
        own = [(key, F) for key in c if (F := key[1]) and key[0] == g]
        program += pulp.lpSum(z[key] for key, _ in own) == 1
        for i, p in itertools.product(I, P):
            lies = pulp.lpSum(_multiplicity(F[i], p) * z[key] for key, F in own)
            program += lies == pulp.lpSum(e[d, i, p] for d in G[g])
    return program, e


def factorings(size: int, tiers: tuple[int, ...]) -> Iterator[Factors]:
    """Every way to write ``size`` as a product of divisors of the tiers' parts.

    >>> list(factorings(4, (8, 2)))
    [(2, 2), (4, 1)]
    """
    if not tiers:
        if size == 1:
            yield ()
        return
    for factor in range(1, math.gcd(size, tiers[0]) + 1):
        if math.gcd(size, tiers[0]) % factor == 0:
            for rest in factorings(size // factor, tiers[1:]):
                yield (factor, *rest)


def primes(number: int) -> list[int]:
    """The primes that divide ``number``."""
    found, p = [], 2
    while number > 1:
        if number % p == 0:
            found.append(p)
            while number % p == 0:
                number //= p
        p += 1
    return found


def _multiplicity(number: int, p: int) -> int:
    times = 0
    while number % p == 0:
        number, times = number // p, times + 1
    return times


def _size(problem: PlacementProblem, group: str) -> int:
    return math.prod(problem.dimensions[name] for name in problem.groups[group])


def _product(problem: PlacementProblem, group: str, factors: Mapping[str, Factors]) -> Factors:
    """How a group lies on the tiers, from how its dimensions do."""
    return tuple(math.prod(factors[name][tier] for name in problem.groups[group]) for tier in range(len(problem.tiers)))
