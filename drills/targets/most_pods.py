"""By how many pods of the workload a machine runs; those that run none are left out."""

from __future__ import annotations

from random import Random

from drills.targets.base import Candidate, NoTarget


def most_pods_first(left: list[Candidate], _chance: Random) -> list[Candidate]:
    busy = [candidate for candidate in left if candidate.pods]
    if not busy:
        raise NoTarget(
            "none of these machines runs a pod of the workload", "see `kubectl get pods -o wide`"
        )
    return sorted(busy, key=lambda candidate: (-candidate.pods, candidate.name))
