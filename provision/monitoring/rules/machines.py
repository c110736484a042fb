"""Machines, as the node exporter sees them. Pure.

On local machines the kernel's counters of processor, memory and disks are those of the host that
they share (docs/monitoring.md).
"""

from __future__ import annotations

from provision.monitoring.rules.rule import Alert, Group, Record

_JOB = 'job="node-exporter"'
_BUSY = f'node_cpu_seconds_total{{{_JOB},mode!~"idle|iowait|steal"}}'
_FREE = f'node_filesystem_avail_bytes{{{_JOB},fstype!="",mountpoint!=""}}'
_SIZE = f'node_filesystem_size_bytes{{{_JOB},fstype!="",mountpoint!=""}}'
_FILES_FREE = f'node_filesystem_files_free{{{_JOB},fstype!="",mountpoint!=""}}'
_FILES = f'node_filesystem_files{{{_JOB},fstype!="",mountpoint!=""}}'
_WRITABLE = f'node_filesystem_readonly{{{_JOB},fstype!="",mountpoint!=""}} == 0'


def _filling(name: str, free: str, size: str, percent: int, hours: int, severity: str) -> Alert:
    return Alert(
        name, "1h", severity,
        f"{free} / {size} * 100 < {percent} and predict_linear({free}[6h], {hours} * 3600) < 0 "
        f"and {_WRITABLE}",
        f"{{{{ $labels.mountpoint }}}} of {{{{ $labels.instance }}}} will be full in {hours} hours.",
    )  # fmt: skip


def _full(name: str, delay: str, free: str, size: str, percent: int, severity: str) -> Alert:
    return Alert(
        name, delay, severity, f"{free} / {size} * 100 < {percent} and {_WRITABLE}",
        f"{{{{ $labels.mountpoint }}}} of {{{{ $labels.instance }}}} has less than {percent} % left.",
    )  # fmt: skip


def _errors(direction: str) -> Alert:
    series = f"node_network_{direction.lower()}"
    return Alert(
        f"NodeNetwork{direction}Errs", "1h", "warning",
        f"rate({series}_errs_total{{{_JOB}}}[2m]) / rate({series}_packets_total{{{_JOB}}}[2m]) > 0.01",
        f"{{{{ $labels.device }}}} of {{{{ $labels.instance }}}}: errors ({direction.lower()}).",
    )  # fmt: skip


def _descriptors(percent: int, severity: str) -> Alert:
    return Alert(
        "NodeFileDescriptorLimit", "15m", severity,
        f"node_filefd_allocated{{{_JOB}}} * 100 / node_filefd_maximum{{{_JOB}}} > {percent}",
        f"{{{{ $labels.instance }}}} has used {percent} % of its file descriptors.",
    )  # fmt: skip


_ALERTS = (
    _filling("NodeFilesystemSpaceFillingUp", _FREE, _SIZE, 20, 24, "warning"),
    _filling("NodeFilesystemSpaceFillingUp", _FREE, _SIZE, 15, 4, "critical"),
    _full("NodeFilesystemAlmostOutOfSpace", "30m", _FREE, _SIZE, 5, "warning"),
    _full("NodeFilesystemAlmostOutOfSpace", "30m", _FREE, _SIZE, 3, "critical"),
    _filling("NodeFilesystemFilesFillingUp", _FILES_FREE, _FILES, 40, 24, "warning"),
    _filling("NodeFilesystemFilesFillingUp", _FILES_FREE, _FILES, 20, 4, "critical"),
    _full("NodeFilesystemAlmostOutOfFiles", "1h", _FILES_FREE, _FILES, 5, "warning"),
    _full("NodeFilesystemAlmostOutOfFiles", "1h", _FILES_FREE, _FILES, 3, "critical"),
    _errors("Receive"),
    _errors("Transmit"),
    Alert(
        "NodeHighNumberConntrackEntriesUsed", "", "warning",
        f"node_nf_conntrack_entries{{{_JOB}}} / node_nf_conntrack_entries_limit > 0.75",
        "{{ $labels.instance }} has used {{ $value | humanizePercentage }} of its connections.",
    ),
    Alert(
        "NodeClockSkewDetected", "10m", "warning",
        f"""abs(node_timex_offset_seconds{{{_JOB}}}) > 0.05
        and sgn(node_timex_offset_seconds) * deriv(node_timex_offset_seconds[5m]) >= 0""",
        "The clock of {{ $labels.instance }} is {{ $value }} s off, and does not come back.",
    ),
    _descriptors(70, "warning"),
    _descriptors(90, "critical"),
    Alert(
        "NodeCPUHighUsage", "15m", "info",
        "100 * instance:node_cpu_utilisation:rate5m > 90",
        "The processors of {{ $labels.instance }} are {{ $value }} % busy.",
    ),
    Alert(
        "NodeSystemSaturation", "15m", "warning",
        f"""node_load1{{{_JOB}}} / on (cluster, instance)
        count by (cluster, instance) (node_cpu_seconds_total{{{_JOB},mode="idle"}}) > 2""",
        "The load of {{ $labels.instance }} is {{ $value }} per processor.",
    ),
    Alert(
        "NodeMemoryMajorPagesFaults", "15m", "warning",
        f"rate(node_vmstat_pgmajfault{{{_JOB}}}[5m]) > 500",
        "{{ $labels.instance }} reads {{ $value }} pages a second back from disk.",
    ),
    Alert(
        "NodeMemoryHighUtilization", "15m", "warning",
        f"""100 - 100 * node_memory_MemAvailable_bytes{{{_JOB}}}
        / node_memory_MemTotal_bytes{{{_JOB}}} > 90""",
        "The memory of {{ $labels.instance }} is {{ $value }} % full.",
    ),
    Alert(
        "NodeDiskIOSaturation", "30m", "warning",
        f"rate(node_disk_io_time_weighted_seconds_total{{{_JOB}}}[5m]) > 10",
        "Disk {{ $labels.device }} of {{ $labels.instance }} has more to do than it can.",
    ),
)  # fmt: skip


def _network(what: str, selector: str, suffix: str) -> Record:
    direction, unit = what.split("_")
    name = f"instance:node_network_{direction}_{unit}_{suffix}:rate5m"
    return Record(
        name,
        f"""sum without (device) (rate(node_network_{direction}_{unit}_total
        {{{_JOB},{selector}}}[5m]))""",
    )


_RECORDS = (
    Record("instance:node_num_cpu:sum",
           f'count without (cpu, mode) (node_cpu_seconds_total{{{_JOB},mode="idle"}})'),
    Record("instance:node_cpu_utilisation:rate5m",
           f"sum without (cpu, mode) (rate({_BUSY}[5m])) / instance:node_num_cpu:sum"),
    Record("instance:node_load1_per_cpu:ratio",
           f"node_load1{{{_JOB}}} / instance:node_num_cpu:sum"),
    Record("instance:node_memory_utilisation:ratio",
           f"1 - node_memory_MemAvailable_bytes{{{_JOB}}} / node_memory_MemTotal_bytes{{{_JOB}}}"),
    Record("instance:node_vmstat_pgmajfault:rate5m",
           f"rate(node_vmstat_pgmajfault{{{_JOB}}}[5m])"),
    Record("instance_device:node_disk_io_time_seconds:rate5m",
           f"rate(node_disk_io_time_seconds_total{{{_JOB}}}[5m])"),
    Record("instance_device:node_disk_io_time_weighted_seconds:rate5m",
           f"rate(node_disk_io_time_weighted_seconds_total{{{_JOB}}}[5m])"),
    *(_network(f"{direction}_{unit}", selector, suffix)
      for direction in ("receive", "transmit")
      for unit in ("bytes", "drop")
      for selector, suffix in (('device!="lo"', "excluding_lo"),
                               ('device!~"lo|veth.+"', "physical"))),
    Record("node_namespace_pod:kube_pod_info:",
           'max by (cluster, node, namespace, pod) (kube_pod_info{job="kube-state-metrics",node!=""})'),
    Record("node:node_num_cpu:sum",
           f'count by (cluster, node) (node_cpu_seconds_total{{{_JOB},mode="idle"}})'),
    Record(":node_memory_MemAvailable_bytes:sum",
           f"sum by (cluster) (node_memory_MemAvailable_bytes{{{_JOB}}})"),
    Record("node:node_cpu_utilization:ratio_rate5m",
           f"sum by (cluster, node) (rate({_BUSY}[5m])) / node:node_num_cpu:sum"),
    Record("cluster:node_cpu:ratio_rate5m",
           f"sum by (cluster) (rate({_BUSY}[5m])) / sum by (cluster) (node:node_num_cpu:sum)"),
)  # fmt: skip

GROUPS = (
    Group("node-exporter", _ALERTS, "node"),
    Group("node-exporter.rules", _RECORDS),
)
