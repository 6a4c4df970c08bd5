"""Every error that one process tells another or a user.

PaddockError
├── BadRequest 400 ─ InvalidPowerState, ZoneUnavailable
├── Unauthorized 401
├── Forbidden 403 ─ QuotaExceeded
├── NotFound 404
├── MethodNotAllowed 405
├── NotAcceptable 406
├── Conflict 409 ─ InstanceLocked, HostPaused, InstanceBusy, InvalidState,
│                  HostUnavailable, NoValidHost, Unsupported
├── TooLarge 413, UnsupportedMediaType 415, TooManyRequests 429
├── ServiceUnavailable 503 ─ BusUnavailable, DatabaseUnavailable
├── StaleEpoch, StepRefused        the ledger's answers to an agent whose view is old
└── HypervisorError ─ GuestGone, GuestHung, LaunchBarred, WorkCancelled
                                    what a driver or a worker tells the runner

Each class carries the HTTP status and the name of Nova's fault document. An error crosses the
bus as its class, one sentence and keyword arguments that are JSON values.
"""

from __future__ import annotations

from typing import Any, ClassVar


class PaddockError(Exception):
    """Base of the tree.

    :param message: one sentence for a reader outside the code, without secrets
    :param kwargs: JSON values that say more to a program (a field's name, a host)
    """

    status: ClassVar[int] = 500
    fault: ClassVar[str] = "computeFault"
    default: ClassVar[str] = "An unexpected error prevented the server from fulfilling the request."
    since: ClassVar[str] = "1.0"  # the RPC version that first had the class

    def __init__(self, message: str = "", **kwargs: Any) -> None:
        super().__init__(message or self.default)
        self.kwargs = kwargs

    @property
    def message(self) -> str:
        """The sentence."""
        return str(self.args[0])

    @property
    def known_as(self) -> type[PaddockError]:
        """The class as which it crosses the bus: the nearest that every peer has."""
        first = PaddockError.since
        return next(kind for kind in type(self).__mro__ if getattr(kind, "since", None) == first)

    def to_wire(self) -> dict[str, Any]:
        """A JSON document from which :func:`from_wire` makes the same error."""
        return {"type": self.known_as.__name__, "message": self.message, "kwargs": self.kwargs}


class BadRequest(PaddockError):
    """What was asked is malformed; the sentence names the field and what would be right."""

    status = 400
    fault = "badRequest"


class InvalidPowerState(BadRequest):
    """vm-poweroff or vm-poweron does not fit the machine's state."""


class ZoneUnavailable(BadRequest):
    """The zone is unknown or has no host that can take the machine."""


class Unauthorized(PaddockError):
    """No token, or one that is broken, expired or ended."""

    status = 401
    fault = "unauthorized"
    default = "The request you have made requires authentication."


class Forbidden(PaddockError):
    """The caller is known and may not do this."""

    status = 403
    fault = "forbidden"
    default = "Policy doesn't allow this to be performed."


class QuotaExceeded(Forbidden):
    """The project's quota has no room for this."""


class NotFound(PaddockError):
    """No such thing, or it is another project's."""

    status = 404
    fault = "itemNotFound"
    default = "The resource could not be found."


class MethodNotAllowed(PaddockError):
    """The path is known, the method is not served there."""

    status = 405
    fault = "badMethod"
    default = "The method is not allowed for this resource."


class NotAcceptable(PaddockError):
    """The microversion or the answer's format is not served."""

    status = 406
    fault = "notAcceptable"


class Conflict(PaddockError):
    """The thing's present state does not admit this."""

    status = 409
    fault = "conflictingRequest"


class InstanceLocked(Conflict):
    """The instance is locked; the sentence holds the reason."""


class HostPaused(Conflict):
    """The instance's host is paused for users; the sentence holds the reasons."""


class InstanceBusy(Conflict):
    """Another action is going on; the sentence names it."""


class InvalidState(Conflict):
    """The action is not allowed in the instance's state."""


class HostUnavailable(Conflict):
    """The host that this needs is down, disabled or fenced."""


class NoValidHost(Conflict):
    """No host can take the machine; the sentence names why per class of hosts."""


class Unsupported(Conflict):
    """The host's driver has no such capability."""

    default = "The host's hypervisor cannot do this."


class TooLarge(PaddockError):
    """The body, a header or the URL is larger than what is served."""

    status = 413
    fault = "overLimit"


class UnsupportedMediaType(PaddockError):
    """The body's content type is not served."""

    status = 415
    fault = "badMediaType"


class TooManyRequests(PaddockError):
    """It is too early for this; ``retry_after`` says in how many seconds it is not."""

    status = 429
    fault = "overLimit"
    since = "1.1"


class ServiceUnavailable(PaddockError):
    """Something that the request needs does not answer now; trying again may help."""

    status = 503
    fault = "serviceUnavailable"
    default = "The service is unavailable now; try again."


class BusUnavailable(ServiceUnavailable):
    """The broker or the peer behind it did not answer in time."""


class DatabaseUnavailable(ServiceUnavailable):
    """The database did not answer in time."""


class StaleEpoch(PaddockError):
    """A newer agent process speaks for this host, or another machine does."""

    status = 409


class StepRefused(PaddockError):
    """The ledger does not let this attempt start, report or finish."""

    status = 409


class HypervisorError(PaddockError):
    """The hypervisor refused or failed; the sentence is its own, made readable.

    It may name paths and addresses of the host, so it is for administrators; all others are told
    the class's ``default``.
    """

    default = "The host or its hypervisor could not do it."


class GuestGone(HypervisorError):
    """The hypervisor does not know the guest."""

    default = "The hypervisor does not know the guest."


class GuestHung(HypervisorError):
    """The guest or the hypervisor did not do it within its time."""

    default = "The guest or the hypervisor did not do it within its time."


class LaunchBarred(HypervisorError):
    """Lease, bar or generation forbids launching now."""

    default = "The host may launch nothing now."


class WorkCancelled(HypervisorError):
    """The ledger no longer lists the step, so its worker stopped."""

    default = "The host stopped before it was done."


def _tree(root: type[PaddockError]) -> dict[str, type[PaddockError]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found.update(_tree(child))
    return found


def from_wire(document: dict[str, Any]) -> PaddockError:
    """The error that :meth:`PaddockError.to_wire` described; an unknown class becomes the base."""
    kind = _tree(PaddockError).get(str(document.get("type")), PaddockError)
    more = {name: value for name, value in dict(document.get("kwargs") or {}).items()
            if name not in ("self", "message")}  # fmt: skip
    return kind(str(document.get("message", "")), **more)
