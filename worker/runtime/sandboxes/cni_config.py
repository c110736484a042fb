"""CNI 1.0 network configuration: choosing the file, building each plugin's input. Pure.

Terms are the specification's: a configuration *list* is a chain of plugins; every plugin gets
its own part of the list as one JSON object on stdin.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


class CniConfigError(Exception):
    """The file is no usable CNI configuration; the message says why."""


@dataclass(frozen=True, slots=True)
class NetworkList:
    name: str
    cni_version: str
    plugins: tuple[Json, ...]


def choose(names: Sequence[str]) -> str | None:
    """The file that counts: the first by name, as every CRI runtime does it."""
    usable = [n for n in names if n.endswith((".conflist", ".conf", ".json")) and n[0] != "."]
    return min(usable, default=None)


def parse(name: str, text: str) -> NetworkList:
    """A `.conflist`, or a single plugin's `.conf`/`.json` taken as a list of one."""
    try:
        document = json.loads(text)
        if not name.endswith(".conflist"):
            document = {"plugins": [document]} | {
                k: document[k] for k in ("name", "cniVersion") if k in document
            }
        plugins = tuple(dict(plugin) for plugin in document["plugins"])
        if not plugins or not all(plugin.get("type") for plugin in plugins):
            raise CniConfigError(f"{name}: every plugin needs a type")
        return NetworkList(document["name"], document.get("cniVersion", "0.2.0"), plugins)
    except (ValueError, KeyError, TypeError) as error:
        raise CniConfigError(f"{name}: not a CNI network configuration: {error!r}") from error


def plugin_input(
    network: NetworkList,
    plugin: Mapping[str, Any],
    capability_args: Mapping[str, Any],
    previous: Mapping[str, Any] | None,
) -> Json:
    """The JSON that one plugin reads: its part, the list's name and version, prevResult."""
    result: Json = {k: v for k, v in plugin.items() if k != "capabilities"}
    result["name"] = network.name
    result["cniVersion"] = network.cni_version
    offered = plugin.get("capabilities", {})
    runtime = {k: v for k, v in capability_args.items() if offered.get(k) and v}
    if runtime:
        result["runtimeConfig"] = runtime
    if previous is not None:
        result["prevResult"] = dict(previous)
    return result


def addresses(result: Mapping[str, Any]) -> tuple[str, ...]:
    """The pod's addresses without prefix length, in the order of the result."""
    return tuple(str(entry["address"]).split("/")[0] for entry in result.get("ips", ()))
