"""Disks and images as files on a host."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from compute_agent.disks import GIB, DiskStore, directory_of
from compute_agent.drivers.base import UNWATCHED, Work
from compute_agent.drivers.fake import FakeDriver
from compute_agent.image_source import ImageDirectory
from compute_agent.images import ImageCache
from compute_agent.parts import Parts
from paddock.errors import HypervisorError, WorkCancelled
from paddock.records import ImageSpec
from tests import factories

INSTANCE = "6f1d8f0c-5a51-4c7e-9f1b-1d1f2f3f4f5f"
OTHER = "7f1d8f0c-5a51-4c7e-9f1b-1d1f2f3f4f5f"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    path = tmp_path / "images"
    path.mkdir()
    return path


@pytest.fixture
def cache(tmp_path: Path, images: Path) -> ImageCache:
    (tmp_path / "cache").mkdir()
    return ImageCache(ImageDirectory(images), tmp_path / "cache")


@pytest.fixture
def store(tmp_path: Path, cache: ImageCache) -> DiskStore:
    return DiskStore(tmp_path / "disks", cache)


def image(path: Path, disk_format: str = "raw", **changes: str) -> ImageSpec:
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    fields = {"id": "i", "name": "test", "file": path.name, "checksum": checksum} | changes
    return ImageSpec(disk_format=disk_format, **fields)


def raw_image(images: Path, size: int = 3 * 1024**2) -> ImageSpec:
    path = images / "test.raw"
    with path.open("wb") as stream:
        stream.truncate(size)
        stream.seek(1024**2)
        stream.write(b"mark" * 50_000)
    return image(path)


def allocated(path: Path) -> int:
    return path.stat().st_blocks * 512


def watching(seen: list[tuple[int, int]]) -> Work:
    return Work(progress=lambda done, total: seen.append((done, total)), check=lambda: None)


def test_a_new_disk_reads_as_its_image_and_is_as_large_as_asked(
    store: DiskStore, images: Path
) -> None:
    spec = raw_image(images)
    path = store.create_from_image(INSTANCE, 1, spec, 1, UNWATCHED)
    content = (images / spec.file).read_bytes()
    assert path.read_bytes()[: len(content)] == content
    assert path.stat().st_size == GIB
    assert allocated(path) < 1024**2


def test_disks_are_for_their_owner_only(store: DiskStore, tmp_path: Path) -> None:
    made = store.create_from_image(INSTANCE, 1, None, 1, UNWATCHED)
    modes: list[int] = []
    source = tmp_path / "source"
    source.write_bytes(b"x" * 100_000)
    work = Work(
        progress=lambda *_: modes.append(store.part(OTHER, 1).stat().st_mode & 0o777),
        check=lambda: None,
    )
    received = store.receive(source, OTHER, 1, work)
    assert {*modes, *(path.stat().st_mode & 0o777 for path in (made, received))} == {0o600}


def test_a_disk_is_on_the_disk_before_it_has_its_name(
    store: DiskStore, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[int, list[int]]] = []

    def fsync(handle: int) -> None:
        synced.append((os.fstat(handle).st_ino, store.generations(INSTANCE)))

    monkeypatch.setattr(os, "fsync", fsync)  # what it does shows only in a power cut
    path = store.create_from_image(INSTANCE, 1, raw_image(images), 1, UNWATCHED)
    assert synced == [(path.stat().st_ino, []), (store.root.stat().st_ino, [1])]


def test_a_disk_that_is_there_is_kept(store: DiskStore) -> None:
    path = store.create_from_image(INSTANCE, 1, None, 1, UNWATCHED)
    path.write_bytes(b"mine")
    assert store.create_from_image(INSTANCE, 1, None, 1, UNWATCHED).read_bytes() == b"mine"


def test_an_image_larger_than_the_disk_is_refused_and_leaves_nothing(
    store: DiskStore, images: Path
) -> None:
    with pytest.raises(HypervisorError, match="needs a disk of 2 GiB, not 1 GiB"):
        store.create_from_image(INSTANCE, 1, raw_image(images, GIB + 1), 1, UNWATCHED)
    assert list(store.root.iterdir()) == []


def test_an_image_whose_content_changed_is_refused(store: DiskStore, images: Path) -> None:
    spec = raw_image(images)
    store.create_from_image(INSTANCE, 1, spec, 0, UNWATCHED)
    (images / spec.file).write_bytes(b"other")
    with pytest.raises(HypervisorError, match="checksum"):
        store.create_from_image(OTHER, 1, spec, 0, UNWATCHED)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "link"])
def test_files_outside_the_store_are_never_read(
    cache: ImageCache, images: Path, tmp_path: Path, name: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    (images / "link").symlink_to(secret)
    with pytest.raises(HypervisorError, match="not in the store"):
        cache.raw(image(secret, file=name), Parts(UNWATCHED))


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs qemu-img")
def test_qcow2_becomes_raw_and_references_are_refused(cache: ImageCache, images: Path) -> None:
    spec = raw_image(images)
    source, plain, chained = images / spec.file, images / "p.qcow2", images / "c.qcow2"
    create = ["qemu-img", "convert", "-O", "qcow2", str(source), str(plain)]
    subprocess.run(create, check=True, timeout=30)
    assert cache.raw(image(plain, "qcow2"), Parts(UNWATCHED)).read_bytes() == source.read_bytes()
    chain = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(source), "-F", "raw"]
    subprocess.run([*chain, str(chained)], check=True, timeout=30)
    with pytest.raises(HypervisorError, match="refers to another file"):
        cache.raw(image(chained, "qcow2"), Parts(UNWATCHED))


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs qemu-img")
def test_a_file_is_not_taken_for_another_format_than_stated(
    cache: ImageCache, images: Path
) -> None:
    spec = raw_image(images)
    with pytest.raises(HypervisorError, match="as qcow2"):
        cache.raw(image(images / spec.file, "qcow2"), Parts(UNWATCHED))


def test_a_received_disk_is_the_same_and_stays_sparse(store: DiskStore, tmp_path: Path) -> None:
    source = tmp_path / "source"
    content = os.urandom(300_000)
    with source.open("wb") as stream:
        stream.truncate(GIB + 17)
        for place in (0, 5_000_000, GIB - 300_000):
            stream.seek(place)
            stream.write(content)
    seen: list[tuple[int, int]] = []
    path = store.receive(source, INSTANCE, 2, watching(seen))
    assert path.name == f"{INSTANCE}.g2.raw"
    assert path.stat().st_size == GIB + 17
    with path.open("rb") as stream:
        for place in (0, 5_000_000, GIB - 300_000):
            stream.seek(place)
            assert stream.read(len(content)) == content
    assert allocated(path) <= allocated(source) + 1024**2
    assert seen == sorted(seen) and seen[-1][0] == seen[-1][1] > 0


def qcow2_image(images: Path) -> ImageSpec:
    source, made = images / raw_image(images, 64 * 1024**2).file, images / "test.qcow2"
    create = ["qemu-img", "convert", "-O", "qcow2", str(source), str(made)]
    subprocess.run(create, check=True, timeout=30)
    return image(made, "qcow2")


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs qemu-img")
@pytest.mark.parametrize("kind", [raw_image, qcow2_image])
def test_the_progress_of_a_new_disk_only_grows(
    store: DiskStore, images: Path, kind: Callable[[Path], ImageSpec]
) -> None:
    seen: list[tuple[int, int]] = []
    spec = kind(images)
    store.create_from_image(INSTANCE, 1, spec, 1, watching(seen))
    assert seen == sorted(seen)
    assert seen[0][0] < seen[-1][0] == seen[-1][1] > (images / spec.file).stat().st_size


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs qemu-img")
@pytest.mark.parametrize("kind", [raw_image, qcow2_image])
def test_a_new_disk_can_be_cancelled_at_every_point_and_leaves_nothing(
    store: DiskStore, images: Path, tmp_path: Path, kind: Callable[[Path], ImageSpec],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("compute_agent.helper.WATCH_SECONDS", 0.001)
    spec, allowed = kind(images), 0
    while True:
        asked = iter(range(allowed))

        def check(asked: Iterator[int] = asked) -> None:
            if next(asked, None) is None:
                raise WorkCancelled("no longer listed")

        try:
            store.create_from_image(INSTANCE, 1, spec, 1, Work(lambda *_: None, check))
            break
        except WorkCancelled:
            assert list(store.root.iterdir()) == []
            assert not list((tmp_path / "cache").glob("*.part"))
        allowed += 1
    assert allowed > 1


def test_what_a_killed_agent_left_half_made_goes_when_the_next_one_begins(
    tmp_path: Path,
) -> None:
    driver = FakeDriver(factories.agent_conf(tmp_path, "h1"))
    root = tmp_path / "h1" / "fake"
    whole = root / "disks" / f"{INSTANCE}.g1.raw"
    parts = [root / "disks" / f"{INSTANCE}.g2.raw.part", root / "images" / "tmpabc.part"]
    for path in (whole, *parts):
        path.touch()
    driver.connect("cloud", lambda *_: None)
    assert whole.exists()
    assert not any(path.exists() for path in parts)


def test_cancelling_a_move_leaves_nothing(store: DiskStore, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(3 * 1024**2))

    def cancelled() -> None:
        raise WorkCancelled("no longer listed")

    with pytest.raises(WorkCancelled):
        store.receive(source, INSTANCE, 2, Work(progress=lambda *_: None, check=cancelled))
    assert list(store.root.iterdir()) == []


def test_a_lost_source_is_a_readable_error(store: DiskStore, tmp_path: Path) -> None:
    with pytest.raises(HypervisorError, match="No such file"):
        store.receive(tmp_path / "none", INSTANCE, 2, watching([]))


def test_removal_touches_only_older_generations_of_that_instance(store: DiskStore) -> None:
    for instance_id, generation in ((INSTANCE, 1), (INSTANCE, 2), (OTHER, 1)):
        store.create_from_image(instance_id, generation, None, 1, UNWATCHED)
    store.part(INSTANCE, 1).touch()
    store.remove(INSTANCE, 2)
    assert store.list() == {INSTANCE: [2], OTHER: [1]}
    store.remove(INSTANCE, None)
    assert store.list() == {OTHER: [1]}
    assert len(list(store.root.iterdir())) == 1


def test_only_ids_name_disks(store: DiskStore) -> None:
    with pytest.raises(HypervisorError):
        store.path("../../etc/passwd", 1)


@pytest.mark.parametrize("uri", ["http://h/x", "file://host/x", "/plain", "file:relative"])
def test_only_directories_of_this_machine_are_file_stores(uri: str) -> None:
    with pytest.raises(HypervisorError):
        directory_of(uri)
