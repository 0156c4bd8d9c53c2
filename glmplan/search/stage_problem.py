"""A pipeline's layers, what they take and hold on each stage, and what a split of them amounts to.

The letters are those of the integer program (``stage_assignment``).
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from glmplan.layout.stages import even_shares

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StageProblem:
    """The data of the program. S, C, H, J, K lengths of the sets."""

    num_layers: Ints
    """N, ``[C]``."""
    layer_s: Floats
    """t, ``[S, C, H]``."""
    fixed_s: Floats
    """e, ``[S]``."""
    layer_once_s: Floats
    """q, ``[S, C]``."""
    fixed_once_s: Floats
    """r, ``[S]``."""
    layer_bytes: Floats
    """a, ``[J, S, C, H]``."""
    fixed_bytes: Floats
    """g, ``[J, S]``."""
    workspace_bytes: Floats
    """w, ``[J, C, H]``."""
    capacity_bytes: Floats
    """M, ``[S]``."""
    fewest_layers: Ints
    """l, ``[K]``; more chunks than stages (interleaving) go with one option only."""
    slowest_weight: float
    """A."""
    passage_weight: float
    """B."""
    first_option_first: bool = False
    """The layers of a stage that do the first option come before the others (Megatron's ``block`` method)."""

    @property
    def num_stages(self) -> int:
        """|S|."""
        return len(self.fixed_s)

    @property
    def chunks_per_stage(self) -> int:
        """V."""
        return len(self.fewest_layers) // self.num_stages

    @property
    def chunk_fixed_s(self) -> Floats:
        """f, ``[K]``: what is no layer, in the first chunk of a stage, of the last stage in its last."""
        fixed_s = np.zeros(len(self.fewest_layers))
        fixed_s[: self.num_stages] = self.fixed_s
        fixed_s[self.num_stages - 1] = 0.0
        fixed_s[-1] = self.fixed_s[-1]
        return fixed_s


def stage_seconds(problem: StageProblem, options: Ints) -> Floats:
    """Seconds of one micro-batch on each stage."""
    return np.asarray(problem.fixed_s + np.einsum("sch,sch->s", problem.layer_s, options))


def stage_bytes(problem: StageProblem, options: Ints) -> Floats:
    """Peak bytes of each stage."""
    workspace = np.where(options.sum(axis=0) > 0, problem.workspace_bytes, 0.0).max(axis=(1, 2))
    held = problem.fixed_bytes + np.einsum("jsch,sch->js", problem.layer_bytes, options) + workspace[:, None]
    return np.asarray(held.max(axis=0))


def chunk_seconds(problem: StageProblem, layers: Ints) -> Floats:
    """Seconds of one micro-batch on each chunk, all layers doing the first option."""
    stages = np.arange(len(layers)) % problem.num_stages
    return np.asarray(problem.chunk_fixed_s + (layers * problem.layer_s[stages, :, 0]).sum(axis=1))


def step_seconds(problem: StageProblem, options: Ints, layers: Ints) -> float:
    """The objective."""
    seconds = stage_seconds(problem, options)
    slowest = seconds.max()
    if problem.chunks_per_stage > 1:
        slowest = problem.chunks_per_stage * chunk_seconds(problem, layers).max()
    once = problem.fixed_once_s + np.einsum("sc,sch->s", problem.layer_once_s, options)
    return float(problem.slowest_weight * slowest + problem.passage_weight * seconds.sum() + once.max())


def evenly(problem: StageProblem) -> StageProblem:
    """The same with as many layers on every stage: the least numbers leave only the options to choose."""
    return replace(problem, fewest_layers=even_stage_layers(int(problem.num_layers.sum()), problem.num_stages))


def even_stage_layers(total: int, num_stages: int) -> Ints:
    """Layers of each stage of an even split.

    >>> even_stage_layers(10, 4).tolist()
    [2, 3, 3, 2]
    """
    first, longer, share, num_longer = (int(value[0]) for value in even_shares(total, np.array([num_stages])))
    inner = [longer] * num_longer + [share] * (num_stages - 2 - num_longer)
    return np.array([first, *inner, share][:num_stages] if num_stages > 1 else [total])
