"""A payload as one tar file, the same bytes for the same payload.

Members are the files under `files/`, `manifest.json`, and `apply.py`, which on the machine reads
the manifest and does the work.
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

from provision.payload.model import INTERFACE, Payload

FORMAT = 1


def payload_archive(payload: Payload) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        _add(archive, "manifest.json", manifest(payload), 0o600)
        _add(archive, "apply.py", Path(__file__).with_name("apply.py").read_bytes(), 0o600)
        for file in payload.files:
            _add(archive, f"files{file.path}", file.content, file.mode)
    return buffer.getvalue()


def manifest(payload: Payload) -> bytes:
    """What `apply.py` needs to know besides the files."""
    content = {
        "format": FORMAT,
        "hash": payload.hash(),
        "machine": payload.machine,
        "address": payload.address,
        "files": {
            f.path: {
                "mode": f.mode,
                "owner": f.owner,
                "group": f.group,
                "interface": INTERFACE in f.content,
            }
            for f in payload.files
        },
        "units": [
            {"name": u.name, "inputs": [u.path, *u.inputs], "code": u.python} for u in payload.units
        ],
    }
    return json.dumps(content, indent=1).encode()


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    archive.addfile(info, io.BytesIO(content))
