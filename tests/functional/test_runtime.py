"""Native threads and this process's own threads work together under both backends."""

import ctypes
import os
import subprocess
import sys
import threading
import time

import pytest

from paddock import runtime

SOON = 10.0


def test_an_unknown_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(runtime.VARIABLE, "fibers")
    with pytest.raises(ValueError, match="threading or eventlet"):
        runtime.choose()


def test_the_default_backend_never_loads_eventlet() -> None:
    environment = {key: value for key, value in os.environ.items() if key != runtime.VARIABLE}
    script = (
        "from paddock import runtime; runtime.choose(); import paddock.rpc, sys;"
        "assert sys.modules['eventlet'] is None and not runtime.is_green()"
    )
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=60)


def test_a_blocking_call_stops_nobody_else() -> None:
    ticks = 0
    over = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not over.wait(0.01):
            ticks += 1

    ticker = threading.Thread(target=tick)
    ticker.start()
    runtime.run_blocking(ctypes.CDLL(None).usleep, 300_000)
    over.set()
    ticker.join()
    assert ticks > 5


def test_a_blocking_call_returns_and_raises() -> None:
    assert runtime.run_blocking(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        runtime.run_blocking(divmod, 7, 0)


def test_a_handover_brings_a_native_threads_items_in_order() -> None:
    handover: runtime.Handover[int] = runtime.Handover()
    pause = ctypes.CDLL(None).usleep

    def produce() -> None:
        for number in range(100):
            handover.put(number)
            if number % 25 == 0:
                pause(5_000)

    runtime.native_thread(produce, "producer")
    assert [handover.get(timeout=SOON) for _ in range(100)] == list(range(100))


def test_an_empty_handover_gives_up_after_its_timeout() -> None:
    begun = time.monotonic()
    assert runtime.Handover[int]().get(timeout=0.1) is None
    assert 0.09 < time.monotonic() - begun < 1.0


def test_a_closed_handover_gives_what_it_has_and_lets_its_reader_go() -> None:
    handover: runtime.Handover[int] = runtime.Handover()
    handover.put(1)
    threading.Timer(0.05, handover.close).start()
    assert handover.get() == 1
    assert handover.get() is None
    assert handover.get() is None


def test_what_hangs_is_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    over = threading.Event()
    assert not runtime.finish_within(over.wait, 0.05, "a slow peer")
    assert "a slow peer did not end within" in caplog.text
    over.set()
    assert runtime.finish_within(lambda: None, SOON, "a quick one")
