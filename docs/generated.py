"""Which files are made from the code, and by what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from conductor import samples
from docs import options, simulation, states

ROOT = Path(__file__).resolve().parents[1]

FILES: dict[Path, Callable[[], str]] = {
    ROOT / "docs/states.md": states.render,
    ROOT / "docs/configuration.md": options.render,
    ROOT / "docs/simulation.md": simulation.render,
    ROOT / "etc/paddock.conf.sample": samples.render_configuration,
    ROOT / "etc/policy.yaml.sample": samples.render_policy,
}
