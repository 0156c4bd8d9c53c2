"""1F1B pass by pass: a second way to a step's seconds, with stages that differ."""

import numpy as np
import numpy.typing as npt


def one_f_one_b_s(forward_s: npt.NDArray[np.float64], backward_s: npt.NDArray[np.float64], micro_batches: int) -> float:
    """Seconds from the first forward pass to the last backward pass; sends take no time.

    Stage s first runs ``min(p - s - 1, m)`` forward passes, then one forward and one backward in turn, then the
    backward passes that are left (Narayanan 2021, arXiv:2104.04473, figure 4).
    """
    stages = len(forward_s)
    orders = [_order(min(stages - stage - 1, micro_batches), micro_batches) for stage in range(stages)]
    done: dict[tuple[str, int, int], float] = {}
    free, position = [0.0] * stages, [0] * stages
    while any(position[stage] < len(orders[stage]) for stage in range(stages)):
        for stage in range(stages):
            while position[stage] < len(orders[stage]):
                kind, number = orders[stage][position[stage]]
                needed = _needed(kind, stage, number, stages)
                if needed is not None and needed not in done:
                    break
                start = max(free[stage], done[needed] if needed is not None else 0.0)
                free[stage] = start + float(forward_s[stage] if kind == "F" else backward_s[stage])
                done[kind, stage, number] = free[stage]
                position[stage] += 1
    return max(free)


def _order(warm_up: int, micro_batches: int) -> list[tuple[str, int]]:
    order = [("F", number) for number in range(warm_up)]
    for number in range(micro_batches - warm_up):
        order += [("F", warm_up + number), ("B", number)]
    return order + [("B", number) for number in range(micro_batches - warm_up, micro_batches)]


def _needed(kind: str, stage: int, number: int, stages: int) -> tuple[str, int, int] | None:
    if kind == "F":
        return ("F", stage - 1, number) if stage else None
    return ("B", stage + 1, number) if stage < stages - 1 else ("F", stage, number)
