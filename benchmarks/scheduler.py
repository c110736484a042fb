"""What one scheduling decision costs: the framework and its plugins, without a cluster.

python -m benchmarks.scheduler [--nodes 1000] [--pods 3000] [--rounds 3]

Prints processor microseconds a decision, the least of the rounds: a plain pod of a ReplicaSet, and
one that also has a node affinity, a hard spread constraint and a toleration.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence

from kube.api.core import (
    Affinity,
    Container,
    Node,
    NodeAffinity,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    NodeStatus,
    Pod,
    PodSpec,
    ResourceRequirements,
    Toleration,
    TopologySpreadConstraint,
)
from kube.api.meta import LabelSelector, ObjectMeta, OwnerReference
from master.scheduler.cache import Cache
from master.scheduler.framework import Framework
from master.scheduler.plugins import default_plugins
from master.scheduler.podinfo import pod_info

ZONE = "topology.kubernetes.io/zone"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--pods", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args(argv)
    for name, make, pods in (("plain", _plain, args.pods), ("picky", _picky, args.pods // 10)):
        least = min(_round(args.nodes, pods, make) for _ in range(args.rounds))
        print(f"{name}: {least * 1e6 / pods:.0f} us a decision ({args.nodes} nodes, {pods} pods)")


def _round(nodes: int, pods: int, make: Callable[[int], Pod]) -> float:
    cache = Cache()
    for number in range(nodes):
        cache.set_node(_node(number))
    framework = Framework(default_plugins(), random.Random(1))
    began = time.process_time()
    for number in range(pods):
        info = pod_info(make(number))
        decision = framework.schedule(info, cache.nodes())
        assert decision.node
        cache.assume(info, decision.node)
    return time.process_time() - began


def _node(number: int) -> Node:
    name = f"n{number}"
    labels = {"kubernetes.io/hostname": name, ZONE: f"z{number % 3}", "disk": "ssd"}
    return Node(
        metadata=ObjectMeta(name=name, labels=labels),
        status=NodeStatus(allocatable={"cpu": "8", "memory": "16Gi", "pods": "110"}),
    )


def _plain(number: int) -> Pod:
    return _pod(number)


def _picky(number: int) -> Pod:
    term = NodeSelectorTerm(
        match_expressions=(NodeSelectorRequirement(key="disk", operator="In", values=("ssd",)),)
    )
    required = NodeSelector(node_selector_terms=(term,))
    spread = TopologySpreadConstraint(
        max_skew=1, topology_key=ZONE, when_unsatisfiable="DoNotSchedule",
        label_selector=LabelSelector(match_labels={"app": "web"}),
    )  # fmt: skip
    return _pod(
        number,
        affinity=Affinity(
            node_affinity=NodeAffinity(required_during_scheduling_ignored_during_execution=required)
        ),
        topology_spread_constraints=(spread,),
        tolerations=(Toleration(key="x", operator="Exists"),),
    )


def _pod(number: int, **spec: object) -> Pod:
    needs = ResourceRequirements(requests={"cpu": "10m", "memory": "10Mi"})
    owner = OwnerReference(uid="rs", kind="ReplicaSet", controller=True)
    meta = ObjectMeta(
        name=f"p{number}", namespace="default", uid=f"u{number}", labels={"app": "web"},
        owner_references=(owner,),
    )  # fmt: skip
    container = Container(name="c", image="nginx", resources=needs)
    return Pod(metadata=meta, spec=PodSpec(containers=(container,), **spec))


if __name__ == "__main__":
    main()
