"""Reads the next steps' micro-batches in threads while a step runs. The data are the same as without."""

from concurrent.futures import Future, ThreadPoolExecutor

from glmplan.train.batches import Batches, MicroBatch


class PrefetchedBatches:
    """``Batches`` with as many steps read ahead as there are threads. Steps must be asked for in ascending order."""

    def __init__(self, batches: Batches, *, threads: int, last_step: int) -> None:
        self._batches, self._threads, self._last_step = batches, threads, last_step
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="loader") if threads else None
        self._pending: dict[int, Future[list[MicroBatch]]] = {}

    def of_step(self, step: int) -> list[MicroBatch]:
        """The micro-batches of ``step``; raises what reading them raised."""
        if self._pool is None:
            return self._batches.of_step(step)
        for ahead in range(step, min(step + self._threads, self._last_step) + 1):
            if ahead not in self._pending:
                self._pending[ahead] = self._pool.submit(self._batches.of_step, ahead)
        ready = self._pending.pop(step, None)
        return self._batches.of_step(step) if ready is None else ready.result()

    def close(self) -> None:
        """Drops what was read ahead."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
