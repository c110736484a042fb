"""Generate the protobuf and gRPC stubs: proto/kube/stubs/X/y.proto -> kube/stubs/X/y_pb2*.py[i].

`python tools/gen_proto.py` writes them; `--check` fails when what is committed is stale.
"""

from __future__ import annotations

import argparse
import filecmp
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"


def generate(out: Path) -> list[Path]:
    """Run protoc over every .proto file; returns the written files, relative to `out`."""
    protos = sorted(str(p.relative_to(PROTO)) for p in PROTO.rglob("*.proto"))
    bin_dir = Path(sys.executable).parent
    command = [
        sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}",
        f"--python_out={out}", f"--grpc_python_out={out}",
        f"--plugin=protoc-gen-mypy={bin_dir / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={bin_dir / 'protoc-gen-mypy_grpc'}",
        f"--mypy_out=quiet:{out}", f"--mypy_grpc_out=quiet:{out}",
        *protos,
    ]  # fmt: skip
    subprocess.run(command, check=True, cwd=ROOT)
    return sorted(p.relative_to(out) for p in out.rglob("*_pb2*.py*"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when the stubs are stale")
    if not parser.parse_args().check:
        generate(ROOT)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        files = generate(out)
        stale = [
            str(f)
            for f in files
            if not (ROOT / f).exists() or not filecmp.cmp(out / f, ROOT / f, shallow=False)
        ]
    if stale:
        print("stale stubs, run `make proto`:", *stale, sep="\n  ")
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
