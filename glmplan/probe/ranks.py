"""Runs one function on N processes of this machine that may talk to each other, and leaves none behind.

Knows nothing of what is measured. Ctrl-C, a dead rank or a rank that hangs ends all of them; a rank whose parent is
gone ends itself.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
import socket
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist

from glmplan.errors import GlmplanError
from glmplan.probe.device_under_test import set_up_rank

ResultT = TypeVar("ResultT")
Progress = Callable[[str, float], None]
"""Called with what is being measured and how much of everything is done, 0 to 1."""

START_UP_S = 180.0
"""Time for all ranks to import torch and meet, on a loaded machine."""
GOODBYE_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """One of the processes, as the measuring functions see it."""

    index: int
    count: int
    device: torch.device
    control: dist.ProcessGroup | None
    """Group over host memory for agreeing on what comes next; None when there is one rank."""
    report: Progress

    def agree(self, value: float) -> float:
        """Rank 0's ``value`` on every rank. All ranks pass here at the same time, so it is a barrier too."""
        if self.control is None:
            return value
        shared = torch.tensor([value], dtype=torch.float64)
        dist.broadcast(shared, src=0, group=self.control)
        dist.barrier(group=self.control)
        return float(shared.item())


def lone_rank(device: torch.device) -> Rank:
    """This process as the only rank: nothing to meet, nobody to report to."""
    return Rank(index=0, count=1, device=device, control=None, report=lambda section, fraction: None)


def run_on_ranks(
    work: Callable[[Rank], ResultT], *, kind: str, ranks: int, threads: int, limit_s: float, progress: Progress
) -> list[ResultT]:
    """``work(rank)`` on ``ranks`` new processes at the same time; the results in rank order.

    ``work`` is picklable. ``limit_s`` bounds the work, start-up apart. Raises GlmplanError when a rank dies or does
    not answer in time, and passes KeyboardInterrupt on; no process is left in any case.
    """
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="glmplan-probe-") as folder, contextlib.ExitStack() as clean_up:
        processes: list[BaseProcess] = []
        clean_up.callback(_end_all, processes)
        connections: list[Connection] = []
        for index in range(ranks):
            receive, send = context.Pipe(duplex=False)
            connections.append(receive)
            setting = _Setting(index=index, count=ranks, kind=kind, threads=threads, meeting=str(Path(folder, "meet")))
            process = context.Process(target=_serve, args=(work, setting, send), daemon=True)
            with _interrupts_blocked():
                process.start()
            processes.append(process)
            send.close()
        return _collect(processes, connections, time.monotonic() + START_UP_S + limit_s, progress)


def _collect(
    processes: list[BaseProcess], connections: list[Connection], deadline_s: float, progress: Progress
) -> list[ResultT]:
    results: dict[int, ResultT] = {}
    stage = "starting up"
    while len(results) < len(connections):
        open_ends = [connection for index, connection in enumerate(connections) if index not in results]
        ready = wait(open_ends, timeout=max(0.0, deadline_s - time.monotonic()))
        if not ready:
            raise GlmplanError(f"probe: the ranks do not answer ({stage}); use fewer --ranks or a quieter machine")
        for connection in ready:
            assert isinstance(connection, Connection)
            index = connections.index(connection)
            try:
                kind, content = connection.recv()
            except EOFError:
                processes[index].join(GOODBYE_S)
                raise GlmplanError(
                    f"probe: rank {index} died ({_last_words(processes[index])}) while {stage}; "
                    "if memory ran out, use fewer --ranks"
                ) from None
            if kind == "progress":
                section, fraction = content
                stage = f"measuring {section}"
                progress(section, fraction)
            elif kind == "refused":
                raise content
            elif kind == "failed":
                raise GlmplanError(f"probe: rank {index} failed while {stage}:\n{content}")
            else:
                results[index] = content
    return [results[index] for index in range(len(connections))]


def _last_words(process: BaseProcess) -> str:
    code = process.exitcode
    if code is None:
        return "no exit code"
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _end_all(processes: list[BaseProcess]) -> None:
    """Ends what is still running: asks first, then kills."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(GOODBYE_S)
        if process.is_alive():
            process.kill()
            process.join()


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """A child started here never sees Ctrl-C: its parent does, and ends it in order."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Setting:
    index: int
    count: int
    kind: str
    threads: int
    meeting: str
    """File through which the ranks find each other."""


def _serve(work: Callable[[Rank], ResultT], setting: _Setting, answer: Connection) -> None:
    """What a child process runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.dup2(2, 1)  # the parent's stdout carries its result only

    def report(section: str, fraction: float) -> None:
        if setting.index == 0:
            answer.send(("progress", (section, fraction)))

    try:
        device = set_up_rank(setting.kind, setting.index, setting.threads)
        control = _meet(setting, device) if setting.count > 1 else None
        rank = Rank(index=setting.index, count=setting.count, device=device, control=control, report=report)
        result = pickle.dumps(("result", work(rank)))
        if control is not None:
            dist.barrier(group=control)
            dist.destroy_process_group()
        answer.send_bytes(result)
    except GlmplanError as error:
        answer.send(("refused", error))
    except Exception:
        answer.send(("failed", traceback.format_exc(limit=-4).strip()))
    finally:
        answer.close()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _meet(setting: _Setting, device: torch.device) -> dist.ProcessGroup:
    """Joins the process group of all ranks (NCCL between GPUs, gloo between CPU ranks); returns a gloo group."""
    loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
    if loopback is not None:
        # Without this gloo looks this host's name up, which fails on machines that do not know their own name.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
    timeout = timedelta(seconds=START_UP_S)
    dist.init_process_group(
        "nccl" if setting.kind == "cuda" else "gloo",
        init_method=Path(setting.meeting).as_uri(),
        rank=setting.index,
        world_size=setting.count,
        timeout=timeout,
        device_id=device if setting.kind == "cuda" else None,
    )
    return new_group(range(setting.count), backend="gloo", timeout=timeout)


def new_group(
    members: Iterable[int], backend: str | None = None, timeout: timedelta | None = None
) -> dist.ProcessGroup:
    """The process group of these ranks; every rank calls this, also one that is no member."""
    group: dist.ProcessGroup = dist.new_group(list(members), backend=backend, timeout=timeout)
    return group
