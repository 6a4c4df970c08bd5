"""The documentation says what the code says, and points to what is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path

import pytest

from conductor import broker_users as broker
from docs.generated import FILES, ROOT
from paddock.config import list_opts

PAGES = sorted(ROOT.glob("docs/*.md"))
LONGEST_LINE = 160
FOLDERS = ("compute_agent", "conductor", "devstack", "paddock", "api", "tests")
"""Paths on a page may begin in one of these."""


def prose(page: Path) -> Iterator[str]:
    """A page's lines without code blocks and tables."""
    in_code = False
    for line in page.read_text().splitlines():
        if line.startswith("```"):
            in_code = not in_code
        elif not in_code and not line.startswith(("|", "    ")):
            yield line


def slug(heading: str) -> str:
    """What a heading is linked by."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {slug(line.lstrip("#")) for line in prose(page) if line.startswith("#")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.name))
def test_generated_files_are_what_the_code_gives(path: Path) -> None:
    assert path.read_text() == FILES[path](), "run .venv/bin/python -m docs"


def test_every_option_is_in_the_configuration_reference() -> None:
    sections = re.split(r"^## \[(\w+)\]$", (ROOT / "docs/configuration.md").read_text(), flags=re.M)
    described = dict(zip(sections[1::2], sections[2::2], strict=True))
    missing = [
        f"[{group or 'DEFAULT'}] {option.name}"
        for group, options in list_opts()
        for option in options
        if f"| `{option.name}` |" not in described.get(group or "DEFAULT", "")
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", "\n".join(prose(page))):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        found = (page.parent / name).resolve() if name else page
        if not found.exists() or (anchor and anchor not in anchors(found)):
            broken.append(target)
    assert broken == []


def test_the_readme_links_lead_somewhere() -> None:
    readme = (ROOT / "README.rst").read_text()
    targets = re.findall(r"`[^`<]*<([^>`]+)>`__?", readme)
    assert [name for name in targets if "://" not in name and not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_files_that_are_named_are_there(page: Path) -> None:
    named = re.findall(r"`([\w.\-]+/[\w./\-]*\.(?:py|md|sh|sample|service))`", page.read_text())
    places = [ROOT, *(ROOT / folder for folder in FOLDERS)]
    assert [name for name in named if not any((place / name).exists() for place in places)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_prose_is_not_wider_than_a_reader_can_follow(page: Path) -> None:
    assert [line for line in prose(page) if len(line) > LONGEST_LINE] == []


def test_the_layout_in_the_design_names_only_what_is_there() -> None:
    text = (ROOT / "docs/design.md").read_text().split("## 1. Layout")[1]
    block = text.split("```")[1].strip("\n")
    folders: list[str] = []
    missing = []
    for line in block.splitlines():
        names = re.split(r"\s{2,}", line.strip())[0].split()
        depth = (len(line) - len(line.lstrip())) // 4
        del folders[depth:]
        parent = ROOT.joinpath(*folders)
        missing += [str(parent / name) for name in names if not (parent / name).exists()]
        folders.append(names[0])
    assert missing == []


@pytest.mark.parametrize(
    "rights",
    [broker.api_rights("control1"), broker.conductor_rights("control1")],
    ids=["api", "conductor"],
)
def test_the_brokers_rights_are_those_that_the_stack_gives(rights: broker.Rights) -> None:
    page = (ROOT / "docs/install.md").read_text()
    assert [text for text in astuple(rights) if f"'{text}'" not in page] == []
