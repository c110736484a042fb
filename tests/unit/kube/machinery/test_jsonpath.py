"""The JSONPath of printer columns and scale paths."""

from __future__ import annotations

from typing import Any

import pytest

from kube.machinery.jsonpath import JsonPath, JsonPathError

VALUE = {
    "spec": {"replicas": 3, "list": [{"name": "a"}, {"name": "b"}], "": 1},
    "metadata": {"annotations": {"example.com/x": "y"}},
    "status": {
        "conditions": [{"type": "Ready", "status": "True"}, {"type": "Old", "status": "no"}]
    },
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.replicas", [3]),
        ("{.spec.replicas}", [3]),
        ("$.spec.replicas", [3]),
        (".spec.list[0].name", ["a"]),
        (".spec.list[-1].name", ["b"]),
        (".spec.list[*].name", ["a", "b"]),
        (".spec.list[7].name", []),
        (".spec.nothing.below", []),
        (".spec.replicas.below", []),
        (r".metadata.annotations.example\.com/x", ["y"]),
        (".metadata.annotations['example.com/x']", ["y"]),
        ('.metadata.annotations["example.com/x"]', ["y"]),
        ('.status.conditions[?(@.type=="Ready")].status', ["True"]),
        (".status.conditions[?(@.type != 'Ready')].status", ["no"]),
        (".status.conditions[?(@.type==\"None\")].status", []),
    ],
)  # fmt: skip
def test_paths(path: str, found: list[Any]) -> None:
    assert JsonPath(path).find(VALUE) == found
    assert JsonPath(path).first(VALUE) == (found[0] if found else None)


@pytest.mark.parametrize("path", ["spec[", ".a[b", ".a..b", ".a[?(@.b>1)]", ".a b"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(JsonPathError):
        JsonPath(path)
