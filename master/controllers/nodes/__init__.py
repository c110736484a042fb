"""Health, pod ranges and taints of nodes."""
