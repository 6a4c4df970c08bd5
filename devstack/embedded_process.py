"""The one process of an embedded cloud: ``python -m devstack.embedded_process DIRECTORY``."""

from __future__ import annotations

import faulthandler
import json
import sys
from pathlib import Path

from devstack.place import Place
from paddock import runtime


def main() -> int:
    """Run the cloud that ``embedded.json`` in the stack's directory describes, until SIGTERM."""
    faulthandler.enable()  # the hypervisor's library runs in this process
    runtime.choose()
    from devstack.cloud_in_process import CloudInProcess, Layout
    from paddock import logs
    from paddock.service import run_until_signal

    place = Place(Path(sys.argv[1]))
    document = json.loads((place.directory / "embedded.json").read_text())
    layout = Layout(
        place=place,
        hosts=document["hosts"],
        port=document["port"],
        agents=document["agents"],
    )
    cloud = CloudInProcess(layout)
    logs.set_up(cloud.api_options(), "cloud")
    return run_until_signal(cloud.service)


if __name__ == "__main__":
    sys.exit(main())
