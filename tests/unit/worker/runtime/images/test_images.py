"""Image references, layers, the store, and the archives that we build ourselves."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from pathlib import Path
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision.images import layout
from provision.images.catalog import base_layer, images
from worker.runtime.errors import InvalidArgument, NotFound
from worker.runtime.images import archives, layers, references
from worker.runtime.images.limits import Budget
from worker.runtime.images.registry import is_loopback
from worker.runtime.images.store import ImageStore

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("me/app:1", "docker.io/me/app:1"),
        ("muster.local/hello:1", "muster.local/hello:1"),
        ("localhost/x", "localhost/x:latest"),
        ("127.0.0.1:5000/a/b:c", "127.0.0.1:5000/a/b:c"),
        (f"x.io/y@{DIGEST}", f"x.io/y@{DIGEST}"),
        (f"x.io/y:2@{DIGEST}", f"x.io/y:2@{DIGEST}"),
    ],
)
def test_references_have_one_normal_form(text: str, normal: str) -> None:
    assert str(references.parse(text)) == normal
    assert references.parse(normal) == references.parse(text)


@pytest.mark.parametrize("text", ["", "UPPER/case", "a b", "x:", "x@sha256:12", "../x", "x.io/"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        references.parse(text)


@given(st.text(max_size=60))
def test_parsing_never_fails_otherwise(text: str) -> None:
    try:
        reference = references.parse(text)
    except InvalidArgument:
        return
    assert references.parse(str(reference)) == reference


def test_plain_http_is_for_the_loopback() -> None:
    assert is_loopback("127.0.0.1:5000")
    assert is_loopback("localhost")
    assert is_loopback("[::1]:5000")
    assert not is_loopback("10.0.0.1:5000")
    assert not is_loopback("registry.example")


# ---- Layers


def unpack(stream: IO[bytes], root: Path) -> None:
    layers.unpack(stream, root, Budget(root, 1 << 20))


def tar_of(*members: tuple[str, str, str]) -> io.BytesIO:
    """(name, kind, content or target): kinds are file, dir, symlink, hardlink."""
    buffer = io.BytesIO()
    kinds = {"dir": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE, "hardlink": tarfile.LNKTYPE}
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, kind, value in members:
            info = tarfile.TarInfo(name)
            info.uid, info.gid = os.getuid(), os.getgid()
            if kind == "file":
                info.size = len(value)
                tar.addfile(info, io.BytesIO(value.encode()))
                continue
            info.type, info.linkname, info.mode = kinds[kind], value, 0o755
            tar.addfile(info)
    buffer.seek(0)
    return buffer


def test_a_layer_is_unpacked_with_links_and_modes(tmp_path: Path) -> None:
    stream = tar_of(
        ("usr/bin", "dir", ""),
        ("bin", "symlink", "usr/bin"),
        ("bin/tool", "file", "x"),
        ("usr/bin/again", "hardlink", "usr/bin/tool"),
    )
    unpack(stream, tmp_path)
    assert (tmp_path / "usr/bin/tool").read_text() == "x"
    assert (tmp_path / "bin").is_symlink()
    assert (tmp_path / "usr/bin/again").samefile(tmp_path / "usr/bin/tool")


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "x/.."])
def test_paths_that_climb_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgument, match="outside"):
        unpack(tar_of((name, "file", "x")), tmp_path)


def test_links_never_lead_out_of_the_layer(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "victim").mkdir()
    stream = tar_of(
        ("up", "symlink", "../victim"),
        ("abs", "symlink", str(tmp_path / "victim")),
        ("up/a", "file", "x"),
        ("abs/b", "file", "x"),
    )
    unpack(stream, root)
    assert list((tmp_path / "victim").iterdir()) == []
    assert (root / "victim/a").read_text() == "x"


def test_hard_links_to_the_outside_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(InvalidArgument, match="not there"):
        unpack(tar_of(("x", "hardlink", "../secret")), root)


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    stream = tar_of(("a", "symlink", "b"), ("b", "symlink", "a"), ("a/x", "file", ""))
    with pytest.raises(InvalidArgument, match="Too many"):
        unpack(stream, tmp_path)


@pytest.mark.root
def test_whiteouts_become_those_of_overlayfs(tmp_path: Path) -> None:
    stream = tar_of(("d/.wh.gone", "file", ""), ("e", "dir", ""), ("e/.wh..wh..opq", "file", ""))
    unpack(stream, tmp_path)
    gone = (tmp_path / "d/gone").stat()
    assert (os.major(gone.st_rdev), os.minor(gone.st_rdev)) == (0, 0)
    assert os.getxattr(tmp_path / "e", "trusted.overlay.opaque") == b"y"


# ---- Archives and the store


def an_image(name: str = "muster.local/x:1", content: bytes = b"1") -> layout.Image:
    return layout.Image(name, (layout.layer([layout.File("f", content)]),), cmd=("f",))


def archive_file(path: Path, image: layout.Image) -> Path:
    path.write_bytes(layout.archive(image, "amd64")[0])
    return path


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "store")


@pytest.mark.root
def test_a_loaded_image_is_found_by_all_its_names(store: ImageStore, tmp_path: Path) -> None:
    [(record, changed)] = archives.load(store, archive_file(tmp_path / "a.tar", an_image()))
    assert changed
    for name in ("muster.local/x:1", record.id, record.id.removeprefix("sha256:"), *record.digests):
        assert store.find(name) == record
    assert store.find("muster.local/x:2") is None
    assert store.run_config(record).cmd == ("f",)
    assert (store.layer_path(record.layers[0].directory) / "f").read_bytes() == b"1"
    # What is on disk says the same to the next process.
    assert ImageStore(store.root).find("muster.local/x:1") == record


@pytest.mark.root
def test_a_name_moves_to_the_newer_image(store: ImageStore, tmp_path: Path) -> None:
    archives.load(store, archive_file(tmp_path / "a.tar", an_image(content=b"old")))
    [(new, _)] = archives.load(store, archive_file(tmp_path / "b.tar", an_image(content=b"new")))
    assert store.find("muster.local/x:1") == new
    assert len(store.list()) == 2


@pytest.mark.root
def test_collecting_keeps_what_images_and_containers_use(store: ImageStore, tmp_path: Path) -> None:
    [(a, _)] = archives.load(store, archive_file(tmp_path / "a.tar", an_image(content=b"a")))
    [(b, _)] = archives.load(
        store, archive_file(tmp_path / "b.tar", an_image("muster.local/y:1", b"b"))
    )
    assert store.remove("muster.local/x:1")
    assert not store.remove("muster.local/x:1")
    used = [layer.directory for layer in a.layers]
    store.collect(used)
    assert store.layer_path(used[0]).exists()
    store.collect([])
    assert not store.layer_path(used[0]).exists()
    assert store.layer_path(b.layers[0].directory).exists()
    with pytest.raises(NotFound, match="muster image load"):
        store.get("muster.local/x:1")


def rewritten(path: Path, change: dict[str, bytes]) -> Path:
    """A copy of an archive with some members replaced."""
    out = path.with_suffix(".changed")
    with tarfile.open(path) as old, tarfile.open(out, "w") as new:
        for member in old:
            content = old.extractfile(member)
            assert content is not None
            data = change.get(member.name, content.read())
            member.size = len(data)
            new.addfile(member, io.BytesIO(data))
    return out


def test_damaged_content_is_refused(store: ImageStore, tmp_path: Path) -> None:
    image = an_image()
    path = archive_file(tmp_path / "a.tar", image)
    blob = "blobs/" + layout.digest(image.layers[0]).replace(":", "/")
    other = layout.layer([layout.File("f", b"2")])
    with pytest.raises(InvalidArgument, match="digest"):
        archives.load(store, rewritten(path, {blob: other}))
    with pytest.raises(InvalidArgument, match="malformed"):
        archives.load(store, rewritten(path, {"index.json": b"{"}))
    assert store.list() == ()
    assert list((store.root / "layers").iterdir()) == []


@pytest.mark.root
def test_gzip_layers_and_docker_archives(store: ImageStore, tmp_path: Path) -> None:
    blob = layout.layer([layout.File("f", b"1")])
    config = json.dumps(
        {"architecture": "amd64", "config": {"Cmd": ["f"]},
         "rootfs": {"type": "layers", "diff_ids": [layout.digest(blob)]}}
    ).encode()  # fmt: skip
    manifest = [{"Config": "c.json", "RepoTags": ["me/x:1", "me/x:2"], "Layers": ["l/layer.tar"]}]
    content = layout.layer(
        [
            layout.File("c.json", config),
            layout.File("l/layer.tar", blob),
            layout.File("manifest.json", json.dumps(manifest).encode()),
        ]
    )
    path = tmp_path / "docker.tar.gz"
    path.write_bytes(gzip.compress(content))
    archives.load(store, path)
    found = store.find("docker.io/me/x:2")
    assert found is not None
    assert set(found.tags) == {"docker.io/me/x:1", "docker.io/me/x:2"}


# ---- What we build


def test_built_images_depend_on_nothing_but_their_inputs() -> None:
    applets = ["sh", "cat"]
    first = base_layer(b"busybox", applets, b"tini")
    assert first == base_layer(b"busybox", list(reversed(applets)), b"tini")
    built = [layout.archive(image, "amd64") for image in images(first, has_tini=True)]
    assert built == [layout.archive(image, "amd64") for image in images(first, has_tini=True)]
    assert len({digest for _, digest in built}) == 4


def test_the_hello_versions_share_their_base() -> None:
    by_name = {image.name: image for image in images(b"base", has_tini=False)}
    one, two = by_name["muster.local/hello:1"], by_name["muster.local/hello:2"]
    assert one.layers[0] == two.layers[0]
    assert one.layers[1] != two.layers[1]
