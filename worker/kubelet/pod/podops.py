"""Performs what a plan says for one pod: CRI calls, volumes, hooks, events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path

from kube.api import core
from kube.component.log import get_logger
from kube.machinery import errors
from kube.machinery.qos import qos_class
from kube.rpc.errors import Code
from kube.stubs.cri import api_pb2 as cri
from worker.kubelet.cri.configs import container_config, sandbox_config
from worker.kubelet.cri.images import NEVER_PULL, ImageProblem
from worker.kubelet.cri.records import ContainerRecord, PodRecord, SandboxRecord, State
from worker.kubelet.cri.runtime import RuntimeFailure
from worker.kubelet.pod import names
from worker.kubelet.pod.dns import hosts_file, pod_resolver
from worker.kubelet.pod.env import ConfigError, Sources, environment, wanted_names
from worker.kubelet.pod.handlers import Target, run_hook
from worker.kubelet.pod.podactions import Kill, Start, is_sidecar, prune
from worker.kubelet.pod.qos import cgroup_parent, pod_limits
from worker.kubelet.pod.security import verify_non_root
from worker.kubelet.pod.usernamespaces import NoUserNamespace
from worker.kubelet.tools import Tools
from worker.kubelet.volumes.payload import VolumeError, is_projection, volume_names

log = get_logger(__name__)

# A container gets at least this long after its preStop hook has used the grace up.
LEAST_GRACE_SECONDS = 2.0
POST_START_SECONDS = 300.0


class StartProblem(Exception):
    """A container could not be started; `reason` is what its status says meanwhile."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


class PodOps:
    """The doing half of one pod's worker."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._sandbox_configs: dict[str, cri.PodSandboxConfig] = {}

    # -- before the sandbox

    def parent(self, pod: core.Pod) -> str:
        kind = pod.status.qos_class or qos_class(pod.spec)
        return cgroup_parent(self._tools.node.shape.cgroup_root, pod.metadata.uid, kind)

    async def prepare(self, pod: core.Pod) -> None:
        """Directories, cgroup and volumes. Raises VolumeError; can be repeated."""
        directory = names.pod_dir(self._tools.volumes.root, pod.metadata.uid)
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o750)
        self._tools.cgroups.create(self.parent(pod), pod_limits(pod.spec))
        if pod.spec.volumes:
            await self._tools.volumes.setup(pod, await self._volume_sources(pod))

    async def refresh_volumes(self, pod: core.Pod) -> None:
        if any(is_projection(volume) for volume in pod.spec.volumes):
            await self._tools.volumes.refresh(pod, await self._volume_sources(pod))

    async def _volume_sources(self, pod: core.Pod) -> Sources:
        config_maps, secrets = volume_names(pod)
        try:
            return await self._tools.sources.read(pod.metadata.namespace, config_maps, secrets)
        except errors.StatusError as error:
            raise VolumeError(f"cannot read the volumes' sources: {error}") from error

    async def create_sandbox(self, pod: core.Pod, attempt: int) -> str:
        try:
            config = self._config(pod, attempt)
            await self._tools.files.make_log_directory(config.log_directory)
            async with self._tools.starts:
                sandbox_id = await self._tools.runtime.run_sandbox(config)
        except RuntimeFailure as error:
            self.event(
                pod, "Warning", "FailedCreatePodSandBox",
                f"Failed to create pod sandbox: {error.details}",
            )  # fmt: skip
            raise
        self._sandbox_configs[sandbox_id] = config
        return sandbox_id

    def _config(self, pod: core.Pod, attempt: int) -> cri.PodSandboxConfig:
        node = self._tools.node
        resolver = pod_resolver(pod, node.dns)
        user = self._user_namespace(pod)
        return sandbox_config(pod, attempt, resolver, self.parent(pod), node.shape, user)

    def _user_namespace(self, pod: core.Pod) -> cri.UserNamespace | None:
        """The pod's own, if it wants one. RuntimeFailure where this node has none to give."""
        if pod.spec.host_users is not False:
            return None
        problem = "can't set `spec.hostUsers: false`, runtime does not support user namespaces"
        try:
            if "" in self._tools.gate.features.user_namespaces:
                return self._tools.users.of(pod.metadata.uid)
        except NoUserNamespace as error:
            problem = str(error)
        raise RuntimeFailure("run_podsandbox", Code.FAILED_PRECONDITION, problem)

    # -- containers

    async def start(self, pod: core.Pod, start: Start, sandbox: SandboxRecord) -> None:
        """Pull, create, start, postStart. Raises StartProblem."""
        container = start.container
        config = self._sandbox_configs.get(sandbox.id) or self._config(pod, sandbox.attempt)
        try:
            pulled = await self._pull(pod, container, config)
            verify_non_root(pod, container, pulled)
            env = await self._environment(pod, container)
            mounts = await self._tools.volumes.mounts(
                pod, container, env, self._hosts(pod, sandbox), start.attempt
            )
            wanted = container_config(
                pod, container, start.attempt, pulled.id, env, mounts, self._tools.node.shape,
                self._user_namespace(pod),
            )  # fmt: skip
        except ConfigError as error:
            self._failed(pod, container, f"Error: {error}")
            raise StartProblem("CreateContainerConfigError", str(error)) from error
        except ImageProblem as error:
            raise StartProblem(error.reason, error.message) from error
        except (OSError, errors.StatusError) as error:
            self._failed(pod, container, f"Error: {error}")
            raise StartProblem("CreateContainerConfigError", str(error)) from error
        async with self._tools.starts:
            container_id = await self._create_and_start(pod, container, sandbox, wanted, config)
        await self._post_start(pod, container, container_id, sandbox)

    async def _pull(
        self, pod: core.Pod, container: core.Container, config: cri.PodSandboxConfig
    ) -> cri.Image:
        try:
            text = f'Pulling image "{container.image}"'
            pulled = await self._tools.images.ensure(
                container, config, lambda: self.event(pod, "Normal", "Pulling", text, container)
            )
        except ImageProblem as error:
            if error.reason == NEVER_PULL:
                self.event(pod, "Warning", NEVER_PULL, error.message, container)
            else:
                message = f'Failed to pull image "{container.image}": {error.message}'
                self._failed(pod, container, message)
            self._failed(pod, container, f"Error: {error.reason}")
            raise
        self.event(pod, "Normal", "Pulled", pulled.message, container)
        return pulled.image

    async def _environment(self, pod: core.Pod, container: core.Container) -> dict[str, str]:
        config_maps, secrets = wanted_names((container,))
        sources: Sources = await self._tools.sources.read(
            pod.metadata.namespace, config_maps, secrets
        )
        return environment(pod, container, sources)

    def _hosts(self, pod: core.Pod, sandbox: SandboxRecord) -> str:
        node = self._tools.node
        return hosts_file(pod, sandbox.ips, node.dns.domain, node.hosts_text)

    async def _create_and_start(
        self,
        pod: core.Pod,
        container: core.Container,
        sandbox: SandboxRecord,
        wanted: cri.ContainerConfig,
        config: cri.PodSandboxConfig,
    ) -> str:
        log_file = Path(config.log_directory, wanted.log_path)
        try:
            await self._tools.files.make_log_directory(str(log_file.parent))
        except OSError as error:
            self._failed(pod, container, f"Error: {error}")
            raise StartProblem("CreateContainerError", str(error)) from error
        runtime = self._tools.runtime
        try:
            container_id = await runtime.create_container(sandbox.id, wanted, config)
        except RuntimeFailure as error:
            self._failed(pod, container, f"Error: {error.details}")
            raise StartProblem("CreateContainerError", error.details) from error
        self.event(pod, "Normal", "Created", f"Created container: {container.name}", container)
        try:
            await runtime.start_container(container_id)
        except RuntimeFailure as error:
            self._failed(pod, container, f"Error: {error.details}")
            raise StartProblem("RunContainerError", error.details) from error
        self.event(pod, "Normal", "Started", f"Started container {container.name}", container)
        return container_id

    async def _post_start(
        self, pod: core.Pod, container: core.Container, container_id: str, sandbox: SandboxRecord
    ) -> None:
        hook = container.lifecycle.post_start if container.lifecycle else None
        if hook is None:
            return
        target = Target(container_id, self._ip(pod, sandbox), container)
        outcome = await run_hook(
            self._tools.runtime, self._tools.session, target, hook, POST_START_SECONDS
        )
        if outcome.ok:
            return
        self.event(
            pod, "Warning", "FailedPostStartHook", f"PostStartHook failed: {outcome.message}",
            container,
        )  # fmt: skip
        await self._tools.runtime.stop_container(container_id, names.grace_seconds(pod))
        raise StartProblem("PostStartHookError", f"PostStartHook failed: {outcome.message}")

    def _ip(self, pod: core.Pod, sandbox: SandboxRecord | None) -> str:
        if pod.spec.host_network or sandbox is None or not sandbox.ips:
            return self._tools.node.ip
        return sandbox.ips[0]

    # -- killing

    async def kill(self, pod: core.Pod, record: PodRecord, kill: Kill) -> None:
        """End one container with its probe's or its pod's grace."""
        grace = float(_probe_grace(pod, kill) or names.grace_seconds(pod))
        await self._kill_container(pod, record, kill.record, grace, kill.message)

    async def kill_pod(self, pod: core.Pod, record: PodRecord, grace: float) -> None:
        """Main containers together, then sidecars from the last to the first, then sandboxes."""
        deadline = time.monotonic() + grace
        sidecars = [c.name for c in pod.spec.init_containers if is_sidecar(c)]
        alive = [c for c in record.containers if c.alive or c.state is State.CREATED]
        mains = [c for c in alive if c.name not in sidecars]
        await self._kill_all(pod, record, mains, deadline)
        for name in reversed(sidecars):
            await self._kill_all(pod, record, [c for c in alive if c.name == name], deadline)
        for sandbox in record.sandboxes:
            await self._tools.runtime.stop_sandbox(sandbox.id)

    async def _kill_all(
        self,
        pod: core.Pod,
        record: PodRecord,
        containers: Iterable[ContainerRecord],
        deadline: float,
    ) -> None:
        grace = max(deadline - time.monotonic(), 0.0)
        async with asyncio.TaskGroup() as tasks:
            for container in containers:
                message = f"Stopping container {container.name}"
                tasks.create_task(
                    self._kill_container(pod, record, container, grace, message),
                    name=f"kill-{pod.metadata.name}-{container.name}",
                )

    async def _kill_container(
        self,
        pod: core.Pod,
        record: PodRecord,
        container: ContainerRecord,
        grace: float,
        message: str,
    ) -> None:
        if container.state is State.RUNNING:
            self.event(pod, "Normal", "Killing", message, _spec_of(pod, container.name))
            left = await self._pre_stop(pod, record, container, grace)
        else:
            left = grace
        await self._tools.runtime.stop_container(container.id, left)

    async def _pre_stop(
        self, pod: core.Pod, record: PodRecord, container: ContainerRecord, grace: float
    ) -> float:
        """Run the hook within the grace; what is left of it afterwards."""
        spec = _spec_of(pod, container.name)
        hook = spec.lifecycle.pre_stop if spec and spec.lifecycle else None
        if spec is None or hook is None or grace <= 0:
            return grace
        began = time.monotonic()
        target = Target(container.id, self._ip(pod, record.sandbox), spec)
        try:
            async with asyncio.timeout(grace):
                outcome = await run_hook(
                    self._tools.runtime, self._tools.session, target, hook, grace
                )
            if not outcome.ok:
                text = f"PreStopHook failed: {outcome.message}"
                self.event(pod, "Warning", "FailedPreStopHook", text, spec)
        except TimeoutError:
            log.info("preStop hook used up the grace", pod=names.pod_key(pod), container=spec.name)
        return max(grace - (time.monotonic() - began), LEAST_GRACE_SECONDS)

    # -- cleaning

    async def remove(self, containers: Iterable[str], sandboxes: Iterable[str]) -> None:
        for container_id in containers:
            await self._tools.runtime.remove_container(container_id)
        for sandbox_id in sandboxes:
            await self._tools.runtime.stop_sandbox(sandbox_id)
            await self._tools.runtime.remove_sandbox(sandbox_id)

    async def prune(self, record: PodRecord) -> None:
        """Remove runs of containers that are only history, with their logs, and old sandboxes."""
        containers, sandboxes = prune(record)
        await self.remove(containers, sandboxes)
        for container in record.containers:
            if container.id in containers and container.log_path:
                await self._tools.files.remove_logs(Path(container.log_path))

    async def reclaim(self, pod: core.Pod, record: PodRecord) -> None:
        """Free the disk of a pod that was evicted, while its object waits to be deleted."""
        await self.remove((c.id for c in record.containers), (s.id for s in record.sandboxes))
        await self._tools.volumes.teardown(pod.metadata.uid)
        self._tools.users.release(pod.metadata.uid)
        await self._remove_logs(pod)

    async def clean(self, pod: core.Pod, record: PodRecord) -> None:
        """Remove every trace of a pod whose containers have ended."""
        await self.remove((c.id for c in record.containers), (s.id for s in record.sandboxes))
        await self._tools.volumes.teardown(pod.metadata.uid)
        self._tools.users.release(pod.metadata.uid)
        await self._remove_logs(pod)
        await self.remove_cgroup(self.parent(pod))
        self._forget_sources(pod)

    async def _remove_logs(self, pod: core.Pod) -> None:
        meta = pod.metadata
        logs = names.pod_log_dir(self._tools.node.pod_logs, meta.namespace, meta.name, meta.uid)
        await self._tools.volumes.remove_tree(logs)

    def _forget_sources(self, pod: core.Pod) -> None:
        """Secrets stay in memory no longer than a pod here uses them."""
        every = (*pod.spec.init_containers, *pod.spec.containers)
        for config_maps, secrets in (volume_names(pod), wanted_names(every)):
            self._tools.sources.forget(pod.metadata.namespace, config_maps, secrets)

    async def remove_cgroup(self, parent: str) -> None:
        """The kernel frees the last task of a cgroup a moment after its process ended."""
        for delay in (0.01, 0.05, 0.2, 0.5):
            if self._tools.cgroups.remove(parent):
                return
            await asyncio.sleep(delay)
        log.warning("cgroup is still in use", cgroup=parent)

    # -- events

    def event(
        self,
        pod: core.Pod,
        kind: str,
        reason: str,
        message: str,
        container: core.Container | None = None,
    ) -> None:
        if pod.metadata.uid and pod.spec.containers:
            path = _field_path(pod, container) if container else ""
            self._tools.events.event(pod, kind, reason, message, field_path=path)

    def _failed(self, pod: core.Pod, container: core.Container, message: str) -> None:
        self.event(pod, "Warning", "Failed", message, container)


def _field_path(pod: core.Pod, container: core.Container) -> str:
    kind = "containers" if container in pod.spec.containers else "initContainers"
    return f"spec.{kind}{{{container.name}}}"


def _spec_of(pod: core.Pod, name: str) -> core.Container | None:
    every = (*pod.spec.containers, *pod.spec.init_containers)
    return next((c for c in every if c.name == name), None)


def _probe_grace(pod: core.Pod, kill: Kill) -> int | None:
    """A failed probe may carry its own, shorter grace."""
    spec = _spec_of(pod, kill.record.name)
    if spec is None:
        return None
    probe = spec.startup_probe if "startup probe" in kill.message else spec.liveness_probe
    wanted = "probe" in kill.message and probe is not None
    return probe.termination_grace_period_seconds if wanted and probe else None


def is_gone(error: RuntimeFailure) -> bool:
    """The runtime itself does not answer, as opposed to refusing."""
    return error.code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)
