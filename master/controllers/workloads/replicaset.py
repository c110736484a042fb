"""The replicaset controller: as many pods as asked for, never doubles on a stale cache."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from kube.api.apps import ReplicaSet
from kube.api.core import Pod
from kube.client.events import NORMAL, WARNING
from kube.machinery.errors import Conflict, NotFound, StatusError
from kube.machinery.scheme import key_of
from kube.machinery.selectors import from_label_selector
from master.controllers.machinery.controller import Context, Controller, Retry
from master.controllers.machinery.expectations import Expectations
from master.controllers.machinery.ownership import adopted, claim, controller_of, released
from master.controllers.machinery.pods import is_deleting
from master.controllers.workloads import replicaset_plan as planning

# How often the status follows a batch of creations or deletions.
BATCH_LOOK_SECONDS = 0.1


class ReplicaSetController(Controller):
    name = "replicaset"
    event_source = "replicaset-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.expectations = Expectations()
        self.replicasets = self.informers.of(ReplicaSet)
        self.pods = self.informers.of(Pod)
        self.pods.add_index("replicaset/owner", _pod_owner)
        self.replicasets.add_index("replicaset/owner", _owner_uid)
        self.replicasets.add_handler(self._on_replicaset)
        self.pods.add_handler(self._on_pod)

    # -- events to keys

    def _on_replicaset(self, kind: str, old: ReplicaSet | None, new: ReplicaSet | None) -> None:
        rs = new or old
        assert rs is not None
        if new is None:
            self.expectations.forget(key_of(rs))
        self.queue.add(key_of(rs))

    def _on_pod(self, kind: str, old: Pod | None, new: Pod | None) -> None:
        pod = new or old
        assert pod is not None
        owner = self._key_of_owner(pod)
        if old is not None and (before := self._key_of_owner(old)) not in (None, owner):
            self.queue.add(str(before))
        if owner is None:
            if new is not None:
                self._enqueue_adopters(new)
            return
        gone = new is None or (is_deleting(new) and not (old and is_deleting(old)))
        if kind == "ADDED" and not gone:
            self.expectations.created(owner)
        if gone:
            self.expectations.deleted(owner, pod.metadata.uid)
        if self.expectations.satisfied(owner, asyncio.get_running_loop().time()):
            self.queue.add(owner)
        else:
            # A batch is under way: each look at it costs as much as there are pods.
            self.queue.add_after(owner, BATCH_LOOK_SECONDS)

    def _key_of_owner(self, pod: Pod) -> str | None:
        ref = controller_of(pod.metadata)
        if ref is None or ref.kind != "ReplicaSet":
            return None
        return f"{pod.metadata.namespace}/{ref.name}"

    def _enqueue_adopters(self, pod: Pod) -> None:
        if controller_of(pod.metadata) is not None:
            return
        for rs in self.replicasets.values():
            if rs.metadata.namespace == pod.metadata.namespace:
                selector = from_label_selector(rs.spec.selector)
                if selector and selector.matches(pod.metadata.labels):
                    self.queue.add(key_of(rs))

    # -- keys to actions

    async def reconcile(self, key: str) -> None:
        rs = self.replicasets.get(key)
        if rs is None:
            self.expectations.forget(key)
            return
        settled = self.expectations.satisfied(key, asyncio.get_running_loop().time())
        pods = await self._claim(rs)
        failure = None
        if settled and not rs.metadata.deletion_timestamp:
            failure = await self._perform(
                rs, planning.plan(rs, pods, self._related(rs), self.now())
            )
        await self._write_status(rs, pods, failure)
        if failure is not None:
            raise Retry(failure[1])
        wait = planning.next_availability(rs, pods, self.now())
        if wait is not None:
            self.queue.add_after(key, wait)

    async def _claim(self, rs: ReplicaSet) -> list[Pod]:
        selector = from_label_selector(rs.spec.selector)
        if selector is None:
            return []
        mine = self.pods.by_index("replicaset/owner", rs.metadata.uid)
        orphans = self.pods.by_index("replicaset/owner", _orphans_of(rs.metadata.namespace))
        found = claim(rs, selector, mine + orphans)
        for pod in found.release:
            await self.client.update(released(pod, rs.metadata.uid))
        adopted_pods: list[Pod] = []
        if found.adopt:
            # The cache may show an owner that is gone: its orphans must not follow a ghost.
            live = await self.client.get(ReplicaSet, rs.metadata.name, rs.metadata.namespace)
            if live.metadata.uid != rs.metadata.uid or live.metadata.deletion_timestamp:
                raise Conflict(f'replicaset "{key_of(rs)}" is gone or going')
            for pod in found.adopt:
                adopted_pods.append(await self.client.update(adopted(pod, rs)))
        return [*found.owned, *adopted_pods]

    def _related(self, rs: ReplicaSet) -> list[Pod]:
        """The pods of all ReplicaSets of the same owner: they share the nodes' fate."""
        owner = controller_of(rs.metadata)
        family = {rs.metadata.uid}
        if owner is not None:
            siblings = self.replicasets.by_index("replicaset/owner", owner.uid)
            family |= {sibling.metadata.uid for sibling in siblings}
        return [pod for uid in family for pod in self.pods.by_index("replicaset/owner", uid)]

    async def _perform(self, rs: ReplicaSet, plan: planning.Plan) -> tuple[str, str] | None:
        """Carry the plan out. Returns reason and message of the first failure."""
        if not plan.create and not plan.delete:
            return None
        doomed = {pod.metadata.uid for pod in plan.delete}
        now = asyncio.get_running_loop().time()
        self.expectations.expect(key_of(rs), plan.create, doomed, now)
        if plan.create:
            return await self._create(rs, plan.create)
        results = await self.all_of(self._delete(rs, pod) for pod in plan.delete)
        return next((("FailedDelete", text) for text in results if text), None)

    async def _create(self, rs: ReplicaSet, count: int) -> tuple[str, str] | None:
        """In batches that double, so that what must fail fails once and not 500 times."""
        done, batch = 0, 1
        while done < count:
            size = min(batch, count - done)
            results = await self.all_of(self._create_one(rs) for _ in range(size))
            done, batch = done + size, batch * 2
            if error := next((text for text in results if text), None):
                for _ in range(count - done):
                    self.expectations.created(key_of(rs))
                return "FailedCreate", error
        return None

    async def _create_one(self, rs: ReplicaSet) -> str | None:
        try:
            pod = await self.client.create(planning.new_pod(rs))
        except StatusError as error:
            self.expectations.created(key_of(rs))
            self.recorder.event(rs, WARNING, "FailedCreate", f"Error creating: {error.message}")
            return error.message
        self.recorder.event(rs, NORMAL, "SuccessfulCreate", f"Created pod: {pod.metadata.name}")
        return None

    async def _delete(self, rs: ReplicaSet, pod: Pod) -> str | None:
        meta = pod.metadata
        try:
            await self.client.delete(Pod, meta.name, meta.namespace, uid=meta.uid)
        except (NotFound, Conflict):
            self.expectations.deleted(key_of(rs), meta.uid)
            return None
        except StatusError as error:
            self.expectations.deleted(key_of(rs), meta.uid)
            self.recorder.event(rs, WARNING, "FailedDelete", f"Error deleting: {error.message}")
            return error.message
        self.recorder.event(rs, NORMAL, "SuccessfulDelete", f"Deleted pod: {meta.name}")
        return None

    async def _write_status(
        self, rs: ReplicaSet, pods: Sequence[Pod], failure: tuple[str, str] | None
    ) -> None:
        new = planning.status(rs, pods, failure, self.now())
        if new == rs.status:
            return
        await self.client.update_status(msgspec.structs.replace(rs, status=new))


def _pod_owner(pod: Pod) -> list[str]:
    ref = controller_of(pod.metadata)
    return [ref.uid] if ref else [_orphans_of(pod.metadata.namespace)]


def _orphans_of(namespace: str) -> str:
    return f"orphans/{namespace}"


def _owner_uid(rs: ReplicaSet) -> list[str]:
    ref = controller_of(rs.metadata)
    return [ref.uid] if ref else []
