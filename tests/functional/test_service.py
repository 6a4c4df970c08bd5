"""A process starts its parts in order, stops them in the opposite one, and ends on a signal."""

import queue
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator

import pytest

from paddock.service import Closing, Service, Timer

SOON = 10.0


class Part:
    """Writes down when it starts and stops."""

    def __init__(self, name: str, diary: list[str], fail: str = "") -> None:
        self.name = name
        self.diary = diary
        self.fail = fail

    def start(self) -> None:
        self.diary.append(f"start {self.name}")
        if self.fail == "start":
            raise RuntimeError("cannot start")

    def stop(self, timeout: float) -> None:
        self.diary.append(f"stop {self.name}")
        if self.fail == "stop":
            raise RuntimeError("cannot stop")


def test_parts_stop_in_the_opposite_order_of_their_start() -> None:
    diary: list[str] = []
    inner = Service("inner", [Part("a", diary), Part("b", diary)])
    outer = Service("outer", [Closing(lambda: diary.append("close")), inner, Part("c", diary)])
    outer.start()
    outer.stop()
    outer.stop()
    assert diary == ["start a", "start b", "start c", "stop c", "stop b", "stop a", "close"]


def test_a_part_that_cannot_start_stops_those_before_it() -> None:
    diary: list[str] = []
    service = Service("s", [Part("a", diary), Part("b", diary, "start"), Part("c", diary)])
    with pytest.raises(RuntimeError):
        service.start()
    assert diary == ["start a", "start b", "stop b", "stop a"]


def test_a_part_that_cannot_stop_does_not_keep_the_others() -> None:
    diary: list[str] = []
    service = Service("s", [Part("a", diary), Part("b", diary, "stop")])
    service.start()
    service.stop()
    assert diary[-2:] == ["stop b", "stop a"]


def test_what_hangs_when_it_is_closed_is_left_behind() -> None:
    may_close = threading.Event()
    diary: list[str] = []
    service = Service("s", [Part("a", diary), Closing(lambda: may_close.wait(SOON))])
    service.start()
    begun = time.monotonic()
    service.stop(0.2)
    assert diary[-1] == "stop a"
    assert time.monotonic() - begun < SOON / 2
    may_close.set()


def test_a_timer_goes_on_after_an_error() -> None:
    rounds: queue.Queue[int] = queue.Queue()

    def fail() -> None:
        rounds.put(1)
        raise ValueError("a bad round")

    timer = Timer(fail, 0.01, "failing")
    timer.start()
    for _ in range(3):
        rounds.get(timeout=SOON)
    timer.stop(SOON)


def test_a_kicked_timer_makes_its_round_now() -> None:
    done = threading.Event()
    timer = Timer(done.set, 3600, "rare", at_once=False)
    timer.start()
    assert not done.wait(0.05)
    timer.kick()
    assert done.wait(SOON)
    timer.stop(SOON)


def test_a_stopped_timer_has_ended_its_round() -> None:
    begun, ended = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        time.sleep(0.1)
        ended.set()

    timer = Timer(work, 3600, "slow")
    timer.start()
    begun.wait(SOON)
    timer.stop(SOON)
    assert ended.is_set()


CHILDREN: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def no_child_stays() -> Iterator[None]:
    """A process that a test could not stop goes with the test."""
    yield
    while CHILDREN:
        with CHILDREN.pop() as child:
            child.kill()


def run_script(body: str) -> subprocess.Popen[str]:
    """A process of its own, under this process's backend."""
    script = "from paddock import runtime\nruntime.choose()\n" + textwrap.dedent(body)
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=heed_signals,
    )  # fmt: skip
    CHILDREN.append(child)
    return child


def heed_signals() -> None:
    """Whoever runs the tests in the background ignores some, and so would their children."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_a_process_in_order(number: signal.Signals) -> None:
    child = run_script("""
        import sys
        from paddock.service import Closing, Service, Timer, run_until_signal
        ready = Timer(lambda: print("ready", flush=True), 3600, "ready")
        service = Service("s", [Closing(lambda: print("closed", flush=True)), ready])
        sys.exit(run_until_signal(service))
    """)
    assert child.stdout
    assert child.stdout.readline() == "ready\n"
    child.send_signal(number)
    out, err = child.communicate(timeout=SOON)
    assert (child.returncode, out) == (0, "closed\n"), err


def test_a_signal_that_does_not_end_the_wait_stops_the_process_all_the_same() -> None:
    child = run_script("""
        import signal, sys
        from paddock.runtime import native_thread
        from paddock.service import Service, Timer, run_until_signal
        # The other thread gets it, so that the main one's wait goes on, as if it had just begun.
        native_thread(lambda: signal.sigtimedwait([], 60), "other")
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        ready = Timer(lambda: print("ready", flush=True), 3600, "ready")
        sys.exit(run_until_signal(Service("s", [ready])))
    """)
    assert child.stdout
    assert child.stdout.readline() == "ready\n"
    time.sleep(0.3)  # nothing shows that the wait has begun; too early, it would not be tested
    child.terminate()
    child.communicate(timeout=SOON)
    assert child.returncode == 0


def test_a_process_that_cannot_start_ends_with_1() -> None:
    child = run_script("""
        import sys
        from paddock.service import Service, run_until_signal
        class Broken:
            def start(self): raise OSError("no such luck")
            def stop(self, timeout): pass
        sys.exit(run_until_signal(Service("s", [Broken()])))
    """)
    _, err = child.communicate(timeout=SOON)
    assert child.returncode == 1
    assert "no such luck" in err


def test_a_process_that_waits_for_its_broker_can_be_stopped() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        child = run_script(f"""
            import sys
            from paddock import config, rpc
            from paddock.service import Service, Timer, run_until_signal
            url = "rabbit://a:b@127.0.0.1:{nobody.getsockname()[1]}/"
            conf = config.load(overrides={{"DEFAULT": {{"transport_url": url, "host": "h1"}}}})
            transport = rpc.transport(conf, "agent")
            server = rpc.Server(transport, rpc.agent_target("h1"), [], 2)
            ready = Timer(lambda: print("ready", flush=True), 3600, "ready")
            sys.exit(run_until_signal(Service("s", [ready, server])))
        """)
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
        child.terminate()
        child.communicate(timeout=SOON)
    assert child.returncode == 0


def test_a_hung_thread_does_not_keep_the_process() -> None:
    child = run_script("""
        import sys, time
        from concurrent.futures import ThreadPoolExecutor
        from paddock.service import Service, Timer, run_until_signal
        def hang():
            print("ready", flush=True)
            time.sleep(3600)
        class Hanging:
            def start(self):
                ThreadPoolExecutor(1).submit(hang)
            def stop(self, timeout):
                pass
        sys.exit(run_until_signal(Service("s", [Hanging()])))
    """)
    assert child.stdout
    assert child.stdout.readline() == "ready\n"
    child.terminate()
    child.communicate(timeout=SOON)
    assert child.returncode == 0


def test_a_service_that_says_why_it_cannot_start_says_it_in_one_line() -> None:
    child = run_script("""
        import logging, sys
        from paddock.errors import PaddockError
        from paddock.service import run_until_signal

        class Refusing:
            def start(self):
                raise PaddockError("The port is taken.")

            def stop(self, timeout):
                pass

        logging.basicConfig()
        sys.exit(run_until_signal(Refusing()))
    """)
    _, said = child.communicate(timeout=SOON)
    assert child.returncode == 1
    assert "cannot start: The port is taken." in said
    assert "Traceback" not in said
