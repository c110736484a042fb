"""Volume payloads, the atomic writer, and what a pod's files look like."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from kube.api import core
from kube.api.meta import ObjectMeta
from worker.kubelet.pod.dns import ClusterDns, Resolver, hosts_file, parse_resolv_conf, pod_resolver
from worker.kubelet.pod.env import ConfigError, Sources
from worker.kubelet.volumes import atomicfiles
from worker.kubelet.volumes.payload import File, VolumeError, payload
from worker.kubelet.volumes.volumes import Volumes

POD = core.Pod(metadata=ObjectMeta(name="p", namespace="n", uid="u", labels={"app": "x"}))
SOURCES = Sources(
    config_maps={"cm": core.ConfigMap(data={"a": "1", "b": "2"})},
    secrets={"s": core.Secret(data={"k": base64.b64encode(b"\x00\xff").decode()})},
)


def config_volume(**fields: object) -> core.Volume:
    source = core.ConfigMapVolumeSource(name="cm", **fields)
    return core.Volume(name="v", config_map=source)


class TestPayload:
    def test_all_keys(self) -> None:
        files = payload(POD, config_volume(default_mode=0o400), SOURCES)
        assert files == {"a": File(b"1", 0o400), "b": File(b"2", 0o400)}

    def test_items_choose_and_rename(self) -> None:
        volume = config_volume(items=(core.KeyToPath(key="a", path="d/x", mode=0o600),))
        assert payload(POD, volume, SOURCES) == {"d/x": File(b"1", 0o600)}

    def test_a_missing_key_is_named(self) -> None:
        with pytest.raises(VolumeError, match="non-existent config key: zz"):
            payload(POD, config_volume(items=(core.KeyToPath(key="zz", path="z"),)), SOURCES)

    @pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "..data"])
    def test_no_way_out_of_the_volume(self, path: str) -> None:
        with pytest.raises(VolumeError, match="invalid path"):
            payload(POD, config_volume(items=(core.KeyToPath(key="a", path=path),)), SOURCES)

    def test_a_projected_volume_joins_its_sources(self) -> None:
        label = core.ObjectFieldSelector(field_path="metadata.labels['app']")
        sources = (
            core.VolumeProjection(config_map=core.ConfigMapProjection(name="cm")),
            core.VolumeProjection(secret=core.SecretProjection(name="s")),
            core.VolumeProjection(
                downward_api=core.DownwardAPIProjection(
                    items=(core.DownwardAPIVolumeFile(path="app", field_ref=label),)
                )
            ),
        )
        volume = core.Volume(name="v", projected=core.ProjectedVolumeSource(sources=sources))
        files = payload(POD, volume, SOURCES)
        assert {k: f.content for k, f in files.items()} == {
            "a": b"1", "b": b"2", "k": b"\x00\xff", "app": b"x",
        }  # fmt: skip

    def test_a_missing_config_map_waits_unless_optional(self) -> None:
        with pytest.raises(VolumeError, match='configmap "cm" not found'):
            payload(POD, config_volume(), Sources())
        assert payload(POD, config_volume(optional=True), Sources()) == {}


def write(volume: Path, files: dict[str, File], group: int | None = None) -> bool:
    fd = os.open(volume, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return atomicfiles.write(fd, files, group)
    finally:
        os.close(fd)


class TestAtomicWriter:
    def test_names_lead_through_one_symlink(self, tmp_path: Path) -> None:
        write(tmp_path, {"a": File(b"1", 0o600), "d/x": File(b"2", 0o644)})
        assert (tmp_path / "a").readlink() == Path("..data/a")
        assert (tmp_path / "a").read_bytes() == b"1"
        assert (tmp_path / "d/x").read_bytes() == b"2"
        assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600

    def test_an_update_swaps_everything_at_once(self, tmp_path: Path) -> None:
        write(tmp_path, {"a": File(b"1", 0o644), "old": File(b"", 0o644)})
        before = (tmp_path / "..data").readlink()
        assert write(tmp_path, {"a": File(b"2", 0o644), "new": File(b"", 0o644)})
        assert (tmp_path / "a").read_bytes() == b"2"
        assert sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith("..")) == [
            "a", "new",
        ]  # fmt: skip
        assert not (tmp_path / before).exists()

    def test_the_same_again_writes_nothing(self, tmp_path: Path) -> None:
        files = {"a": File(b"1", 0o644)}
        assert write(tmp_path, files)
        before = (tmp_path / "..data").readlink()
        assert not write(tmp_path, files)
        assert (tmp_path / "..data").readlink() == before

    def test_a_crash_before_the_swap_is_repaired(self, tmp_path: Path) -> None:
        (tmp_path / "..data_tmp").symlink_to("nowhere")
        (tmp_path / "..2026_01_01_00_00_00.half").mkdir()
        write(tmp_path, {"a": File(b"1", 0o644)})
        assert (tmp_path / "a").read_bytes() == b"1"
        assert len(list(tmp_path.iterdir())) == 3  # the name, ..data, the version

    def test_a_group_that_owns_the_files_already_is_no_change(self, tmp_path: Path) -> None:
        files = {"a": File(b"1", 0o400)}
        assert write(tmp_path, files, os.getgid())
        assert not write(tmp_path, files, os.getgid())
        assert (tmp_path / "a").stat().st_mode & 0o777 == 0o440

    def test_nothing_in_the_volume_is_believed(self, tmp_path: Path) -> None:
        """A privileged container that remounted it writable left these."""
        volume, outside = tmp_path / "volume", tmp_path / "outside"
        (outside / "kept").mkdir(parents=True)
        volume.mkdir()
        files = {"a": File(b"1", 0o644), "d/x": File(b"2", 0o644)}
        write(volume, files)
        traps = {
            "..data": str(outside), "..data_tmp": str(outside / "kept"), "a": str(outside),
            "d": str(outside), "stale": str(outside), "..old": str(outside),
        }  # fmt: skip
        for name, target in traps.items():
            (volume / name).unlink(missing_ok=True)
            (volume / name).symlink_to(target)
        for target in ("..", "../outside", ".", "..data"):
            (volume / "..data").unlink()
            (volume / "..data").symlink_to(target)
            write(volume, files)
            assert (volume / "d/x").read_bytes() == b"2"
            assert [p.name for p in outside.iterdir()] == ["kept"]
        trap = volume / (volume / "..data").readlink() / "a"
        trap.unlink()
        os.mkfifo(trap)
        assert write(volume, files)
        assert (volume / "a").read_bytes() == b"1"


class TestMounts:
    def pod(self, mount: core.VolumeMount, volume: core.Volume) -> tuple[core.Pod, core.Container]:
        container = core.Container(name="c", volume_mounts=(mount,))
        spec = core.PodSpec(containers=(container,), volumes=(volume,))
        return core.Pod(metadata=POD.metadata, spec=spec), container

    async def test_empty_dir_is_writable_by_any_user(self, tmp_path: Path) -> None:
        volume = core.Volume(name="e", empty_dir=core.EmptyDirVolumeSource())
        pod, container = self.pod(core.VolumeMount(name="e", mount_path="/e"), volume)
        volumes = Volumes(tmp_path)
        await volumes.setup(pod, Sources())
        mounts = await volumes.mounts(pod, container, {}, "hosts\n", 0)
        assert [m.container_path for m in mounts] == ["/e", "/etc/hosts", "/dev/termination-log"]
        assert Path(mounts[0].host_path).stat().st_mode & 0o777 == 0o777
        assert Path(mounts[1].host_path).read_text() == "hosts\n"
        await volumes.teardown("u")
        assert not (tmp_path / "pods/u").exists()

    async def test_what_a_pod_made_of_its_empty_dir_stays(self, tmp_path: Path) -> None:
        """Some databases refuse a data directory that others may enter."""
        volume = core.Volume(name="e", empty_dir=core.EmptyDirVolumeSource())
        pod, _ = self.pod(core.VolumeMount(name="e", mount_path="/e"), volume)
        volumes = Volumes(tmp_path)
        await volumes.setup(pod, Sources())
        volumes.path(pod, volume).chmod(0o700)
        await volumes.refresh(pod, Sources())
        await volumes.setup(pod, Sources())
        assert volumes.path(pod, volume).stat().st_mode & 0o777 == 0o700

    async def test_refreshing_follows_the_source(self, tmp_path: Path) -> None:
        pod, _ = self.pod(core.VolumeMount(name="v", mount_path="/v"), config_volume())
        volumes = Volumes(tmp_path)
        await volumes.refresh(pod, SOURCES)
        await volumes.refresh(pod, Sources(config_maps={"cm": core.ConfigMap(data={"a": "9"})}))
        directory = volumes.path(pod, pod.spec.volumes[0])
        assert [p.name for p in directory.iterdir() if not p.name.startswith("..")] == ["a"]
        assert (directory / "a").read_text() == "9"

    @pytest.mark.parametrize("sub_path", ["../..", "/etc", "link/x", "link", "a/../../x"])
    async def test_a_sub_path_stays_inside(self, tmp_path: Path, sub_path: str) -> None:
        (tmp_path / "link").symlink_to("/")
        volume = core.Volume(name="h", host_path=core.HostPathVolumeSource(path=str(tmp_path)))
        mount = core.VolumeMount(name="h", mount_path="/h", sub_path=sub_path)
        pod, container = self.pod(mount, volume)
        with pytest.raises(ConfigError, match="failed to prepare subPath"):
            await Volumes(tmp_path / "root").mounts(pod, container, {}, "", 0)

    @pytest.mark.parametrize("kind", ["File", "Socket", "BlockDevice"])
    async def test_host_path_types_are_checked(self, tmp_path: Path, kind: str) -> None:
        source = core.HostPathVolumeSource(path=str(tmp_path), type=kind)
        pod, _ = self.pod(
            core.VolumeMount(name="h", mount_path="/h"), core.Volume(name="h", host_path=source)
        )
        with pytest.raises(VolumeError, match=f"is not a {kind}"):
            await Volumes(tmp_path / "root").setup(pod, Sources())


class TestNames:
    dns = ClusterDns(("10.96.0.10",), "cluster.local", Resolver(("1.1.1.1",), ("lan",), ("edns0",)))

    def pod(self, **spec: object) -> core.Pod:
        return core.Pod(metadata=POD.metadata, spec=core.PodSpec(**spec))

    def test_cluster_first(self) -> None:
        assert pod_resolver(self.pod(), self.dns) == Resolver(
            ("10.96.0.10",),
            ("n.svc.cluster.local", "svc.cluster.local", "cluster.local", "lan"),
            ("ndots:5",),
        )

    @pytest.mark.parametrize(
        "spec", [{"dns_policy": "Default"}, {"host_network": True, "dns_policy": "ClusterFirst"}]
    )
    def test_the_hosts_own(self, spec: dict[str, object]) -> None:
        assert pod_resolver(self.pod(**spec), self.dns) == self.dns.host

    def test_dns_config_is_added(self) -> None:
        config = core.PodDNSConfig(
            nameservers=("9.9.9.9",), options=(core.PodDNSConfigOption(name="ndots", value="1"),)
        )
        found = pod_resolver(self.pod(dns_config=config), self.dns)
        assert found.servers == ("10.96.0.10", "9.9.9.9")
        assert found.options == ("ndots:1",)

    def test_none_means_only_the_pods_own(self) -> None:
        config = core.PodDNSConfig(nameservers=("9.9.9.9",))
        found = pod_resolver(self.pod(dns_policy="None", dns_config=config), self.dns)
        assert found == Resolver(("9.9.9.9",))

    def test_resolv_conf_is_read(self) -> None:
        text = "# c\nnameserver 1.1.1.1\nsearch a b.\noptions ndots:2 # x\ngarbage\n"
        assert parse_resolv_conf(text) == Resolver(("1.1.1.1",), ("a", "b"), ("ndots:2",))

    def test_the_hosts_file(self) -> None:
        alias = core.HostAlias(ip="1.2.3.4", hostnames=("a", "b"))
        pod = self.pod(hostname="h", subdomain="s", host_aliases=(alias,))
        lines = hosts_file(pod, ("10.1.0.5",), "cluster.local", "").splitlines()
        assert lines[0] == "# Kubernetes-managed hosts file."
        assert "10.1.0.5\th.s.n.svc.cluster.local\th" in lines
        assert lines[-1] == "1.2.3.4\ta\tb"
