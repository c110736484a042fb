"""The drill document: `apiVersion: muster/v1, kind: Drill`, and the catalog of built-in ones."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from typing import Literal

import msgspec
import yaml

from provision.errors import LabFileError, ProvisionError


class DrillNotFound(ProvisionError):
    """No drill of that name is in the catalog."""

    exit_code = 2


class _Strict(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    pass


class ByProfile(_Strict, frozen=True, kw_only=True):
    """A number that depends on the lab's timer profile."""

    fast: float
    kubernetes: float

    def of(self, profile: str) -> float:
        return self.kubernetes if profile == "kubernetes" else self.fast


class SteadyState(_Strict, frozen=True, kw_only=True):
    """What must hold before anything is broken, and again at the end."""

    good_requests: int
    timeout_seconds: float


class Fault(_Strict, frozen=True, kw_only=True):
    action: Literal["power-off"]
    target: Literal["worker-with-most-pods"]
    limit_seconds: ByProfile


class Probe(_Strict, frozen=True, kw_only=True):
    requests_per_second: float
    timeout_seconds: float


class Recovery(_Strict, frozen=True, kw_only=True):
    timeout_seconds: ByProfile
    settle_seconds: float


class Level(_Strict, frozen=True, kw_only=True):
    """A service level: `metric` must not exceed `max`, else the drill fails or warns."""

    metric: str
    max: ByProfile
    severity: Literal["fail", "warn"] = "fail"


class Metadata(_Strict, frozen=True, kw_only=True):
    name: str
    description: str = ""


class Spec(_Strict, frozen=True, kw_only=True):
    workload: str
    steady_state: SteadyState
    fault: Fault
    probe: Probe
    recovery: Recovery
    levels: tuple[Level, ...]


class Drill(_Strict, frozen=True, kw_only=True):
    api_version: Literal["muster/v1"]
    kind: Literal["Drill"]
    metadata: Metadata
    spec: Spec


def parse(text: str, source: str) -> Drill:
    """A drill document. Raises LabFileError that names the source and the field's path."""
    try:
        return msgspec.convert(yaml.safe_load(text), Drill)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise LabFileError(
            f"{source}: {error}", "compare with `muster drill list -o yaml`"
        ) from error


def catalog() -> Iterator[Drill]:
    """The drills that come with Muster, by name."""
    folder = files("provision.drills").joinpath("catalog")
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".yaml"):
            yield parse(entry.read_text(), entry.name)


def find(name: str) -> Drill:
    known = {drill.metadata.name: drill for drill in catalog()}
    if name not in known:
        raise DrillNotFound(
            f'there is no drill "{name}"', f"known: {', '.join(known)} (`muster drill list`)"
        )
    return known[name]
