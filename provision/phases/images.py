"""Images: built or given on this host, sent to every machine that does not have them yet."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from provision.bundle.layer import MACHINE_PYTHON
from provision.errors import HostNotReady, MachineUnreachable, ProvisionError
from provision.payload.agents import CONTAINERD_SOCKET, RUNTIME_SOCKET
from provision.payload.model import LIBRARY
from provision.phases.report import Step
from provision.phases.session import Session
from provision.providers.base import SshTarget
from provision.ssh import Connection, over_ssh

STAGE = "/var/lib/muster/images"
# The runtime answers once its unit is up, which `provision` does not wait for.
RUNTIME_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Runtime:
    """How a machine's runtime is told to load an archive and to list what it has."""

    socket: str
    load: tuple[str, ...]
    list: tuple[str, ...]
    batch: int = 1  # how many archives `load` takes


_OURS = ("env", f"PYTHONPATH={LIBRARY}", MACHINE_PYTHON, "-m", "worker.runtime.images.load")
_CTR = ("ctr", "--namespace", "k8s.io", "images")
RUNTIMES = {
    "muster": Runtime(RUNTIME_SOCKET.removeprefix("unix://"), _OURS, (*_OURS, "--list"), batch=100),
    "containerd": Runtime(
        CONTAINERD_SOCKET.removeprefix("unix://"), (*_CTR, "import"), (*_CTR, "list", "-q")
    ),
}


def build_images(session: Session, step: Step) -> list[Path]:
    """The images of the examples, and those that the lab file names."""
    from provision.images import ImageBuildError, build_all

    given = [_given(text) for text in session.record.lab.spec.images]
    try:
        built = build_all(session.store.cache / "images", lambda text: step.say("", text))
    except ImageBuildError as error:
        raise HostNotReady(f"cannot build the example images: {error}") from error
    return [*(image.path for image in built), *given]


def _given(text: str) -> Path:
    path = Path(text).expanduser().resolve()
    if not path.is_file():
        raise HostNotReady(
            f'spec.images: there is no file "{text}"', "give the path of an image archive"
        )
    return path


async def load_images(
    session: Session, archives: Sequence[Path], step: Step, names: Sequence[str] | None = None
) -> list[str]:
    """Bring `archives` to the machines, in parallel. Returns what was loaded where."""
    digests = {path: await asyncio.to_thread(_digest, path) for path in archives}
    machines = names if names is not None else await session.running()
    runtime = RUNTIMES[session.record.lab.spec.runtime]

    async def one(name: str) -> list[str]:
        target = await session.target(name)
        return await over_ssh(
            target, name, lambda connection: _load_on(connection, name, digests, runtime, step)
        )

    if not archives:
        return []
    loaded = await asyncio.gather(*(one(name) for name in machines))
    return [line for lines in loaded for line in lines]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load_on(
    connection: Connection, name: str, digests: dict[Path, str], runtime: Runtime, step: Step
) -> list[str]:
    # The stamps are of the archives' content: an image rebuilt is loaded anew.
    present = set(connection.run(["ls", STAGE]).text.split())
    missing = {p: d for p, d in digests.items() if f"{d}.loaded" not in present}
    if missing:
        _must(connection, name, ["mkdir", "-p", STAGE], missing)
        for path, digest in missing.items():
            connection.put(path, f"{STAGE}/{digest}.tar")
        _must(connection, name, ["sh", "-c", _script(list(missing.values()), runtime)], missing)
        step.say(name, f"loaded {_names(missing)}")
    return [f"{name}: image {path.name} loaded" for path in missing]


def _script(digests: Sequence[str], runtime: Runtime) -> str:
    """Wait for the runtime, then load as many archives at once as it takes: each start costs."""
    archives = " ".join(f"{STAGE}/{digest}.tar" for digest in digests)
    stamps = " ".join(f"{STAGE}/{digest}.loaded" for digest in digests)
    return (
        f"for i in $(seq {RUNTIME_SECONDS * 10}); do [ -S {runtime.socket} ] && break; "
        f"sleep 0.1; done; echo {archives} | xargs -n {runtime.batch} {shlex.join(runtime.load)}; "
        f"rc=$?; rm -f {archives}; [ $rc = 0 ] && touch {stamps}; exit $rc"
    )


def _names(paths: Iterable[Path]) -> str:
    return ", ".join(path.name for path in paths)


def _must(connection: Connection, name: str, command: list[str], paths: Iterable[Path]) -> None:
    done = connection.run(command)
    if done.status != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise ProvisionError(
            f"{name} did not load {_names(paths)}: {said[-1000:]}",
            "is it an image archive (OCI layout, or docker save)?",
        )


async def list_on(session: Session, target: SshTarget, name: str) -> list[str]:
    """The names of the images that a machine's runtime has."""
    runtime = RUNTIMES[session.record.lab.spec.runtime]
    done = await over_ssh(target, name, lambda connection: connection.run(list(runtime.list)))
    if done.status != 0:
        raise MachineUnreachable(
            f"{name} does not list its images: {done.stderr.decode(errors='replace').strip()}",
            f"see `muster logs runtime --node {name}`",
        )
    return sorted(image_names(done.text))


def image_names(listed: str) -> set[str]:
    """From our runtime's JSON, or from ctr's lines."""
    try:
        return {name for image in json.loads(listed) for name in image["names"] or [image["id"]]}
    except ValueError:
        # ctr lists each image a second time, by its id.
        return {name for name in listed.split() if not name.startswith("sha256:")}
