"""Questions of several threads, gathered."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from compute_agent.gatherer import Gatherer
from paddock.errors import BusUnavailable, DatabaseUnavailable, StepRefused
from tests.fixtures.cloud import wait_for

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

    def __init__(self, conductor: Conductor) -> None:
        self.conductor = conductor
        self.pool = ThreadPoolExecutor(20)
        self.serve(at_once=1, most=10)

    def serve(self, at_once: int, most: int) -> None:
        """Ask through a new gatherer."""
        self._gatherer = Gatherer(self.conductor.ask, at_once, most)

    def ask(self, item: str) -> Future[Answer]:
        """Have a thread ask, and go on when its question is under way."""
        future = self.pool.submit(self._gatherer, item)
        assert self.conductor.asked.acquire(timeout=10)
        return future

    def wait_behind(self, *items: str) -> list[Future[Answer]]:
        """Have threads ask while no question may begin, each after the other."""
        futures: list[Future[Answer]] = []
        for item in items:
            futures.append(self.pool.submit(self._gatherer, item))
            wait_for(lambda: len(self._gatherer._waiting) >= len(futures), "a place in the line")
        return futures


@pytest.fixture
def agent() -> Iterator[Agent]:
    agent = Agent(Conductor())
    yield agent
    agent.conductor.let.release(100)
    agent.pool.shutdown()


def results(*futures: Future[Answer]) -> list[Answer]:
    return [one.result(10) for one in futures]


def test_an_item_at_a_quiet_time_goes_at_once_and_alone(agent: Agent) -> None:
    for item in "ab":
        answer = agent.ask(item)
        agent.conductor.let.release()
        assert answer.result(10) == f"{item}!"
    assert agent.conductor.questions == [["a"], ["b"]]


def test_items_that_come_meanwhile_go_together_and_get_their_own_answers(agent: Agent) -> None:
    first, others = agent.ask("a"), agent.wait_behind("b", "c", "d")
    agent.conductor.let.release(2)
    assert results(first, *others) == ["a!", "b!", "c!", "d!"]
    assert agent.conductor.questions == [["a"], ["b", "c", "d"]]


def test_a_question_has_no_more_items_than_it_may(agent: Agent) -> None:
    agent.serve(at_once=1, most=2)
    first, others = agent.ask("a"), agent.wait_behind("b", "c", "d")
    agent.conductor.let.release(3)
    assert results(first, *others) == ["a!", "b!", "c!", "d!"]
    assert agent.conductor.questions == [["a"], ["b", "c"], ["d"]]


def test_one_question_that_hangs_does_not_hold_back_the_others(agent: Agent) -> None:
    agent.serve(at_once=2, most=10)
    hung = threading.Event()

    def answer(items: list[str]) -> list[Answer]:
        if items == ["a"]:
            assert hung.wait(10)
        return list(items)

    agent.conductor.answer = answer
    first, second = agent.ask("a"), agent.ask("b")
    [third] = agent.wait_behind("c")
    agent.conductor.let.release(3)
    assert results(second, third) == ["b", "c"]
    assert not first.done()
    hung.set()
    assert first.result(10) == "a"


def test_a_refusal_of_one_item_is_that_item_s_alone(agent: Agent) -> None:
    agent.conductor.answer = lambda items: [StepRefused("No.") if i == "b" else i for i in items]
    first, (bad, good) = agent.ask("a"), agent.wait_behind("b", "c")
    agent.conductor.let.release(2)
    assert results(first, good) == ["a", "c"]
    assert isinstance(bad.result(10), StepRefused)


@pytest.mark.parametrize(
    "error", [StepRefused("No."), ValueError("No."), DatabaseUnavailable("A row is locked.")]
)
def test_an_item_that_fails_a_whole_question_fails_alone(agent: Agent, error: Exception) -> None:
    def answer(items: list[str]) -> list[Answer]:
        if "b" in items:
            raise error
        return list(items)

    agent.conductor.answer = answer
    first, (bad, good) = agent.ask("a"), agent.wait_behind("b", "c")
    agent.conductor.let.release(4)
    assert results(first, good) == ["a", "c"]
    assert bad.exception(10) is error
    assert sorted(agent.conductor.questions) == [["a"], ["b"], ["b", "c"], ["c"]]


def test_a_conductor_that_is_away_is_asked_once_for_all(agent: Agent) -> None:
    first, others = agent.ask("a"), agent.wait_behind("b", "c")

    def answer(items: list[str]) -> list[Answer]:
        raise BusUnavailable("Nobody answers.")

    agent.conductor.answer = answer
    agent.conductor.let.release(2)
    assert all(isinstance(one.exception(10), BusUnavailable) for one in (first, *others))
    assert agent.conductor.questions == [["a"], ["b", "c"]]


@pytest.mark.parametrize("answers", [[], ["x"], ["x"] * 3])
def test_answers_that_are_not_as_many_as_the_items_hold_back_nobody(
    agent: Agent, answers: list[Answer]
) -> None:
    agent.conductor.answer = lambda items: list(items) if len(items) == 1 else answers
    first, others = agent.ask("a"), agent.wait_behind("b", "c")
    agent.conductor.let.release(4)
    assert results(first, *others) == ["a", "b", "c"]


def test_the_next_question_begins_after_one_that_failed(agent: Agent) -> None:
    agent.conductor.answer = lambda items: []  # which is no answer
    first, [second] = agent.ask("a"), agent.wait_behind("b")
    agent.conductor.let.release(2)
    assert isinstance(first.exception(10), ValueError)
    assert isinstance(second.exception(10), ValueError)
    assert agent.conductor.questions == [["a"], ["b"]]


def test_who_asks_and_ends_at_once_leaves_the_others_to_ask(agent: Agent) -> None:
    def answer(items: list[str]) -> list[Answer]:
        if items[0] == "b" and len(items) > 1:
            raise SystemExit
        return list(items)

    agent.conductor.answer = answer
    first, (ended, other) = agent.ask("a"), agent.wait_behind("b", "c")
    agent.conductor.let.release(3)
    assert results(first, other) == ["a", "c"]
    assert isinstance(ended.exception(10), SystemExit)
