"""Creating instances: all rows of a request in one transaction, in id order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from conductor import addresses, plan, quota
from conductor.accept import record_refusal, repeat, ticket_of
from conductor.creation import Order, check_create, flavor_document
from conductor.db.models import (
    NAME_LENGTH,
    Action,
    Flavor,
    Image,
    Instance,
    Project,
    User,
)
from conductor.placement import candidates, claim_first, roomiest
from conductor.policy import Policy
from conductor.routing import Candidate, Route, Wish
from conductor.tickets import ticket
from conductor.turn import Turn, Turns
from paddock import failpoints
from paddock.actions import ACTIONS, PowerState, StepKind, VmState
from paddock.context import RequestContext
from paddock.errors import BadRequest, Conflict, NoValidHost, PaddockError
from paddock.records import AcceptRequest, CreateRequest, Ticket


class Creator:
    """Accepts new instances."""

    def __init__(self, turns: Turns, policy: Policy) -> None:
        self._turns = turns
        self._policy = policy

    def create(self, ctxt: RequestContext, request: CreateRequest) -> list[Ticket]:
        """Accept between ``min_count`` and as many instances as there are ids, or none.

        :raises NoValidHost: there is room for fewer than ``min_count``
        :raises PaddockError: other refusals; each is recorded and repeated
        """
        _check_ids(request)
        answer = self._turns.run(lambda turn: self._answer(turn, ctxt, request))
        failpoints.hit("ledger.accepted")
        if isinstance(answer, PaddockError):
            raise answer
        return answer

    def _answer(
        self, turn: Turn, ctxt: RequestContext, request: CreateRequest
    ) -> list[Ticket] | PaddockError:
        wish = _first_wish(request)
        try:
            return turn.attempt(lambda: self._decide(turn, ctxt, request, wish))
        except PaddockError as refusal:
            if record_refusal(turn, ctxt, wish, refusal) is None:
                return refusal
            try:
                return _known(turn, ctxt, request, wish)
            except PaddockError as recorded:
                return recorded

    def _decide(
        self, turn: Turn, ctxt: RequestContext, request: CreateRequest, wish: AcceptRequest
    ) -> list[Ticket]:
        turn.look_ahead(
            (Action, wish.action_id), (Instance, wish.instance_id), (User, ctxt.user_id),
            (Image, request.image_id), (Flavor, request.flavor_id), (Project, ctxt.project_id),
        )  # fmt: skip
        return _known(turn, ctxt, request, wish) or _write(
            turn, ctxt, check_create(turn, self._policy, ctxt, request)
        )


class Room:
    """What is free for a request's instances; read once, since one may ask for many.

    :param wish: that of each of them
    """

    def __init__(self, turn: Turn, wish: Wish) -> None:
        self.hosts = roomiest(turn, wish)
        self.wish = wish
        self.addresses = addresses.Supply(turn)
        self._turn = turn

    def claim(self, instance: Instance, action_id: str) -> Candidate:
        """Claim room on a host for an instance; gives the host.

        :raises NoValidHost: there is none
        """
        try:
            name = self._claim(instance, action_id)
        except NoValidHost:  # among the few that were read, or at all: only all of them say why
            self.hosts = candidates(self._turn)
            name = self._claim(instance, action_id)
        return self._take(name)

    def _claim(self, instance: Instance, action_id: str) -> str:
        return claim_first(self._turn, instance, self.wish, action_id, _no_host, self.hosts)

    def _take(self, name: str) -> Candidate:
        wish = self.wish
        place = next(place for place, host in enumerate(self.hosts) if host.name == name)
        host = self.hosts[place]
        self.hosts[place] = replace(
            host,
            free_vcpus=host.free_vcpus - wish.vcpus,
            free_memory_mb=host.free_memory_mb - wish.memory_mb,
            free_disk_gb=host.free_disk_gb - wish.disk_gb,
        )
        return host


def _known(
    turn: Turn, ctxt: RequestContext, request: CreateRequest, wish: AcceptRequest
) -> list[Ticket]:
    """The tickets that the request got before; none when it is new. Its refusal is raised."""
    known = turn.get(Action, wish.action_id)
    if known is None:
        if turn.get(Instance, wish.instance_id) is not None:
            raise Conflict("Idempotency-Key: its server is still there, but the answer forgotten.")
        return []
    repeat(turn, ctxt, wish, known)
    rows = [turn.get(Action, action_id) for action_id in request.action_ids]
    return [ticket_of(turn, row) for row in rows if row is not None]


def _check_ids(request: CreateRequest) -> None:
    ids = [*request.action_ids, *request.instance_ids]
    most = len(request.action_ids)
    if not most or len(ids) != 2 * most or len(set(ids)) != len(ids):
        raise BadRequest("action_ids and instance_ids must be as many, all of them different.")
    if not 1 <= request.min_count <= most:
        raise BadRequest(f"min_count must be from 1 to {most}.")


def _first_wish(request: CreateRequest) -> AcceptRequest:
    """The request's first instance stands for all, in looking up what was answered before."""
    return AcceptRequest(
        action_id=request.action_ids[0],
        instance_id=request.instance_ids[0],
        verb="create",
        params={},
        fingerprint=request.fingerprint,
    )


def _write(turn: Turn, ctxt: RequestContext, order: Order) -> list[Ticket]:
    ids = list(zip(order.request.action_ids, order.request.instance_ids, strict=True))
    tickets: list[Ticket] = []
    room = Room(turn, _wish(order))
    for index, (action_id, instance_id) in enumerate(ids[: order.count]):
        instance = _instance(turn, order, index, instance_id)
        try:
            tickets.append(_place(turn, ctxt, order, instance, action_id, room))
        except NoValidHost:
            if len(tickets) < order.request.min_count:
                raise
            break
    flavor = order.flavor
    quota.take(turn, order.project_id, len(tickets), flavor.vcpus, flavor.memory_mb)
    return tickets


def _instance(turn: Turn, order: Order, index: int, instance_id: str) -> Instance:
    request, flavor = order.request, order.flavor
    several = len(request.instance_ids) > 1
    return Instance(
        id=instance_id,
        name=_numbered(request.name, index + 1) if several else request.name,
        description=request.description,
        project_id=order.project_id,
        user_id=order.user_id,
        vm_state=VmState.BUILDING.value,
        task_state=ACTIONS["create"].task_state,
        power_state=PowerState.NOSTATE.value,
        wanted_zone=request.zone,
        generation=1,
        disk_generation=1,
        image_id=order.image.id,
        flavor=flavor_document(flavor),
        vcpus=flavor.vcpus,
        memory_mb=flavor.memory_mb,
        disk_gb=flavor.disk_gb,
        details={"metadata": request.metadata},
        reservation_id=request.reservation_id,
        launch_index=index,
        created_at=turn.now,
        updated_at=turn.now,
    )


def _numbered(name: str, number: int) -> str:
    """A name with a number, cut so that it fits its column."""
    ending = f"-{number}"
    return name[: NAME_LENGTH - len(ending)] + ending


def _place(
    turn: Turn, ctxt: RequestContext, order: Order, instance: Instance, action_id: str, room: Room
) -> Ticket:
    """Claim a host for one instance and write its rows."""
    host = room.claim(instance, action_id)
    instance.host = host.name
    instance.zone = host.zone
    instance.busy = instance.last_action = action_id
    turn.add(instance)
    room.addresses.allot(instance.id, order.ports)
    action = _action(turn, ctxt, order, instance, action_id)
    turn.add(action)
    (step,) = plan.insert(turn, action, [(StepKind.LAUNCH, host.name)])
    return ticket(turn, action_id, instance.id, step)


def _wish(order: Order) -> Wish:
    request, flavor = order.request, order.flavor
    return Wish(
        vcpus=flavor.vcpus,
        memory_mb=flavor.memory_mb,
        disk_gb=flavor.disk_gb,
        zone=request.zone,
        host=request.host,
    )


def _no_host(found: Route) -> PaddockError:
    return NoValidHost(f"No valid host was found: {found.why()}.", reasons=found.reasons)


def _action(
    turn: Turn, ctxt: RequestContext, order: Order, instance: Instance, action_id: str
) -> Action:
    params: dict[str, Any] = {"zone": order.request.zone, "host": order.request.host}
    return Action(
        id=action_id,
        instance_id=instance.id,
        verb="create",
        status="accepted",
        params=params,
        before={},
        fingerprint=order.request.fingerprint,
        request_id=ctxt.request_id,
        user_id=ctxt.user_id,
        project_id=ctxt.project_id,
        created_at=turn.now,
        updated_at=turn.now,
    )
