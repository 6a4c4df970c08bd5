"""Configuration files of a stack's processes: INI as oslo.config reads it, mode 0600."""

import os
from collections.abc import Mapping
from pathlib import Path

Sections = Mapping[str, Mapping[str, object]]


def write_settings(path: Path, sections: Sections) -> Path:
    """Write a configuration file of mode 0600 in place of the one that was there.

    :param sections: section → option → value.
    :returns: the path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(render(sections))
    draft.replace(path)
    return path


def render(sections: Sections) -> str:
    """The text of a configuration file; `$` is doubled, since oslo.config substitutes it."""
    blocks = []
    for name, options in sections.items():
        lines = [f"{key} = {str(value).replace('$', '$$')}" for key, value in options.items()]
        blocks.append("\n".join([f"[{name}]", *lines, ""]))
    return "\n".join(blocks)
