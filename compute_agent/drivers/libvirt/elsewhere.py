"""A domain's XML as it is on the host to which its guest goes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import tostring

from defusedxml.ElementTree import fromstring

from compute_agent.drivers.libvirt.xml import PADDOCK, Marks, read_marks, with_marks
from paddock.errors import HypervisorError


@dataclass(frozen=True)
class Files:
    """Where a guest's files lie here and on the host to which it goes: at the same places below the
    directories of the two hosts, but for the disk's generation.

    :ivar here, there: those directories
    :ivar disk_generation: of the disk there
    """

    here: Path
    there: Path
    instance_id: str
    disk_generation: int

    def moved(self, path: str) -> str:
        """The place there of a file here; one that is not the guest's stays as it is."""
        try:
            below = Path(path).relative_to(self.here)
        except ValueError:
            return path
        if below.name.startswith(f"{self.instance_id}.g") and below.suffix == ".raw":
            below = below.with_name(f"{self.instance_id}.g{self.disk_generation}.raw")
        return str(self.there / below)


def elsewhere(domain: str, marks: Marks, files: Files) -> str:
    """The domain's XML on another host, still under its name here."""
    tree = fromstring(with_marks(domain, marks))
    for tag in ("./os/kernel", "./os/initrd"):
        for element in tree.iterfind(tag):
            element.text = files.moved(element.text or "")
    for tag in ("./devices/disk/source", "./devices/serial/log", "./devices/console/log"):
        for element in tree.iterfind(tag):
            if element.get("file"):
                element.set("file", files.moved(element.get("file", "")))
    return tostring(tree, encoding="unicode")


def marks_of(domain: str) -> Marks:
    """The marks in a domain's XML; HypervisorError when it has none."""
    element = fromstring(domain).find(f"./metadata/{{{PADDOCK}}}instance")
    if element is None:
        raise HypervisorError("The domain has no marks of ours.")
    return read_marks(tostring(element, encoding="unicode"))


def targets_of(domain: str) -> list[str]:
    """The names that a domain's disks have in it."""
    found = fromstring(domain).iterfind("./devices/disk/target")
    return [target.get("dev", "") for target in found]
