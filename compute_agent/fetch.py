"""Has an image from the API: a program that the agent runs and can stop at any time.

Standard input is a JSON object: ``url``, ``ticket``, ``authority`` (a file of certificates, or
null for the system's), ``size`` in bytes. The image goes to standard output, which is a file.
"""

from __future__ import annotations

import sys
from typing import IO

import requests

from compute_agent.download import Refused, Wanted, begin, new_session, run

TRIES = 3
CHUNK = 1 << 20


def fetch(wanted: Wanted, output: IO[bytes]) -> None:
    """Write the image to a file; when it breaks off, it is asked for again, from the beginning.

    :raises Refused: see there
    :raises requests.RequestException: the API could not be reached, or it broke off every time
    """
    session = new_session(wanted)
    for tries in range(TRIES):
        output.seek(0)
        output.truncate()
        with begin(session, wanted) as answer:
            try:
                _copy(answer, wanted["size"], output)
                return
            except requests.RequestException:
                if tries == TRIES - 1:
                    raise


def _copy(answer: requests.Response, size: int, output: IO[bytes]) -> None:
    done = 0
    for chunk in answer.iter_content(CHUNK):
        done += len(chunk)
        if done > size:
            break
        output.write(chunk)
    if done != size:
        raise Refused(f"it does not have the {size} bytes that it should")
    output.flush()


if __name__ == "__main__":
    sys.exit(run(lambda wanted: fetch(wanted, sys.stdout.buffer)))
