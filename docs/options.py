"""Makes ``docs/configuration.md`` from the options in ``paddock/config.py``."""

from __future__ import annotations

from typing import Any

from docs.tables import code, table
from paddock.config import list_opts

PAGE = """\
# Configuration

Made from `paddock/config.py` by `.venv/bin/python -m docs`: edit the options there, not this page.

Each process reads the files that it is given with `--config-file`; of several, later ones win.
`etc/paddock.conf.sample` is such a file with every option at its default. oslo.messaging's own
options (`[oslo_messaging_rabbit]` and others) are read from the same files;
[messaging](messaging.md) says which of their defaults Paddock changes.

The environment variable `PADDOCK_CONCURRENCY` chooses between native threads (`threading`, the
default) and green threads (`eventlet`).

{groups}"""

USERS = {
    "DEFAULT": "every process",
    "api": "the API",
    "identity": "the API",
    "database": "the conductor and `paddock-manage`",
    "conductor": "the conductor",
    "compute": "the compute agent",
    "libvirt": "the compute agent, with `[compute] driver = libvirt`",
    "fake": "the compute agent, with `[compute] driver = fake`",
}

KINDS = {
    "Boolean": "true or false",
    "Dict": "key:value, …",
    "Float": "number",
    "Hostname": "host name",
    "Integer": "whole number",
    "List": "texts, with commas between",
    "Port": "port",
    "String": "text",
}


def render() -> str:
    """The page."""
    groups = (_group(name or "DEFAULT", options) for name, options in list_opts())
    return PAGE.format(groups="\n".join(groups))


def _group(name: str, options: list[Any]) -> str:
    rows = table(["Option", "Type", "Default", "Meaning"], (_row(option) for option in options))
    return f"## [{name}]\n\nRead by {USERS[name]}.\n\n{rows}"


def _row(option: Any) -> list[str]:
    return [code(option.name), _kind(option), _default(option), _meaning(option)]


def _kind(option: Any) -> str:
    if choices := getattr(option.type, "choices", None):
        return " or ".join(code(choice) for choice in choices)
    kind = KINDS[type(option.type).__name__]
    least, most = getattr(option.type, "min", None), getattr(option.type, "max", None)
    if kind == "port" or least is None:
        return kind
    return f"{kind}, {least} to {most}" if most is not None else f"{kind}, at least {least}"


def _default(option: Any) -> str:
    if option.sample_default is not None:
        return str(option.sample_default)
    value = option.default
    if value in (None, {}, []):
        return ""
    return code(str(value).lower() if isinstance(value, bool) else str(value))


def _meaning(option: Any) -> str:
    """The help, and what each choice means where that is said."""
    choices = getattr(option.type, "choices", None) or {}
    said = [f"{code(name)}: {meaning}." for name, meaning in choices.items() if meaning]
    return " ".join([option.help, *said])
