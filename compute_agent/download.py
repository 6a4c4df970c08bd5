"""What programs of the agent's that have something over HTTP share."""

from __future__ import annotations

import json
import ssl
import sys
from collections.abc import Callable
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import SSLError
from urllib3.util import Retry

from paddock import tickets

CONNECT_SECONDS = 5
SILENT_SECONDS = 30


class _Later(Retry):
    """Knows a handshake that broke off, since somebody ended or had no room, from a refused one."""

    def _is_read_error(self, err: Exception) -> bool:
        cause = err.args[0] if isinstance(err, SSLError) and err.args else None
        return isinstance(cause, ssl.SSLEOFError) or super()._is_read_error(err)


LATER = _Later(
    8, other=0, backoff_factor=0.5, backoff_max=4.0, status_forcelist=(502, 503, 504),
    raise_on_status=False,
)  # fmt: skip
"""Within 23 seconds, in which who restarts is back; a certificate that is wrong stays so."""

Wanted = dict[str, Any]


class Refused(Exception):
    """It is not given, or something else is; trying again does not help."""


def new_session(wanted: Wanted) -> requests.Session:
    """A session that believes and shows what ``authority`` and ``certificate`` name.

    :param wanted: ``authority`` is a file of certificates, or None for the system's;
        ``certificate``, where it is there, the files of a certificate and its key
    """
    session = requests.Session()
    session.trust_env = False  # no proxy and no password of somebody's home directory
    session.verify = wanted["authority"] or True
    if own := wanted.get("certificate"):
        session.cert = (own[0], own[1])
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=LATER))
    return session


def begin(session: requests.Session, wanted: Wanted, **query: int) -> requests.Response:
    """The answer to the ticket, whose body is yet to be read.

    :raises Refused: it is not there for this ticket
    :raises requests.RequestException: nobody answers
    """
    answer = session.get(
        wanted["url"],
        params=query,
        headers={tickets.HEADER: wanted["ticket"]},
        stream=True,
        allow_redirects=False,
        timeout=(CONNECT_SECONDS, SILENT_SECONDS),
    )
    if answer.status_code != requests.codes.ok:
        with answer:
            raise Refused(f"it answered {answer.status_code} {answer.reason}")
    return answer


def run(work: Callable[[Wanted], object]) -> int:
    """Do what standard input says, which is a JSON object.

    :returns: exit status; with 1, the last line of standard error says why
    """
    try:
        work(json.load(sys.stdin))
    except (Refused, requests.RequestException, OSError) as error:
        text = " ".join(str(error).split())
        sys.stderr.write(f"{text}\n")
        return 1
    return 0
