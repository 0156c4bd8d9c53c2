"""Fixtures of the trainer's tests."""

from collections.abc import Iterator

import pytest

from tests.train.worker_pool import WorkerPool


@pytest.fixture(scope="session")
def pool() -> Iterator[WorkerPool]:
    workers = WorkerPool(4)
    yield workers
    workers.close()
