"""Logs: one line per event, with the request, action, instance and host that it is about.

A field comes from the record (``extra={"instance_id": ...}``) or from what :func:`bind` holds for
the running thread, green or native.
"""

from __future__ import annotations

import contextvars
import datetime
import functools
import json
import logging
import logging.handlers
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from oslo_config import cfg

FIELDS = (
    "request_id", "global_request_id", "action_id", "step_id", "instance_id", "project_id", "host",
)  # fmt: skip
T = TypeVar("T")
ALIKE = 200
ALIKE_SECONDS = 60.0
"""So many warnings of one kind in so many seconds: who causes them cannot fill a disk with them."""
LONGEST_FIELD = 255
LONGEST = 16_384
MOST_KEYS = 1000
OWN = ("paddock", "api", "conductor", "compute_agent", "devstack")

_CONTEXT: contextvars.ContextVar[dict[str, str]] = contextvars.ContextVar("log fields")
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
_SECRETS = (
    (re.compile(r"(\w://[^/\s:@]*):[^@\s]+@"), r"\1:***@"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), "***"),
    (
        re.compile(
            r"""(?i)((?:password|passwd|secret|adminpass|x-auth-token)["']?\s*[:=]\s*["']?)"""
            r"""[^\s"',}&]+"""
        ),
        r"\1***",
    ),
)


@contextmanager
def bind(**fields: str | None) -> Iterator[None]:
    """Have all records of this thread carry these fields; None leaves a field out.

    :param fields: by the names in ``FIELDS``
    """
    known = {name: value for name, value in fields.items() if value}
    token = _CONTEXT.set({**_CONTEXT.get({}), **known})
    try:
        yield
    finally:
        _CONTEXT.reset(token)


def carried(function: Callable[[], T]) -> Callable[[], T]:
    """The function, to be run once in another thread, with the fields that are bound now."""
    return functools.partial(contextvars.copy_context().run, function)


def mask(text: str) -> str:
    """The text without passwords and tokens, as far as their shape or name shows them."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


class Rate:
    """Lets so many of each kind pass in so many seconds, and counts the others.

    :param clock: a monotonic clock, seconds
    """

    def __init__(
        self, most: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[Any, tuple[float, int]] = {}

    def admit(self, key: Any) -> int | None:
        """How many of a kind were kept back before this one; None when this one is, too."""
        now = self._clock()
        with self._lock:
            if key not in self._counts and len(self._counts) >= MOST_KEYS:
                self._counts.clear()
            since, count = self._counts.get(key, (now, 0))
            is_over = now - since >= self._seconds
            self._counts[key] = (now, 1) if is_over else (since, count + 1)
        if is_over:
            return max(count - self._most, 0)
        return 0 if count < self._most else None


class Bounded(logging.Filter):
    """Keeps back warnings that come too often, and says how many there were.

    Those whose record has ``is_rated`` were counted where they came from.
    """

    def __init__(self) -> None:
        super().__init__()
        self._rate = Rate(ALIKE, ALIKE_SECONDS)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is written."""
        if record.levelno < logging.WARNING or getattr(record, "is_rated", False):
            return True
        untold = self._rate.admit((record.name, str(record.msg)[:LONGEST_FIELD]))
        if untold:
            record.msg = f"{record.msg} ({untold} more like this were not logged)"
        return untold is not None


class TextFormatter(logging.Formatter):
    """Time in UTC, level, role, logger, fields in brackets, message; then an exception's lines.

    :param role: of the process
    :param fields: what records say that have it from nowhere else
    """

    def __init__(self, role: str, fields: dict[str, str]) -> None:
        super().__init__()
        self.role = role
        self._fields = fields

    def format(self, record: logging.LogRecord) -> str:
        """The record's line."""
        fields = " ".join(f"{name}={value}" for name, value in self.fields(record).items())
        about = f"[{fields}] " if fields else ""
        message = record.getMessage()[:LONGEST].translate(_CONTROLS)
        line = f"{_time(record)} {record.levelname} {self.role} {record.name} {about}{message}"
        return mask("\n".join([line, *self.trace(record)]))

    def fields(self, record: logging.LogRecord) -> dict[str, str]:
        """The fields of a record that have a value."""
        sources = (vars(record), _CONTEXT.get({}), self._fields)
        found = {name: next((s[name] for s in sources if s.get(name)), None) for name in FIELDS}
        return {
            name: str(value)[:LONGEST_FIELD].translate(_CONTROLS)
            for name, value in found.items()
            if value
        }

    def trace(self, record: logging.LogRecord) -> list[str]:
        """The exception, if there is one."""
        return [self.formatException(record.exc_info)[-LONGEST:]] if record.exc_info else []


class JsonFormatter(TextFormatter):
    """The same as one JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's line."""
        document: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname,
            "role": self.role,
            "logger": record.name,
            "message": mask(record.getMessage()[:LONGEST]),
            **self.fields(record),
        }
        for trace in self.trace(record):
            document["exception"] = mask(trace)
        return json.dumps(document, ensure_ascii=False)


def set_up(conf: cfg.ConfigOpts, role: str) -> None:
    """Send all logs of this process where its configuration says.

    :param role: ``api``, ``conductor``, ``compute`` or, for several in one process, ``cloud``,
        whose records name no host of their own
    """
    handler: logging.Handler = (
        logging.handlers.WatchedFileHandler(conf.log_file)
        if conf.log_file
        else logging.StreamHandler(sys.stderr)
    )
    fields = {} if role == "cloud" else {"host": str(conf.host)}
    handler.setFormatter((JsonFormatter if conf.log_json else TextFormatter)(role, fields))
    handler.addFilter(Bounded())
    logging.basicConfig(
        handlers=[handler], level=logging.INFO if conf.debug else logging.WARNING, force=True
    )
    for name in OWN:
        logging.getLogger(name).setLevel(logging.DEBUG if conf.debug else logging.INFO)
    logging.captureWarnings(True)


def _time(record: logging.LogRecord) -> str:
    moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
