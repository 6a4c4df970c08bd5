"""The application: resources with their collaborators, under their routes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import falcon

from api import (
    aggregates,
    differences,
    drains,
    faults,
    flavors,
    health,
    hypervisors,
    identity,
    image_files,
    images,
    os_hosts,
    os_services,
    server_parts,
    versions,
    zones,
)
from api.call import Call
from api.client_address import ClientAddresses
from api.instance_actions import InstanceAction, InstanceActions
from api.middleware import Entrance
from api.openapi import OpenApi
from api.operations import Frame, Resource
from api.paths import COMPUTE
from api.questions import Questions
from api.server_actions import ServerActions
from api.servers import Server, Servers, ServersDetail
from api.services import Service, ServiceAction, Services
from api.tokens import Tokens
from api.validation import Validation
from api.wishes import Wishes
from paddock import tickets
from paddock.clients import AgentClients, CatalogClient, LedgerClient
from paddock.errors import PaddockError


class Request(falcon.Request):
    """Falcon's request with our call as its context."""

    context_type = Call


App = falcon.App[Request, falcon.Response]
Routes = dict[str, Resource]


@dataclass(frozen=True)
class Collaborators:
    """What the application stands on.

    :ivar wishes: the ledger's client for what is asked again when no answer came; each call has its
        share of the time
    :ivar secret: gives the key that signs tokens
    :ivar clients: knows which proxies to believe
    :ivar public_url: scheme, host and port that clients see; None: from the Host header
    :ivar longest: bytes of a request's body
    :ivar largest: rows of a page
    :ivar release: Paddock's
    :ivar image_store: directory of the images
    :ivar patience: seconds to wait for a host's answer to a question
    """

    ledger: LedgerClient
    wishes: LedgerClient
    catalog: CatalogClient
    agents: AgentClients
    tokens: Tokens
    secret: Callable[[], bytes]
    clients: ClientAddresses = field(default_factory=ClientAddresses)
    region: str = "paddock"
    public_url: str | None = None
    longest: int = 114688
    largest: int = 1000
    patience: float = 5.0
    release: str = "0"
    image_store: Path = Path()


def create_app(with_: Collaborators) -> App:
    """The WSGI application."""
    entrance = Entrance(with_.tokens, with_.clients, with_.public_url)
    app = falcon.App(middleware=[entrance], request_type=Request)
    app.req_options.auto_parse_form_urlencoded = False
    app.add_error_handler(Exception, faults.on_unexpected)
    app.add_error_handler(falcon.HTTPError, faults.on_http_error)
    app.add_error_handler(PaddockError, faults.on_paddock_error)
    for path, resource in build_routes(with_).items():
        app.add_route(path, resource)
    return app


def build_routes(with_: Collaborators) -> Routes:
    """Every path and its resource."""
    table = differences.build()
    frame = Frame(table, Validation(table), with_.longest)
    compute = {
        **_servers(with_, frame),
        **_server_parts(with_.ledger, frame),
        **_services(with_.catalog, frame),
        **_drains(with_, frame),
        **_flavors(with_, frame),
        **_hosts(with_, frame),
    }
    routes: Routes = {
        **_versions(frame),
        **_identity(with_, frame),
        "/healthz": health.Alive(frame),
        "/readyz": health.Ready(frame, with_.catalog),
        **{COMPUTE + path: resource for path, resource in compute.items()},
        "/image/v2/images": images.Images(frame, with_.catalog, with_.largest),
        "/image/v2/images/{image_id}": images.Image(frame, with_.catalog),
        f"{tickets.PATH}/{{checksum}}": image_files.ImageFile(
            frame, with_.catalog, with_.image_store
        ),
    }
    return {**routes, "/openapi.json": OpenApi(frame, routes, with_.release)}


def _versions(frame: Frame) -> Routes:
    return {
        "/compute": versions.ComputeVersions(frame),
        "/compute/v2": versions.ComputeVersion(frame, "v2.0"),
        "/compute/v2.1": versions.ComputeVersion(frame, "v2.1"),
        "/identity": versions.IdentityVersions(frame),
        "/identity/v3": versions.IdentityVersion(frame),
        "/image": versions.ImageVersions(frame),
        "/image/versions": versions.ImageVersion(frame),
        "/image/v2": versions.ImageVersion(frame),
    }


def _identity(with_: Collaborators, frame: Frame) -> Routes:
    sign_in = identity.SignIn(with_.catalog, with_.tokens, with_.region)
    return {
        "/identity/v3/auth/tokens": identity.AuthTokens(frame, sign_in),
        "/identity/v3/auth/catalog": identity.AuthCatalog(frame, sign_in),
        "/identity/v3/auth/projects": identity.AuthProjects(frame, sign_in),
    }


def _servers(with_: Collaborators, frame: Frame) -> Routes:
    ledger, largest = with_.ledger, with_.largest
    wishes = Wishes(with_.wishes, with_.agents)
    questions = Questions(ledger, with_.agents, with_.patience)
    one = "/servers/{server_id}"
    return {
        "/servers": Servers(frame, ledger, wishes, largest, with_.secret),
        "/servers/detail": ServersDetail(frame, ledger, wishes, largest),
        one: Server(frame, ledger, wishes, largest),
        f"{one}/action": ServerActions(frame, wishes, questions),
        f"{one}/os-instance-actions": InstanceActions(frame, ledger, largest),
        f"{one}/os-instance-actions/{{request_id}}": InstanceAction(frame, ledger),
    }


def _server_parts(ledger: LedgerClient, frame: Frame) -> Routes:
    one = "/servers/{server_id}"
    return {
        f"{one}/metadata": server_parts.Metadata(frame, ledger),
        f"{one}/metadata/{{key}}": server_parts.MetadataItem(frame, ledger),
        f"{one}/tags": server_parts.Tags(frame, ledger),
        f"{one}/ips": server_parts.Addresses(frame, ledger),
        f"{one}/ips/{{network}}": server_parts.NetworkAddresses(frame, ledger),
        f"{one}/os-interface": server_parts.Interfaces(frame, ledger),
        f"{one}/os-volume_attachments": server_parts.Volumes(frame, ledger),
        f"{one}/os-security-groups": server_parts.SecurityGroups(frame, ledger),
    }


def _services(catalog: CatalogClient, frame: Frame) -> Routes:
    return {
        "/services": Services(frame, catalog),
        "/services/{service_id}": Service(frame, catalog),
        "/services/{service_id}/action": ServiceAction(frame, catalog),
        "/services/{service_id}/actions": ServiceAction(frame, catalog),
        "/os-services": os_services.OsServices(frame, catalog),
        "/os-services/enable": os_services.Enable(frame, catalog),
        "/os-services/disable": os_services.Disable(frame, catalog),
        "/os-services/disable-log-reason": os_services.DisableWithReason(frame, catalog),
        "/os-services/force-down": os_services.ForceDown(frame, catalog),
        "/os-services/{service_id}": os_services.OsService(frame, catalog),
    }


def _drains(with_: Collaborators, frame: Frame) -> Routes:
    shared = (frame, with_.catalog, with_.largest)
    return {
        "/drains": drains.Drains(*shared),
        "/drains/{drain_id}": drains.Drain(*shared),
        "/drains/{drain_id}/action": drains.DrainAction(*shared),
        "/os-hosts/{host}": os_hosts.OsHost(frame, with_.catalog),
    }


def _flavors(with_: Collaborators, frame: Frame) -> Routes:
    shared = (frame, with_.catalog, with_.largest)
    one = "/flavors/{flavor_id}"
    return {
        "/flavors": flavors.Flavors(*shared),
        "/flavors/detail": flavors.FlavorsDetail(*shared),
        one: flavors.Flavor(*shared),
        f"{one}/os-extra_specs": flavors.ExtraSpecs(*shared),
        f"{one}/os-extra_specs/{{key}}": flavors.ExtraSpec(*shared),
    }


def _hosts(with_: Collaborators, frame: Frame) -> Routes:
    catalog = with_.catalog
    shared = (frame, catalog, with_.ledger, with_.largest)
    return {
        "/os-availability-zone": zones.Zones(frame, catalog),
        "/os-availability-zone/detail": zones.ZonesDetail(frame, catalog),
        "/os-aggregates": aggregates.Aggregates(frame, catalog),
        "/os-aggregates/{aggregate_id}": aggregates.Aggregate(frame, catalog),
        "/os-aggregates/{aggregate_id}/action": aggregates.AggregateAction(frame, catalog),
        "/os-hypervisors": hypervisors.Hypervisors(*shared),
        "/os-hypervisors/detail": hypervisors.HypervisorsDetail(*shared),
        "/os-hypervisors/statistics": hypervisors.HypervisorStatistics(*shared),
        "/os-hypervisors/{hypervisor_id}": hypervisors.Hypervisor(*shared),
        "/os-hypervisors/{hypervisor_id}/uptime": hypervisors.HypervisorUptime(*shared),
    }
