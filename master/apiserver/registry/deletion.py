"""What deleting an object means for it right now (registry/generic/registry/store.go). Pure.

An object goes at once, or is marked with a deletionTimestamp and goes when its grace period is
over (the kubelet deletes it again with grace 0) and its finalizers are gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from kube.api.meta import DeleteOptions
from kube.machinery.scheme import ApiObject
from master.apiserver.registry.metadata import timestamp, with_meta

ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"
# A hundred years, for the date alone: what is asked for may be more than dates can tell.
MAX_GRACE_SECONDS = 100 * 365 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete it from the store now."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Store this changed object instead."""

    obj: ApiObject


@dataclass(frozen=True, slots=True)
class Keep:
    """Nothing changes: it is being deleted already, at least as fast."""


Verdict = Remove | Mark | Keep


def propagation_finalizers(
    obj: ApiObject, options: DeleteOptions, orphans: bool = False
) -> tuple[str, ...]:
    """The finalizers after the caller's wish for the dependents is written into them. `orphans`:
    without a wish, those of this kind stay."""
    policy = options.propagation_policy
    if not policy and options.orphan_dependents is not None:
        policy = "Orphan" if options.orphan_dependents else "Background"
    present = obj.metadata.finalizers
    if not policy:
        # No wish: what a finalizer already says stands.
        said = ORPHAN in present or FOREGROUND in present
        return (*present, ORPHAN) if orphans and not said else present
    others = tuple(f for f in present if f not in (ORPHAN, FOREGROUND))
    if policy == "Orphan":
        return (*others, ORPHAN)
    if policy == "Foreground":
        return (*others, FOREGROUND)
    return others


def decide(
    obj: ApiObject,
    options: DeleteOptions,
    grace: int | None,
    now: datetime,
    holds: bool = False,
    orphans: bool = False,
) -> Verdict:
    """`grace` is None for kinds that do not die gracefully; `holds`: more than finalizers hold
    the object (a namespace's spec.finalizers)."""
    finalizers = propagation_finalizers(obj, options, orphans)
    held = bool(finalizers) or holds
    if grace is None or grace == 0:
        return _at_once(obj, finalizers, held, grace, now)
    meta = obj.metadata
    if meta.deletion_timestamp:
        current = meta.deletion_grace_period_seconds or 0
        if grace >= current and finalizers == meta.finalizers:
            return Keep()
        grace = min(grace, current)
    return Mark(_marked(obj, finalizers, grace, now))


def _at_once(
    obj: ApiObject,
    finalizers: tuple[str, ...],
    held: bool,
    grace: Literal[0] | int | None,
    now: datetime,
) -> Verdict:
    if not held:
        return Remove()
    meta = obj.metadata
    same = finalizers == meta.finalizers
    if meta.deletion_timestamp and same and not meta.deletion_grace_period_seconds:
        return Keep()
    return Mark(_marked(obj, finalizers, 0, now))


def _marked(obj: ApiObject, finalizers: tuple[str, ...], grace: int, now: datetime) -> ApiObject:
    generation = obj.metadata.generation
    first = not obj.metadata.deletion_timestamp
    return with_meta(
        obj,
        finalizers=finalizers,
        deletion_timestamp=timestamp(now + timedelta(seconds=min(grace, MAX_GRACE_SECONDS))),
        deletion_grace_period_seconds=grace,
        generation=generation + 1 if generation is not None and first else generation,
    )


def is_finished(obj: ApiObject, holds: bool = False) -> bool:
    """After an update: whether a dying object has nothing left to wait for."""
    meta = obj.metadata
    return bool(
        meta.deletion_timestamp
        and not meta.finalizers
        and not meta.deletion_grace_period_seconds
        and not holds
    )
