"""Machines, and on local ones the host that they share. Pure."""

from __future__ import annotations

from provision.dashboards.board import Board, Row
from provision.dashboards.promql import LAB, graph, rate, total

_MACHINE = 'id="/",metrics_path="/metrics/cadvisor"'
_ETH = 'job="node-exporter",device="eth0"'
_HOST = "On local machines: of the host that they share."

BOARD = Board(
    "muster-machines",
    "Muster / Machines",
    (
        Row(
            "Each machine",
            (
                graph("CPU", "short", (rate("container_cpu_usage_seconds_total", "node", _MACHINE), "{{node}}"),
                      help="Cores."),
                graph("Memory", "bytes", (total("container_memory_working_set_bytes", "node", _MACHINE), "{{node}}")),
                graph("Tasks", "short", (f'node_procs_running{{{LAB},job="node-exporter"}}', "{{node}} running")),
                graph("Received", "Bps", (rate("node_network_receive_bytes_total", "node", _ETH), "{{node}}")),
                graph("Sent", "Bps", (rate("node_network_transmit_bytes_total", "node", _ETH), "{{node}}")),
                graph("Packets dropped", "short",
                      (rate("node_network_receive_drop_total", "node", _ETH), "{{node}} in"),
                      (rate("node_network_transmit_drop_total", "node", _ETH), "{{node}} out")),
                graph("TCP connections", "short", (f"node_netstat_Tcp_CurrEstab{{{LAB}}}", "{{node}}")),
                graph("Segments sent again", "short", (rate("node_netstat_Tcp_RetransSegs", "node"), "{{node}}")),
                graph("Disk used", "percentunit",
                      (f"""1 - max by (node, mountpoint) (node_filesystem_avail_bytes{{{LAB}}})
                      / max by (node, mountpoint) (node_filesystem_size_bytes{{{LAB}}})""", "{{node}} {{mountpoint}}")),
            ),
        ),
        Row(
            "Kernel",
            (
                graph("Load", "short", (f"node_load1{{{LAB}}}", "{{node}}"), help=_HOST),
                graph("Processors", "percentunit",
                      (f"instance:node_cpu_utilisation:rate5m{{{LAB}}}", "{{node}}"), help=_HOST),
                graph("Memory", "percentunit",
                      (f"instance:node_memory_utilisation:ratio{{{LAB}}}", "{{node}}"), help=_HOST),
                graph("Disk busy", "percentunit",
                      (f"max by (node, device) (rate(node_disk_io_time_seconds_total{{{LAB}}}[$__rate_interval]))",
                       "{{node}} {{device}}"), help=_HOST),
                graph("Context switches", "ops", (rate("node_context_switches_total", "node"), "{{node}}"), help=_HOST),
                graph("Files open", "short", (f"node_filefd_allocated{{{LAB}}}", "{{node}}"), help=_HOST),
            ),
        ),
    ),
)  # fmt: skip
