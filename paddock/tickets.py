"""How a host has what a step needs by the step's ticket: an image from the API, at a path that its
checksum ends, and a disk from the agent of the host where it lies."""

HEADER = "X-Paddock-Ticket"
PATH = "/agent/images"
DISK_PATH = "/agent/disk"
