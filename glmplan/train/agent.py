"""torchrun, without its report when a worker ends early: the worker has already said why."""

import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun


def run(arguments: list[str]) -> int:
    """Runs torchrun with ``arguments``; 0 when every worker ended well, 1 otherwise."""
    try:
        torchrun(arguments)
    except (ChildFailedError, SignalException):
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
