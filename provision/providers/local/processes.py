"""Telling one process from a later one with the same pid (proc(5): `starttime`)."""

from __future__ import annotations

import json
import os
from pathlib import Path

from provision.providers.local.launchspec import ProcessRecord


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def parse_stat(stat: str) -> tuple[str, int]:
    """(state, starttime). The command name may hold spaces and brackets, so cut after the last."""
    fields = stat[stat.rindex(")") + 2 :].split()
    return fields[0], int(fields[19])


def describe(pid: int) -> ProcessRecord:
    _, start_ticks = parse_stat(Path(f"/proc/{pid}/stat").read_text())
    return {"pid": pid, "start_ticks": start_ticks, "boot_id": boot_id()}


def write_record(path: Path, record: ProcessRecord) -> None:
    """Whole or not at all: a reader never sees half of it."""
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(record))
    draft.rename(path)


def read_record(path: Path) -> ProcessRecord | None:
    try:
        record: ProcessRecord = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return record


def is_alive(record: ProcessRecord | None) -> bool:
    if record is None or record["boot_id"] != boot_id():
        return False
    try:
        state, start_ticks = parse_stat(Path(f"/proc/{record['pid']}/stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return False
    return start_ticks == record["start_ticks"] and state not in "ZX"


def open_alive(record: ProcessRecord | None) -> int | None:
    """A pidfd of the recorded process, or None when it is gone."""
    if record is None:
        return None
    try:
        handle = os.pidfd_open(record["pid"])
    except ProcessLookupError:
        return None
    # Checked after opening: from here on the handle cannot come to mean another process.
    if is_alive(record):
        return handle
    os.close(handle)
    return None
