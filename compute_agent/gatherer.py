"""Questions that come at the same time go to the conductor in one message."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from paddock.errors import BusUnavailable

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class _Place(Generic[Item, Answer]):
    """One item that somebody waits for.

    :ivar woken: its question has ended, or there is one to ask
    :ivar question: the items, this one first, that its own thread is to ask for
    """

    def __init__(self, item: Item) -> None:
        self.item = item
        self.answer: Future[Answer] = Future()
        self.woken = threading.Event()
        self.question: list[_Place[Item, Answer]] = []


class Gatherer(Generic[Item, Answer]):
    """Asks for single items what can be asked for several.

    While as many questions are under way as may be, items gather, and go together when one of
    those has ended; an item that comes at a quiet time goes at once. So an idle agent is as
    quick as without, and a busy one sends fewer messages. When a question of several fails,
    each of its threads asks for its own item: what is wrong with one does not last for others.

    :param ask: answers as many items as it is given, in their order, and within a limited time
    :param at_once: questions of several under way at the same time
    :param most: items of one question
    """

    def __init__(
        self, ask: Callable[[list[Item]], Sequence[Answer]], at_once: int, most: int
    ) -> None:
        self._ask = ask
        self._free = at_once
        self._most = most
        self._waiting: deque[_Place[Item, Answer]] = deque()
        self._lock = threading.Lock()

    def __call__(self, item: Item) -> Answer:
        """The answer for an item.

        :raises Exception: what asking for it raised
        """
        place: _Place[Item, Answer] = _Place(item)
        with self._lock:
            if self._free:
                self._free -= 1
                place.question.append(place)
            else:
                self._waiting.append(place)
        if not place.question:
            place.woken.wait()
        if place.question:
            self._answer(place.question)
        return place.answer.result() if place.answer.done() else self._answers([item])[0]

    def _answer(self, places: Sequence[_Place[Item, Answer]]) -> None:
        """Ask one question; those of several that failed stay without an answer."""
        try:
            for place, answer in zip(
                places, self._answers([one.item for one in places]), strict=True
            ):
                place.answer.set_result(answer)
        except Exception as error:
            if len(places) == 1 or isinstance(error, BusUnavailable):  # nobody would answer now
                for place in places:
                    place.answer.set_exception(error)
        finally:
            self._hand_over()
            for place in places:
                place.woken.set()

    def _answers(self, items: list[Item]) -> Sequence[Answer]:
        answers = self._ask(items)
        if len(answers) != len(items):
            raise ValueError(f"{len(answers)} answers for {len(items)} items")
        return answers

    def _hand_over(self) -> None:
        """Let the one that waits longest ask for all that wait."""
        with self._lock:
            count = min(self._most, len(self._waiting))
            places = [self._waiting.popleft() for _ in range(count)]
            self._free += not places
        if places:
            places[0].question = places
            places[0].woken.set()
