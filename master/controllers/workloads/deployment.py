"""The deployment controller: carries out the plans of `deployment_rolling`, reports status."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import msgspec

from kube.api.apps import Deployment, ReplicaSet
from kube.api.core import Pod
from kube.client.events import NORMAL, WARNING
from kube.machinery.errors import AlreadyExists, Conflict, NotFound, StatusError
from kube.machinery.scheme import key_of
from kube.machinery.selectors import from_label_selector
from master.controllers.machinery.controller import Context, Controller
from master.controllers.machinery.ownership import adopted, claim, controller_of, released
from master.controllers.machinery.watching import owner_of_kind
from master.controllers.workloads import deployment_rolling as rolling
from master.controllers.workloads import deployment_status as statuses
from master.controllers.workloads.deployment_revision import (
    REVISION,
    find_new,
    replicas_of,
    revision_of,
    same_template,
)


class DeploymentController(Controller):
    name = "deployment"
    event_source = "deployment-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.deployments = self.watch(Deployment)
        self.replicasets = self.watch(ReplicaSet, self._deployments_of)
        self.pods = self.informers.of(Pod)
        self.replicasets.add_index("deployment/namespace", lambda rs: [rs.metadata.namespace])
        self.pods.add_index("deployment/owner", _owner_uid)
        self.pods.add_handler(self._on_pod)

    # -- events to keys

    def _deployments_of(self, rs: ReplicaSet) -> Iterable[str]:
        """Its owner; of an orphan, those that would take it in."""
        if controller_of(rs.metadata) is not None:
            return owner_of_kind("Deployment")(rs)
        return [key_of(deployment) for deployment in self._adopters(rs)]

    def _adopters(self, rs: ReplicaSet) -> Iterator[Deployment]:
        for deployment in self.deployments.values():
            selector = from_label_selector(deployment.spec.selector)
            here = deployment.metadata.namespace == rs.metadata.namespace
            if here and selector and selector.matches(rs.metadata.labels):
                yield deployment

    def _on_pod(self, kind: str, old: Pod | None, new: Pod | None) -> None:
        # Only Recreate waits for pods: for the last old one to be gone.
        if new is not None or old is None:
            return
        ref = controller_of(old.metadata)
        if ref is None or ref.kind != "ReplicaSet":
            return
        rs = self.replicasets.get(f"{old.metadata.namespace}/{ref.name}")
        owner = controller_of(rs.metadata) if rs is not None else None
        if owner is not None and owner.kind == "Deployment":
            key = f"{old.metadata.namespace}/{owner.name}"
            deployment = self.deployments.get(key)
            if deployment is not None and not rolling.is_rolling(deployment):
                self.queue.add(key)

    # -- keys to actions

    async def reconcile(self, key: str) -> None:
        deployment = self.deployments.get(key)
        if deployment is None:
            return
        selector = deployment.spec.selector
        if selector is None or not (selector.match_labels or selector.match_expressions):
            self.recorder.event(
                deployment, WARNING, "SelectingAll",
                "This deployment is selecting all pods. A non-empty selector is required.",
            )  # fmt: skip
            return
        replicasets = await self._claim(deployment)
        created = ""
        if not deployment.metadata.deletion_timestamp:
            for action in rolling.plan(deployment, replicasets, self._pods_of(replicasets)):
                done = await self._perform(deployment, action)
                replicasets = _merged(replicasets, done)
                if isinstance(action, rolling.Create) and done is not None:
                    created = done.metadata.name
        deployment = await self._note_revision(deployment, replicasets)
        await self._write_status(deployment, replicasets, created)

    async def _claim(self, deployment: Deployment) -> list[ReplicaSet]:
        selector = from_label_selector(deployment.spec.selector)
        assert selector is not None
        here = self.replicasets.by_index("deployment/namespace", deployment.metadata.namespace)
        found = claim(deployment, selector, here)
        for rs in found.release:
            await self.client.update(released(rs, deployment.metadata.uid))
        mine = list(found.owned)
        if found.adopt:
            meta = deployment.metadata
            live = await self.client.get(Deployment, meta.name, meta.namespace)
            if live.metadata.uid != meta.uid or live.metadata.deletion_timestamp:
                raise Conflict(f'deployment "{key_of(deployment)}" is gone or going')
            for rs in found.adopt:
                mine.append(await self.client.update(adopted(rs, deployment)))
        return mine

    def _pods_of(self, replicasets: list[ReplicaSet]) -> list[Pod]:
        return [
            pod
            for rs in replicasets
            for pod in self.pods.by_index("deployment/owner", rs.metadata.uid)
        ]

    async def _perform(self, deployment: Deployment, action: rolling.Action) -> ReplicaSet | None:
        if isinstance(action, rolling.Create):
            return await self._create(deployment, action.replicaset)
        meta = action.replicaset.metadata
        if isinstance(action, rolling.Delete):
            with contextlib.suppress(NotFound):  # gone already, which is what was wanted
                await self.client.delete(ReplicaSet, meta.name, meta.namespace, uid=meta.uid)
            return None
        written = await self.client.update(action.replicaset)
        size = replicas_of(written)
        if size != action.before:
            self._report_scaling(deployment, meta.name, action.before, size)
        return written

    async def _create(self, deployment: Deployment, rs: ReplicaSet) -> ReplicaSet | None:
        try:
            written = await self.client.create(rs)
        except AlreadyExists:
            return await self._existing(deployment, rs)
        except StatusError as error:
            text = f'Failed to create new replica set "{rs.metadata.name}": {error.message}'
            self.recorder.event(deployment, WARNING, "ReplicaSetCreateError", text)
            raise
        if replicas_of(written):
            self._report_scaling(deployment, written.metadata.name, 0, replicas_of(written))
        return written

    async def _existing(self, deployment: Deployment, rs: ReplicaSet) -> ReplicaSet:
        """The name is taken: by ourselves on a stale cache, or by another template's hash."""
        meta = rs.metadata
        there = await self.client.get(ReplicaSet, meta.name, meta.namespace)
        owner = controller_of(there.metadata)
        ours = owner is not None and owner.uid == deployment.metadata.uid
        if ours and same_template(there.spec.template, deployment.spec.template):
            return there
        count = (deployment.status.collision_count or 0) + 1
        status = msgspec.structs.replace(deployment.status, collision_count=count)
        await self.client.update_status(msgspec.structs.replace(deployment, status=status))
        raise Conflict(f'replicaset "{key_of(there)}" has the hash of another template')

    def _report_scaling(self, deployment: Deployment, name: str, old: int, new: int) -> None:
        way = "up" if new > old else "down"
        text = f"Scaled {way} replica set {name} from {old} to {new}"
        self.recorder.event(deployment, NORMAL, "ScalingReplicaSet", text)

    async def _note_revision(
        self, deployment: Deployment, replicasets: list[ReplicaSet]
    ) -> Deployment:
        new = find_new(deployment, replicasets)
        if new is None or revision_of(new) == revision_of(deployment) or not revision_of(new):
            return deployment
        meta = deployment.metadata
        patch = {"metadata": {"annotations": {REVISION: str(revision_of(new))}}}
        return await self.client.patch(Deployment, meta.name, patch, meta.namespace)

    async def _write_status(
        self, deployment: Deployment, replicasets: list[ReplicaSet], created: str
    ) -> None:
        new = statuses.status(deployment, replicasets, created, self.now())
        if new != deployment.status:
            await self.client.update_status(msgspec.structs.replace(deployment, status=new))
        if statuses.awaits_deadline(deployment, new):
            wait = statuses.seconds_to_deadline(deployment, new, self.now())
            self.queue.add_after(key_of(deployment), max(1.0, wait + 1))


def _merged(replicasets: list[ReplicaSet], done: ReplicaSet | None) -> list[ReplicaSet]:
    if done is None:
        return replicasets
    return [rs for rs in replicasets if rs.metadata.uid != done.metadata.uid] + [done]


def _owner_uid(pod: Pod) -> list[str]:
    ref = controller_of(pod.metadata)
    return [ref.uid] if ref else []
