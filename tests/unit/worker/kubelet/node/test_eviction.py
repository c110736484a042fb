"""Which pods have to go because of what they use: the pure part."""

from __future__ import annotations

import pytest

from kube.api import core
from kube.api.meta import ObjectMeta
from worker.kubelet.node.eviction import (
    DEFAULT_THRESHOLDS,
    Observation,
    PodUsage,
    Pressures,
    Threshold,
    binary,
    is_limited,
    over_limit,
    parse_thresholds,
    shortage_message,
    shortages,
    worst,
)

MI, GI = 1 << 20, 1 << 30


def pod(
    name: str = "p", *, limit: str = "", request: str = "", size: str = "", medium: str = "",
    priority: int = 0,
) -> core.Pod:  # fmt: skip
    resources = core.ResourceRequirements(
        limits={"ephemeral-storage": limit} if limit else {},
        requests={"ephemeral-storage": request} if request else {},
    )
    empty_dir = core.EmptyDirVolumeSource(size_limit=size or None, medium=medium)
    return core.Pod(
        metadata=ObjectMeta(name=name, uid=name),
        spec=core.PodSpec(
            containers=(core.Container(name="c", resources=resources),),
            volumes=(core.Volume(name="v", empty_dir=empty_dir),),
            priority=priority,
        ),
    )


def test_only_pods_with_limits_on_disk_are_measured() -> None:
    assert not is_limited(pod())
    assert not is_limited(pod(size="1Mi", medium="Memory"))
    assert is_limited(pod(size="1Mi"))
    assert is_limited(pod(limit="1Mi"))


@pytest.mark.parametrize(
    ("subject", "usage", "message"),
    [
        (pod(size="1Mi"), PodUsage({"v": MI}), ""),
        (pod(size="1Mi"), PodUsage({"v": MI + 1}),
         'Usage of EmptyDir volume "v" exceeds the limit "1Mi". '),
        (pod(size="1Mi", medium="Memory"), PodUsage({"v": GI}), ""),
        (pod(limit="2Mi"), PodUsage({"v": MI}, {"c": MI}), ""),
        (pod(limit="2Mi"), PodUsage({"v": MI}, {"c": MI + 1}),
         "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. "),
    ],
)  # fmt: skip
def test_limits_of_local_storage(subject: core.Pod, usage: PodUsage, message: str) -> None:
    found = over_limit(subject, usage)
    assert (found.message if found else "") == message
    assert not found or found.reason == "Evicted"


def test_upstreams_thresholds() -> None:
    plenty = Observation(10 * GI, 100 * GI)
    seen = {
        "memory.available": Observation(99 * MI, GI), "nodefs.available": plenty,
        "nodefs.inodesFree": Observation(4, 100), "pid.available": Observation(50, 1000),
    }  # fmt: skip
    found = shortages(DEFAULT_THRESHOLDS, seen)
    assert [s.condition for s in found] == ["MemoryPressure", "DiskPressure"]
    assert [s.resource for s in found] == ["memory", "inodes"]
    # A tenth of a large disk is still plenty; of a small one it is not.
    small = {"nodefs.available": Observation(GI, 11 * GI)}
    assert [s.resource for s in shortages(DEFAULT_THRESHOLDS, small)] == ["ephemeral-storage"]


def test_thresholds_are_parsed_as_upstreams_flag() -> None:
    assert parse_thresholds("memory.available<100Mi, nodefs.available<10%") == (
        Threshold("memory.available", quantity=100 * MI),
        Threshold("nodefs.available", share=0.1),
    )
    assert parse_thresholds("") == ()
    for broken in ("disk<1", "memory.available", "memory.available<x", "nodefs.available<101%"):
        with pytest.raises((ValueError, ArithmeticError)):
            parse_thresholds(broken)


def test_a_condition_stays_for_the_transition_period() -> None:
    pressures = Pressures(300.0)
    full = shortages([Threshold("nodefs.available", quantity=2)],
                     {"nodefs.available": Observation(1, 10)})  # fmt: skip
    pressures.observe(full, 1000.0)
    assert pressures() == ("DiskPressure",)
    pressures.observe((), 1299.0)
    assert pressures() == ("DiskPressure",)
    pressures.observe((), 1301.0)
    assert pressures() == ()


def test_who_goes_first() -> None:
    within = (pod("within", request="2Gi"), PodUsage({"v": GI}))
    above = (pod("above", request="1Mi"), PodUsage({"v": 2 * MI}))
    large = (pod("large"), PodUsage({"v": GI}))
    important = (pod("important", priority=10), PodUsage({"v": 2 * GI}))
    critical = (pod("critical", priority=2_000_000_000), PodUsage({"v": 9 * GI}))
    order = []
    left = [within, above, large, important, critical]
    while (victim := worst(left, "ephemeral-storage")) is not None:
        order.append(victim.metadata.name)
        left = [item for item in left if item[0] is not victim]
    assert order == ["large", "above", "important", "within"]


def test_the_message_names_who_was_over_its_request() -> None:
    (shortage,) = shortages([Threshold("nodefs.available", quantity=GI)],
                            {"nodefs.available": Observation(MI, 2 * GI)})  # fmt: skip
    subject = pod(request="1Mi")
    assert shortage_message(subject, PodUsage({}, {"c": 3 * MI}), shortage) == (
        "The node was low on resource: ephemeral-storage. Threshold quantity: 1Gi, available: 1Mi. "
        "Container c was using 3Mi, request is 1Mi, has larger consumption of ephemeral-storage. "
    )


def test_quantities_are_written_as_upstream_writes_them() -> None:
    assert [binary(n) for n in (0, 1000, 1024, 1536, MI, 10 * MI, GI)] == [
        "0", "1000", "1Ki", "1536", "1Mi", "10Mi", "1Gi",
    ]  # fmt: skip
