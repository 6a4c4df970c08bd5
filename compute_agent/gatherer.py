"""Questions that come at the same time go to the conductor in one message."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from paddock.errors import ServiceUnavailable

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class _Place(Generic[Item, Answer]):
    """One item that somebody waits for.

    :ivar woken: it is answered, or there is a question to ask
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
    those is answered; an item that comes at a quiet time goes at once. So an idle agent is as
    quick as without, and a busy one sends fewer messages.

    :param ask: answers as many items as it is given, in their order
    :param at_once: questions under way at the same time
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
            try:
                self._answer(place.question)
            finally:
                self._hand_over()
        return place.answer.result()

    def _answer(self, places: Sequence[_Place[Item, Answer]]) -> None:
        """Ask one question; one that fails as a whole is asked item by item."""
        try:
            answers = self._ask([place.item for place in places])
        except Exception as error:
            if len(places) > 1 and not isinstance(error, ServiceUnavailable):
                for place in places:
                    self._answer([place])
                return
            for place in places:
                place.answer.set_exception(error)
        else:
            for place, answer in zip(places, answers, strict=True):
                place.answer.set_result(answer)
        for place in places:
            place.woken.set()

    def _hand_over(self) -> None:
        """Let the one that waits longest ask for all that wait."""
        with self._lock:
            count = min(self._most, len(self._waiting))
            places = [self._waiting.popleft() for _ in range(count)]
            self._free += not places
        if places:
            places[0].question = places
            places[0].woken.set()
