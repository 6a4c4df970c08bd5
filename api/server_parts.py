"""Parts of a server that clients ask for by themselves: metadata, tags, addresses, groups."""

from __future__ import annotations

from typing import Any

from api.call import Call, Document
from api.operations import Frame, Resource, operation
from api.schemas import servers as schemas
from api.server_view import addresses
from paddock.clients import LedgerClient
from paddock.errors import BadRequest, NotFound


class ServerPart(Resource):
    """What these resources share."""

    def __init__(self, frame: Frame, ledger: LedgerClient) -> None:
        super().__init__(frame)
        self._ledger = ledger

    def _metadata(self, call: Call, server_id: str) -> dict[str, str]:
        return self._ledger.get_instance(call.ctxt, server_id).metadata

    def _edit(self, call: Call, server_id: str, **change: Any) -> dict[str, str]:
        return self._ledger.update_instance(call.ctxt, server_id, change).metadata


class Metadata(ServerPart):
    """``/servers/{server_id}/metadata``."""

    @operation("server-metadata-list", "List a server's metadata")
    def on_get(self, call: Call, server_id: str) -> Document:
        """Names and values."""
        return {"metadata": self._metadata(call, server_id)}

    @operation("server-metadata-add", "Add to a server's metadata", body=schemas.METADATA)
    def on_post(self, call: Call, server_id: str) -> Document:
        """All of it after the change."""
        added = call.body["metadata"]
        return {"metadata": self._edit(call, server_id, set_metadata=added)}

    @operation("server-metadata", "Replace a server's metadata", body=schemas.METADATA)
    def on_put(self, call: Call, server_id: str) -> Document:
        """All of it after the change."""
        return {"metadata": self._edit(call, server_id, metadata=call.body["metadata"])}


class MetadataItem(ServerPart):
    """``/servers/{server_id}/metadata/{key}``."""

    @operation("server-metadata-item-show", "Show one name of a server's metadata")
    def on_get(self, call: Call, server_id: str, key: str) -> Document:
        """The name and its value."""
        metadata = self._metadata(call, server_id)
        if key not in metadata:
            raise NotFound(f"The server's metadata has no {key[:60]!a}.")
        return {"meta": {key: metadata[key]}}

    @operation("server-metadata-item", "Set one name of a server's metadata",
               body=schemas.METADATA_ITEM)  # fmt: skip
    def on_put(self, call: Call, server_id: str, key: str) -> Document:
        """The name and its value."""
        if key not in call.body["meta"]:
            raise BadRequest("meta must hold the name that the path ends with.")
        edited = self._edit(call, server_id, set_metadata=call.body["meta"])
        return {"meta": {key: edited[key]}}

    @operation("server-metadata-item-delete", "Remove one name of a server's metadata", status=204)
    def on_delete(self, call: Call, server_id: str, key: str) -> None:
        """It is gone."""
        self._edit(call, server_id, unset_metadata=key)


class Tags(ServerPart):
    """``/servers/{server_id}/tags``."""

    @operation("server-tags", "List a server's tags")
    def on_get(self, call: Call, server_id: str) -> Document:
        """None: this cloud has no tags."""
        self._ledger.get_instance(call.ctxt, server_id)
        return {"tags": []}


class Addresses(ServerPart):
    """``/servers/{server_id}/ips``."""

    @operation("server-addresses", "List a server's addresses")
    def on_get(self, call: Call, server_id: str) -> Document:
        """By network."""
        found = addresses(self._ledger.get_instance(call.ctxt, server_id))
        return {"addresses": {name: _plain(rows) for name, rows in found.items()}}


class NetworkAddresses(ServerPart):
    """``/servers/{server_id}/ips/{network}``."""

    @operation("server-network-addresses", "List a server's addresses on one network")
    def on_get(self, call: Call, server_id: str, network: str) -> Document:
        """Of the network with that name."""
        found = addresses(self._ledger.get_instance(call.ctxt, server_id))
        if network not in found:
            raise NotFound(f"The server is not on the network {network[:60]!a}.")
        return {network: _plain(found[network])}


class Interfaces(ServerPart):
    """``/servers/{server_id}/os-interface``."""

    @operation("server-interfaces", "List a server's ports")
    def on_get(self, call: Call, server_id: str) -> Document:
        """Ports with their addresses."""
        record = self._ledger.get_instance(call.ctxt, server_id)
        rows = [
            {
                "port_id": port.id,
                "net_id": port.network_id,
                "mac_addr": port.mac,
                "port_state": "ACTIVE",
                "fixed_ips": [{"ip_address": port.address, "subnet_id": port.network_id}],
            }
            for port in record.ports
        ]
        return {"interfaceAttachments": rows}


class Volumes(ServerPart):
    """``/servers/{server_id}/os-volume_attachments``."""

    @operation("server-volumes", "List a server's volumes")
    def on_get(self, call: Call, server_id: str) -> Document:
        """None: this cloud has no volumes."""
        self._ledger.get_instance(call.ctxt, server_id)
        return {"volumeAttachments": []}


class SecurityGroups(ServerPart):
    """``/servers/{server_id}/os-security-groups``."""

    @operation("server-security-groups", "List a server's security groups")
    def on_get(self, call: Call, server_id: str) -> Document:
        """The one that every server is in, which filters nothing."""
        record = self._ledger.get_instance(call.ctxt, server_id)
        group = {
            "id": record.project_id,
            "name": "default",
            "description": "Default",
            "tenant_id": record.project_id,
            "rules": [],
        }
        return {"security_groups": [group]}


def _plain(rows: list[Document]) -> list[Document]:
    return [{"addr": row["addr"], "version": row["version"]} for row in rows]
