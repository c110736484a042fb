"""What is wrong with a CustomResourceDefinition (apiextensions-apiserver pkg/apis/.../validation).

Schemas must be structural: each value has a type, so that pruning and defaults have a meaning.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from kube.api.apiextensions import (
    CustomResourceDefinition,
    CustomResourceDefinitionNames,
    CustomResourceDefinitionSpec,
    CustomResourceDefinitionVersion,
)
from kube.api.meta import StatusCause
from kube.machinery.jsonpath import JsonPath, JsonPathError
from master.apiserver.extensions.patterns import problem_of
from master.apiserver.extensions.structure import INT_OR_STRING, PRESERVE
from master.apiserver.extensions.values import problems
from master.apiserver.registry.validation import field
from master.apiserver.registry.validation.metadata import dns_1035, dns_subdomain

Props = Mapping[str, Any]
Causes = Iterator[StatusCause]
SCOPES = ("Cluster", "Namespaced")
_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_LOGIC = ("allOf", "anyOf", "oneOf")


def validate_definition(crd: CustomResourceDefinition) -> list[StatusCause]:
    return [*_spec(crd.metadata.name, crd.spec)]


def validate_definition_update(
    new: CustomResourceDefinition, old: CustomResourceDefinition
) -> list[StatusCause]:
    """What instances and their keys depend on stays, once the names are accepted."""
    if not any(c.type == "Established" and c.status == "True" for c in old.status.conditions):
        return []
    before, after = old.spec, new.spec
    own, was = after.names, before.names
    fixed = [
        ("spec.group", after.group, before.group),
        ("spec.scope", after.scope, before.scope),
        ("spec.names.kind", own and own.kind, was and was.kind),
        ("spec.names.plural", own and own.plural, was and was.plural),
    ]
    causes = [field.invalid(path, now, "field is immutable") for path, now, then in fixed
              if now != then]  # fmt: skip
    versions = {version.name for version in after.versions}
    for index, stored in enumerate(new.status.stored_versions):
        if stored not in versions:
            path = f"status.storedVersions[{index}]"
            causes.append(field.invalid(path, stored, _missing(stored)))
    return causes


def _missing(stored: str) -> str:
    return (
        f"missing from spec.versions; {stored} was previously a storage version, and must remain "
        "in spec.versions until a storage migration ensures no data remains persisted in "
        f"{stored} and removes {stored} from status.storedVersions"
    )


def _spec(name: str, spec: CustomResourceDefinitionSpec) -> Causes:
    names = spec.names or CustomResourceDefinitionNames()
    if name != f"{names.plural}.{spec.group}":
        yield field.invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group')
    if not spec.group:
        yield field.required("spec.group")
    elif why := dns_subdomain(spec.group):
        yield field.invalid("spec.group", spec.group, why)
    elif "." not in spec.group:
        yield field.invalid("spec.group", spec.group, "should be a domain with at least one dot")
    if spec.scope not in SCOPES:
        yield field.not_supported("spec.scope", spec.scope, SCOPES)
    if spec.preserve_unknown_fields:
        yield field.invalid("spec.preserveUnknownFields", True, "must be false in order to use "
                            "defaults in the schema")  # fmt: skip
    conversion = spec.conversion
    if conversion and conversion.strategy != "None":
        # Conversion webhooks are not called here (docs/api-server.md).
        yield field.not_supported("spec.conversion.strategy", conversion.strategy, ("None",))
    yield from _names(names)
    yield from _versions(spec.versions)


def _names(names: CustomResourceDefinitionNames) -> Causes:
    given = [("plural", names.plural), ("singular", names.singular)]
    given += [(f"shortNames[{i}]", short) for i, short in enumerate(names.short_names)]
    given += [("kind", names.kind.lower()), ("listKind", names.list_kind.lower())]
    given += [(f"categories[{i}]", word) for i, word in enumerate(names.categories)]
    for place, text in given:
        if not text and place in ("plural", "kind"):
            yield field.required(f"spec.names.{place}")
        elif text and (why := dns_1035(text)):
            yield field.invalid(f"spec.names.{place}", text, why)
    if names.kind and names.kind == names.list_kind:
        text = "kind and listKind may not be the same"
        yield field.invalid("spec.names.listKind", names.list_kind, text)


def _versions(versions: tuple[CustomResourceDefinitionVersion, ...]) -> Causes:
    shown = [version.name for version in versions]
    if not versions:
        yield field.required("spec.versions", "must have at least one version")
    if len(set(shown)) != len(shown):
        yield field.invalid("spec.versions", shown, "must contain unique version names")
    if sum(bool(version.storage) for version in versions) != 1:
        text = "must have exactly one version marked as storage version"
        yield field.invalid("spec.versions", shown, text)
    for index, version in enumerate(versions):
        yield from _version(version, f"spec.versions[{index}]")


def _version(version: CustomResourceDefinitionVersion, path: str) -> Causes:
    if why := dns_1035(version.name):
        yield field.invalid(f"{path}.name", version.name, why)
    for index, column in enumerate(version.additional_printer_columns):
        below = f"{path}.additionalPrinterColumns[{index}]"
        if column.type not in _COLUMN_TYPES:
            yield field.not_supported(f"{below}.type", column.type, _COLUMN_TYPES)
        yield from _json_path(column.json_path, f"{below}.jsonPath")
    for index, selected in enumerate(version.selectable_fields):
        yield from _json_path(selected.json_path, f"{path}.selectableFields[{index}].jsonPath")
    if scale := version.subresources and version.subresources.scale:
        below = f"{path}.subresources.scale"
        yield from _json_path(scale.spec_replicas_path, f"{below}.specReplicasPath")
        yield from _json_path(scale.status_replicas_path, f"{below}.statusReplicasPath")
    whole = version.schema and version.schema.open_apiv3_schema
    path += ".schema.openAPIV3Schema"
    if not whole:
        yield field.required(path, "schemas are required")
        return
    props = msgspec.json.decode(msgspec.json.encode(whole))
    if not props.get("type"):
        yield field.required(f"{path}.type", "must not be empty at the root")
    elif props["type"] != "object":
        yield field.invalid(f"{path}.type", props["type"], "must be object at the root")
    yield from _structural(props, path, "")


def _json_path(text: str, path: str) -> Causes:
    if not text:
        yield field.required(path)
        return
    try:
        JsonPath(text)
    except JsonPathError as error:
        yield field.invalid(path, text, f"is an invalid path: {error}")


def _structural(props: Props, path: str, what: str) -> Causes:
    """`what`: the kind of place whose type may not be empty."""
    type_ = props.get("type", "")
    loose = props.get(INT_OR_STRING) or props.get(PRESERVE)
    if not type_ and what and not loose:
        yield field.required(f"{path}.type", f"must not be empty for specified {what}")
    if type_ and type_ not in _TYPES:
        yield field.not_supported(f"{path}.type", type_, _TYPES)
    yield from _forbidden(props, path)
    yield from _node(props, path)
    for name, below in props.get("properties", {}).items():
        yield from _structural(below, f"{path}.properties[{name}]", "object fields")
    items, rest = props.get("items"), props.get("additionalProperties")
    if isinstance(items, dict):
        yield from _structural(items, f"{path}.items", "array items")
    elif type_ == "array":
        yield field.required(f"{path}.items", "must be specified")
    if isinstance(rest, dict):
        yield from _structural(rest, f"{path}.additionalProperties", "additional properties")
    for word in _LOGIC:
        for index, below in enumerate(props.get(word, ())):
            yield from _patterns(below, f"{path}.{word}[{index}]")
    if banned := props.get("not"):
        yield from _patterns(banned, f"{path}.not")


def _forbidden(props: Props, path: str) -> Causes:
    if props.get("uniqueItems"):
        text = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield field.forbidden(f"{path}.uniqueItems", text)
    for word in ("$ref", "definitions", "dependencies", "patternProperties", "additionalItems"):
        if props.get(word):
            yield field.forbidden(f"{path}.{word}", f"{word} is not supported")
    if props.get("properties") and props.get("additionalProperties") not in (None, False):
        text = "additionalProperties and properties are mutual exclusive"
        yield field.forbidden(f"{path}.additionalProperties", text)


def _node(props: Props, path: str) -> Causes:
    yield from _pattern(props, path)
    if props.get("x-kubernetes-list-type") == "map" and not props.get("x-kubernetes-list-map-keys"):
        text = "must not be empty if x-kubernetes-list-type is map"
        yield field.required(f"{path}.x-kubernetes-list-map-keys", text)
    if "default" in props:
        yield from problems(props["default"], props, f"{path}.default")


def _pattern(props: Props, path: str) -> Causes:
    pattern = props.get("pattern")
    if pattern and (why := problem_of(pattern)):
        text = f"must be a valid regular expression, but isn't: {why}"
        yield field.invalid(f"{path}.pattern", pattern, text)


def _patterns(props: Props, path: str) -> Causes:
    """Of what stands below allOf and its like, where no types are needed."""
    yield from _pattern(props, path)
    for name, below in props.get("properties", {}).items():
        yield from _patterns(below, f"{path}.properties[{name}]")
    if isinstance(items := props.get("items"), dict):
        yield from _patterns(items, f"{path}.items")
    for word in _LOGIC:
        for index, below in enumerate(props.get(word, ())):
            yield from _patterns(below, f"{path}.{word}[{index}]")
