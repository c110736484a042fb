"""Pulling from Debian's docker-registry on the loopback, and the load command."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from kube.stubs.cri import api_pb2 as cri
from provision.images import layout
from tests.component.kvstore_harness import free_ports
from tests.component.runtime_harness import REPO, Lab, lab, wait_until
from worker.runtime.errors import NotFound, RuntimeFailure, Unavailable
from worker.runtime.images.registry import Puller
from worker.runtime.images.store import ImageStore

REGISTRY = shutil.which("docker-registry")
IMAGE = layout.Image("x/app:1", (layout.layer([layout.File("f", b"pulled")]),), cmd=("f",))


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    if REGISTRY is None:
        pytest.skip("Debian's docker-registry is not installed")
    address = f"127.0.0.1:{free_ports(1)[0]}"
    config = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "registry")}},
        "http": {"addr": address},
    }
    (tmp_path / "config.yml").write_text(json.dumps(config))
    process = subprocess.Popen(
        [REGISTRY, "serve", str(tmp_path / "config.yml")],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_until("registry answers", lambda: answers(address))
        yield address
    finally:
        process.kill()
        process.wait()


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/v2/", timeout=2):
            return True
    except (urllib.error.URLError, ConnectionError):
        return False


def request(method: str, url: str, body: bytes, kind: str) -> str:
    made = urllib.request.Request(url, data=body, method=method, headers={"Content-Type": kind})
    with urllib.request.urlopen(made, timeout=60) as response:
        return str(response.headers.get("Location", ""))


def push(address: str, image: layout.Image) -> str:
    """Push an image by the distribution protocol; returns its manifest's digest."""
    content, digest = layout.archive(image, "amd64")
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        blobs = {
            m.name: file.read()
            for m in tar
            if m.name.startswith("blobs/") and (file := tar.extractfile(m)) is not None
        }
    base = f"http://{address}/v2/x/app"
    manifest = blobs.pop("blobs/" + digest.replace(":", "/"))
    for blob in blobs.values():
        location = request("POST", f"{base}/blobs/uploads/", b"", "application/octet-stream")
        joint = "&" if "?" in location else "?"
        target = f"{location}{joint}digest=sha256:{hashlib.sha256(blob).hexdigest()}"
        request("PUT", target, blob, "application/octet-stream")
    request("PUT", f"{base}/manifests/1", manifest, layout.MANIFEST_TYPE)
    return digest


@pytest.mark.root
async def test_an_image_is_pulled_by_tag_and_by_digest(registry: str, tmp_path: Path) -> None:
    digest = push(registry, IMAGE)
    store, puller = ImageStore(tmp_path / "store"), Puller(tmp_path / "downloads")
    record = await puller.pull(store, f"{registry}/x/app:1", cri.AuthConfig())
    assert record.manifest_digest == digest
    assert (store.layer_path(record.layers[0].directory) / "f").read_bytes() == b"pulled"
    assert store.find(f"{registry}/x/app:1") == record
    again = await puller.pull(store, f"{registry}/x/app@{digest}", cri.AuthConfig())
    assert again.id == record.id
    assert store.find(f"{registry}/x/app@{digest}") is not None
    assert list((tmp_path / "downloads").iterdir()) == []


async def test_what_the_registry_has_not_is_not_found(registry: str, tmp_path: Path) -> None:
    store, puller = ImageStore(tmp_path / "store"), Puller(tmp_path / "downloads")
    with pytest.raises(NotFound, match="muster image load"):
        await puller.pull(store, f"{registry}/x/none:1", cri.AuthConfig())


async def test_a_layer_that_was_changed_on_the_way_is_refused(
    registry: str, tmp_path: Path
) -> None:
    push(registry, IMAGE)
    [data] = [
        path
        for path in (tmp_path / "registry").rglob("data")
        if path.read_bytes() == IMAGE.layers[0]
    ]
    data.write_bytes(layout.layer([layout.File("f", b"forged")]))
    store, puller = ImageStore(tmp_path / "store"), Puller(tmp_path / "downloads")
    with pytest.raises(RuntimeFailure):
        await puller.pull(store, f"{registry}/x/app:1", cri.AuthConfig())
    assert store.list() == ()


async def test_a_registry_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    store, puller = ImageStore(tmp_path / "store"), Puller(tmp_path / "downloads")
    with pytest.raises(Unavailable, match="muster image load"):
        await puller.pull(store, f"127.0.0.1:{free_ports(1)[0]}/x:1", cri.AuthConfig())


@pytest.mark.root
def test_the_load_command_loads_and_lists(tmp_path: Path) -> None:
    archive = tmp_path / "x.tar"
    archive.write_bytes(layout.archive(IMAGE, "amd64")[0])
    with lab(tmp_path / "none") as node:
        loaded = json.loads(load_command(node, str(archive)).stdout)
        assert [image["names"] for image in loaded] == [["docker.io/x/app:1"]]
        listed = json.loads(load_command(node, "--list").stdout)
        assert [image["id"] for image in listed] == [loaded[0]["id"]]
        missing = load_command(node, str(tmp_path / "absent.tar"))
        assert missing.returncode == 1
        assert "absent.tar" in missing.stderr


@pytest.mark.root
def test_a_full_disk_is_told_as_such_and_nothing_half_loaded_stays(tmp_path: Path) -> None:
    big = layout.Image("x/big:1", (layout.layer([layout.File("f", bytes(8 << 20))]),), cmd=("f",))
    archive = tmp_path / "big.tar"
    archive.write_bytes(layout.archive(big, "amd64")[0])
    with lab(tmp_path / "none") as node:
        layers = node.root / "lib/images/layers"
        mount = node.inside("mount", "-t", "tmpfs", "-o", "size=4m", "small", str(layers))
        subprocess.run(mount, check=True)
        # The runtime opened nothing below yet: it sees the small file system from now on.
        failed = load_command(node, str(archive))
        assert failed.returncode == 1
        assert "No space left on device" in failed.stderr
        subprocess.run(node.inside("umount", str(layers)), check=True)
        assert json.loads(load_command(node, "--list").stdout) == []
        assert load_command(node, str(archive)).returncode == 0


def load_command(node: Lab, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "worker.runtime.images.load", f"--socket={node.socket}", *args],
        cwd=REPO, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
