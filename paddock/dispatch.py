"""Hands messages to methods, and says what a caller learns when that fails.

What a message holds is checked here for all methods: their annotations say of what types their
arguments are, and no text or number comes in that not every database can keep.
"""

from __future__ import annotations

import functools
import inspect
import logging
import re
from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

import msgspec
from oslo_messaging import Target
from oslo_messaging.rpc import dispatcher as oslo_dispatcher

from paddock.errors import BadRequest, PaddockError
from paddock.logs import bind
from paddock.versions import refusal

LOG = logging.getLogger(__name__)
_VERSION = re.compile(r"[0-9]{1,4}\.[0-9]{1,4}")
_REQUIRED = inspect.Parameter.empty
_NUL = b"\\u0000"
LONGEST = 300


class MethodFailed(Exception):
    """What a caller learns of an error that is not one of ours: the method, nothing inside it."""


class Dispatcher(oslo_dispatcher.RPCDispatcher):  # type: ignore[misc]
    """Calls the exposed methods of some endpoints.

    :param version: the newest RPC version that they serve
    :param host: whose they are, for the logs
    """

    def __init__(self, endpoints: Sequence[Any], version: str, host: str | None) -> None:
        super().__init__(list(endpoints), None, oslo_dispatcher.ExplicitRPCAccessPolicy)
        self._host = host
        self._default_target = Target(version=version)

    def dispatch(self, incoming: Any) -> Any:
        """Hand a message to its method, or refuse what this release does not understand."""
        if not _is_call(incoming.message):
            error = _refused(incoming.ctxt, "The message is no call of a method.")
            raise _tell(error)
        try:
            return super().dispatch(incoming)
        except oslo_dispatcher.UnsupportedVersion as error:
            refused = refusal(error.method, error.version, self._default_target.version)
            LOG.warning("%s", refused)
            raise _tell(refused) from None

    def _do_dispatch(self, endpoint: Any, method: str, ctxt: Any, args: Any) -> Any:
        with bind(request_id=ctxt.get("request_id"), host=self._host):
            try:
                return invoke(endpoint, method, ctxt, args)
            except PaddockError as error:
                raise _tell(error) from None
            except Exception as error:
                LOG.exception("Method %s failed", method)
                failure = MethodFailed(f"{method} failed with {type(error).__name__}")
                raise _tell(failure) from None


def invoke(endpoint: Any, method: str, ctxt: dict[str, Any], args: dict[str, Any]) -> Any:
    """Call a method with arguments as a message holds them.

    :raises BadRequest: one is missing, unknown, of another type than the method's annotation or
        the record that the method reads says, or holds what cannot be kept
    """
    function = getattr(endpoint, method)
    try:
        args = _checked(function, args)
    except msgspec.ValidationError as error:
        raise _refused(ctxt, f"{method}: {error}.") from None
    try:
        return function(ctxt, **args)
    except msgspec.ValidationError as error:
        raise BadRequest(f"{method}: {error}.") from None


def _checked(function: Callable[..., Any], args: dict[str, Any]) -> dict[str, Any]:
    _check_values(args)
    return _typed(function.__func__, args) if inspect.ismethod(function) else args


def _refused(ctxt: dict[str, Any], sentence: str) -> BadRequest:
    """An error that is logged with its sender: no process of the cloud makes such calls."""
    LOG.warning("Refused to %s: %s", ctxt.get("auth_user"), sentence[:LONGEST])
    return BadRequest(sentence)


def _typed(function: Callable[..., Any], args: dict[str, Any]) -> dict[str, Any]:
    parameters = _parameters(function)
    if unknown := args.keys() - parameters.keys():
        raise msgspec.ValidationError(f"there is no argument {min(unknown)[:60]!a}")
    for name, (_, default) in parameters.items():
        if default is _REQUIRED and name not in args:
            raise msgspec.ValidationError(f"the argument {name} is missing")
    return {name: msgspec.convert(value, parameters[name][0]) for name, value in args.items()}


@functools.cache
def _parameters(function: Callable[..., Any]) -> dict[str, tuple[Any, Any]]:
    """Types and defaults of a method's arguments after the context."""
    hints = get_type_hints(function)
    known = list(inspect.signature(function).parameters.values())[2:]
    return {one.name: (hints.get(one.name, Any), one.default) for one in known}


def _check_values(args: dict[str, Any]) -> None:
    """Raise ValidationError for what no database could keep; quick where all is well."""
    try:
        msgspec.msgpack.encode(args)
        raw = msgspec.json.encode(args)
    except (UnicodeEncodeError, OverflowError, RecursionError):
        raise msgspec.ValidationError(
            "it holds half of a surrogate pair, a number beyond 64 bits or too many levels"
        ) from None
    if _NUL in raw and _holds_nul(args):
        raise msgspec.ValidationError("texts must not hold NUL")


def _holds_nul(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_nul, value)) or any(map(_holds_nul, value.values()))
    if isinstance(value, list):
        return any(map(_holds_nul, value))
    return isinstance(value, str) and "\0" in value


def _is_call(message: Any) -> bool:
    return bool(
        isinstance(message, dict)
        and isinstance(message.get("method"), str)
        and isinstance(message.get("args", {}), dict)
        and isinstance(message.get("namespace"), str | None)
        and isinstance(message.get("version", ""), str | None)
        and _VERSION.fullmatch(message.get("version") or "1.0")
    )


def _tell(error: Exception) -> oslo_dispatcher.ExpectedException:
    """Have the caller told of this error, without traceback and cause, which are ours alone."""
    if isinstance(error, PaddockError) and error.known_as is not type(error):
        error = error.known_as(error.message, **error.kwargs)
    error.__cause__ = error.__context__ = None
    expected = oslo_dispatcher.ExpectedException()
    expected.exc_info = (type(error), error, None)
    return expected
