"""Questions of several threads, gathered."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from compute_agent.gatherer import Gatherer
from paddock.errors import BusUnavailable, StepRefused

Answer = str | Exception


class Conductor:
    """Answers each question when it is let, after the first one."""

    def __init__(self) -> None:
        self.questions: list[list[str]] = []
        self.asked = threading.Semaphore(0)
        self.let = threading.Semaphore(0)
        self.answer: Callable[[list[str]], list[Answer]] = lambda items: [f"{i}!" for i in items]

    def ask(self, items: list[str]) -> list[Answer]:
        self.questions.append(items)
        self.asked.release()
        assert self.let.acquire(timeout=10)
        return self.answer(items)


class Agent:
    """Threads that ask through one gatherer."""

    def __init__(self, conductor: Conductor, at_once: int = 1, most: int = 10) -> None:
        self._conductor = conductor
        self._gatherer = Gatherer(conductor.ask, at_once, most)
        self._pool = ThreadPoolExecutor(20)

    def ask(self, item: str) -> Future[Answer]:
        """Have a thread ask, and go on when its question is under way."""
        future = self._pool.submit(self._gatherer, item)
        assert self._conductor.asked.acquire(timeout=10)
        return future

    def wait_behind(self, *items: str) -> list[Future[Answer]]:
        """Have threads ask while no question may begin, each after the other."""
        futures = []
        for item in items:
            futures.append(self._pool.submit(self._gatherer, item))
            while len(self._gatherer._waiting) < len(futures):
                pass
        return futures


@pytest.fixture
def conductor() -> Conductor:
    return Conductor()


def test_an_item_at_a_quiet_time_goes_at_once_and_alone(conductor: Conductor) -> None:
    agent = Agent(conductor)
    for item in "ab":
        answer = agent.ask(item)
        conductor.let.release()
        assert answer.result(10) == f"{item}!"
    assert conductor.questions == [["a"], ["b"]]


def test_items_that_come_meanwhile_go_together_and_get_their_own_answers(
    conductor: Conductor,
) -> None:
    agent = Agent(conductor)
    first, others = agent.ask("a"), agent.wait_behind("b", "c", "d")
    conductor.let.release(2)
    assert [one.result(10) for one in (first, *others)] == ["a!", "b!", "c!", "d!"]
    assert conductor.questions == [["a"], ["b", "c", "d"]]


def test_a_question_has_no_more_items_than_it_may(conductor: Conductor) -> None:
    agent = Agent(conductor, most=2)
    first, others = agent.ask("a"), agent.wait_behind("b", "c", "d")
    conductor.let.release(3)
    assert [one.result(10) for one in (first, *others)] == ["a!", "b!", "c!", "d!"]
    assert conductor.questions == [["a"], ["b", "c"], ["d"]]


def test_one_question_that_hangs_does_not_hold_back_the_others(conductor: Conductor) -> None:
    agent = Agent(conductor, at_once=2)
    hung, second = agent.ask("a"), agent.ask("b")
    [third] = agent.wait_behind("c")
    conductor.answer = lambda items: [f"{i}!" for i in items]
    conductor.let.release(3)
    assert {one.result(10) for one in (hung, second, third)} == {"a!", "b!", "c!"}


def test_a_refusal_of_one_item_is_that_item_s_alone(conductor: Conductor) -> None:
    agent = Agent(conductor)
    conductor.answer = lambda items: [StepRefused("No.") if i == "b" else i for i in items]
    first, (bad, good) = agent.ask("a"), agent.wait_behind("b", "c")
    conductor.let.release(2)
    assert (first.result(10), good.result(10)) == ("a", "c")
    assert isinstance(bad.result(10), StepRefused)


@pytest.mark.parametrize("error", [StepRefused("No."), ValueError("No.")])
def test_an_item_that_fails_a_whole_question_fails_alone(
    conductor: Conductor, error: Exception
) -> None:
    agent = Agent(conductor)

    def answer(items: list[str]) -> list[Answer]:
        if "b" in items:
            raise error
        return list(items)

    conductor.answer = answer
    first, (bad, good) = agent.ask("a"), agent.wait_behind("b", "c")
    conductor.let.release(4)
    assert (first.result(10), good.result(10)) == ("a", "c")
    assert bad.exception(10) is error


def test_a_conductor_that_is_away_is_asked_once_for_all(conductor: Conductor) -> None:
    agent = Agent(conductor)
    first, others = agent.ask("a"), agent.wait_behind("b", "c")

    def answer(items: list[str]) -> list[Answer]:
        raise BusUnavailable("Nobody answers.")

    conductor.answer = answer
    conductor.let.release(2)
    assert all(isinstance(one.exception(10), BusUnavailable) for one in (first, *others))
    assert conductor.questions == [["a"], ["b", "c"]]


def test_the_next_question_begins_after_one_that_failed(conductor: Conductor) -> None:
    agent = Agent(conductor)
    conductor.answer = lambda items: []  # which is no answer
    first, [second] = agent.ask("a"), agent.wait_behind("b")
    conductor.let.release(2)
    assert isinstance(first.exception(10), ValueError)
    assert isinstance(second.exception(10), ValueError)
    assert conductor.questions == [["a"], ["b"]]
