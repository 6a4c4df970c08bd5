"""Version documents: what is served where; cheap, and for everybody."""

from __future__ import annotations

from api.call import Call, Document
from api.microversions import MAXIMUM, MINIMUM, show
from api.operations import EVERYBODY, Frame, Resource, operation

PATHS = {"v2.0": "v2", "v2.1": "v2.1"}
UPDATED = "2013-07-23T11:33:21Z"


def _link(href: str, rel: str = "self") -> Document:
    return {"rel": rel, "href": href}


def _compute(root: str, identifier: str) -> Document:
    newest = identifier == "v2.1"
    return {
        "id": identifier,
        "status": "CURRENT" if newest else "SUPPORTED",
        "version": show(MAXIMUM) if newest else "",
        "min_version": show(MINIMUM) if newest else "",
        "updated": UPDATED if newest else "2011-01-21T11:33:21Z",
        "links": [_link(f"{root}/compute/{PATHS[identifier]}/")],
    }


def _with_media(document: Document, kind: str) -> Document:
    return document | {"media-types": [{"base": "application/json", "type": kind}]}


class ComputeVersions(Resource):
    """``/`` and ``/compute``: the versions of the compute API."""

    public = EVERYBODY

    @operation("compute-versions", "List the versions of the compute API")
    def on_get(self, call: Call) -> Document:
        """Both versions, the older first."""
        return {"versions": [_compute(call.root, name) for name in ("v2.0", "v2.1")]}


class ComputeVersion(Resource):
    """``/compute/v2.1``, ``/v2.1``, ``/v2``: one version of the compute API."""

    public = EVERYBODY

    def __init__(self, frame: Frame, identifier: str) -> None:
        super().__init__(frame)
        self._identifier = identifier

    @operation("compute-version", "Show one version of the compute API")
    def on_get(self, call: Call) -> Document:
        """The version, linked under the path that was asked."""
        document = _compute(call.root, self._identifier) | {"links": [_link(f"{call.base}/")]}
        kind = f"application/vnd.openstack.compute+json;version={self._identifier[1:]}"
        return {"version": _with_media(document, kind)}


def _identity(root: str) -> Document:
    document = {
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [_link(f"{root}/identity/v3/")],
    }
    return _with_media(document, "application/vnd.openstack.identity-v3+json")


class IdentityVersions(Resource):
    """``/identity``: the versions of the identity API."""

    public = EVERYBODY

    @operation("identity-versions", "List the versions of the identity API", status=300)
    def on_get(self, call: Call) -> Document:
        """The one version."""
        return {"versions": {"values": [_identity(call.root)]}}


class IdentityVersion(Resource):
    """``/identity/v3``."""

    public = EVERYBODY

    @operation("identity-version", "Show the identity API's version 3")
    def on_get(self, call: Call) -> Document:
        """The version."""
        return {"version": _identity(call.root)}


def _image(root: str) -> Document:
    """What is served of it is reading."""
    return {"id": "v2.9", "status": "CURRENT", "links": [_link(f"{root}/image/v2/")]}


class ImageVersions(Resource):
    """``/image``: the versions of the image API."""

    public = EVERYBODY

    @operation("image-versions", "List the versions of the image API", status=300)
    def on_get(self, call: Call) -> Document:
        """The one version."""
        return {"versions": [_image(call.root)]}


class ImageVersion(Resource):
    """``/image/versions``, and ``/image/v2``, to which the versions link."""

    public = EVERYBODY

    @operation("image-version", "Show the image API's version 2")
    def on_get(self, call: Call) -> Document:
        """The same list, which is this API's only form."""
        return {"versions": [_image(call.root)]}
