"""Makes sure that a container's image is there, by its pull policy (upstream's image_manager)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from kube.api import core
from kube.component.log import get_logger
from kube.machinery.images import default_pull_policy
from kube.stubs.cri import api_pb2 as cri
from worker.kubelet.cri.runtime import Runtime, RuntimeFailure
from worker.kubelet.pod.backoff import describe

log = get_logger(__name__)

NEVER_PULL = "ErrImageNeverPull"


class ImageProblem(Exception):
    """The image cannot be used now; `reason` is the container's waiting reason."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


@dataclass(frozen=True, slots=True)
class Pulled:
    """An image that is there, and what to tell about how it came."""

    image: cri.Image
    message: str


def pull_policy(container: core.Container) -> str:
    return container.image_pull_policy or default_pull_policy(container.image)


class Images:
    """Pulls each image once at a time, however many pods ask for it."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._locks: dict[str, asyncio.Lock] = {}

    async def ensure(
        self,
        container: core.Container,
        sandbox: cri.PodSandboxConfig,
        on_pull: Callable[[], None],
    ) -> Pulled:
        name, policy = container.image, pull_policy(container)
        try:
            present = await self._runtime.image_status(name)
        except RuntimeFailure as error:
            message = f'Failed to inspect image "{name}": {error.details}'
            raise ImageProblem("ImageInspectError", message) from error
        if present is not None and policy != "Always":
            message = f'Container image "{name}" already present on machine'
            return Pulled(present, message)
        if policy == "Never":
            raise ImageProblem(
                NEVER_PULL,
                f'Container image "{name}" is not present with pull policy of Never',
            )
        on_pull()
        return await self._pull(name, sandbox)

    async def _pull(self, name: str, sandbox: cri.PodSandboxConfig) -> Pulled:
        async with self._locks.setdefault(name, asyncio.Lock()):
            began = time.monotonic()
            log.info("pulling image", image=name)
            try:
                ref = await self._runtime.pull_image(name, sandbox)
                image = await self._runtime.image_status(ref or name)
            except RuntimeFailure as error:
                reason = "InvalidImageName" if _malformed(error) else "ErrImagePull"
                raise ImageProblem(reason, error.details) from error
        if image is None:
            raise ImageProblem("ErrImagePull", f'image "{name}" is gone after the pull')
        took = time.monotonic() - began
        return Pulled(
            image,
            f'Successfully pulled image "{name}" in {describe(took)}. Image size: '
            f"{image.size} bytes.",
        )


def _malformed(error: RuntimeFailure) -> bool:
    text = error.details.lower()
    return "invalid reference format" in text or "failed to parse reference" in text
