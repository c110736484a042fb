"""From a pod to the services that select it: shared by endpointslice and endpoints."""

from __future__ import annotations

from collections.abc import Iterator

from kube.api.core import Node, Pod, Service
from kube.machinery.conditions import status_of
from kube.machinery.scheme import key_of
from kube.machinery.times import format_micro
from master.controllers.machinery.controller import Context, Controller


class ServiceController(Controller):
    """A controller whose keys are services and whose matter is their pods."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.services = self.informers.of(Service)
        self.pods = self.informers.of(Pod)
        self.nodes = self.informers.of(Node)
        self.services.add_index(f"{self.name}/namespace", lambda s: [s.metadata.namespace])
        self.pods.add_index(f"{self.name}/namespace", lambda p: [p.metadata.namespace])
        # When the change that a key waits for was first seen.
        self._triggers: dict[str, str] = {}
        self.watch(Service)
        self.watch(Pod, lambda pod: [key_of(s) for s in self._selecting(pod)], when=matters)

    def enqueue(self, key: str) -> None:
        self._triggers.setdefault(key, format_micro(self.now()))
        super().enqueue(key)

    def take_trigger(self, key: str) -> str:
        return self._triggers.pop(key, "") or format_micro(self.now())

    def _selecting(self, pod: Pod) -> Iterator[Service]:
        labels = pod.metadata.labels.items()
        for service in self.services.by_index(f"{self.name}/namespace", pod.metadata.namespace):
            selector = service.spec.selector
            if selector and selector.items() <= labels:
                yield service

    def selected_pods(self, service: Service) -> list[Pod]:
        """By name, so that equal states give equal plans."""
        wanted = service.spec.selector.items()
        here = self.pods.by_index(f"{self.name}/namespace", service.metadata.namespace)
        found = [pod for pod in here if wanted <= pod.metadata.labels.items()]
        return sorted(found, key=lambda pod: pod.metadata.name)


def matters(old: Pod | None, new: Pod | None) -> bool:
    """Whether the change can show in endpoints: most status writes cannot."""
    return old is None or new is None or _relevant(old) != _relevant(new)


def _relevant(pod: Pod) -> tuple[object, ...]:
    ready = status_of(pod.status.conditions, "Ready")
    return (
        pod.metadata.labels, pod.metadata.deletion_timestamp, pod.metadata.uid,
        pod.spec.node_name, pod.status.pod_ip, pod.status.phase, ready,
    )  # fmt: skip
