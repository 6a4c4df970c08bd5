"""What the project stands on is declared, with bounds, and fits together."""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
OWN = ("api", "bench", "compute_agent", "conductor", "devstack", "docs", "paddock", "tests")
SHIPPED = ("api", "compute_agent", "conductor", "devstack", "paddock")


def declared(*extras: str) -> dict[str, Requirement]:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    texts = [settings["options"]["install_requires"]]
    texts += [settings["options.extras_require"][extra] for extra in extras]
    found = [Requirement(line) for text in texts for line in text.split("\n") if line.strip()]
    return {canonicalize_name(one.name): one for one in found}


def imported(*packages: str) -> set[str]:
    """Distributions whose modules are imported."""
    modules: set[str] = set()
    for package in packages:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    modules.update(alias.name for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    modules.add(node.module)
    tops = {module.split(".")[0] for module in modules} - {*OWN, *sys.stdlib_module_names}
    homes = packages_distributions()
    return {canonicalize_name(home) for top in tops for home in homes.get(top, [top])[:1]}


def test_all_that_is_imported_is_declared() -> None:
    assert imported(*SHIPPED) - declared("libvirt").keys() == set()
    assert imported("tests", "bench") - declared("libvirt", "test").keys() == set()


def test_every_requirement_has_both_bounds() -> None:
    loose = [
        str(one)
        for name, one in declared("libvirt", "test").items()
        if not name.startswith("types-")  # these only tell the type checker
        and {clause.operator for clause in one.specifier} != {">=", "<"}
    ]
    assert loose == []


def test_what_is_installed_fits_together() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "check"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout
