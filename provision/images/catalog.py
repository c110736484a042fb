"""Which images there are, given the binaries. Pure.

All stand on one base layer: busybox with its applets, and tini where the host has it.
"""

from __future__ import annotations

from collections.abc import Sequence

from provision.images.layout import Directory, Entry, File, Image, Symlink, layer

HELLO_PORT = 8080
_PASSWD = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
_GROUP = b"root:x:0:\nnogroup:x:65534:\n"

# A shell as PID 1 gets no default action for signals, so it traps them; `wait` returns at once
# when a trapped signal comes, while a foreground sleep would not.
_PAUSE = """#!/bin/sh
trap 'exit 0' TERM INT
while :; do
    sleep 3600 &
    wait $!
done
"""
# httpd ignores SIGTERM as PID 1: its parent (tini or this shell) hands the signal on.
_HELLO = """#!/bin/sh
mkdir -p /tmp/www
echo "hello {version} from $HOSTNAME" > /tmp/www/index.html
echo "hello {version} serves on port {port} as $HOSTNAME"
httpd -f -p {port} -h /tmp/www &
trap 'kill $!' TERM INT
wait $!
"""


def base_layer(busybox: bytes, applets: Sequence[str], tini: bytes | None) -> bytes:
    """busybox under its many names, the usual directories, and an init."""
    entries: list[Entry] = [
        *(Directory(name) for name in ("bin", "dev", "etc", "proc", "root", "sbin", "sys", "usr")),
        *(Directory(name) for name in ("usr/bin", "usr/sbin", "var")),
        Directory("tmp", 0o1777),
        File("bin/busybox", busybox, 0o755),
        File("etc/passwd", _PASSWD),
        File("etc/group", _GROUP),
        *(Symlink(f"bin/{name}", "busybox") for name in sorted(applets) if name != "busybox"),
    ]
    if tini is not None:
        entries.append(File("sbin/tini", tini, 0o755))
    return layer(entries)


def images(base: bytes, *, has_tini: bool) -> list[Image]:
    init = ("/sbin/tini", "--") if has_tini else ()
    return [
        Image("muster.local/busybox:1", (base,), entrypoint=init, cmd=("sh",)),
        Image(
            "muster.local/pause:1",
            (base, layer([File("bin/pause", _PAUSE.encode(), 0o755)])),
            entrypoint=("/bin/pause",),
        ),
        *(_hello(base, init, version) for version in ("1", "2")),
    ]


def _hello(base: bytes, init: tuple[str, ...], version: str) -> Image:
    script = _HELLO.format(version=version, port=HELLO_PORT)
    return Image(
        f"muster.local/hello:{version}",
        (base, layer([File("bin/hello", script.encode(), 0o755)])),
        entrypoint=(*init, "/bin/hello"),
        labels={"org.opencontainers.image.version": version},
    )
