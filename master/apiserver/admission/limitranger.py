"""LimitRanger: what a namespace's LimitRanges say of its pods and claims. Pure.

Containers get the defaults; then nothing may ask for less or more than is allowed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal

import msgspec
from msgspec.structs import replace

from kube.api.base import Quantity
from kube.api.core import (
    Container,
    LimitRange,
    LimitRangeItem,
    PersistentVolumeClaim,
    Pod,
    PodSpec,
    ResourceRequirements,
)
from kube.machinery import quantity
from master.apiserver.admission.attributes import Attributes, Plugin, World, forbidden

ANNOTATION = "kubernetes.io/limit-ranger"
Amounts = dict[str, Quantity]
# What something asks for and is held to, as numbers.
Asked = tuple[dict[str, Decimal], dict[str, Decimal]]


async def admit(asked: Attributes, world: World) -> msgspec.Struct | None:
    pod = asked.new
    if not asked.creates(Pod) or not isinstance(pod, Pod):
        return pod
    for item in _items(asked, world):
        if item.type == "Container":
            pod = _with_defaults(pod, item)
    return pod


async def validate(asked: Attributes, world: World) -> None:
    new = asked.new
    # A stored pod's amounts do not change; a claim may grow.
    if isinstance(new, Pod) and asked.creates(Pod):
        wrong = [text for item in _items(asked, world) for text in _wrong_pod(new, item)]
    elif isinstance(new, PersistentVolumeClaim) and not asked.subresource:
        wrong = [text for item in _items(asked, world) for text in _wrong_claim(new, item)]
    else:
        return
    if wrong:
        raise forbidden(asked, wrong[0] if len(wrong) == 1 else f"[{', '.join(wrong)}]")


def _items(asked: Attributes, world: World) -> Iterator[LimitRangeItem]:
    for found in world.all(LimitRange, asked.namespace):
        assert isinstance(found, LimitRange)
        yield from found.spec.limits


# defaults


def _with_defaults(pod: Pod, item: LimitRangeItem) -> Pod:
    said: list[str] = []
    spec = replace(
        pod.spec,
        containers=tuple(_filled(c, item, "container", said) for c in pod.spec.containers),
        init_containers=tuple(
            _filled(c, item, "init container", said) for c in pod.spec.init_containers
        ),
    )
    if not said:
        return pod
    note = "LimitRanger plugin set: " + "; ".join(said)
    annotations = {**pod.metadata.annotations, ANNOTATION: note}
    return replace(pod, spec=spec, metadata=replace(pod.metadata, annotations=annotations))


def _filled(container: Container, item: LimitRangeItem, what: str, said: list[str]) -> Container:
    given = container.resources or ResourceRequirements()
    requests = {k: v for k, v in item.default_request.items() if k not in given.requests}
    limits = {k: v for k, v in item.default.items() if k not in given.limits}
    for side, added in (("request", requests), ("limit", limits)):
        if added:
            said.append(f"{', '.join(sorted(added))} {side} for {what} {container.name}")
    if not requests and not limits:
        return container
    resources = replace(
        given, requests={**given.requests, **requests}, limits={**given.limits, **limits}
    )
    return replace(container, resources=resources)


# bounds


def _numbers(amounts: Amounts) -> dict[str, Decimal]:
    return {name: quantity.parse(value) for name, value in amounts.items()}


def _of(container: Container) -> Asked:
    given = container.resources or ResourceRequirements()
    return _numbers(given.requests), _numbers(given.limits)


def _wrong_pod(pod: Pod, item: LimitRangeItem) -> Iterator[str]:
    if item.type == "Container":
        for container in (*pod.spec.containers, *pod.spec.init_containers):
            yield from _wrong(_of(container), item)
    elif item.type == "Pod":
        yield from _wrong(_of_pod(pod.spec), item)


def _of_pod(spec: PodSpec) -> Asked:
    """All containers together; an initial one counts where it alone asks for more."""
    lasting = [*spec.containers, *(c for c in spec.init_containers if c.restart_policy)]
    first = [_of(c) for c in spec.init_containers if not c.restart_policy]
    both = [_of(c) for c in lasting]
    requests, limits = _sum(r for r, _ in both), _sum(m for _, m in both)
    for mine, theirs in first:
        for total, one in ((requests, mine), (limits, theirs)):
            for name, value in one.items():
                total[name] = max(total.get(name, value), value)
    return requests, limits


def _sum(parts: Iterable[dict[str, Decimal]]) -> dict[str, Decimal]:
    """Of what all of them say: where one says nothing there is no bound to the whole."""
    listed = list(parts)
    names = set.intersection(*(set(part) for part in listed)) if listed else set()
    return {name: sum((part[name] for part in listed), Decimal()) for name in names}


def _wrong_claim(claim: PersistentVolumeClaim, item: LimitRangeItem) -> Iterator[str]:
    if item.type != "PersistentVolumeClaim":
        return
    requests = _numbers(claim.spec.resources.requests if claim.spec.resources else {})
    # Claims have requests only, which both bounds are about.
    for name, asked in requests.items():
        least, most = item.min.get(name), item.max.get(name)
        if least is not None and asked < quantity.parse(least):
            head = f"minimum {name} usage per {item.type} is {least}"
            yield f"{head}, but request is {_shown(asked)}"
        if most is not None and asked > quantity.parse(most):
            head = f"maximum {name} usage per {item.type} is {most}"
            yield f"{head}, but request is {_shown(asked)}"


def _wrong(asked: Asked, item: LimitRangeItem) -> Iterator[str]:
    requests, limits = asked
    for name, least in item.min.items():
        head = f"minimum {name} usage per {item.type} is {least}"
        yield from _too_little(head, quantity.parse(least), requests.get(name), limits.get(name))
    for name, most in item.max.items():
        head = f"maximum {name} usage per {item.type} is {most}"
        yield from _too_much(head, quantity.parse(most), requests.get(name), limits.get(name))
    for name, ratio in item.max_limit_request_ratio.items():
        head = f"{name} max limit to request ratio per {item.type} is {ratio}"
        yield from _too_wide(head, quantity.parse(ratio), requests.get(name), limits.get(name))


def _too_little(
    head: str, least: Decimal, request: Decimal | None, limit: Decimal | None
) -> Iterator[str]:
    if request is None:
        yield f"{head}.  No request is specified"
    elif limit is not None and limit < least:
        yield f"{head}, but limit is {_shown(limit)}"
    elif request < least:
        yield f"{head}, but request is {_shown(request)}"


def _too_much(
    head: str, most: Decimal, request: Decimal | None, limit: Decimal | None
) -> Iterator[str]:
    if limit is None:
        yield f"{head}.  No limit is specified"
    elif limit > most:
        yield f"{head}, but limit is {_shown(limit)}"
    elif request is not None and request > most:
        yield f"{head}, but request is {_shown(request)}"


def _too_wide(
    head: str, most: Decimal, request: Decimal | None, limit: Decimal | None
) -> Iterator[str]:
    if not request:
        yield f"{head}, but no request is specified or request is 0"
    elif not limit:
        yield f"{head}, but no limit is specified or limit is 0"
    elif limit / request > most:
        yield f"{head}, but provided ratio is {limit / request:f}"


def _shown(value: Decimal) -> str:
    """`200m`, `64Mi`: the largest unit that needs no fraction."""
    if value != value.to_integral_value():
        return f"{int(value * 1000)}m"
    number = int(value)
    for power, suffix in ((4, "Ti"), (3, "Gi"), (2, "Mi"), (1, "Ki")):
        if number and number % 1024**power == 0:
            return f"{number // 1024**power}{suffix}"
    return str(number)


PLUGIN = Plugin(name="LimitRanger", admit=admit, validate=validate)
