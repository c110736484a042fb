"""A lab's own directory on this host: record, PKI, SSH key, timings. 0700, secrets 0600.

    /var/lib/muster-lab/<lab>/lab.json       who is who
    /var/lib/muster-lab/<lab>/pki/           certificate authorities and leaves
    /var/lib/muster-lab/.cache/              bundles and images, shared by all labs

`MUSTER_STATE_DIR` moves all of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from provision.errors import HostNotReady, LabConflict, LabNotFound, ProvisionError
from provision.identities import LabRecord
from provision.labfile.spec import stanza
from provision.providers.base import LabSpec

DEFAULT_ROOT = Path("/var/lib/muster-lab")


def state_root() -> Path:
    return Path(os.environ.get("MUSTER_STATE_DIR") or DEFAULT_ROOT)


def write_private(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace `path` in one step; it is never readable by others, not even for a moment."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@dataclass(frozen=True, slots=True)
class LabDir:
    """The paths of one lab."""

    path: Path

    @property
    def record_file(self) -> Path:
        return self.path / "lab.json"

    @property
    def pki(self) -> Path:
        return self.path / "pki"

    @property
    def ssh_key(self) -> Path:
        return self.path / "ssh" / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        return self.path / "ssh" / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        return self.path / "ssh" / "config"

    @property
    def run_note(self) -> Path:
        """Where the roles that run now keep their files, for whoever comes after a kill."""
        return self.path / "ansible-run"

    @property
    def kubeconfig(self) -> Path:
        return self.path / "admin.conf"

    @property
    def prometheus(self) -> Path:
        return self.path / "prometheus.yml"

    @property
    def rules(self) -> Path:
        return self.path / "rules.yml"

    @property
    def series(self) -> Path:
        """The lab's Prometheus: its data and its log."""
        return self.path / "prometheus"

    @property
    def timings(self) -> Path:
        return self.path / "timings.json"

    @property
    def payloads(self) -> Path:
        return self.path / "payloads"


class Store:
    """All labs of this host."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or state_root()

    @property
    def cache(self) -> Path:
        return self.root / ".cache"

    def directory(self, name: str) -> LabDir:
        return LabDir(self.root / name)

    def names(self) -> list[str]:
        """The labs that have a record, in order."""
        try:
            found = [p.parent.name for p in self.root.glob("*/lab.json")]
        except OSError as error:
            raise self._denied(error) from None
        return sorted(found)

    def find(self, name: str) -> LabRecord | None:
        path = self.directory(name).record_file
        try:
            return msgspec.json.decode(path.read_bytes(), type=LabRecord)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._denied(error) from None
        except msgspec.DecodeError as error:
            raise ProvisionError(
                f'"{path}" is damaged: {error}',
                "bring the file back from a copy, or remove the lab with `muster prune`",
            ) from None

    def get(self, name: str) -> LabRecord:
        record = self.find(name)
        if record is None:
            others = ", ".join(self.names())
            raise LabNotFound(
                f'there is no lab "{name}"',
                f"there are: {others}" if others else "make one with `muster up`",
            )
        return record

    def subnets(self) -> Mapping[str, str]:
        """Every lab's subnet, for allocating another."""
        return {name: self.get(name).network.subnet for name in self.names()}

    def save(self, record: LabRecord) -> None:
        directory = self.directory(record.name)
        content = msgspec.json.format(msgspec.json.encode(record), indent=2)
        try:
            write_private(directory.record_file, content + b"\n")
        except OSError as error:
            raise self._denied(error) from None

    def remove(self, name: str) -> None:
        """Forget the lab: its whole directory goes."""
        shutil.rmtree(self.directory(name).path, ignore_errors=True)

    @contextlib.contextmanager
    def locked(self, name: str, *, wait: bool = False) -> Iterator[None]:
        """Hold the lab (or `.allocate`, for the addresses of all) against other commands."""
        path = self.root / ".locks" / name
        descriptor = self._acquire(path, wait=wait)
        try:
            yield
        finally:
            if not self.directory(name).path.exists():
                path.unlink(missing_ok=True)  # the lab is gone, and its lock with it
            os.close(descriptor)

    def _acquire(self, path: Path, *, wait: bool) -> int:
        while True:
            try:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                    return descriptor
                os.close(descriptor)  # its holder removed the lab, lock and all: once more
            except BlockingIOError:
                os.close(descriptor)
                raise LabConflict(
                    f'another command is changing lab "{path.name}"',
                    "wait until it is done, and repeat",
                ) from None
            except OSError as error:
                raise self._denied(error) from None

    def _denied(self, error: OSError) -> HostNotReady:
        hint = "run it as root (sudo), or set MUSTER_STATE_DIR"
        if error.errno == 28:  # ENOSPC
            hint = "free some disk space"
        return HostNotReady(f'cannot use "{error.filename or self.root}": {error.strerror}', hint)


def lab_spec(record: LabRecord, directory: LabDir) -> LabSpec:
    """The value that every verb of a provider takes."""
    return replace(
        unmade_spec(record, directory),
        ssh_public_key=directory.ssh_key.with_suffix(".pub").read_text().strip(),
    )


def unmade_spec(record: LabRecord, directory: LabDir) -> LabSpec:
    """The same of a lab that has no key yet: enough for a provider's `check`."""
    given = stanza(record.lab.spec, record.lab.spec.provider)
    options = {} if given is msgspec.UNSET else msgspec.structs.asdict(given)
    return LabSpec(
        name=record.name,
        network=record.network,
        machines=record.machines,
        state_dir=directory.path,
        ssh_public_key="",
        ssh_private_key=directory.ssh_key,
        options={name: x for name, x in options.items() if x is not msgspec.UNSET},
    )
