"""A pool of processes that lives as long as the test session, so that a test on several ranks costs no start-up.

Every job gets a fresh gloo process group over a file.
"""

import multiprocessing
import queue
import tempfile
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

Job = Callable[..., Any]
TIMEOUT_S = 120.0


class WorkerPool:
    """``run(ranks, job, ...)`` calls ``job(...)`` on ranks 0 to ranks - 1 and returns what each returned."""

    def __init__(self, size: int) -> None:
        # One server imports torch and all else once; the workers are forked from it.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.train.jobs", "glmplan.train.worker", "torch.utils.tensorboard"])
        self._results: Any = context.Queue()
        self._inboxes: list[Any] = [context.Queue() for _ in range(size)]
        self._processes = [
            context.Process(target=_work, args=(rank, inbox, self._results), daemon=True)
            for rank, inbox in enumerate(self._inboxes)
        ]
        for process in self._processes:
            process.start()

    def run(self, ranks: int, job: Job, *args: Any, **options: Any) -> list[Any]:
        """What ``job`` returned on each rank. Raises RuntimeError with the first traceback when one failed."""
        with tempfile.TemporaryDirectory() as folder:
            for inbox in self._inboxes[:ranks]:
                inbox.put((ranks, str(Path(folder) / "store"), job, args, options))
            answers = {}
            while len(answers) < ranks:
                try:
                    rank, failure, value = self._results.get(timeout=TIMEOUT_S)
                except queue.Empty:
                    raise RuntimeError(f"only ranks {sorted(answers)} of {ranks} answered") from None
                answers[rank] = (failure, value)
        for rank in range(ranks):
            if answers[rank][0]:
                raise RuntimeError(f"rank {rank}:\n{answers[rank][0]}")
        return [answers[rank][1] for rank in range(ranks)]

    def close(self) -> None:
        """Ends all workers."""
        for inbox in self._inboxes:
            inbox.put(None)
        for process in self._processes:
            process.join(timeout=5)
            if process.is_alive():
                process.kill()


def _work(rank: int, inbox: Any, results: Any) -> None:
    import torch
    from torch import distributed

    torch.set_num_threads(1)
    while (message := inbox.get()) is not None:
        ranks, store_path, job, args, options = message
        failure, value = "", None
        try:
            store = distributed.FileStore(store_path, ranks)
            distributed.init_process_group(
                "gloo", store=store, rank=rank, world_size=ranks, timeout=timedelta(seconds=60)
            )
            value = job(*args, **options)
        except BaseException:
            failure = traceback.format_exc()
        finally:
            if distributed.is_initialized():
                distributed.destroy_process_group()
            torch.compiler.reset()
        results.put((rank, failure, value))
