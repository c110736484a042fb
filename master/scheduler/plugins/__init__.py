"""The scheduler's plugins: one small class a file. Pure."""

from __future__ import annotations

from master.scheduler.plugin import Plugin
from master.scheduler.plugins.balancedallocation import BalancedAllocation
from master.scheduler.plugins.defaultbinder import DefaultBinder
from master.scheduler.plugins.imagelocality import ImageLocality
from master.scheduler.plugins.interpodaffinity import InterPodAffinity
from master.scheduler.plugins.nodeaffinity import NodeAffinity
from master.scheduler.plugins.nodename import NodeName
from master.scheduler.plugins.nodeports import NodePorts
from master.scheduler.plugins.noderesourcesfit import NodeResourcesFit
from master.scheduler.plugins.nodeunschedulable import NodeUnschedulable
from master.scheduler.plugins.podtopologyspread import PodTopologySpread
from master.scheduler.plugins.prioritysort import PrioritySort
from master.scheduler.plugins.schedulinggates import SchedulingGates
from master.scheduler.plugins.tainttoleration import TaintToleration

# In upstream's order: of filters, the cheap and the decisive first. A new plugin is a line here.
PLUGINS: list[type[Plugin]] = [
    PrioritySort,
    SchedulingGates,
    NodeUnschedulable,
    NodeName,
    TaintToleration,
    NodeAffinity,
    NodePorts,
    NodeResourcesFit,
    PodTopologySpread,
    InterPodAffinity,
    BalancedAllocation,
    ImageLocality,
    DefaultBinder,
]


def default_plugins() -> list[Plugin]:
    return [plugin() for plugin in PLUGINS]
