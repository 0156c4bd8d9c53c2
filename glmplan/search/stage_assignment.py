"""Layers to pipeline stages, and what each stage does with their activations: the integer program.

Sets
    s in S      pipeline stages, k in K chunks of the model in the order of the forward pass; chunk k lies on stage
                k mod |S|, so |K| = |S| without virtual stages
    c in C      runs of like layers in the order of the forward pass (dense before experts, encoder before decoder);
                embedding and head are no layers: they stay on the first and the last chunk
    h in H      what becomes of a layer's activations (recomputed, kept, offloaded ...)
    j in J      moments of a step at which a stage's memory may peak

Data
    N[c]            layers of run c
    t[s,c,h]        seconds of one micro-batch through a layer, forward and backward, on the device of stage s
    e[s]            the same of what is no layer (embedding, head, sends)
    q[s,c], r[s]    seconds once a step (optimizer, gradients) of a layer, of what is no layer
    a[j,s,c,h]      bytes of a layer: its state, and what it keeps times the micro-batches in flight on stage s
                    (1F1B: min(|S| - s, m) of them)
    g[j,s]          bytes of what is no layer
    w[j,c,h]        workspace bytes, needed on every stage as soon as one layer of run c does h
    M[s]            memory of a device of stage s
    f[k]            of e, the part in chunk k
    l[k]            least number of layers of chunk k
    u[s,c]          most layers of run c that memory lets stage s hold, at most N[c]
    A, B            weights: a step of m micro-batches takes (m - f) T + f sum_s (time of s), f being the bubble over
                    that of 1F1B; hence A = m - f, B = f

Variables
    x[k,c] integer >= 0     layers of run c in chunk k
    n[s,c,h] integer >= 0   layers of run c on stage s with h
    y[k,c] in {0,1}         run c has begun in chunk k or before (c after the first)
    v[c,h] in {0,1}         some layer of run c does h (only where w is not 0)
    z[s,c] in {0,1}         on stage s all layers of run c do the first option (only with ``first_option_first``)
    T, U, W[j] >= 0         seconds of the slowest stage, of the stage with most to do once a step; workspace bytes

Minimise    A T + B sum_s (e[s] + sum_ch t[s,c,h] n[s,c,h]) + U
Subject to
    sum_h n[s,c,h] = sum_{k on s} x[k,c]                                every layer does one thing
    sum_k x[k,c] = N[c],  sum_c x[k,c] >= l[k]                          all layers, no chunk too short
    x[k,c] <= u[k,c] y[k,c],  y[k,c] <= y[k+1,c]                        y marks the beginning of run c,
    x[k,b] <= u[k,b] (1 - y[k-1,c])  for runs b before c                after which no run before it has layers
    e[s] + sum_ch t[s,c,h] n[s,c,h] <= T,  T >= its least (stage_bound)
    V (f[k] + sum_c t[k,c,1] x[k,c]) <= T         with V = |K| / |S| > 1: interleaving gains 1/V on chunks alike only
    r[s] + sum_c q[s,c] sum_h n[s,c,h] <= U
    n[s,c,h] <= N[c] v[c,h],  w[j,c,h] v[c,h] <= W[j]
    g[j,s] + sum_ch a[j,s,c,h] n[s,c,h] + W[j] <= M[s]
    n[s,c,h] <= u[s,c] (1 - z[s,c])               for h other than the first
    n[s,d,first] <= u[s,d] z[s,c]                 for runs d after c that may share a stage with it

Where asked for, of the splits with that step the one is taken whose fullest stage holds least: the same program, which
minimises what M must grow (or may shrink) by while the objective stays. Without a limit to the objective this also
tells which stage lacks memory, and how much, where there is no solution.

Like layers are counted, not named, which leaves no symmetry between them. Compare Sun 2024, AdaPipe
(doi:10.1145/3620666.3651359, section 4): the same question for one kind of layer, by dynamic programming.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pulp

from glmplan.search.integer_program import TOLERANCE, Outcome, Proof, solve
from glmplan.search.stage_bound import least_slowest_s
from glmplan.search.stage_problem import Ints, StageProblem, stage_bytes, step_seconds

Terms: TypeAlias = dict[tuple[int, ...], pulp.LpVariable]
TIDY_GAP = 0.01
"""Of the capacity: how closely the least memory among the fastest splits is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StageAssignment:
    """A solution of the program."""

    layers: Ints
    """x, ``[K, C]``."""
    options: Ints
    """n, ``[S, C, H]``."""
    step_s: float
    """The objective."""
    proof: Proof
    """Its bound is in seconds too."""

    @property
    def stage_layers(self) -> tuple[int, ...]:
        """Layers of each chunk."""
        return tuple(int(number) for number in self.layers.sum(axis=1))

    @property
    def gap(self) -> float:
        """Upper bound of the relative distance to the optimum."""
        return self.proof.gap(self.step_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageShortfall:
    """Why there is no solution: the least that would be missing whatever the split."""

    stage: int | None
    """The stage that lacks most; None where memory is not to blame, or time ran out."""
    missing_bytes: float
    outcome: Outcome

    def sentence(self) -> str:
        """For people."""
        if self.stage is None:
            if self.outcome is Outcome.UNKNOWN:
                return "no split was found within the time limit; allow more seconds"
            return "there are fewer layers than the chunks need; use fewer stages"
        return f"stage {self.stage + 1} lacks {self.missing_bytes:.4g} bytes whatever the split"


def assign_stages(
    problem: StageProblem, *, time_limit_s: float = 30.0, solver: str | None = None, tidy: bool = False
) -> StageAssignment | StageShortfall:
    """The split with the shortest step, or what is missing for one. ``tidy``: of several the one with least memory."""
    seconds = _scale_s(problem)
    program, x, n = _program(problem, seconds)
    proof = solve(program, time_limit_s=time_limit_s, solver=solver, relaxation=True)
    if not proof.solved:
        return _shortfall(problem, proof.outcome, time_limit_s, solver)
    options, layers = (
        _values(n, problem.layer_s.shape),
        _values(x, (len(problem.fewest_layers), len(problem.num_layers))),
    )
    value = step_seconds(problem, options, layers)
    if tidy:
        again, x, n = _program(problem, seconds, least_memory=True, step_s=value)
        if solve(again, time_limit_s=time_limit_s, solver=solver, gap=TIDY_GAP).solved:
            options, layers = _values(n, options.shape), _values(x, layers.shape)
            value = step_seconds(problem, options, layers)
    bound = min(value, proof.bound * seconds)
    relaxed = proof.relaxed * seconds
    in_seconds = Proof(outcome=proof.outcome, bound=bound, relaxed=relaxed, solver=proof.solver)
    return StageAssignment(layers=layers, options=options, step_s=value, proof=in_seconds)


def _shortfall(problem: StageProblem, outcome: Outcome, time_limit_s: float, solver: str | None) -> StageShortfall:
    """Solves for the least that the fullest stage lacks."""
    nothing = StageShortfall(stage=None, missing_bytes=0.0, outcome=outcome)
    if outcome is not Outcome.INFEASIBLE:
        return nothing
    program, _, n = _program(problem, 1.0, least_memory=True)
    if not solve(program, time_limit_s=time_limit_s, solver=solver).solved:
        return nothing
    missing = stage_bytes(problem, _values(n, problem.layer_s.shape)) - problem.capacity_bytes
    stage = int(np.argmax(missing))
    return StageShortfall(stage=stage, missing_bytes=float(missing[stage]), outcome=outcome)


def _scale_s(problem: StageProblem) -> float:
    """Seconds near the objective's, so that tolerances mean the same for every problem."""
    layers = float((problem.num_layers * problem.layer_s.mean(axis=(0, 2))).sum())
    passage_s = layers + float(problem.fixed_s.sum())
    return (problem.slowest_weight / problem.num_stages + problem.passage_weight) * passage_s


def _program(
    problem: StageProblem, unit_s: float, *, least_memory: bool = False, step_s: float | None = None
) -> tuple[pulp.LpProblem, Terms, Terms]:
    """The program in units of ``unit_s`` and of the largest memory; x; n.

    ``least_memory``: minimises what memory lacks instead, under a step of ``step_s`` if there is one.
    """
    program = pulp.LpProblem("stages", pulp.LpMinimize)
    (S, C, H), K, N = problem.layer_s.shape, len(problem.fewest_layers), problem.num_layers
    x: Terms = {
        (k, c): program.add_variable(f"x_{k}_{c}", 0, int(N[c]), pulp.LpInteger) for k in range(K) for c in range(C)
    }
    n: Terms = {
        (s, c, h): program.add_variable(f"n_{s}_{c}_{h}", 0, int(N[c]), pulp.LpInteger)
        for s in range(S)
        for c in range(C)
        for h in range(H)
    }
    missing = program.add_variable("missing", upBound=None if step_s is None else 0) if least_memory else 0.0
    if least_memory:
        program += missing
    if not least_memory or step_s is not None:
        step = _seconds(program, problem, x, n, unit_s)
        program += step if step_s is None else step <= step_s / unit_s * (1.0 + TOLERANCE)
    u = np.tile(N, (S, 1)) if least_memory and step_s is None else _most_layers(problem)
    _contiguous(program, problem, x, n, u)
    _memory(program, problem, n, u, missing)
    if problem.first_option_first:
        _first_option_first(program, n, u)
    return program, x, n


def _seconds(program: pulp.LpProblem, problem: StageProblem, x: Terms, n: Terms, unit_s: float) -> Any:
    """The step; adds the constraints on T and U."""
    S, C, H = problem.layer_s.shape
    t, e = problem.layer_s / unit_s, problem.fixed_s / unit_s
    q, r = problem.layer_once_s / unit_s, problem.fixed_once_s / unit_s
    A, B = problem.slowest_weight, problem.passage_weight
    # times A and B here, so that T's own value, often a thousandth of the step, keeps its digits
    T, U = program.add_variable("T", A * least_slowest_s(problem) / unit_s), program.add_variable("U", 0)
    of_stage = [e[s] + pulp.lpSum(t[s, c, h] * n[s, c, h] for c in range(C) for h in range(H)) for s in range(S)]
    for s in range(S):
        program += A * of_stage[s] <= T
        program += r[s] + pulp.lpSum(q[s, c] * n[s, c, h] for c in range(C) for h in range(H)) <= U
    V, f = problem.chunks_per_stage, problem.chunk_fixed_s / unit_s
    for k in range(len(f) if V > 1 else 0):
        program += A * V * (f[k] + pulp.lpSum(t[k % S, c, 0] * x[k, c] for c in range(C))) <= T
    return T + B * pulp.lpSum(of_stage) + U


def _contiguous(program: pulp.LpProblem, problem: StageProblem, x: Terms, n: Terms, u: Ints) -> None:
    """Every layer once, runs one after the other, no chunk too short."""
    (S, C, H), K, N = problem.layer_s.shape, len(problem.fewest_layers), problem.num_layers
    for c in range(C):
        program += pulp.lpSum(x[k, c] for k in range(K)) == int(N[c])
        for s in range(S):
            program += pulp.lpSum(n[s, c, h] for h in range(H)) == pulp.lpSum(x[k, c] for k in range(s, K, S))
    y = {(k, c): program.add_variable(f"y_{k}_{c}", cat=pulp.LpBinary) for k in range(K) for c in range(1, C)}
    for k in range(K):
        program += pulp.lpSum(x[k, c] for c in range(C)) >= int(problem.fewest_layers[k])
        for c in range(1, C):
            program += x[k, c] <= int(u[k % S, c]) * y[k, c]
            if k:
                program += y[k - 1, c] <= y[k, c]
                for b in range(c):
                    program += x[k, b] <= int(u[k % S, b]) * (1 - y[k - 1, c])


def _most_layers(problem: StageProblem) -> Ints:
    """u, ``[S, C]``."""
    room = problem.capacity_bytes - problem.fixed_bytes
    least = np.maximum(problem.layer_bytes.min(axis=3), 1e-300)
    most = np.floor(np.maximum(room, 0.0)[:, :, None] / least * (1.0 + 1e-9)).min(axis=0)
    return np.asarray(np.minimum(most, problem.num_layers), dtype=np.int64)


def _memory(program: pulp.LpProblem, problem: StageProblem, n: Terms, u: Ints, missing: Any) -> None:
    """No stage above its capacity at any moment, or by no more than ``missing``."""
    J, S, C, H = problem.layer_bytes.shape
    unit = float(problem.capacity_bytes.max())
    a, g, w = problem.layer_bytes / unit, problem.fixed_bytes / unit, problem.workspace_bytes / unit
    W = [program.add_variable(f"W_{j}", 0) for j in range(J)]
    for c, h in np.argwhere(w.max(axis=0) > 0):
        v = program.add_variable(f"v_{c}_{h}", cat=pulp.LpBinary)
        for s in range(S):
            program += n[s, c, h] <= int(u[s, c]) * v
        for j in range(J):
            program += float(w[j, c, h]) * v <= W[j]
    for j in range(J):
        for s in range(S):
            layers = pulp.lpSum(a[j, s, c, h] * n[s, c, h] for c in range(C) for h in range(H))
            program += g[j, s] + layers + W[j] <= problem.capacity_bytes[s] / unit + missing


def _first_option_first(program: pulp.LpProblem, n: Terms, u: Ints) -> None:
    S, C, H = (most + 1 for most in max(n))
    for s in range(S):
        for c in range(C - 1):
            z = program.add_variable(f"z_{s}_{c}", cat=pulp.LpBinary)
            for h in range(1, H):
                program += n[s, c, h] <= int(u[s, c]) * (1 - z)
            for d in range(c + 1, C):
                program += n[s, d, 0] <= int(u[s, d]) * z


def _values(variables: Terms, shape: tuple[int, ...]) -> Ints:
    values = np.zeros(shape, dtype=np.int64)
    for index, variable in variables.items():
        values[index] = round(variable.varValue)
    return values
