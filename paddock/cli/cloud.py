"""A cloud as its clients know it: credentials from where OpenStack's keep them, and its API."""

from __future__ import annotations

import uuid
from typing import Any

from keystoneauth1 import adapter, exceptions
from openstack import config
from openstack.exceptions import ConfigException

from paddock.cli.failure import CloudAway, CommandFailed

TIMEOUT_SECONDS = 30.0
RETRIES = 2
BUSY = 503
AWAY = 502
"""The least status that tells of no answer: a proxy's while the API restarts, or the API's own."""
ONCE = {"connect_retries": 0, "status_code_retries": 0}
"""How a request is sent that must not be repeated."""
NO_CREDENTIALS = (
    "There are no credentials: name a cloud of clouds.yaml with --os-cloud or OS_CLOUD, or set "
    "OS_AUTH_URL, OS_USERNAME, OS_PASSWORD, OS_PROJECT_NAME, OS_USER_DOMAIN_NAME and "
    "OS_PROJECT_DOMAIN_NAME"
)
Document = dict[str, Any]


class Cloud:
    """Asks a cloud's compute API in its user's name."""

    def __init__(self, compute: adapter.Adapter) -> None:
        self._compute = compute

    @classmethod
    def find(cls, name: str | None) -> Cloud:
        """The cloud that the command line, clouds.yaml and the environment tell of.

        :param name: of a cloud of clouds.yaml; None for what ``OS_CLOUD`` or ``OS_*`` say
        :raises CommandFailed: there are no credentials, or not all of them
        """
        try:
            loader = config.OpenStackConfig(load_envvars=True)
            region = loader.get_one(cloud=name, api_timeout=TIMEOUT_SECONDS)
            session = region.get_session()
        except (ConfigException, exceptions.ClientException, OSError) as error:
            raise CommandFailed(_why_unknown(name, error)) from error
        return cls(
            adapter.Adapter(
                session,
                service_type="compute",
                interface=region.get_interface("compute"),
                region_name=region.get_region_name("compute"),
                endpoint_override=region.get_endpoint("compute"),
                connect_retries=RETRIES,
                status_code_retries=RETRIES,
                retriable_status_codes=[BUSY],
                raise_exc=False,
            )
        )

    def get(self, path: str, **query: str) -> Document:
        """What is at a path below compute's; see :meth:`post` for what is raised."""
        return self._ask("GET", path, params=query)

    def post(self, path: str, body: Document, *, keyed: bool = False) -> Document:
        """The answer to a request.

        :param keyed: under an idempotency key, so that it is sent again where no answer came;
            without one it is sent once, as what it asks for may have been done
        :raises CloudAway: there is no answer
        :raises CommandFailed: the cloud refuses it, or is no compute API
        """
        if keyed:
            headers = {"Idempotency-Key": str(uuid.uuid4())}
            return self._ask("POST", path, json=body, headers=headers)
        return self._ask("POST", path, json=body, **ONCE)

    def _ask(self, method: str, path: str, **more: Any) -> Document:
        try:
            answer = self._compute.request(path, method, **more)
        except exceptions.ClientException as error:
            raise _failure(error) from error
        if answer.status_code >= 400:
            raise _refusal(answer.status_code, _told(answer))
        return _document(answer)


def _why_unknown(name: str | None, error: Exception) -> str:
    if isinstance(error, exceptions.MissingRequiredOptions | exceptions.NoMatchingPlugin):
        return f"{NO_CREDENTIALS}."
    if isinstance(error, OSError):
        return f"The credentials cannot be read: {error}."
    said = _sentence(error)
    return said if name or "auth" not in said.lower() else f"{NO_CREDENTIALS}."


def _document(answer: Any) -> Document:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise CommandFailed(
            f"What answers at {answer.url} is not the compute API: see the cloud's endpoints."
        )
    return found


def _failure(error: exceptions.ClientException) -> CommandFailed:
    if isinstance(error, exceptions.SSLError):
        return CommandFailed(
            "The cloud's certificate is not of a known CA: name the CA's file as cacert in "
            "clouds.yaml, or in OS_CACERT."
        )
    if isinstance(error, exceptions.Unauthorized):
        return CommandFailed("The cloud refuses these credentials.")
    if isinstance(error, exceptions.MissingAuthPlugin | exceptions.MissingRequiredOptions):
        return CommandFailed(f"{NO_CREDENTIALS}.")
    if isinstance(error, exceptions.EndpointNotFound | exceptions.EmptyCatalog):
        return CommandFailed("The cloud's catalog names no compute API.")
    if isinstance(error, exceptions.HttpError):
        return _refusal(error.http_status, error.message or "")
    return CloudAway(f"The cloud does not answer: {_sentence(error)}")


def _refusal(status: int, said: str) -> CommandFailed:
    if status >= AWAY:
        return CloudAway(f"The cloud does not answer now: {said or status}")
    return CommandFailed(said or f"The cloud answered {status}.")


def _told(answer: Any) -> str:
    """What a refusal says; empty when another program than the API gave it."""
    try:
        (fault,) = answer.json().values()
        return str(fault["message"])
    except (ValueError, AttributeError, TypeError, KeyError):
        return ""


def _sentence(error: Exception) -> str:
    line = " ".join(str(error).split())
    return line if line.endswith(".") else f"{line}."
