"""A family of series, and its text in Prometheus' format. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from kube.machinery.scheme import ApiObject

T = TypeVar("T", bound=ApiObject)
Labels = dict[str, str]
# Labels besides those that name the object, and the value.
Sample = tuple[Labels, float]
ONE: Sample = ({}, 1)


@dataclass(frozen=True, slots=True)
class Family(Generic[T]):
    """`samples` says what one object adds to the family."""

    name: str
    help: str
    samples: Callable[[T], Iterable[Sample]]
    type: str = "gauge"

    def header(self) -> str:
        return f"# HELP {self.name} {self.help}\n# TYPE {self.name} {self.type}\n"


@dataclass(frozen=True, slots=True)
class StateKind(Generic[T]):
    """A kind: the plural that flags call it by, how series name an object, and its families."""

    resource: str
    type: type[T]
    identity: Callable[[T], Labels]
    families: tuple[Family[T], ...]
    # Whether it is served without being named by --resources; upstream's choice.
    default: bool = True

    def lines(self, obj: T) -> tuple[str, ...]:
        """What `obj` adds to each family, in their order."""
        named = label_text(self.identity(obj))
        return tuple(
            "".join(_line(family.name, named, sample) for sample in family.samples(obj))
            for family in self.families
        )


def label_text(labels: Mapping[str, str]) -> str:
    """`a="b",c="d"`, with the format's escapes."""
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _line(name: str, named: str, sample: Sample) -> str:
    labels, value = sample
    return f"{name}{{{named}{',' if labels else ''}{label_text(labels)}}} {_number(value)}\n"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def label_name(prefix: str, key: str) -> str:
    """A Kubernetes label or annotation key as the name of a Prometheus label."""
    return f"{prefix}_{re.sub(r'[^a-zA-Z0-9_]', '_', key)}"


def plain(name: str, help: str, value: Callable[[Any], float | None]) -> Family[Any]:
    """A family of one number per object; an object without the number adds nothing."""

    def samples(obj: Any) -> Iterable[Sample]:
        number = value(obj)
        return () if number is None else (({}, number),)

    return Family(name, help, samples)


def one_of(label: str, values: Iterable[str], actual: str) -> list[Sample]:
    """A series for each possible value: 1 for the actual one, 0 for the others."""
    return [({label: value}, float(value == actual)) for value in values]


def statuses(status: str, label: str = "status", **labels: str) -> list[Sample]:
    """A condition: a series for each of true, false and unknown."""
    return [
        ({**labels, label: value}, float(value == status.lower()))
        for value in ("true", "false", "unknown")
    ]
