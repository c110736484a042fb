"""The scheduler's plugins: one small class a file. Pure."""

from __future__ import annotations

from master.scheduler.framework import Plugin
from master.scheduler.plugins.balancedallocation import BalancedAllocation
from master.scheduler.plugins.imagelocality import ImageLocality
from master.scheduler.plugins.interpodaffinity import InterPodAffinity
from master.scheduler.plugins.nodeaffinity import NodeAffinity
from master.scheduler.plugins.nodename import NodeName
from master.scheduler.plugins.nodeports import NodePorts
from master.scheduler.plugins.noderesourcesfit import NodeResourcesFit
from master.scheduler.plugins.nodeunschedulable import NodeUnschedulable
from master.scheduler.plugins.podtopologyspread import PodTopologySpread
from master.scheduler.plugins.tainttoleration import TaintToleration


def default_plugins() -> list[Plugin]:
    """In upstream's order of filtering: the cheap and the decisive first."""
    return [
        NodeUnschedulable(),
        NodeName(),
        TaintToleration(),
        NodeAffinity(),
        NodePorts(),
        NodeResourcesFit(),
        PodTopologySpread(),
        InterPodAffinity(),
        BalancedAllocation(),
        ImageLocality(),
    ]
