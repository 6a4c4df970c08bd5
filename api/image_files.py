"""Images for hosts: the files themselves, for whoever works on a step that needs them."""

from __future__ import annotations

from pathlib import Path

from api.call import Call
from api.operations import Frame, Resource, operation
from paddock.clients import CatalogClient
from paddock.context import RequestContext
from paddock.errors import NotFound


class ImageFile(Resource):
    """``/agent/images/{checksum}``: no token, but a step's ticket opens it.

    :param store: the directory of the images; only files below it are ever read
    """

    public = frozenset({"GET"})

    def __init__(self, frame: Frame, catalog: CatalogClient, store: Path) -> None:
        super().__init__(frame)
        self._catalog = catalog
        self._store = store

    @operation(
        "image-file", "Download an image, as a host that works on a step that needs it", binary=True
    )
    def on_get(self, call: Call, checksum: str) -> None:
        """The file, from its beginning to its end."""
        ctxt = RequestContext(request_id=call.request_id)
        image = self._catalog.open_image(ctxt, call.ticket, checksum)
        store = self._store.resolve()
        path = (store / image.file).resolve()
        if not path.is_relative_to(store) or not path.is_file():
            raise NotFound("The image's file is not in this API's store.")
        call.file = path
