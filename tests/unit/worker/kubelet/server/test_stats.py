"""cAdvisor's metrics, and the kernel files that they come from."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from kube.stubs.cri import api_pb2 as cri
from worker.kubelet.pod import names
from worker.kubelet.server.cadvisor import MachineUse, PodRow, Snapshot, families
from worker.kubelet.server.kernelstats import (
    ContainerCounters,
    DiskUse,
    InterfaceCounters,
    KernelStats,
    flat,
    parse_blkio,
    parse_io_stat,
    parse_net_dev,
)
from worker.kubelet.server.resourcemetrics import resource_families

DEVICES = {"254:0": "/dev/vda"}
NET_DEV = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo
    lo:     100       2    0    0    0     0          0         0      100       2    0    0    0
  eth0:    1296      16    1    2    0     0          0         0      446       5    3    4    0
"""


def test_v1_disk_counters() -> None:
    services = "254:0 Read 4096\n254:0 Write 8192\n254:0 Total 12288\n7:0 Read 5\nTotal 12288\n"
    operations = "254:0 Read 1\n254:0 Write 2\n"
    assert parse_blkio(services, operations, DEVICES) == {"/dev/vda": DiskUse(1, 4096, 2, 8192)}


def test_v2_disk_counters() -> None:
    text = "254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n7:0 rbytes=1\n"
    assert parse_io_stat(text, DEVICES) == {"/dev/vda": DiskUse(1, 4096, 2, 8192)}


def test_network_counters_without_the_loopback() -> None:
    assert parse_net_dev(NET_DEV) == [InterfaceCounters("eth0", 1296, 16, 1, 2, 446, 5, 3, 4)]


def test_flat_files_skip_what_is_no_number() -> None:
    assert flat("nr_periods 3\nnr_throttled 1\nfoo max\nbar\n") == {
        "nr_periods": 3, "nr_throttled": 1,
    }  # fmt: skip


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_container_on_cgroup_v1(tmp_path: Path) -> None:
    write(tmp_path, {
        "g/cpu/p/c/cpu.stat": "nr_periods 10\nnr_throttled 4\nthrottled_time 2000000000\n",
        "g/memory/p/c/memory.stat": "cache 1\ntotal_cache 77\n",
        "g/memory/p/c/cgroup.procs": "42\n43\n",
        "proc/42/net/dev": NET_DEV,
    })  # fmt: skip
    stats = KernelStats(tmp_path / "g", tmp_path / "proc")
    assert stats.container("/p", "c") == ContainerCounters(10, 4, 2.0, 77)
    assert [i.name for i in stats.interfaces("/p", ["gone", "c"])] == ["eth0"]


def test_a_container_on_cgroup_v2(tmp_path: Path) -> None:
    write(tmp_path, {
        "g/cgroup.controllers": "cpu memory io",
        "g/p/c/cpu.stat": "usage_usec 5\nnr_periods 10\nnr_throttled 4\nthrottled_usec 2000000\n",
        "g/p/c/memory.stat": "anon 5\nfile 77\n",
        "g/p/c/io.stat": "254:0 rbytes=4096 wbytes=0 rios=1 wios=0\n",
        "proc/diskstats": " 254       0 vda 1 2 3\n",
    })  # fmt: skip
    stats = KernelStats(tmp_path / "g", tmp_path / "proc")
    disks = {"/dev/vda": DiskUse(1, 4096, 0, 0)}
    assert stats.container("/p", "c") == ContainerCounters(10, 4, 2.0, 77, disks)


def test_what_is_gone_reads_as_zero(tmp_path: Path) -> None:
    assert KernelStats(tmp_path, tmp_path).container("/p", "c") == ContainerCounters()


class Made(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics


def test_rows_carry_the_labels_that_the_mixin_reads() -> None:
    attributes = cri.ContainerAttributes(
        id="c1", metadata=cri.ContainerMetadata(name="web"),
        labels={names.CONTAINER_NAME: "web", names.POD_NAME: "p", names.POD_NAMESPACE: "n",
                names.POD_UID: "u"},
    )  # fmt: skip
    stats = cri.ContainerStats(attributes=attributes)
    stats.cpu.usage_core_nano_seconds.value = 1_500_000_000
    stats.memory.working_set_bytes.value = 4096
    snapshot = Snapshot(
        [stats],
        images={"c1": "web:1"},
        counters={"c1": ContainerCounters(10, 4, 2.0, 77, {"/dev/vda": DiskUse(1, 2, 3, 4)})},
        pods=[PodRow("n", "p", "u", "s1", parse_net_dev(NET_DEV))],
        machine=MachineUse(7.5, 8192),
    )
    registry = CollectorRegistry()
    registry.register(Made(list(families(snapshot))))
    text = generate_latest(registry).decode()
    labels = 'container="web",id="/kubepods/podu/c1",image="web:1",name="c1",namespace="n",pod="p"'
    assert f"container_cpu_usage_seconds_total{{{labels}}} 1.5" in text
    assert f"container_cpu_cfs_throttled_periods_total{{{labels}}} 4.0" in text
    root = 'container="",id="/",image="",name="",namespace="",pod=""'
    assert f"container_cpu_usage_seconds_total{{{root}}} 7.5" in text
    assert f"container_memory_working_set_bytes{{{root}}} 8192.0" in text
    assert f"container_memory_working_set_bytes{{{labels}}} 4096.0" in text
    disk = labels.replace('container="web",', 'container="web",device="/dev/vda",')
    assert f"container_fs_reads_bytes_total{{{disk}}} 2.0" in text
    assert (
        'container_network_receive_packets_dropped_total{id="/kubepods/podu",image="",'
        'interface="eth0",name="s1",namespace="n",pod="p"} 2.0'
    ) in text


def test_what_pods_and_the_node_use_for_metrics_server() -> None:
    stats = cri.ContainerStats()
    stats.cpu.usage_core_nano_seconds.value = 1_500_000_000
    stats.memory.working_set_bytes.value = 4096
    given = {names.CONTAINER_NAME: "web", names.POD_NAMESPACE: "n", names.POD_NAME: "p"}
    stats.attributes.labels.update(given)
    sandbox = cri.PodSandboxStats()
    sandbox.attributes.metadata.name, sandbox.attributes.metadata.namespace = "p", "n"
    sandbox.linux.memory.working_set_bytes.value = 5000
    snapshot = Snapshot([stats], [sandbox], machine=MachineUse(7.5, 8192))
    registry = CollectorRegistry()
    registry.register(Made(list(resource_families(snapshot))))
    text = generate_latest(registry).decode()
    for line in (
        "node_cpu_usage_seconds_total 7.5",
        "node_memory_working_set_bytes 8192.0",
        'container_cpu_usage_seconds_total{container="web",namespace="n",pod="p"} 1.5',
        'container_memory_working_set_bytes{container="web",namespace="n",pod="p"} 4096.0',
        'pod_memory_working_set_bytes{namespace="n",pod="p"} 5000.0',
        "resource_scrape_error 0.0",
    ):
        assert line in text, line


def test_the_kubelet_has_the_metrics_that_the_mixin_asks_for() -> None:
    """Names as upstream has them, also those without the usual `_total`."""
    import worker.kubelet.main  # noqa: F401 - it registers them

    text = generate_latest().decode()
    for name in (
        "kubelet_certificate_manager_client_expiration_renew_errors",
        "kubelet_certificate_manager_client_ttl_seconds",
        "kubelet_certificate_manager_server_ttl_seconds", "kubelet_cgroup_manager_duration_seconds",
        "kubelet_evictions", "kubelet_node_config_error", "kubelet_node_name",
        "kubelet_pleg_relist_duration_seconds", "kubelet_pleg_relist_interval_seconds",
        "kubelet_pod_start_duration_seconds", "kubelet_pod_worker_duration_seconds",
        "kubelet_running_containers", "kubelet_running_pods",
        "kubelet_runtime_operations_duration_seconds", "kubelet_runtime_operations_errors_total",
        "kubelet_runtime_operations_total", "kubelet_server_expiration_renew_errors",
        "storage_operation_duration_seconds", "storage_operation_errors_total",
        "volume_manager_total_volumes",
    ):  # fmt: skip
        assert f"# HELP {name} " in text
