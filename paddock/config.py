"""Every option of every process, and how a process reads them."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from oslo_config import cfg, types

DEFAULT = [
    cfg.HostnameOpt("host", default=socket.gethostname(), sample_default="(the machine's name)",
                    help="This host's name in the cloud."),
    cfg.StrOpt("state_path", default="/var/lib/paddock",
               help="Where a process keeps what must outlive it."),
    cfg.StrOpt("transport_url", default="rabbit://guest@127.0.0.1:5672/", secret=True,
               help="The message broker: rabbit://user:password@host:port/, or paddock://name/ for "
                    "the bus inside one process."),
    cfg.FloatOpt("call_timeout", default=5.0, min=0.1,
                 help="Seconds that a remote call may take as a whole."),
    cfg.ListOpt("certificates", default=[],
                help="Files with certificates that this machine uses, beside those that other "
                     "options name (broker, database, their CA): 'service list' shows, "
                     "and 'check' warns, when the first of them ends."),
    cfg.BoolOpt("debug", default=False, help="Log at level DEBUG."),
    cfg.StrOpt("log_file", help="Write the log to this file instead of standard error."),
    cfg.BoolOpt("log_json", default=False, help="Write each line of the log as a JSON object."),
]  # fmt: skip

API = [
    cfg.StrOpt("listen", default="127.0.0.1", help="Address to listen on."),
    cfg.PortOpt("port", default=8774, help="Port to listen on."),
    cfg.IntOpt("workers", default=1, min=1,
               help="Processes that serve; of several, one that dies is replaced at once."),
    cfg.IntOpt("threads", default=16, min=1, help="Requests served at once by each process."),
    cfg.ListOpt("trusted_proxies", default=[],
                help="Addresses and networks of proxies whose X-Forwarded-For is believed; "
                     "nobody's is otherwise."),
    cfg.StrOpt("public_url", help="Scheme, host and port that clients see, for links and catalog; "
                                  "by default taken from the request's Host header."),
    cfg.StrOpt("tls_certificate",
               help="File with the certificate, and with those between it and its CA, in PEM form: "
                    "with it the API speaks HTTPS. Read when a process begins to serve."),
    cfg.StrOpt("tls_key", help="File (mode 0600) with the certificate's key."),
    cfg.StrOpt("image_store", default="/var/lib/paddock/images",
               help="Directory of the images, for hosts that have them from here."),
    cfg.IntOpt("max_body", default=114688, min=1024, help="Largest request body, in bytes."),
    cfg.IntOpt("max_limit", default=1000, min=1, help="Largest page of a list."),
    cfg.FloatOpt("query_timeout", default=5.0, min=0.1,
                 help="Seconds to wait for a host's answer to a question (console output)."),
    cfg.StrOpt("supervisor", choices=[("none", "no process supervisor is reachable")],
               default="none", help="What could START and STOP services."),
]  # fmt: skip

IDENTITY = [
    cfg.StrOpt("key_file", default="/etc/paddock/token.key",
               help="File (mode 0600) with the keys of tokens, one a line: the first signs, all "
                    "verify. All API processes share it; changes count at once."),
    cfg.IntOpt("token_lifetime", default=3600, min=60, help="Seconds that a token is valid."),
    cfg.StrOpt("region", default="paddock", help="The region's name in the catalog."),
]  # fmt: skip

DATABASE = [
    cfg.StrOpt("connection", default="sqlite:////var/lib/paddock/paddock.db", secret=True,
               help="SQLAlchemy URL: sqlite, postgresql+psycopg or mysql+pymysql."),
    cfg.IntOpt("pool_size", default=16, min=1, help="Connections kept open."),
    cfg.FloatOpt("timeout", default=4.0, min=0.1,
                 help="Seconds to wait for a connection, a lock or a statement."),
]  # fmt: skip

CONDUCTOR = [
    cfg.IntOpt("threads", default=16, min=1, help="Calls worked on at once by this process."),
    cfg.FloatOpt("reaper_interval", default=1.0, min=0.05, help="Seconds between reaper rounds."),
    cfg.FloatOpt("heartbeat_interval", default=3.0, min=0.05,
                 help="Seconds between an agent's heartbeats; agents use their own setting."),
    cfg.FloatOpt("dead_after", default=10.0, min=0.1,
                 help="Seconds of silence after which a host is judged dead."),
    cfg.FloatOpt("mass_silence", default=0.3, min=0, max=1,
                 help="When more than this share of the live hosts, and at least two, fall silent "
                      "within one dead time, none is judged."),
    cfg.IntOpt("max_attempts", default=3, min=1, help="How often a step is issued at most."),
    cfg.FloatOpt("hint_again", default=2.0, min=0.1,
                 help="Seconds after which the reaper hints an accepted step again."),
    cfg.FloatOpt("ping_interval", default=10.0, min=0.1,
                 help="Seconds between the end-to-end probes of each agent."),
    cfg.Opt("deadlines", type=types.Dict(types.Float(min=0.1)), default={},
            help="Seconds for a verb's steps, by verb, where other than in the table of actions."),
    cfg.FloatOpt("deadline_limit", default=3600, min=1,
                 help="Seconds to which progress can move a step's deadline at most."),
    cfg.FloatOpt("cpu_ratio", default=4.0, min=0.1, help="Virtual processors per real one."),
    cfg.FloatOpt("memory_ratio", default=1.0, min=0.1, help="Guest memory per real memory."),
    cfg.FloatOpt("disk_ratio", default=1.0, min=0.1, help="Guest disk per real disk."),
    cfg.IntOpt("quota_instances", default=100, min=-1, help="Instances per project; -1: no limit."),
    cfg.IntOpt("quota_cores", default=200, min=-1, help="vCPUs per project; -1: no limit."),
    cfg.IntOpt("quota_memory_mb", default=512000, min=-1, help="MiB per project; -1: no limit."),
    cfg.IntOpt("log_in_failures", default=10, min=1,
               help="Failed log-ins of a user from an address after which the next has to wait."),
    cfg.IntOpt("log_in_spread", default=20, min=1,
               help="Users failing from one address, or addresses failing for one user, within an "
                    "hour, after which only who logged in there before may try."),
    cfg.FloatOpt("retention_days", default=90.0, min=0,
                 help="Days after which ended actions and deleted instances are forgotten; "
                      "0 keeps them for ever."),
    cfg.StrOpt("default_zone", default="nova", help="Zone of hosts that name none."),
    cfg.StrOpt("broker_control", default="rabbitmqctl --quiet",
               help="Program and first arguments by which paddock-manage makes and removes the "
                    "broker's users, on one of the broker's hosts."),
    cfg.StrOpt("policy_file", default="policy.yaml", help="oslo.policy overrides."),
]  # fmt: skip

COMPUTE = [
    cfg.StrOpt("zone", help="Availability zone of this host, until an aggregate says otherwise."),
    cfg.StrOpt("driver", default="libvirt",
               choices=["libvirt", "fake"],
               help="libvirt has QEMU or KVM guests, fake has only their states."),
    cfg.StrOpt("machine_id_file", default="/etc/machine-id",
               help="File whose content binds the host's name to this machine."),
    cfg.FloatOpt("heartbeat_interval", default=3.0, min=0.05, help="Seconds between heartbeats."),
    cfg.FloatOpt("lease", default=8.0, min=0.1,
                 help="Seconds after the sending of the last answered heartbeat during which this "
                      "host may launch guests; less than the conductor's dead_after."),
    cfg.IntOpt("workers", default=8, min=1, help="Steps worked on at once."),
    cfg.IntOpt("movers", default=2, min=1, help="Disks moved at once, beside the workers."),
    cfg.FloatOpt("shutdown_wait", default=60.0, min=0,
                 help="Seconds that a guest has to shut down before it is forced off."),
    cfg.FloatOpt("observe_interval", default=10.0, min=0.1,
                 help="Seconds between looks at all guests, beside the hypervisor's events."),
    cfg.StrOpt("on_host_boot", default="leave", choices=[
        ("leave", "they are stopped, until somebody starts them"),
        ("restart", "those that ran are started again, but for locked ones")],
        help="What becomes of this host's instances when it comes back after a loss of power."),
    cfg.StrOpt("image_store", default="/var/lib/paddock/images",
               help="Directory of the images, where image_url is not set."),
    cfg.StrOpt("image_url", help="The API from where images come, such as https://control1:8774: "
                                 "then this host gets only those that it has work for."),
    cfg.StrOpt("image_ca", help="File with the certificate that signed that API's, where it is "
                                "not one that the system knows."),
    cfg.StrOpt("address", default="127.0.0.1", help="This host's address for other hosts."),
    cfg.StrOpt("pki_path", help="Directory with cacert.pem, cert.pem and key.pem, by which hosts "
                                "know each other; without it disks stay on their host."),
    cfg.PortOpt("disk_port", default=16516,
                help="Port of the address at which this host gives its disks to hosts that fetch "
                     "one, over TLS."),
    cfg.BoolOpt("live_migration", default=False,
                help="Whether guests come to this host and leave it while they run. Hosts that "
                     "allow it command each other's hypervisors: see docs/security.md."),
    cfg.IntOpt("live_migration_downtime", default=300, min=1,
               help="Milliseconds that a guest may stand still when it is handed over."),
    cfg.FloatOpt("live_migration_timeout", default=600.0, min=0,
                 help="Seconds after which live_migration_timeout_action is taken; 0 for never."),
    cfg.StrOpt("live_migration_timeout_action", default="abort", choices=[
        ("abort", "the guest stays where it is"),
        ("force-complete", "the guest stands still until it was handed over")],
        help="What becomes of a guest whose handing over takes too long."),
    cfg.IntOpt("reserved_memory_mb", default=512, min=0, help="MiB not given to guests."),
    cfg.IntOpt("reserved_disk_gb", default=1, min=0, help="GiB not given to guests."),
    cfg.IntOpt("vcpus", min=1, help="Processors to offer, where other than the host's."),
    cfg.IntOpt("memory_mb", min=1, help="MiB to offer, where other than the host's."),
    cfg.IntOpt("disk_gb", min=1, help="GiB to offer, where other than the host's."),
]  # fmt: skip

LIBVIRT = [
    cfg.StrOpt("uri", default="qemu:///system", help="The hypervisor's connection URI."),
    cfg.StrOpt("virt_type", default="auto", choices=["auto", "kvm", "qemu"],
               help="auto proves KVM with a probe guest before it trusts it."),
    cfg.StrOpt("machine", default="q35", help="QEMU machine type."),
    cfg.StrOpt("network", default="bridge", choices=[
        ("bridge", "one layer-2 network over all hosts, with libvirt's DHCP for own guests only"),
        ("user", "each guest behind QEMU's user-mode network, unreachable from outside")],
        help="How guests are connected."),
    cfg.StrOpt("bridge", default="brdata", help="Name of the bridge that libvirt makes."),
    cfg.StrOpt("uplink", help="Interface put into the bridge, towards the other hosts."),
    cfg.StrOpt("bridge_address", help="This host's own address on the guests' network, with "
                                      "prefix: 10.99.0.2/24."),
    cfg.StrOpt("gateway", help="Router that guests on the bridge are told; none by default."),
    cfg.StrOpt("migration_pki_path",
               help="Directory with cacert.pem, clientcert.pem and clientkey.pem, which this "
                    "host's libvirtd shows to others' when it hands guests over."),
    cfg.FloatOpt("call_timeout", default=30.0, min=1,
                 help="Seconds after which a hypervisor call counts as hung."),
]  # fmt: skip

FAKE = [
    cfg.FloatOpt("delay", default=0.0, min=0, help="Seconds that each change takes."),
]

GROUPS: dict[str | None, list[Any]] = {
    None: DEFAULT,
    "api": API,
    "identity": IDENTITY,
    "database": DATABASE,
    "conductor": CONDUCTOR,
    "compute": COMPUTE,
    "libvirt": LIBVIRT,
    "fake": FAKE,
}


def list_opts() -> list[tuple[str | None, list[Any]]]:
    """The options by group, for oslo.config's sample generator."""
    return list(GROUPS.items())


def load(
    argv: list[str] | None = None,
    files: list[str | Path] | None = None,
    overrides: dict[str, dict[str, Any]] | None = None,
) -> cfg.ConfigOpts:
    """Read a process's configuration into an object of its own.

    :param argv: command line without the program's name
    :param files: configuration files, read before those of the command line
    :param overrides: group (``DEFAULT`` for none) → option → value, above all files
    """
    conf = cfg.ConfigOpts()
    for group, options in GROUPS.items():
        conf.register_opts(options, group=group)
    conf(
        argv or [],
        project="paddock",
        default_config_files=[str(file) for file in files or []],
        default_config_dirs=[],
    )
    for group, values in (overrides or {}).items():
        for name, value in values.items():
            conf.set_override(name, value, group=None if group == "DEFAULT" else group)
    return conf
