"""Logs: one line per record, with the same fields in every process.

A record says what it is about with ``extra={"request_id": …, "action_id": …, "instance_id": …,
"host": …}``; these fields stand at the line's end as ``name=value``.
"""

from __future__ import annotations

import logging
import sys
import time

from oslo_config import cfg

FIELDS = ("request_id", "global_request_id", "project_id", "action_id", "step_id", "instance_id",
          "host")  # fmt: skip
NOISY = ("oslo", "oslo_messaging", "amqp", "kombu", "waitress.queue")


class Formatter(logging.Formatter):
    """``2026-01-31T12:00:00.000Z INFO api paddock.service: text request_id=…``.

    :param role: the process's role
    """

    converter = staticmethod(time.gmtime)
    default_msec_format = "%s.%03dZ"
    default_time_format = "%Y-%m-%dT%H:%M:%S"

    def __init__(self, role: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)s {role} %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The record's line; line feeds in the text cannot forge another one."""
        line = super().formatMessage(record).replace("\n", "\\n").replace("\r", "\\r")
        known = ((name, getattr(record, name, None)) for name in FIELDS)
        return line + "".join(f" {name}={value}" for name, value in known if value)


def set_up(conf: cfg.ConfigOpts, role: str) -> None:
    """Send the process's log to ``log_file`` or standard error.

    :param role: ``api``, ``conductor``, ``compute``
    """
    handler: logging.Handler = (
        logging.FileHandler(conf.log_file) if conf.log_file else logging.StreamHandler(sys.stderr)
    )
    handler.setFormatter(Formatter(role))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if conf.debug else logging.INFO)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
