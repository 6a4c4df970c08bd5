"""The layout and import rules, as docs/design.md states them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("paddock", "api", "conductor", "compute_agent")
CHECKED = (*PACKAGES, "devstack", "bench")
LONGEST_FILE = 400


def sources(*packages: str) -> list[Path]:
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return names


def importers(package: str, *, outside: str = "nowhere") -> list[str]:
    """Files that import the package though they do not lie below ``outside``."""
    return [
        str(path.relative_to(ROOT))
        for path in sources(*PACKAGES)
        if not str(path.relative_to(ROOT)).startswith(outside)
        and any(name.split(".")[0] == package for name in imports(path))
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_processes_share_only_the_contract(package: str) -> None:
    others = {"api", "conductor", "compute_agent", "devstack", "tests"} - {package}
    wrong = {
        str(path.relative_to(ROOT)): sorted(name for name in imports(path)
                                            if name.split(".")[0] in others)
        for path in sources(package)
    }  # fmt: skip
    assert not {path: names for path, names in wrong.items() if names}


@pytest.mark.parametrize(
    ("library", "home"),
    [
        ("sqlalchemy", "conductor/"),
        ("alembic", "conductor/"),
        ("libvirt", "compute_agent/drivers/libvirt/"),
        ("eventlet", "paddock/runtime.py"),
        ("falcon", "api/"),
        ("keystoneauth1", "paddock/cli/"),
        ("openstack", "paddock/cli/"),
        ("rich", "paddock/cli/"),
    ],
)
def test_a_library_is_named_only_in_its_home(library: str, home: str) -> None:
    assert importers(library, outside=home) == []


def test_the_administrators_command_knows_clouds_by_http_only() -> None:
    names = {name for path in sources("paddock/cli") for name in imports(path)}
    assert {name for name in names if name.startswith("paddock")} <= {
        f"paddock.cli.{path.stem}" for path in sources("paddock/cli")
    } | {"paddock.cli"}
    users = {name for path in sources(*PACKAGES) if path.parent.name != "cli"
             for name in imports(path)}  # fmt: skip
    assert not {name for name in users if name.startswith("paddock.cli.")}


def test_no_source_file_is_longer_than_a_reader_can_hold() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines())
               for path in sources(*CHECKED)}  # fmt: skip
    assert {path: lines for path, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_public_things_say_what_they_are_for() -> None:
    silent = []
    for path in sources(*PACKAGES):
        tree = ast.parse(path.read_text())
        if tree.body and not ast.get_docstring(tree):
            silent.append(str(path.relative_to(ROOT)))
        for node in tree.body:
            if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name[0] == "_":
                continue
            overload = any(getattr(mark, "id", "") == "overload" for mark in node.decorator_list)
            if not overload and not ast.get_docstring(node):
                silent.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert silent == []


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def test_no_command_line_goes_through_a_shell() -> None:
    shell = re.compile(r"shell\s*=\s*True|os\.system\(|os\.popen\(")
    assert [str(path) for path in sources(*PACKAGES, "devstack", "bench")
            if shell.search(path.read_text())] == []  # fmt: skip


def test_processes_are_never_killed_by_name() -> None:
    names = re.compile(r"\b(p" + r"kill|kill" + r"all)\b")
    wrong = [str(path.relative_to(ROOT)) for path in tracked()
             if path.suffix in (".py", ".sh", "") and names.search(path.read_text("utf-8", "replace"))]  # fmt: skip # noqa: E501
    assert wrong == []


def test_no_path_of_one_machine_is_in_the_tree() -> None:
    here = re.compile(r"/(wo" + r"rk|fa" + r"rm)/(main|shared|\.library)|/tmp/(bash_jobs|paddock/)")
    wrong = [str(path.relative_to(ROOT)) for path in tracked()
             if here.search(path.read_text("utf-8", "replace"))]  # fmt: skip
    assert wrong == []


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_import_without_choosing_a_backend(package: str) -> None:
    """Only an entry point chooses the concurrency backend, so importing must not need it."""
    code = f"import {package}, sys; assert 'eventlet' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


@pytest.mark.parametrize(
    ("parts", "needless"),
    [
        (["conductor.cmd"], ["cryptography", "requests", "alembic", "falcon", "libvirt"]),
        (
            ["compute_agent.cmd", "compute_agent.drivers.fake"],
            ["cryptography", "requests", "sqlalchemy", "falcon", "libvirt"],
        ),
        (
            ["compute_agent.cmd", "compute_agent.drivers.libvirt.driver"],
            ["cryptography", "requests", "sqlalchemy", "falcon"],
        ),
        (["api.cmd"], ["requests", "sqlalchemy", "libvirt"]),
    ],
)
def test_a_process_loads_no_library_that_it_may_never_need(
    parts: list[str], needless: list[str]
) -> None:
    code = f"import {', '.join(parts)}, sys; print(*set(sys.modules).intersection({needless!r}))"
    command = [sys.executable, "-c", code]
    found = subprocess.run(
        command, cwd=ROOT, check=True, timeout=60, capture_output=True, text=True
    )
    assert found.stdout.split() == []


def test_types_hold() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True, timeout=280
    )
    assert result.returncode == 0, result.stdout


def test_nothing_known_to_be_unsafe_is_done() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "bandit", "-q", "-c", "pyproject.toml", "-r", *CHECKED],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout


def test_the_tree_is_linted_and_formatted() -> None:
    for arguments in (["check"], ["format", "--check"]):
        result = subprocess.run(
            [sys.executable, "-m", "ruff", *arguments],
            cwd=ROOT, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert result.returncode == 0, result.stdout
