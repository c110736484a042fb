"""`python -m worker.runtime.images.load ARCHIVE...`: load images into the runtime of this machine.

`--list` prints the images instead, as JSON. `muster image load|list` runs this over SSH.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kube.rpc.channel import Channel, ChannelOptions
from kube.rpc.dial import open_channel
from kube.rpc.errors import RpcError
from kube.stubs.cri import api_pb2 as cri
from kube.stubs.runtime import images_pb2

DEFAULT_SOCKET = "/run/muster/runtime.sock"
_LOAD_SECONDS = 600
_LIST_SECONDS = 30
_MAX_ANSWER_BYTES = 16 << 20


async def load(channel: Channel, archives: Sequence[Path]) -> list[dict[str, Any]]:
    stub = channel.stub(images_pb2.DESCRIPTOR.services_by_name["Images"])
    loaded: list[dict[str, Any]] = []
    for archive in archives:
        request = images_pb2.LoadRequest(path=str(archive.resolve()))
        for image in (await stub.Load(request, timeout=_LOAD_SECONDS)).images:
            loaded.append({"id": image.id, "names": list(image.names), "changed": image.changed})
    return loaded


async def list_images(channel: Channel) -> list[dict[str, Any]]:
    stub = channel.stub(cri.DESCRIPTOR.services_by_name["ImageService"])
    response = await stub.ListImages(cri.ListImagesRequest(), timeout=_LIST_SECONDS)
    return [
        {
            "id": image.id,
            "names": list(image.repo_tags),
            "digests": list(image.repo_digests),
            "size": image.size,
        }
        for image in response.images
    ]


async def run(socket: str, archives: Sequence[Path] | None) -> list[dict[str, Any]]:
    channel = open_channel(f"unix:{socket}", options=ChannelOptions(_MAX_ANSWER_BYTES))
    try:
        return await (list_images(channel) if archives is None else load(channel, archives))
    finally:
        await channel.close()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m worker.runtime.images.load", description=__doc__
    )
    parser.add_argument("--socket", default=DEFAULT_SOCKET)
    parser.add_argument("--list", action="store_true", help="list images as JSON")
    parser.add_argument("archives", nargs="*", type=Path, metavar="ARCHIVE")
    args = parser.parse_args(argv)
    try:
        result = asyncio.run(run(args.socket, None if args.list else args.archives))
    except RpcError as error:
        sys.stderr.write(f"error: {error.message}\n")
        return 1
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
