"""Opening below a directory, and removing trees, where somebody hostile writes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kube.files import beneath, trees

Locate = Callable[..., int]


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    place = tmp_path / "root"
    (place / "a/b").mkdir(parents=True)
    (place / "a/file").write_text("inside")
    (tmp_path / "secret").write_text("outside")
    (place / "in").symlink_to("a/b")
    (place / "up").symlink_to("../secret")
    (place / "over").symlink_to("a/../a/file")
    (place / "absolute").symlink_to(tmp_path / "secret")
    (place / "loop").symlink_to("loop")
    fd = os.open(place, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture(params=[beneath.locate, beneath.walk], ids=["openat2", "in steps"])
def find(request: pytest.FixtureRequest) -> Locate:
    return request.param


def read(fd: int) -> bytes:
    opened = beneath.reopen(fd, os.O_RDONLY)
    try:
        return os.read(opened, 100)
    finally:
        os.close(opened)
        os.close(fd)


def test_what_is_inside_is_found(find: Locate, root: int) -> None:
    assert read(find(root, "a/file", links=False)) == b"inside"
    assert read(find(root, "over", links=True)) == b"inside"
    os.close(find(root, "in/../b", links=True))


@pytest.mark.parametrize("path", ["up", "absolute", "../secret", "a/../../secret"])
def test_nothing_leads_outside(find: Locate, root: int, path: str) -> None:
    with pytest.raises(OSError, match="Errno") as caught:
        find(root, path, links=True)
    assert caught.value.errno == errno.EXDEV


@pytest.mark.parametrize("path", ["in", "in/x", "over", "loop"])
def test_links_are_not_followed_unasked(find: Locate, root: int, path: str) -> None:
    with pytest.raises(OSError, match="Errno") as caught:
        find(root, path, links=False)
    assert caught.value.errno in (errno.ELOOP, errno.ENOTDIR)


def test_a_circle_ends(find: Locate, root: int) -> None:
    with pytest.raises(OSError, match="Errno") as caught:
        find(root, "loop", links=True)
    assert caught.value.errno == errno.ELOOP


def test_absolute_paths_are_refused(root: int) -> None:
    with pytest.raises(OSError, match="not a path inside"):
        beneath.locate(root, "/etc/passwd", links=True)


@pytest.mark.parametrize("kind", ["openat2", "in steps"])
def test_as_a_root_everything_stays_inside(root: int, tmp_path: Path, kind: str) -> None:
    (tmp_path / "root/etc").symlink_to("/a/../../../a")

    def find() -> int:
        if kind == "openat2":
            return beneath.locate_in_root(root, "/etc/file")
        return beneath.walk(root, "/etc/file", links=True, as_root=True)

    assert read(find()) == b"inside"


def test_only_regular_files_are_read(root: int, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "root/fifo")
    for name in ("fifo", "a", "."):
        with pytest.raises(OSError, match="not a regular file"):
            beneath.head_of(root, name, 10)
    assert beneath.head_of(root, "a/file", 3) == b"ins"
    assert beneath.tail_of(root, "a/file", 3) == b"ide"


def test_missing_directories_are_made_like_their_root(root: int, tmp_path: Path) -> None:
    (tmp_path / "root").chmod(0o2777)
    made = beneath.make_directories(root, "in/x/y", os.fstat(root))
    os.close(made)
    assert (tmp_path / "root/a/b/x/y").stat().st_mode & 0o7777 == 0o2777
    os.close(beneath.make_directories(root, "in/x/y", os.fstat(root)))


@pytest.mark.parametrize("path", ["up/x", "absolute/x", "../x", "loop/x", "a/file/x"])
def test_directories_are_made_inside_only(root: int, tmp_path: Path, path: str) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OSError, match="Errno"):
        beneath.make_directories(root, path, os.fstat(root))
    assert sorted(tmp_path.iterdir()) == before


def deep(top: Path, levels: int) -> None:
    fd = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(os.open("f", os.O_CREAT, dir_fd=inner))
        os.close(fd)
        fd = inner
    os.close(fd)


def test_a_tree_of_any_depth_is_removed(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    deep(top, 5000)
    trees.remove(top)
    assert not top.exists()


def test_a_slice_does_no_more_than_its_share(tmp_path: Path) -> None:
    top = tmp_path / "top"
    for number in range(50):
        (top / f"d{number % 7}").mkdir(parents=True, exist_ok=True)
        (top / f"d{number % 7}/f{number}").touch()
    with beneath.directory(tmp_path) as parent:
        assert not trees.remove_some(parent, "top", 20)
        left = sum(len(files) for _, _, files in os.walk(top))
        assert 25 <= left < 50
        slices = 0
        while not trees.remove_some(parent, "top", 20):
            slices += 1
        assert slices < 10
    assert not top.exists()


def test_workers_remove_no_tree_by_its_path() -> None:
    """shutil.rmtree recurses as deep as a container has made its directories."""
    worker = Path(__file__).resolve().parents[4] / "worker"
    users = [p for p in sorted(worker.rglob("*.py")) if "rmtree(" in p.read_text()]
    # The runtime's own scratch files, at its start.
    assert [str(p.relative_to(worker)) for p in users] == ["runtime/sandboxes/sandboxes.py"]


def test_removing_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/x").touch()
    (tmp_path / "top/sub").mkdir(parents=True)
    (tmp_path / "top/sub/link").symlink_to(tmp_path / "precious")
    (tmp_path / "alias").symlink_to(tmp_path / "top")
    trees.remove(tmp_path / "alias")
    assert (tmp_path / "top/sub").exists()
    trees.remove(tmp_path / "top")
    assert (tmp_path / "precious/x").exists()
    trees.remove(tmp_path / "top")
