"""The Service's endpoints, and the rules made of them on each node."""

from __future__ import annotations

from drills.events import Case, EndpointsSeen, Observations, PodSeen, RulesSeen, first, last
from drills.phases.base import PhaseKind, survivors
from drills.phases.pods import replacements

# A node may hear of a change, and have synced, a moment before this host hears of it: without this
# grace the phase would be read from the next sync, which may be that of half a minute later.
HEARD_BEFORE_SECONDS = 0.25


def withdrawn(case: Case, seen: Observations) -> float | None:
    if not case.victim_pods:
        return None
    return first(
        e.at
        for e in seen.of(EndpointsSeen)
        if e.at >= case.fault_at and not (e.ready_pods & case.victim_pods)
    )


def published(case: Case, seen: Observations) -> float | None:
    fresh = replacements(case, seen.of(PodSeen))
    if not fresh or len(fresh) < len(case.victim_pods):
        return None
    return first(
        e.at for e in seen.of(EndpointsSeen) if e.at >= case.fault_at and fresh <= e.ready_pods
    )


def _synced(case: Case, seen: Observations, since: float | None) -> float | None:
    """When the last surviving node had synced its rules after `since`; not before it."""
    if since is None:
        return None
    least = since - HEARD_BEFORE_SECONDS
    synced = last(
        first(r.at for r in seen.of(RulesSeen) if r.node == node and r.synced_at >= least)
        for node in case.survivors
    )
    return None if synced is None else max(synced, since)


def rules_withdrawn(case: Case, seen: Observations) -> float | None:
    return _synced(case, seen, withdrawn(case, seen))


def rules_synced(case: Case, seen: Observations) -> float | None:
    return _synced(case, seen, published(case, seen))


WITHDRAWN = PhaseKind(
    "endpoints_withdrawn", "dead endpoints withdrawn",
    "the EndpointSlices name none of the lost pods as ready", withdrawn, observers=("endpoints",),
)  # fmt: skip
RULES_WITHDRAWN = PhaseKind(
    "rules_withdrawn", "rules without them synced",
    "kubeproxy_sync_proxy_rules_last_timestamp_seconds of each surviving node", rules_withdrawn,
    survivors, ("endpoints", "rules"),
)  # fmt: skip
PUBLISHED = PhaseKind(
    "endpoints_published", "endpoints published",
    "the EndpointSlices name every replacement as ready", published,
    observers=("endpoints", "pods"),
)  # fmt: skip
RULES_SYNCED = PhaseKind(
    "rules_synced", "rules synced",
    "kubeproxy_sync_proxy_rules_last_timestamp_seconds of each surviving node", rules_synced,
    survivors, ("endpoints", "pods", "rules"),
)  # fmt: skip
