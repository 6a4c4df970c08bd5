"""Several API processes behind one entrance: one that dies is replaced, the others serve on."""

from __future__ import annotations

import threading
from collections.abc import Callable

from oslo_config import cfg
from oslo_service.service import ProcessLauncher, ServiceBase

from paddock.service import EXIT_SECONDS, STOP_SECONDS, Service


class Worker(ServiceBase):  # type: ignore[misc]
    """One of the processes; its parts are made in it, since threads do not outlive a fork."""

    def __init__(self, build: Callable[[], Service]) -> None:
        self._build = build
        self._stopped = threading.Event()
        self._service: Service | None = None

    def start(self) -> None:
        """Build the parts and start them."""
        self._service = self._build()
        self._service.start()

    def wait(self) -> None:
        """Until it was stopped."""
        self._stopped.wait()

    def stop(self) -> None:
        """End open requests, then the parts."""
        if self._service is not None:
            self._service.stop()
        self._stopped.set()

    def reset(self) -> None:
        """Nothing: at SIGHUP a worker ends in order and another takes its place."""


def run_workers(conf: cfg.ConfigOpts, build: Callable[[], Service], count: int) -> int:
    """Run so many processes until SIGTERM; SIGHUP replaces them, with the settings read anew.

    :returns: exit status
    """
    launcher = ProcessLauncher(conf, restart_method="reload")
    conf.set_override("graceful_shutdown_timeout", int(STOP_SECONDS + EXIT_SECONDS))
    conf.set_override("log_options", False)
    launcher.launch_service(Worker(build), workers=count)
    return int(launcher.wait() or 0)
