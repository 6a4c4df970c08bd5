"""Users: they ask, ask again when no answer comes, and hint the hosts as the API does."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from typing import Any

from paddock.actions import ACTIONS
from paddock.clients import AgentClient
from paddock.context import RequestContext
from paddock.errors import PaddockError, ServiceUnavailable
from paddock.records import AcceptRequest, CreateRequest, Ticket
from tests.simulation.bus import Caller
from tests.simulation.cloud import Cloud
from tests.simulation.plan import EMPHASES, MIGRATING

TRIES = 4
ODD = ("os-resetState", "delete", "lock", "unlock")
MIGRATE = "migrate"
MIGRATIONS = (MIGRATE, "os-migrateLive")
FOR_ADMINISTRATORS = (*ODD, *MIGRATIONS)
STATE = "SELECT vm_state, zone FROM instances WHERE id = ?"
MOVE = "move"
"""Asks to power on in another zone."""


class Users:
    """The workload of one schedule.

    :param contexts: the member who owns the instances, and the administrator
    :param cast: (image, flavor) of new instances
    :ivar accepted: action → verb, of all that was answered with a ticket
    :ivar busy: requests under way
    """

    def __init__(
        self, cloud: Cloud, emphasis: str, contexts: tuple[RequestContext, RequestContext],
        parts: tuple[str, str], wrong: Callable[[str], None],
        on_refusal: Callable[[str, PaddockError], None],
    ) -> None:  # fmt: skip
        self._cloud = cloud
        self._weights = EMPHASES.get(emphasis, MIGRATING)
        self._member, self._admin = contexts
        self._image, self._flavor = parts
        self._wrong = wrong
        self._on_refusal = on_refusal
        self._verbs = [verb for verb in ACTIONS if verb not in MIGRATIONS or verb in self._weights]
        self.instances: list[str] = []
        self.accepted: dict[str, str] = {}
        self.busy = 0
        self._answers: dict[str, bool] = {}

    def ask(self, source: random.Random, verb: str = "") -> None:
        """One request for an instance, perhaps repeated later.

        :param verb: what is asked for, or :data:`MOVE`; by default what the emphasis weighs
        """
        if not self.instances:
            return self.create(source)
        request = self._request(source, verb)
        ctxt = (
            self._admin
            if source.random() < 0.6 or request.verb in FOR_ADMINISTRATORS
            else self._member
        )
        again = source.random() < 0.25
        self._begin(lambda: self._ask(ctxt, request, again, source))
        return None

    def create(self, source: random.Random) -> None:
        """One request for one or several instances."""
        count = source.choice([1, 1, 2, 3])
        request = CreateRequest(
            action_ids=[_id(source) for _ in range(count)],
            instance_ids=[_id(source) for _ in range(count)],
            min_count=source.randint(1, count),
            name="vm", image_id=self._image, flavor_id=self._flavor,
            zone=source.choice([None, "az1", "az2"]), host=None, networks="auto", metadata={},
        )  # fmt: skip
        again = source.random() < 0.25
        self._begin(lambda: self._create(request, again, source))

    def _begin(self, function: Callable[[], None]) -> None:
        def live() -> None:
            try:
                function()
            finally:
                self.busy -= 1

        self.busy += 1
        self._cloud.scheduler.spawn(self._cloud.api, live, "user")

    def _request(self, source: random.Random, verb: str) -> AcceptRequest:
        instance_id = source.choice(self.instances)
        row = self._cloud.sessions.raw.execute(STATE, (instance_id,)).fetchone()
        if row is None:
            self._wrong(f"nothing is known of {instance_id[:4]} any more")
            row = ("", None)
        verb, params = verb or self._verb(source, row[0]), {}
        if verb == MOVE:
            verb = MIGRATE if MIGRATE in self._weights and source.random() < 0.7 else "vm-poweron"
            params = {"availability_zone": "az2" if row[1] == "az1" else "az1"}
        elif verb in ("vm-poweron", "os-start") and source.random() < 0.7:
            params = {"availability_zone": source.choice(["az1", "az2"])}
        if verb == "os-resetState":
            params = {"state": source.choice(["active", "error"])}
        if verb.startswith("reboot"):
            params = {"type": verb.removeprefix("reboot-").upper()}
        return AcceptRequest(
            action_id=_id(source), instance_id=instance_id, verb=verb, params=params
        )

    def _verb(self, source: random.Random, state: str) -> str:
        """Mostly one that the instance's state allows, so that much happens."""
        if source.random() < 0.08:
            return source.choice(sorted({*self._verbs} - {"create"}))
        fitting = [verb for verb in self._verbs if state in (ACTIONS[verb].allowed or ())]
        fitting += [verb for verb in self._weights if verb in ODD or verb in fitting]
        fitting.append("delete" if source.random() < 0.3 else source.choice(ODD))
        return source.choices(fitting, [self._weights.get(verb, 0.6) for verb in fitting])[0]

    def _ask(
        self, ctxt: RequestContext, request: AcceptRequest, again: bool, source: random.Random
    ) -> None:
        def once() -> list[Ticket] | PaddockError:
            (answer,) = self._cloud.ledger.accept(ctxt, [request])
            return answer if isinstance(answer, PaddockError) else [answer]

        self._repeat(request.action_id, request.verb, once, again, source)

    def _create(self, request: CreateRequest, again: bool, source: random.Random) -> None:
        def once() -> list[Ticket] | PaddockError:
            return self._cloud.ledger.create(self._member, request)

        self._repeat(request.action_ids[0], "create", once, again, source)

    def _repeat(
        self, key: str, verb: str, once: Callable[[], Any], again: bool, source: random.Random
    ) -> None:
        """Ask until there is an answer, as the API does."""
        for _ in range(TRIES):
            try:
                answer = once()
            except PaddockError as error:
                answer = error
            if isinstance(answer, ServiceUnavailable):
                if "Too many" in answer.message:
                    self._wrong(f"the {verb} {key[:4]} is never decided: {answer}")
                continue
            self._note(key, verb, answer)
            if not again:
                return
            again = False
            self._cloud.scheduler.sleep(source.random() * 3)

    def _note(self, key: str, verb: str, answer: list[Ticket] | PaddockError) -> None:
        good = not isinstance(answer, PaddockError)
        self._cloud.bus.say("api", verb, key[:4], answer)
        if self._answers.setdefault(key, good) != good:
            self._wrong(f"the {verb} {key[:4]} was answered differently: {answer}")
        if isinstance(answer, PaddockError):
            self._on_refusal(verb, answer)
            return
        for ticket in answer:
            self.accepted[ticket.action_id] = verb
            if verb == "create" and ticket.instance_id not in self.instances:
                self.instances.append(ticket.instance_id)
            self._hint(ticket)

    def _hint(self, ticket: Ticket) -> None:
        if ticket.step_id and ticket.host:
            agent = AgentClient(Caller(self._cloud.bus, f"compute.{ticket.host}"))
            agent.run(RequestContext(), ticket.step_id, ticket.instance_id, ticket.kind)


def _id(source: random.Random) -> str:
    return str(uuid.UUID(int=source.getrandbits(128), version=4))
