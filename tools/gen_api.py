"""Generate kube/api/*.py: one frozen msgspec struct per Kubernetes API type.

The facts (type names, field names, JSON names, field types) are read from the published
`kubernetes` client package of the pinned version, the widths of integers and the kinds of times
from the field numbers of the wire (tools/gen_wire_numbers.py); the shape of the code is ours.
`python tools/gen_api.py` writes the modules; `--check` fails when what is committed is stale.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from kubernetes.client import models

from master.apiserver.protobuf.numbers import MESSAGES

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "kube" / "api"

# Module -> (docstring subject, API version, top-level kinds that it holds).
ROOTS: dict[str, tuple[str, str, list[str]]] = {
    "meta": (
        "meta/v1: what all objects share",
        "v1",
        ["V1ObjectMeta", "V1ListMeta", "V1Status", "V1DeleteOptions", "V1LabelSelector"],
    ),
    "core": (
        "core/v1",
        "v1",
        [
            "V1Pod", "V1Node", "V1Namespace", "V1Service", "V1Endpoints", "V1ConfigMap",
            "V1Secret", "V1ServiceAccount", "CoreV1Event", "V1Binding",
        ],
    ),
    "apps": ("apps/v1", "apps/v1", ["V1Deployment", "V1ReplicaSet"]),
    "autoscaling": ("autoscaling/v1: the scale subresource", "autoscaling/v1", ["V1Scale"]),
    "coordination": ("coordination.k8s.io/v1", "coordination.k8s.io/v1", ["V1Lease"]),
    "discovery": ("discovery.k8s.io/v1", "discovery.k8s.io/v1", ["V1EndpointSlice"]),
    "policy": ("policy/v1", "policy/v1", ["V1Eviction"]),
}  # fmt: skip

RENAMED = {"CoreV1Event": "Event", "CoreV1EventSeries": "EventSeries",
           "CoreV1EndpointPort": "EndpointPort", "DiscoveryV1EndpointPort": "EndpointPort",
           "V1Endpoint": "Endpoint"}  # fmt: skip
QUANTITIES = {"limits", "requests", "capacity", "allocatable", "overhead", "allocatedResources",
              "default", "hard", "used"}  # fmt: skip
INT_OR_STRING = {"port", "targetPort", "maxSurge", "maxUnavailable"}
# Sub-objects that readers go through all the time: missing reads as an empty one.
ALWAYS_THERE = {"metadata", "spec", "status", "template"}
# Required, and ordinarily empty: written nevertheless, for clients that insist on them.
WRITTEN_EMPTY = {("V1ContainerStatus", "image"), ("V1ContainerStatus", "imageID"),
                 ("V1HTTPHeader", "value"), ("V1Sysctl", "value"),
                 ("V1EndpointSlice", "endpoints")}  # fmt: skip
# What of kube.api.base a module may need.
BASE = ("Int32", "Int64", "MicroTime", "Quantity", "Time", "no_items")
# Module -> where its messages are in the table of field numbers.
PACKAGES = {module: "meta.v1" if module == "meta" else f"{module}.v1" for module in ROOTS}
KEYWORDS = {"from": "from_", "continue": "continue_", "except": "except_", "exec": "exec_"}


def class_name(model: str) -> str:
    return RENAMED.get(model) or re.sub(r"^V1", "", model)


def attribute_name(json_name: str) -> str:
    """`podIPs` -> pod_ips, `hostIPC` -> host_ipc, `setHostnameAsFQDN` -> set_hostname_as_fqdn."""
    name = json_name.replace("IPs", "Ips").replace("CIDRs", "Cidrs").replace("WWNs", "Wwns")
    name = name.lstrip("$")
    name = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    name = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()
    return KEYWORDS.get(name, name)


def referenced(model: str) -> Iterator[str]:
    """The model types that the fields of `model` mention."""
    for kind in getattr(models, model).openapi_types.values():
        for name in re.findall(r"\w+", kind):
            if hasattr(models, name) and hasattr(getattr(models, name), "openapi_types"):
                yield name


def closure(roots: list[str], done: set[str]) -> list[str]:
    """`roots` and all they refer to, dependencies first, without what `done` already has."""
    order: list[str] = []

    def visit(model: str) -> None:
        if model in done:
            return
        done.add(model)
        for name in referenced(model):
            visit(name)
        order.append(model)

    for root in roots:
        visit(root)
    return order


def exact_type(module: str, model: str, json_name: str, kind: str) -> str:
    """The wire knows how wide an integer is, and which of the two times a time is."""
    fields = MESSAGES.get(f"{PACKAGES[module]}.{class_name(model)}", {}).values()
    wire = next((kind for name, kind in fields if name == json_name), "").strip("[]")
    if kind == "int":
        return {"int32": "Int32", "int64": "Int64"}.get(wire, "Int64")
    if kind == "datetime":
        return "MicroTime" if wire == "microtime" else "Time"
    return kind


def field_type(json_name: str, kind: str) -> tuple[str, str]:
    """The Python type of a field and its default."""
    if kind in ("str", "Time", "MicroTime"):
        return kind, '""'
    if kind in ("Int32", "Int64", "bool", "float"):
        return f"{kind} | None", "None"
    if kind == "bytes":
        return "bytes | None", "None"
    if kind == "object" and json_name in INT_OR_STRING:
        return "Int32 | str | None", "None"
    if kind == "object":
        return "dict[str, Any] | None", "None"
    if listed := re.fullmatch(r"[Ll]ist\[(.+)\]", kind):
        return f"tuple[{element_type(listed[1])}, ...]", "()"
    if mapped := re.fullmatch(r"[Dd]ict[\[(]str, ?(.+)[\])]", kind):
        value = "Quantity" if json_name in QUANTITIES else element_type(mapped[1])
        return f"dict[str, {value}]", "{}"
    return f"{class_name(kind)} | None", "None"


def element_type(kind: str) -> str:
    if kind == "int":
        return "Int64"
    if kind in ("str", "bool", "float", "bytes"):
        return kind
    if kind == "object":
        return "Any"
    if nested := re.fullmatch(r"[Ll]ist\[(.+)\]", kind):
        return f"tuple[{element_type(nested[1])}, ...]"
    return class_name(kind)


def camel(attribute: str) -> str:
    """msgspec's own `rename="camel"`, to tell which fields need an explicit name."""
    head, *rest = attribute.rstrip("_").split("_")
    tail = "_" if attribute.endswith("_") else ""
    return head + "".join(word.capitalize() for word in rest) + tail


def render_class(model: str, module: str, api_version: str, roots: list[str]) -> str:
    source = getattr(models, model)
    fields = [
        (attribute_name(source.attribute_map[key]), source.attribute_map[key], kind)
        for key, kind in source.openapi_types.items()
    ]
    lines = [f'class {class_name(model)}(Struct, rename="camel", **OPTIONS):']
    top = model in roots and any(name == "kind" for name, _, _ in fields)
    for attribute, json_name, kind in fields:
        type_, default = field_type(json_name, exact_type(module, model, json_name, kind))
        if top and attribute == "api_version":
            default = f'"{api_version}"'
        if top and attribute == "kind":
            default = f'"{class_name(model)}"'
        if attribute in ALWAYS_THERE and type_.endswith(" | None") and kind != "str":
            type_ = type_.removesuffix(" | None")
            default = f"{type_}()"
        if (model, json_name) in WRITTEN_EMPTY:
            factory = "str" if type_ == "str" else "no_items"
            name = "" if camel(attribute) == json_name else f', name="{json_name}"'
            default = f"msgspec.field(default_factory={factory}{name})"
        elif camel(attribute) != json_name:
            default = f'msgspec.field(default={default}, name="{json_name}")'
            default = default.replace("default={}", "default_factory=dict")
        lines.append(f"    {attribute}: {type_} = {default}")
    return "\n".join(lines)


def modules() -> dict[str, str]:
    done: set[str] = set()
    home: dict[str, str] = {}
    rendered: dict[str, str] = {}
    for module, (subject, api_version, roots) in ROOTS.items():
        order = closure(roots, done)
        home.update({class_name(model): module for model in order})
        body = "\n\n\n".join(render_class(m, module, api_version, roots) for m in order)
        rendered[module] = HEADER.format(subject=subject) + imports(body, module, home) + body
    return rendered


HEADER = '''"""Kubernetes API types: {subject}. Generated by tools/gen_api.py.

Fields that are missing read as "", (), {{}} or None and are left out again when encoded.
"""

from __future__ import annotations

'''


def imports(body: str, module: str, home: dict[str, str]) -> str:
    lines = []
    if re.search(r"\bAny\b", body):
        lines.append("from typing import Any\n")
    lines += ["import msgspec"] if "msgspec.field(" in body else []
    lines.append("from msgspec import Struct\n")
    base = ["OPTIONS", *(name for name in BASE if re.search(rf"\b{name}\b", body))]
    lines.append(f"from kube.api.base import {', '.join(base)}")
    used: dict[str, list[str]] = {}
    for name in sorted(set(re.findall(r"\b[A-Z]\w+", body))):
        if home.get(name, module) != module:
            used.setdefault(home[name], []).append(name)
    for other, names_used in sorted(used.items()):
        lines.append(f"from kube.api.{other} import {', '.join(names_used)}")
    return "\n".join(lines) + "\n\n\n"


def formatted(source: str) -> str:
    ruff = Path(sys.executable).parent / "ruff"
    for command in (["check", "--fix", "--select", "I,UP", "-q", "-"], ["format", "-"]):
        source = subprocess.run(
            [ruff, *command], input=source, capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout
    return source


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when a module is stale")
    check = parser.parse_args().check
    stale = []
    for module, source in modules().items():
        path, text = OUT / f"{module}.py", formatted(source)
        if check and (not path.exists() or path.read_text() != text):
            stale.append(path.name)
        elif not check:
            path.write_text(text)
    if stale:
        print("stale API types, run `make api`:", *stale, sep="\n  ")
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
