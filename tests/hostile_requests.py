"""Random requests made from ``/openapi.json``, chained by links: create, show, change, delete."""

from __future__ import annotations

import contextlib
import logging
import random
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as seeded
from hypothesis.errors import Flaky, FlakyStrategyDefinition, StopTest
from schemathesis.checks import CHECKS
from schemathesis.core.failures import FailureGroup

from tests.fixtures.cloud import LATEST, Client, Cloud

STEPS = 50
SCENARIOS = 2
"""In one run of the machine; its first scenario is the simplest there is."""
NEWEST = 0.9
"""Share of requests that ask for the newest microversion; the rest send what was drawn."""
CHECKED = (
    "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance",
)  # fmt: skip
COMPUTE = "/compute/v2.1"
HUB = ("GET", f"{COMPUTE}/flavors/detail", "200", "/flavors/0/id")
"""From here lead the links to operations that need no id, too."""
SOURCES = {
    "server_id": (
        ("POST", f"{COMPUTE}/servers", "202", "/server/id"),
        ("GET", f"{COMPUTE}/servers", "200", "/servers/0/id"),
        ("GET", f"{COMPUTE}/servers/detail", "200", "/servers/0/id"),
    ),
    "flavor_id": (("POST", f"{COMPUTE}/flavors", "200", "/flavor/id"), HUB),
    "aggregate_id": (("POST", f"{COMPUTE}/os-aggregates", "200", "/aggregate/id"),),
    "service_id": (("GET", f"{COMPUTE}/services", "200", "/services/1/id"),),
    "hypervisor_id": (("GET", f"{COMPUTE}/os-hypervisors", "200", "/hypervisors/0/id"),),
    "image_id": (("GET", "/image/v2/images", "200", "/images/0/id"),),
}
"""Where ids are answered: method, path, status and place in the body."""
WORD = "^[A-Za-z0-9]{1,12}$"
Document = dict[str, Any]


def with_links(document: Document) -> Document:
    """The document with links from where ids are answered to the operations that need them, and
    without the tokens, which would be drawn otherwise."""
    del document["components"]["securitySchemes"]
    for path, item in document["paths"].items():
        names = [name for name in re.findall(r"{(\w+)}", path) if name in SOURCES]
        for method in item.keys() - {"parameters"}:
            del item[method]["security"]
            more = SOURCES["server_id"] if path.startswith(f"{COMPUTE}/servers") else ()
            for source in SOURCES[names[0]] if names else (HUB, *more):
                _link(document, source, item[method]["operationId"], names)
    return document


def _link(document: Document, source: Any, target: str, names: list[str]) -> None:
    method, path, status, place = source
    answers = document["paths"][path][method.lower()]["responses"]
    answers[status].setdefault("links", {})[target] = {
        "operationId": target,
        "parameters": {f"path.{name}": f"$response.body#{place}" for name in names},
    }


def narrowed(document: Document, image: str, flavors: list[str]) -> Document:
    """The document with such values that much of what is drawn is accepted."""
    for schema in _schemas(document):
        if "maxLength" in schema and "maximum" not in schema:
            schema["pattern"] = WORD
        if schema.get("type") == ["integer", "string"]:
            schema |= {"type": "integer", "minimum": 1, "maximum": 8}
    body = document["paths"][f"{COMPUTE}/servers"]["post"]["requestBody"]
    server = body["content"]["application/json"]["schema"]["properties"]["server"]
    server["required"].append("imageRef")
    fields = server["properties"]
    fields["imageRef"] = {"enum": [image]}
    fields["flavorRef"] = {"enum": [*flavors, "nothing"]}
    fields["availability_zone"] = {"enum": ["az1", "az2", None, "az3"]}
    fields["max_count"] = fields["min_count"] = {"enum": [1, "2", 3]}
    for name in ("host", "hypervisor_hostname", "block_device_mapping_v2"):
        del fields[name]
    return document


def _schemas(node: Any) -> Iterator[Document]:
    if isinstance(node, dict):
        yield node
    for inner in node.values() if isinstance(node, dict) else node:
        if isinstance(inner, dict | list):
            yield from _schemas(inner)


class Tracebacks(logging.Handler):
    """Collects what is logged with a traceback."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record if it has one."""
        if record.exc_info and record.exc_info[0]:
            text = logging.Formatter().format(record)
            self.found.append(f"logged by {record.name}: {text}")


class Hostile:
    """Sends random requests in the name of each user in turn.

    :ivar findings: what is wrong with answers
    :ivar busy: answers that say that something does not answer in time now
    :param clients: who asks; one of them is ``admin``
    :param image: that servers are made from
    """

    def __init__(self, cloud: Cloud, clients: dict[str, Client], image: str, seed: int) -> None:
        self.answers: Counter[str] = Counter()
        self.findings: list[str] = []
        self.busy: list[str] = []
        self.source = random.Random(seed)
        self._clients = clients
        self._admin = clients["admin"]
        self._cloud = cloud
        self._flavors = [row["id"] for row in self._admin.get("flavors").json["flavors"]]
        self._image = image

    def send(self, wanted: int) -> None:
        """Send so many requests at least; what is wrong with answers is in ``findings`` then."""
        tracebacks = Tracebacks()
        logging.getLogger().addHandler(tracebacks)
        machines = [self._machine(narrow) for narrow in (True, False)]
        try:
            while self.answers.total() < wanted:
                machine = self.source.choice(machines)
                for client in self._clients.values():
                    machine.client = client
                    self._play(machine)
                self._tidy()
        finally:
            logging.getLogger().removeHandler(tracebacks)
        self.findings += tracebacks.found

    def check(self, response: Any, case: Any) -> None:
        """Note an answer, and what is wrong with it."""
        self.answers[f"{case.operation.label} {response.status_code}"] += 1
        if response.status_code == 503 and "Too many others" not in response.text:
            self.busy.append(response.text)
        elif response.status_code >= 500 or "Traceback" in response.text:
            self.findings.append(f"{case.as_curl_command()}\n{response.text}")
        try:
            case.validate_response(response, checks=CHECKS.get_by_names(CHECKED))
        except FailureGroup as found:
            self.findings.append(f"{case.as_curl_command()}\n{found}")

    def _play(self, machine: Any) -> None:
        chosen = settings(
            max_examples=SCENARIOS, stateful_step_count=STEPS, deadline=None, database=None,
            phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        seeded(self.source.getrandbits(64))(machine)
        with contextlib.suppress(Flaky, FlakyStrategyDefinition, StopTest):  # the cloud has a state
            machine.run(settings=chosen)

    def _machine(self, narrow: bool) -> Any:
        document = with_links(self._admin.get("/openapi.json").json)
        if narrow:
            document = narrowed(document, self._image, self._flavors)
        schema = schemathesis.openapi.from_dict(document)
        schema.app = self._cloud.parts.api.app
        run = self

        class Machine(schema.as_state_machine()):  # type: ignore[misc]
            """One after the other, each perhaps with what an earlier one answered."""

            client: Client

            def before_call(self, case: Any) -> None:
                case.headers["X-Auth-Token"] = self.client.token
                if run.source.random() < NEWEST:
                    case.headers["OpenStack-API-Version"] = LATEST

            def validate_response(self, response: Any, case: Any, **_: Any) -> None:
                run.check(response, case)

        Machine.__module__ = ""  # else Hypothesis parses its source anew for each run
        return Machine

    def _tidy(self) -> None:
        """Let hosts take machines, and nothing that was made be in the way."""
        admin = self._admin
        for row in admin.get("os-services").json["services"]:
            if row["binary"] == "nova-compute":
                path = f"os-services/{row['id']}"
                admin.put(path, {"status": "enabled", "forced_down": False})
                admin.post(f"services/{row['id']}/action", {"RESUME": None})
        wanted = {"name": "one", "imageRef": self._image, "flavorRef": self._flavors[0]}
        for row in admin.get("servers?all_tenants=1").json["servers"]:
            admin.delete(f"servers/{row['id']}")
        self._clients["member"].post("servers", {"server": wanted})
        for row in admin.get("os-aggregates").json["aggregates"]:
            for host in row["hosts"]:
                admin.post(f"os-aggregates/{row['id']}/action", {"remove_host": {"host": host}})
            admin.delete(f"os-aggregates/{row['id']}")
        for row in admin.get("flavors?is_public=None").json["flavors"]:
            if row["id"] not in self._flavors:
                admin.delete(f"flavors/{row['id']}")
