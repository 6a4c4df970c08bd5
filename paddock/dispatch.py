"""Hands messages to methods, and says what a caller learns when that fails."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from oslo_messaging import Target
from oslo_messaging.rpc import dispatcher as oslo_dispatcher

from paddock.errors import PaddockError
from paddock.logs import bind
from paddock.versions import refusal

LOG = logging.getLogger(__name__)


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
        try:
            return super().dispatch(incoming)
        except oslo_dispatcher.UnsupportedVersion as error:
            refused = refusal(error.method, error.version, self._default_target.version)
            LOG.warning("%s", refused)
            raise _tell(refused) from None

    def _do_dispatch(self, endpoint: Any, method: str, ctxt: Any, args: Any) -> Any:
        with bind(request_id=ctxt.get("request_id"), host=self._host):
            try:
                return super()._do_dispatch(endpoint, method, ctxt, args)
            except PaddockError as error:
                raise _tell(error) from None
            except Exception as error:
                LOG.exception("Method %s failed", method)
                failure = MethodFailed(f"{method} failed with {type(error).__name__}")
                raise _tell(failure) from None


def _tell(error: Exception) -> oslo_dispatcher.ExpectedException:
    """Have the caller told of this error, without traceback and cause, which are ours alone."""
    if isinstance(error, PaddockError) and error.known_as is not type(error):
        error = error.known_as(error.message, **error.kwargs)
    error.__cause__ = error.__context__ = None
    expected = oslo_dispatcher.ExpectedException()
    expected.exc_info = (type(error), error, None)
    return expected
