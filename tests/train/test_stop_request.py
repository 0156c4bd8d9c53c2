import os
import signal
from pathlib import Path

from glmplan.train.stop_request import STOP_FILE, StopRequest, alive


def test_a_file_asks_for_a_stop(tmp_path: Path) -> None:
    request = StopRequest(tmp_path)
    with alive(tmp_path):
        assert not request.wanted()
        (tmp_path / STOP_FILE).touch()
        assert request.wanted()


def test_a_dead_launcher_is_noticed(tmp_path: Path) -> None:
    request = StopRequest(tmp_path)
    with alive(tmp_path):
        assert not request.wanted()
    assert request.wanted()


def test_without_a_launcher_only_signals_count() -> None:
    request = StopRequest()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        request.listen()
        assert not request.wanted()
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.wanted()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
