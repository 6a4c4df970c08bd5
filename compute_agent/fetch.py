"""Has an image from the API: a program that the agent runs and can stop at any time.

Standard input is a JSON object: ``url``, ``ticket``, ``authority`` (a file of certificates, or
null for the system's), ``size`` in bytes. The image goes to standard output, which is a file.
"""

from __future__ import annotations

import json
import sys
from typing import IO, Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from paddock import tickets

CONNECT_SECONDS = 5
SILENT_SECONDS = 30
TRIES = 3
CHUNK = 1 << 20
LATER = Retry(6, backoff_factor=0.5, status_forcelist=(502, 503, 504), raise_on_status=False)
"""An API that restarts is back in seconds."""


class Refused(Exception):
    """The API does not give it, or gives something else; trying again does not help."""


def fetch(wanted: dict[str, Any], output: IO[bytes]) -> None:
    """Write the image to a file; when it breaks off, it is asked for again, from the beginning.

    :raises Refused: see there
    :raises requests.RequestException: the API could not be reached, or it broke off every time
    """
    session = requests.Session()
    session.trust_env = False  # no proxy and no password of somebody's home directory
    session.verify = wanted["authority"] or True
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=LATER))
    for tries in range(TRIES):
        output.seek(0)
        output.truncate()
        with _open(session, wanted) as answer:
            try:
                _copy(answer, wanted["size"], output)
                return
            except requests.RequestException:
                if tries == TRIES - 1:
                    raise


def _open(session: requests.Session, wanted: dict[str, Any]) -> requests.Response:
    return session.get(
        wanted["url"],
        headers={tickets.HEADER: wanted["ticket"]},
        stream=True,
        allow_redirects=False,
        timeout=(CONNECT_SECONDS, SILENT_SECONDS),
    )


def _copy(answer: requests.Response, size: int, output: IO[bytes]) -> None:
    if answer.status_code != requests.codes.ok:
        raise Refused(f"it answered {answer.status_code} {answer.reason}")
    done = 0
    for chunk in answer.iter_content(CHUNK):
        done += len(chunk)
        if done > size:
            break
        output.write(chunk)
    if done != size:
        raise Refused(f"it does not have the {size} bytes that it should")
    output.flush()


def main() -> int:
    """Do what standard input says.

    :returns: exit status; with 1, the last line of standard error says why
    """
    try:
        fetch(json.load(sys.stdin), sys.stdout.buffer)
    except (Refused, requests.RequestException, OSError) as error:
        text = " ".join(str(error).split())
        sys.stderr.write(f"{text}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
