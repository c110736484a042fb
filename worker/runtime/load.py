"""`python -m worker.runtime.load ARCHIVE...`: load images into the runtime of this machine.

`--list` prints the images instead, as JSON. `muster image load|list` runs this over SSH.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc

from muster.cri import api_pb2 as cri
from muster.cri import api_pb2_grpc
from muster.runtime import images_pb2, images_pb2_grpc

DEFAULT_SOCKET = "/run/muster/runtime.sock"
_LOAD_SECONDS = 600
_LIST_SECONDS = 30


def load(channel: grpc.Channel, archives: Sequence[Path]) -> list[dict[str, Any]]:
    stub = images_pb2_grpc.ImagesStub(channel)
    loaded: list[dict[str, Any]] = []
    for archive in archives:
        request = images_pb2.LoadRequest(path=str(archive.resolve()))
        for image in stub.Load(request, timeout=_LOAD_SECONDS).images:
            loaded.append({"id": image.id, "names": list(image.names), "changed": image.changed})
    return loaded


def list_images(channel: grpc.Channel) -> list[dict[str, Any]]:
    stub = api_pb2_grpc.ImageServiceStub(channel)
    response = stub.ListImages(cri.ListImagesRequest(), timeout=_LIST_SECONDS)
    return [
        {
            "id": image.id,
            "names": list(image.repo_tags),
            "digests": list(image.repo_digests),
            "size": image.size,
        }
        for image in response.images
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m worker.runtime.load", description=__doc__)
    parser.add_argument("--socket", default=DEFAULT_SOCKET)
    parser.add_argument("--list", action="store_true", help="list images as JSON")
    parser.add_argument("archives", nargs="*", type=Path, metavar="ARCHIVE")
    args = parser.parse_args(argv)
    with grpc.insecure_channel(f"unix:{args.socket}") as channel:
        try:
            result = list_images(channel) if args.list else load(channel, args.archives)
        except grpc.RpcError as error:
            sys.stderr.write(f"error: {error.details()}\n")
            return 1
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
