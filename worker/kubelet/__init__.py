"""The kubelet: runs the pods bound to this node through CRI and reports their status.

Reading order: `main` (flags, wiring), `podworker` (one task per pod), `podactions` (what must
happen, pure), `podstatus` (what to report, pure), then `pleg`, `probes`, `volumes`, `server`.
"""
