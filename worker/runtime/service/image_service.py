"""CRI's ImageService, and our own service for loading archives."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from pathlib import Path

from kube.files.threads import FileThreads
from kube.rpc.service import CallContext
from kube.stubs.cri import api_pb2 as cri
from kube.stubs.runtime import images_pb2
from worker.runtime.errors import InvalidArgument, NotFound
from worker.runtime.images import archives, registry
from worker.runtime.node import ContainerHost
from worker.runtime.records import ImageRecord
from worker.runtime.service import convert


class ImageService:
    def __init__(self, node: ContainerHost, puller: registry.Puller) -> None:
        self._node = node
        self._puller = puller
        self._threads = FileThreads("image-usage", 1)

    async def list_images(
        self, request: cri.ListImagesRequest, _: CallContext
    ) -> cri.ListImagesResponse:
        if wanted := request.filter.image.image:
            found = self._node.images.find(wanted)
            records: tuple[ImageRecord, ...] = () if found is None else (found,)
        else:
            records = self._node.images.list()
        return cri.ListImagesResponse(images=[self._message(record) for record in records])

    async def image_status(
        self, request: cri.ImageStatusRequest, _: CallContext
    ) -> cri.ImageStatusResponse:
        if not request.image.image:
            raise InvalidArgument("no image is named")
        record = self._node.images.find(request.image.image)
        if record is None:
            return cri.ImageStatusResponse()
        return cri.ImageStatusResponse(image=self._message(record))

    async def pull_image(
        self, request: cri.PullImageRequest, _: CallContext
    ) -> cri.PullImageResponse:
        """An image that is here is not pulled again: labs have to work without a registry."""
        found = self._node.images.find(request.image.image)
        if found is None:
            found = await self._puller.pull(self._node.images, request.image.image, request.auth)
        return cri.PullImageResponse(image_ref=found.id)

    async def remove_image(
        self, request: cri.RemoveImageRequest, _: CallContext
    ) -> cri.RemoveImageResponse:
        if await asyncio.to_thread(self._node.images.remove, request.image.image):
            await self._node.collect_images()
        return cri.RemoveImageResponse()

    async def image_fs_info(
        self, request: cri.ImageFsInfoRequest, _: CallContext
    ) -> cri.ImageFsInfoResponse:
        root = self._node.images.root
        used, inodes = await self._threads.run(_disk_usage, root)
        usage = cri.FilesystemUsage(
            timestamp=time.time_ns(),
            fs_id=cri.FilesystemIdentifier(mountpoint=str(root)),
            used_bytes=cri.UInt64Value(value=used),
            inodes_used=cri.UInt64Value(value=inodes),
        )
        return cri.ImageFsInfoResponse(image_filesystems=[usage])

    def _message(self, record: ImageRecord) -> cri.Image:
        return convert.image(record, self._node.images.run_config(record).user)


class LoadService:
    def __init__(self, node: ContainerHost) -> None:
        self._node = node
        self._threads = FileThreads("loads", 2)

    async def load(
        self, request: images_pb2.LoadRequest, _: CallContext
    ) -> images_pb2.LoadResponse:
        path = Path(request.path)
        if not path.is_absolute():
            raise InvalidArgument(f'"{request.path}" is not an absolute path')
        if not path.is_file():
            raise NotFound(f'no archive "{path}"')
        loaded = await self._threads.run(archives.load, self._node.images, path)
        return images_pb2.LoadResponse(
            images=[
                images_pb2.LoadedImage(id=record.id, names=record.tags, changed=changed)
                for record, changed in loaded
            ]
        )


def _disk_usage(root: Path) -> tuple[int, int]:
    """Bytes on disk and inodes below `root`, however deep an image's directories are."""
    used = inodes = 0
    pending = [str(root)]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    with suppress(FileNotFoundError):
                        used += entry.stat(follow_symlinks=False).st_blocks * 512
                    inodes += 1
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
        except OSError:
            continue  # removed meanwhile, or deeper than a path may be
    return used, inodes
