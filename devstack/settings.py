"""Configuration files of a stack's processes: INI as oslo.config reads it, mode 0600."""

from collections.abc import Mapping
from pathlib import Path

from devstack.private import write_private

Sections = Mapping[str, Mapping[str, object]]


def write_settings(path: Path, sections: Sections) -> Path:
    """Write a configuration file of mode 0600 in place of the one that was there.

    :param sections: section → option → value.
    :returns: the path.
    """
    write_private(path, render(sections))
    return path


def render(sections: Sections) -> str:
    """The text of a configuration file; `$` is doubled, since oslo.config substitutes it."""
    blocks = []
    for name, options in sections.items():
        lines = [f"{key} = {str(value).replace('$', '$$')}" for key, value in options.items()]
        blocks.append("\n".join([f"[{name}]", *lines, ""]))
    return "\n".join(blocks)
