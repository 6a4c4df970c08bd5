"""How a host has an image from the API: by a step's ticket, at a path that the checksum ends."""

HEADER = "X-Paddock-Ticket"
PATH = "/agent/images"
