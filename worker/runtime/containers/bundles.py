"""Makes and removes OCI bundles: the overlay mount and `config.json` of one container. Blocks."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec

from kube.files import beneath, mounts, trees
from kube.stubs.cri import api_pb2 as cri
from worker.runtime import documents, kernel
from worker.runtime.containers import logplace
from worker.runtime.containers.lifecycle import stop_signal
from worker.runtime.errors import InvalidArgument, NotFound
from worker.runtime.images.store import ImageStore
from worker.runtime.oci import capabilities, profiles, users
from worker.runtime.oci import spec as oci_spec
from worker.runtime.oci.resources import NodeFacts
from worker.runtime.oci.spec import Device, PodFiles, SpecInputs
from worker.runtime.records import ContainerRecord
from worker.runtime.sandboxes.sandboxes import Places, Sandboxes
from worker.runtime.sandboxes.user_namespaces import Staging

# Of /etc/passwd and /etc/group: some 100,000 accounts.
_ACCOUNTS_BYTES = 8 << 20


class BundleMaker:
    def __init__(
        self, places: Places, sandboxes: Sandboxes, images: ImageStore, facts: NodeFacts
    ) -> None:
        self._places = places
        self._sandboxes = sandboxes
        self._images = images
        self._facts = facts

    def cgroup_parent(self, sandbox_id: str) -> str:
        parent = self._sandboxes.config(sandbox_id).linux.cgroup_parent.strip("/")
        return f"/{parent}" if parent else f"{self._facts.cgroup_parent}/{sandbox_id}"

    def make(self, record: ContainerRecord, config: cri.ContainerConfig) -> ContainerRecord:
        """Mount the root file system and write the spec; returns the record with what they say."""
        bundle, storage = self._bundle(record.id), self._places.containers / record.id
        rootfs = bundle / "rootfs"
        rootfs.mkdir(parents=True)
        for name in ("upper", "work"):
            (storage / name).mkdir(mode=0o755)
        lower = [str(self._images.layer_path(layer)) for layer in record.layers]
        staging = self._staging(record)
        upper, work = storage / "upper", storage / "work"
        ids = self._sandboxes.ids(record.sandbox_id)
        if ids is not None:
            staging.overlay(lower, upper, work, str(rootfs), ids.host_id)
        else:
            kernel.mount_overlay(lower, str(upper), str(work), str(rootfs))
        image = self._images.run_config(self._images.get(record.image_id))
        accounts = users.Accounts(_text(rootfs, "/etc/passwd"), _text(rootfs, "/etc/group"))
        security = config.linux.security_context
        who = users.identity(security, image.user, accounts)
        for mount in config.mounts:
            _check_mount(mount)
        spec = oci_spec.container_spec(
            SpecInputs(
                container_id=record.id,
                config=_with_real_paths(config),
                image=image,
                identity=who,
                rootfs=str(rootfs),
                cgroups_path=record.cgroups_path,
                namespaces=self._namespaces(record.sandbox_id, security),
                pod_files=self._pod_files(record.sandbox_id),
                hostname=self._sandboxes.hostname(record.sandbox_id),
                facts=self._facts,
                devices=_devices(config),
                seccomp=profiles.seccomp_profile(security, self._granted(security)),
                apparmor=profiles.AppArmor().profile_of(security),
                selinux=profiles.selinux_label(security),
                ids=ids,
            )
        )
        if ids is not None:
            staging.take(spec, self._sandboxes.shm(record.sandbox_id))
        documents.replace_file(bundle / "config.json", msgspec.json.encode(spec))
        logplace.prepare(Path(record.log_path), self._log_root(record))
        return msgspec.structs.replace(
            record,
            uid=who.uid,
            gid=who.gid,
            additional_gids=who.additional_gids,
            stop_signal=stop_signal(config.stop_signal, image.stop_signal),
        )

    def _granted(self, security: cri.LinuxContainerSecurityContext) -> list[str]:
        sets = capabilities.container_sets(
            security.capabilities,
            privileged=security.privileged,
            available=self._facts.capabilities,
            root=True,
        )
        return sets["bounding"]

    def _staging(self, record: ContainerRecord) -> Staging:
        namespace = self._sandboxes.namespace_paths(record.sandbox_id).get("user", "")
        return Staging(self._bundle(record.id), namespace)

    def unstage(self, container_id: str) -> None:
        """The container is made and has its mounts."""
        Staging(self._bundle(container_id), "").clear()

    def _log_root(self, record: ContainerRecord) -> Path:
        directory = self._sandboxes.config(record.sandbox_id).log_directory
        return Path(directory).parent if directory else self._places.containers

    def unmount(self, container_id: str) -> None:
        mounts.unmount(str(self._bundle(container_id) / "rootfs"))

    def remove(self, container_id: str) -> None:
        self.unmount(container_id)
        self.unstage(container_id)
        trees.remove(self._bundle(container_id))

    def _namespaces(
        self, sandbox_id: str, security: cri.LinuxContainerSecurityContext
    ) -> dict[str, str]:
        namespaces = {"mount": "", **self._sandboxes.namespace_paths(sandbox_id)}
        options = security.namespace_options
        if options.pid == cri.TARGET:
            namespaces["pid"] = self._target_pid_namespace(options.target_id)
        elif options.pid == cri.CONTAINER:
            namespaces["pid"] = ""
        elif options.pid == cri.NODE:
            namespaces.pop("pid", None)
        if self._facts.cgroup_v2:
            namespaces["cgroup"] = ""
        return namespaces

    def _target_pid_namespace(self, target_id: str) -> str:
        try:
            pid = int((self._bundle(target_id) / "pid").read_text())
        except (OSError, ValueError):
            raise NotFound(f'target container "{target_id}" not found') from None
        return f"/proc/{pid}/ns/pid"

    def _pod_files(self, sandbox_id: str) -> PodFiles:
        return PodFiles(
            resolv_conf=self._sandboxes.file(sandbox_id, "resolv.conf"),
            hostname=self._sandboxes.file(sandbox_id, "hostname"),
            shm=self._sandboxes.shm(sandbox_id),
        )

    def _bundle(self, container_id: str) -> Path:
        return self._places.bundles / container_id


def _text(rootfs: Path, name: str) -> str:
    """A file of the image, found as the container would find it. It may be anything at all there:
    only the beginning of a regular file is read."""
    try:
        with beneath.directory(rootfs) as root:
            handle = beneath.locate_in_root(root, name)
            try:
                return beneath.head_of_handle(handle, _ACCOUNTS_BYTES).decode(errors="replace")
            finally:
                os.close(handle)
    except OSError:
        return ""


def _check_mount(mount: cri.Mount) -> None:
    if mount.HasField("image"):
        raise InvalidArgument(f"image volumes are not supported ({mount.container_path})")
    if not mount.container_path.startswith("/"):
        raise InvalidArgument(f'mount path "{mount.container_path}" is not absolute')
    if not Path(mount.host_path).exists():
        raise InvalidArgument(f'mount source "{mount.host_path}" does not exist on the node')


def _with_real_paths(config: cri.ContainerConfig) -> cri.ContainerConfig:
    """CRI: a source that is a symbolic link stands for what it points to."""
    result = cri.ContainerConfig()
    result.CopyFrom(config)
    for mount in result.mounts:
        mount.host_path = os.path.realpath(mount.host_path)
    return result


def _devices(config: cri.ContainerConfig) -> list[Device]:
    devices = [_device(d.host_path, d.container_path, d.permissions) for d in config.devices]
    if config.linux.security_context.privileged:
        devices += [_device(str(p), str(p), "rwm") for p in _machine_devices()]
    unique = {device.path: device for device in devices}
    return list(unique.values())


def _machine_devices() -> list[Path]:
    """Every device node of the machine, but terminals, which each container has of its own."""
    found = []
    for directory, names, files in os.walk("/dev"):
        names[:] = [n for n in names if n not in ("pts", "shm", "mqueue", "fd")]
        for name in files:
            path = Path(directory, name)
            if name not in ("console", "ptmx") and _is_device(path):
                found.append(path)
    return found


def _is_device(path: Path) -> bool:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return False
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def _device(host_path: str, container_path: str, permissions: str) -> Device:
    try:
        found = Path(host_path).stat()
    except OSError as error:
        raise InvalidArgument(f'device "{host_path}": {error.strerror}') from error
    if not (stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode)):
        raise InvalidArgument(f'"{host_path}" is not a device')
    return Device(
        path=container_path or host_path,
        type="c" if stat.S_ISCHR(found.st_mode) else "b",
        major=os.major(found.st_rdev),
        minor=os.minor(found.st_rdev),
        mode=stat.S_IMODE(found.st_mode),
        permissions=permissions or "rwm",
    )
