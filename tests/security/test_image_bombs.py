"""Images whose layers are made to fill the disk, eat the memory or leave their directory."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from kube.stubs.cri import api_pb2 as cri
from tests.component.runtime_harness import Lab, container, lab
from tests.security.hostile_images import (
    Blob,
    archive,
    entries,
    entry,
    header,
    plain,
    repeated,
    sparse,
)
from worker.runtime.errors import InvalidArgument
from worker.runtime.images import layers
from worker.runtime.images.limits import Budget, ImageLimits

MiB, GiB = 1 << 20, 1 << 30


@pytest.fixture(scope="module")
def node(images: Path) -> Iterator[Lab]:
    with lab(images) as made:
        yield made


def peak_bytes(node: Lab) -> int:
    """The most memory that the runtime has ever had."""
    assert node.process is not None
    status = Path(f"/proc/{node.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def stored_bytes(node: Lab) -> int:
    """What the image store takes of the disk."""
    total = 0
    for directory, _, files in os.walk(node.root / "lib/images"):
        total += sum(Path(directory, name).lstat().st_blocks * 512 for name in files)
    return total


def refused(node: Lab, path: Path) -> str:
    """Why the archive is not loaded. It costs no memory and leaves nothing on the disk."""
    before, memory = stored_bytes(node), peak_bytes(node)
    with pytest.raises(grpc.RpcError) as caught:
        node.load(path)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT, caught.value.details()
    assert peak_bytes(node) < memory + 100 * MiB
    assert stored_bytes(node) == before
    return str(caught.value.details())


SPARSE = {
    "old": ("--format=gnu",),
    "0.0": ("--format=posix", "--sparse-version=0.0"),
    "0.1": ("--format=posix", "--sparse-version=0.1"),
    "1.0": ("--format=posix", "--sparse-version=1.0"),
}


@pytest.mark.root
@pytest.mark.parametrize("version", list(SPARSE))
def test_ten_kilobytes_do_not_become_three_gibibytes(
    node: Lab, tmp_path: Path, version: str
) -> None:
    content = sparse(tmp_path, 3 * GiB, *SPARSE[version])
    path = archive(tmp_path / "x.tar", "x.local/sparse:1", plain(content))
    assert "sparse" in refused(node, path)


@pytest.mark.root
def test_a_layer_does_not_unpack_to_a_thousand_times_its_size(node: Lab, tmp_path: Path) -> None:
    size = 1300 * MiB
    blob = repeated(header("zeros", size), bytes(MiB), size // MiB, bytes(1024))
    assert len(blob.content) < 2 * MiB
    path = archive(tmp_path / "x.tar", "x.local/bomb:1", blob)
    assert "unpacks to more than" in refused(node, path)


@pytest.mark.root
@pytest.mark.parametrize(
    "kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK]
)
def test_headers_are_not_read_into_memory(node: Lab, tmp_path: Path, kind: bytes) -> None:
    size = 512 * MiB
    head = header("headers", size, kind)
    blob = repeated(head, b"a" * MiB, size // MiB, header("x", 0) + bytes(1024))
    path = archive(tmp_path / "x.tar", "x.local/headers:1", blob)
    assert "headers that are too long" in refused(node, path)
    with (tmp_path / "y.tar").open("wb") as file:
        file.write(head)
        file.truncate(size + 512)  # a hole: the archive itself is the bomb
    assert "headers that are too long" in refused(node, tmp_path / "y.tar")


@pytest.mark.root
@pytest.mark.parametrize(
    ("difference", "why"), [(-1, "has more than"), (1, "bytes, not"), (-(10**6), "how large")]
)
def test_a_layer_has_the_size_that_its_manifest_says(
    node: Lab, tmp_path: Path, difference: int, why: str
) -> None:
    blob = plain(entries(entry("f", size=5)))
    blob.size = max(blob.size + difference, 0)
    path = archive(tmp_path / "x.tar", "x.local/size:1", blob)
    assert why in refused(node, path)


@pytest.mark.root
@pytest.mark.parametrize(
    "trap",
    [
        entry("number", uid=2**40),
        entry("time", mtime=1e300),
        entry("name\0inside", pax_headers={"path": "name\0inside"}),
        entry("d/" * 3000 + "deep"),
        entry("../outside"),
        entry("hard", tarfile.LNKTYPE, linkname="/etc/passwd"),
    ],
    ids=lambda trap: trap.name[:8],
)
def test_what_cannot_be_is_said(node: Lab, tmp_path: Path, trap: tarfile.TarInfo) -> None:
    blob = plain(entries(trap))
    refused(node, archive(tmp_path / "x.tar", "x.local/trap:1", blob))


@pytest.mark.root
def test_an_archive_of_links_and_nothing_else_is_refused(node: Lab, tmp_path: Path) -> None:
    """A link to itself, where the index should be."""
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.addfile(entry("index.json", tarfile.SYMTYPE, linkname="index.json"))
    refused(node, tmp_path / "x.tar")


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (ImageLimits(entries=100), "more than 100 files"),
        (ImageLimits(unpacked=1000), "more than 1000 bytes"),
        (ImageLimits(seconds=-1.0), "s to unpack"),
    ],
)
def test_every_limit_ends_the_unpacking(tmp_path: Path, limits: ImageLimits, why: str) -> None:
    content = entries(*(entry(f"d{n}/f", size=8, uid=os.getuid()) for n in range(200)))
    (tmp_path / "x.tar").write_bytes(content)
    (tmp_path / "root").mkdir()
    with (tmp_path / "x.tar").open("rb") as stream, pytest.raises(InvalidArgument, match=why):
        layers.unpack(stream, tmp_path / "root", Budget(tmp_path, len(content), limits))


def test_the_disk_is_not_filled(tmp_path: Path) -> None:
    everything = os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize
    with pytest.raises(OSError, match="No space left"):
        Budget(tmp_path, 1, ImageLimits(keep_free=everything)).check_disk(everything)


def _image_with_accounts(tmp_path: Path, passwd: tarfile.TarInfo) -> Path:
    group = entry("etc/group", tarfile.FIFOTYPE, mode=0o644)
    blob: Blob = plain(entries(passwd, group))
    return archive(tmp_path / "x.tar", f"x.local/accounts:{passwd.type.decode()}", blob)


@pytest.mark.root
@pytest.mark.parametrize(
    "passwd",
    [
        entry("etc/passwd", tarfile.FIFOTYPE, mode=0o644),
        entry("etc/passwd", tarfile.CHRTYPE, devmajor=1, devminor=5, mode=0o644),
        entry("etc/passwd", tarfile.SYMTYPE, linkname="/proc/self/environ"),
        entry("etc/passwd", tarfile.DIRTYPE, mode=0o755),
    ],
    ids=["fifo", "zero", "link", "directory"],
)
def test_an_image_s_accounts_may_be_anything(
    node: Lab, tmp_path: Path, passwd: tarfile.TarInfo
) -> None:
    """The runtime reads them for each container: a FIFO would hold it, a device fill it."""
    name = f"x.local/accounts:{passwd.type.decode()}"
    node.load(_image_with_accounts(tmp_path, passwd))
    sandbox = node.run_sandbox(node.pod("accounts"))
    memory = peak_bytes(node)
    for number in range(8):  # more than asyncio has threads
        config = container("true", name=f"c{number}")
        config.image.image = name
        with pytest.raises(grpc.RpcError) as caught:
            node.create(sandbox, config)  # there is no such program in the image
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert "create failed" in str(caught.value.details())
    assert peak_bytes(node) < memory + 50 * MiB
    good = node.run(sandbox, container("sleep", "1000"))
    assert node.status(good).state == cri.CONTAINER_RUNNING


@pytest.mark.root
def test_what_a_layer_makes_of_itself_stays_in_it(node: Lab, tmp_path: Path) -> None:
    """Links first, then entries through them: all lands in the layer."""
    outside = node.root / "outside"
    outside.mkdir()
    blob = plain(entries(
        entry("abs", tarfile.SYMTYPE, linkname=str(outside)),
        entry("up", tarfile.SYMTYPE, linkname="../../../../../../../../" + str(outside)),
        entry("self", tarfile.SYMTYPE, linkname="/proc/self/root"),
        entry("abs/one", size=1), entry("up/two", size=1), entry("self/three", size=1),
        entry("abs/.wh.victim"),
    ))  # fmt: skip
    (outside / "victim").touch()
    [loaded] = node.load(archive(tmp_path / "x.tar", "x.local/links:1", blob))
    assert loaded.changed
    assert [p.name for p in outside.iterdir()] == ["victim"]
    layer = node.root / "lib/images/layers" / blob.diff_id.removeprefix("sha256:")[:24]
    inside = layer / str(outside).lstrip("/")
    assert sorted(p.name for p in inside.iterdir()) == ["one", "two", "victim"]
    assert stat.S_ISCHR((inside / "victim").lstat().st_mode)
    assert (layer / "proc/self/root/three").exists()
