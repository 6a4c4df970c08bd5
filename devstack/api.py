"""A small client of a stack's own API, for the demo and the status."""

from pathlib import Path
from typing import Any

import requests

from devstack.clouds import read_clouds

TIMEOUT_SECONDS = 30.0
MICROVERSION = "2.96"


class ApiFailed(Exception):
    """The API could not be reached or refused; the text is one sentence."""


class Api:
    """Requests in the name of one cloud of clouds.yaml.

    :param clouds: the path of clouds.yaml.
    :param cloud: the name of the cloud in it.
    :ivar token: that of the last sign-in.
    """

    def __init__(self, clouds: Path, cloud: str) -> None:
        entry = read_clouds(clouds)[cloud]
        self._auth: dict[str, str] = entry["auth"]
        self._session = requests.Session()
        self._session.verify = entry.get("cacert", True)
        self._session.trust_env = False  # no proxy stands before the own machine
        self._session.headers["X-OpenStack-Nova-API-Version"] = MICROVERSION
        self.token = ""
        self.url = self._auth["auth_url"].removesuffix("/identity/v3")

    def sign_in(self) -> None:
        """Get a token.

        :raises ApiFailed: when the API is not there or the password is wrong.
        """
        domain = {"name": self._auth["user_domain_name"]}
        user = {
            "name": self._auth["username"],
            "password": self._auth["password"],
            "domain": domain,
        }
        project = {"name": self._auth["project_name"], "domain": domain}
        identity = {"methods": ["password"], "password": {"user": user}}
        body = {"auth": {"identity": identity, "scope": {"project": project}}}
        answer = self._send("POST", "/identity/v3/auth/tokens", body)
        self.token = answer.headers["X-Subject-Token"]
        self._session.headers["X-Auth-Token"] = self.token

    def get(self, path: str) -> Any:
        """The JSON at a path below the API's URL."""
        return self._send("GET", path).json()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Post JSON; gives the answer's JSON, None when there is none."""
        answer = self._send("POST", path, body)
        return answer.json() if answer.content else None

    def delete(self, path: str) -> None:
        """Delete what is at a path."""
        self._send("DELETE", path)

    def status(self, path: str) -> int:
        """The HTTP status of a GET, whatever it is."""
        return self._request("GET", path, None).status_code

    def hosts_up(self) -> set[str]:
        """The names of all that is up, hosts and conductors; none while the API is not there."""
        try:
            if not self.token:
                self.sign_in()
            services = self.get("/compute/v2.1/services")["services"]
        except ApiFailed:
            self.token = ""
            return set()
        return {service["host"] for service in services if service["state"] == "up"}

    def _send(self, method: str, path: str, body: Any = None) -> requests.Response:
        answer = self._request(method, path, body)
        if not answer.ok:
            raise ApiFailed(f"{method} {self.url}{path} gave {answer.status_code}{_told(answer)}")
        return answer

    def _request(self, method: str, path: str, body: Any) -> requests.Response:
        try:
            return self._session.request(
                method, self.url + path, json=body, timeout=TIMEOUT_SECONDS
            )
        except requests.RequestException as error:
            raise ApiFailed(f"{self.url} does not answer ({type(error).__name__})") from error


def _told(answer: requests.Response) -> str:
    """What a refusal says; nothing when another program than the API gave it."""
    try:
        (fault,) = answer.json().values()
        return f": {fault['message']}"
    except (ValueError, AttributeError, TypeError, KeyError):
        return ""
