"""What every bus must do, whichever driver carries it: one suite, run over each of them."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import oslo_messaging
import pytest
from amqp import PreconditionFailed

from paddock import config, rpc
from paddock.context import RequestContext
from paddock.errors import BadRequest, BusUnavailable, NoValidHost, PaddockError, ServiceUnavailable
from paddock.runtime import finish_within
from paddock.service import Part
from paddock.versions import Cap, Contract

SOON = 10.0
"""Seconds after which something that must happen has failed to."""


class Wires:
    """Servers and clients on one bus, all stopped at the end.

    :param url: the transport URL of a user
    """

    def __init__(self, url: Callable[[str], str]) -> None:
        self.url = url
        self._parts: list[Part] = []
        self._transports: list[rpc.Transport] = []

    def transport(self, user: str, host: str, process: str) -> rpc.Transport:
        settings = {"transport_url": self.url(user), "host": host}
        made = rpc.transport(config.load(overrides={"DEFAULT": settings}), process)
        self._transports.append(made)
        return made

    def client(self, user: str = "api", host: str = "ctl", timeout: float = 5.0) -> rpc.Client:
        process = "api" if user == "api" else "agent"
        client = rpc.Client(self.transport(user, host, process), timeout)
        self._start(client)
        return client

    def conductor(
        self, endpoint: object, name: str = "c1", workers: int = 4, version: str = "1.0"
    ) -> rpc.Server:
        target = rpc.conductor_target("conductor-api", name)
        return self._serve(name, name, "conductor", target, endpoint, workers, version)

    def agent(
        self, endpoint: object, host: str = "h1", workers: int = 4, version: str = "1.0"
    ) -> rpc.Server:
        target = rpc.agent_target(host)
        return self._serve(host, host, "agent", target, endpoint, workers, version)

    def stop(self, part: Part) -> None:
        self._parts.remove(part)
        part.stop(SOON)

    def close(self) -> None:
        while self._parts:
            self.stop(self._parts[-1])
        for transport in self._transports:
            finish_within(transport.cleanup, SOON, "closing a transport")

    def _serve(
        self, user: str, host: str, process: str, target: Any, endpoint: object, workers: int,
        version: str,
    ) -> rpc.Server:  # fmt: skip
        transport = self.transport(user, host, process)
        server = rpc.Server(transport, target, [endpoint], workers, version)
        self._start(server)
        return server

    def _start(self, part: Part) -> None:
        self._parts.append(part)
        part.start()


class Endpoint:
    """Methods of all kinds, which tell what reached them."""

    def __init__(self) -> None:
        self.heard: queue.Queue[Any] = queue.Queue()
        self.release = threading.Event()
        self.now = 0
        self.most = 0
        self._lock = threading.Lock()

    @rpc.expose
    def echo(self, ctxt: dict[str, Any], value: Any = None) -> Any:
        return value

    @rpc.expose
    def context(self, ctxt: dict[str, Any]) -> dict[str, Any]:
        return ctxt

    @rpc.expose
    def note(self, ctxt: dict[str, Any], mark: str) -> None:
        self.heard.put((mark, ctxt["auth_user"]))

    @rpc.expose
    def refuse(self, ctxt: dict[str, Any]) -> None:
        raise NoValidHost("No host has room.", zone="az1", rooms=[1, 2])

    @rpc.expose
    def crash(self, ctxt: dict[str, Any]) -> None:
        raise ValueError("the password is hunter2")

    @rpc.expose
    def hold(self, ctxt: dict[str, Any], mark: str = "") -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.heard.put((mark, ctxt["auth_user"]))
        self.release.wait(SOON)
        with self._lock:
            self.now -= 1

    def hidden(self, ctxt: dict[str, Any]) -> str:
        return "a secret"

    def next_mark(self, timeout: float = SOON) -> str:
        mark: str = self.heard.get(timeout=timeout)[0]
        return mark


CTXT = RequestContext(request_id="req-1", user_id="u1", project_id="p1", roles=("member",))
NEWER = Contract({"1.0": ["context"], "1.1": ["note", "echo.value"], "2.0": ["hold"]})
CONDUCTOR = rpc.conductor_target("conductor-api")
AGENT = rpc.agent_target("h1")


class BusContract:
    """Subclasses give the fixture ``wires``, with the users api, c1, c2, h1 and h2."""

    @pytest.fixture
    def endpoint(self) -> Iterator[Endpoint]:
        endpoint = Endpoint()
        yield endpoint
        endpoint.release.set()

    def test_a_call_returns_what_the_method_returned(
        self, wires: Wires, endpoint: Endpoint
    ) -> None:
        wires.conductor(endpoint)
        value = {"a": [1, 2.5, None, True, "ü"], "b": {}}
        assert wires.client().to(CONDUCTOR).call(CTXT, "echo", value=value) == value

    def test_an_error_of_ours_keeps_class_message_and_arguments(
        self, wires: Wires, endpoint: Endpoint
    ) -> None:
        wires.conductor(endpoint)
        with pytest.raises(PaddockError) as caught:
            wires.client().to(CONDUCTOR).call(CTXT, "refuse")
        assert type(caught.value) is NoValidHost
        assert str(caught.value) == caught.value.message == "No host has room."
        assert caught.value.kwargs == {"zone": "az1", "rooms": [1, 2]}

    def test_another_error_tells_the_method_and_nothing_inside(
        self, wires: Wires, endpoint: Endpoint
    ) -> None:
        wires.conductor(endpoint)
        with pytest.raises(oslo_messaging.RemoteError) as caught:
            wires.client().to(CONDUCTOR).call(CTXT, "crash")
        assert "crash failed with ValueError" in str(caught.value)
        assert "hunter2" not in str(caught.value)

    def test_a_hidden_method_cannot_be_called(self, wires: Wires, endpoint: Endpoint) -> None:
        wires.conductor(endpoint)
        for method in ("hidden", "next_mark", "__init__", "no_such_method"):
            with pytest.raises(oslo_messaging.RemoteError) as caught:
                wires.client().to(CONDUCTOR).call(CTXT, method)
            assert caught.value.exc_type == "NoSuchMethod"

    def test_wrong_arguments_are_an_error_and_the_server_goes_on(
        self, wires: Wires, endpoint: Endpoint
    ) -> None:
        wires.conductor(endpoint)
        caller = wires.client().to(CONDUCTOR)
        with pytest.raises(BadRequest, match="nonsense"):
            caller.call(CTXT, "echo", nonsense=1)
        assert caller.call(CTXT, "echo", value=1) == 1

    def test_a_call_ends_with_its_timeout(self, wires: Wires, endpoint: Endpoint) -> None:
        wires.conductor(endpoint)
        caller = wires.client(timeout=1.0).to(CONDUCTOR)
        caller.call(CTXT, "echo")
        begun = time.monotonic()
        with pytest.raises(BusUnavailable):
            caller.call(CTXT, "hold")
        assert 0.9 < time.monotonic() - begun < 1.5

    def test_a_call_to_a_queue_that_never_was_fails_at_once(self, wires: Wires) -> None:
        caller = wires.client().to(rpc.conductor_target("conductor-api", "nobody"))
        begun = time.monotonic()
        with pytest.raises(BusUnavailable):
            caller.call(CTXT, "echo")
        assert time.monotonic() - begun < 3.0

    def test_a_call_that_expired_while_the_server_was_away_is_not_worked_on(
        self, wires: Wires, endpoint: Endpoint
    ) -> None:
        wires.stop(wires.conductor(endpoint))
        client = wires.client()
        with pytest.raises(BusUnavailable):
            client.to(CONDUCTOR, timeout=0.5).call(CTXT, "note", mark="late")
        wires.conductor(endpoint)
        client.to(CONDUCTOR).call(CTXT, "note", mark="good")
        assert endpoint.next_mark() == "good"

    def test_a_cast_arrives(self, wires: Wires, endpoint: Endpoint) -> None:
        wires.agent(endpoint)
        wires.client().to(AGENT).cast(CTXT, "note", mark="hint")
        assert endpoint.next_mark() == "hint"

    def test_a_cast_to_nobody_is_logged_and_raises_nothing(
        self, wires: Wires, caplog: pytest.LogCaptureFixture
    ) -> None:
        client = wires.client()
        client.to(rpc.agent_target("nobody")).cast(CTXT, "note", mark="lost")
        wires.stop(client)
        assert "Cast note to compute.nobody: MessageUndeliverable" in caplog.text

    def test_a_cast_waits_for_a_listener_that_restarts(
        self, wires: Wires, endpoint: Endpoint
    ) -> None:
        wires.stop(wires.agent(endpoint))
        wires.client().to(AGENT).cast(CTXT, "note", mark="meanwhile")
        with pytest.raises(queue.Empty):
            endpoint.next_mark(timeout=0.3)
        wires.agent(endpoint)
        assert endpoint.next_mark() == "meanwhile"

    def test_a_server_that_listens_anew_still_serves(
        self, wires: Wires, endpoint: Endpoint
    ) -> None:
        wires.agent(endpoint).restart(SOON)
        wires.client().to(AGENT).cast(CTXT, "note", mark="again")
        assert endpoint.next_mark() == "again"

    def test_a_server_that_is_refused_when_it_listens_anew_tries_until_it_is_not(
        self, wires: Wires, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server = wires.agent(endpoint)
        listen, refusals = server._listen, [PreconditionFailed("406"), ValueError("odd")]

        def refused() -> Any:
            if refusals:
                raise refusals.pop()
            return listen()

        monkeypatch.setattr(rpc, "LISTEN_AGAIN_SECONDS", 0.05)
        monkeypatch.setattr(server, "_listen", refused)  # no broker refuses for a moment only
        server.restart(SOON)
        wires.client().to(AGENT).cast(CTXT, "note", mark="late")
        assert endpoint.next_mark() == "late"

    def test_casts_run_in_parallel_up_to_the_workers(
        self, wires: Wires, endpoint: Endpoint
    ) -> None:
        wires.agent(endpoint, workers=3)
        caller = wires.client().to(AGENT)
        for number in range(5):
            caller.cast(CTXT, "hold", mark=str(number))
        marks = {endpoint.next_mark() for _ in range(3)}
        with pytest.raises(queue.Empty):
            endpoint.next_mark(timeout=0.3)
        endpoint.release.set()
        marks |= {endpoint.next_mark() for _ in range(2)}
        assert marks == set("01234")
        assert endpoint.most == 3

    def test_a_stopping_server_lets_its_methods_end(self, wires: Wires, endpoint: Endpoint) -> None:
        server = wires.agent(endpoint)
        wires.client().to(AGENT).cast(CTXT, "hold", mark="held")
        endpoint.next_mark()
        threading.Timer(0.3, endpoint.release.set).start()
        wires.stop(server)
        assert endpoint.release.is_set()
        assert endpoint.now == 0

    def test_servers_of_a_topic_share_its_calls_and_have_their_own(
        self, wires: Wires, endpoint: Endpoint
    ) -> None:
        other = Endpoint()
        wires.conductor(endpoint, "c1")
        wires.conductor(other, "c2")
        client = wires.client()
        client.to(rpc.conductor_target("conductor-api", "c2")).call(CTXT, "note", mark="for c2")
        client.to(CONDUCTOR).call(CTXT, "note", mark="for any")
        assert other.next_mark() == "for c2"
        assert endpoint.heard.qsize() + other.heard.qsize() == 1

    def test_the_context_arrives_with_its_sender(self, wires: Wires, endpoint: Endpoint) -> None:
        wires.conductor(endpoint)
        seen = wires.client().to(CONDUCTOR).call(CTXT, "context")
        assert RequestContext.from_dict(seen).request_id == "req-1"
        assert (seen["project_id"], seen["roles"], seen["auth_user"]) == ("p1", ["member"], "api")

    def test_a_sender_cannot_pose_as_another(self, wires: Wires, endpoint: Endpoint) -> None:
        wires.conductor(endpoint)
        transport = wires.transport("h1", "h1", "agent")
        forger = oslo_messaging.get_rpc_client(transport, CONDUCTOR, timeout=SOON)
        assert forger.call({"auth_user": "api"}, "context")["auth_user"] == "h1"

    def test_a_call_that_is_newer_than_its_server_is_refused_and_teaches_the_caller(
        self, wires: Wires, endpoint: Endpoint
    ) -> None:
        wires.conductor(endpoint)
        cap = Cap("1.1")
        caller = wires.client().to(CONDUCTOR, cap=cap, contract=NEWER)
        with pytest.raises(ServiceUnavailable, match=r"needs RPC version 1\.1 .* has 1\.0: up"):
            caller.call(CTXT, "note", mark="too new")
        assert cap.version == "1.0"
        with pytest.raises(ServiceUnavailable, match=r"has 1\.0: upgrade"):
            caller.call(CTXT, "note", mark="not even sent")
        assert caller.call(CTXT, "context")["project_id"] == "p1"
        assert endpoint.heard.empty()

    def test_a_call_of_another_major_version_is_refused(
        self, wires: Wires, endpoint: Endpoint
    ) -> None:
        wires.conductor(endpoint, version="1.7")
        caller = wires.client().to(CONDUCTOR, cap=Cap("2.0"), contract=NEWER)
        with pytest.raises(ServiceUnavailable, match="different major RPC versions"):
            caller.call(CTXT, "hold")
        assert endpoint.heard.empty()

    def test_an_argument_that_says_nothing_is_left_out_for_an_older_server(
        self, wires: Wires, endpoint: Endpoint
    ) -> None:
        wires.conductor(endpoint)
        caller = wires.client().to(CONDUCTOR, contract=NEWER)
        assert caller.call(CTXT, "echo", value=None) is None
        with pytest.raises(ServiceUnavailable):
            caller.call(CTXT, "echo", value=1)

    def test_a_cast_that_is_too_new_for_its_server_is_not_worked_on(
        self, wires: Wires, endpoint: Endpoint
    ) -> None:
        wires.agent(endpoint)
        client = wires.client()
        for known in ("1.0", "1.1"):  # not sent, or sent by one who did not know better
            client.to(AGENT, cap=Cap(known), contract=NEWER).cast(CTXT, "note", mark="too new")
        client.to(AGENT).cast(CTXT, "note", mark="good")
        assert endpoint.next_mark() == "good"
        wires.agent(endpoint, "h2", version="1.1")
        newer = client.to(rpc.agent_target("h2"), cap=Cap("1.1"), contract=NEWER)
        newer.cast(CTXT, "note", mark="newer")
        assert endpoint.next_mark() == "newer"
