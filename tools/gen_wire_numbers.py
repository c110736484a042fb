"""Generate master/apiserver/protobuf/numbers.py: the field numbers of Kubernetes' protobuf form.

kubectl sends what it makes itself (`create configmap`, `drain`, `auth can-i`) as protobuf. The
numbers are facts of the wire; Go binaries with the API types hold them as compressed file
descriptors: kubectl's up to 1.34, and for CustomResourceDefinitions helm's up to 3.17:
`python tools/gen_wire_numbers.py /path/kubectl /path/helm`. What is newer than that, or in neither,
has no numbers; tests/unit/master/apiserver/test_numbers.py lists it, so that it cannot grow
unnoticed.
"""

from __future__ import annotations

import re
import subprocess
import sys
import zlib
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.message import DecodeError

from tools.published import definitions, kinds

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "master" / "apiserver" / "protobuf" / "numbers.py"
API, META = ".k8s.io.api.", ".k8s.io.apimachinery.pkg.apis.meta.v1."
EXTENSIONS = ".k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1."
# Beside the kinds: what clients send bodies of.
ALSO = [f"{META}DeleteOptions"]
# Messages whose JSON is no object; the decoder knows them.
SPECIAL = {
    f"{META}Time": "time",
    f"{META}MicroTime": "microtime",
    f"{META}FieldsV1": "json",
    ".k8s.io.apimachinery.pkg.runtime.RawExtension": "json",
    **{f"{API}{group}.v1.ExtraValue": "strings"
       for group in ("authentication", "authorization", "certificates")},
    ".k8s.io.apimachinery.pkg.api.resource.Quantity": "quantity",
    ".k8s.io.apimachinery.pkg.util.intstr.IntOrString": "intstr",
    f"{EXTENSIONS}JSON": "json",
    f"{EXTENSIONS}JSONSchemaPropsOrArray": "schema-or-array",
    f"{EXTENSIONS}JSONSchemaPropsOrBool": "schema-or-bool",
    f"{EXTENSIONS}JSONSchemaPropsOrStringArray": "schema-or-strings",
}  # fmt: skip
SCALARS = {
    FieldDescriptorProto.TYPE_STRING: "string",
    FieldDescriptorProto.TYPE_BYTES: "bytes",
    FieldDescriptorProto.TYPE_BOOL: "bool",
    FieldDescriptorProto.TYPE_INT32: "int32",
    FieldDescriptorProto.TYPE_INT64: "int64",
    FieldDescriptorProto.TYPE_DOUBLE: "double",
}


def messages_of(binary: Path) -> dict[str, DescriptorProto]:
    """Every Kubernetes message whose descriptor the binary holds, by full name."""
    data = binary.read_bytes()
    found: dict[str, DescriptorProto] = {}
    for match in re.finditer(rb"\x1f\x8b\x08", data):
        file = FileDescriptorProto()
        try:
            file.ParseFromString(zlib.decompressobj(31).decompress(data[match.start() :]))
        except (zlib.error, DecodeError):
            continue
        if file.name.endswith("/generated.proto"):
            for message in file.message_type:
                name = f".{file.package}.{message.name}"
                found[name] = message
                found |= {f"{name}.{nested.name}": nested for nested in message.nested_type}
    return found


def is_map_entry(name: str) -> bool:
    """Map entries are the only messages declared inside others."""
    return name.rsplit(".", 2)[-2][0].isupper()


def kind_of(field: FieldDescriptorProto, messages: dict[str, DescriptorProto]) -> str:
    """`string`, `core.v1.Pod`, `[string]`, `{string}` for a map with such values."""
    if field.type != FieldDescriptorProto.TYPE_MESSAGE:
        kind = SCALARS[field.type]
    elif field.type_name in SPECIAL:
        kind = SPECIAL[field.type_name]
    elif is_map_entry(field.type_name):
        return "{" + kind_of(messages[field.type_name].field[1], messages) + "}"
    else:
        kind = short(field.type_name)
    return f"[{kind}]" if field.label == FieldDescriptorProto.LABEL_REPEATED else kind


def short(name: str) -> str:
    return name.removeprefix(API).replace(META, "meta.v1.").replace(EXTENSIONS, "apiextensions.v1.")


def message_of(definition: str) -> str:
    """`.k8s.io.api.core.v1.Pod` of `io.k8s.api.core.v1.Pod`."""
    return definition.replace("io.k8s", ".k8s.io", 1).replace("-", "_")


def published_names(message: str) -> dict[str, str]:
    """Descriptors have `Webhooks`, `uID` and `xKubernetesMapType` for what JSON has as `webhooks`,
    `uid` and `x-kubernetes-map-type`."""
    name = message.replace(".k8s.io", "io.k8s", 1)
    definition = definitions().get(name.replace("_apiserver", "-apiserver"), {})
    return {
        field.lower().replace("-", "").lstrip("$"): field
        for field in definition.get("properties", {})
    }


def json_form(
    message: str, field: FieldDescriptorProto, messages: dict[str, DescriptorProto]
) -> tuple[str, str]:
    """The field's name in JSON and its kind; Go's embedded structs are inline there."""
    names, kind = published_names(message), kind_of(field, messages)
    name = field.name.lower()
    if names and name not in names and field.type_name in messages and kind[0] not in "[{":
        return field.name, f"<{kind}>"
    return names.get(name, field.name), kind


def table(messages: dict[str, DescriptorProto]) -> dict[str, dict[int, tuple[str, str]]]:
    """The roots and all they refer to."""
    made: dict[str, dict[int, tuple[str, str]]] = {}
    todo = [*ALSO, *(message_of(name) for name in kinds())]
    while todo:
        name = todo.pop()
        if short(name) in made or name in SPECIAL or name not in messages:
            continue
        if not is_map_entry(name):
            made[short(name)] = {
                field.number: json_form(name, field, messages) for field in messages[name].field
            }
        todo += [field.type_name for field in messages[name].field if field.type_name]
    return dict(sorted(made.items()))


def main() -> int:
    messages: dict[str, DescriptorProto] = {}
    for binary in sys.argv[1:]:
        messages = messages_of(Path(binary)) | messages
    made = table(messages)
    lines = [
        '"""Field numbers of Kubernetes\' protobuf form. Generated by tools/gen_wire_numbers.py.',
        "",
        "Message -> field number -> (JSON name, kind). `[k]` is a list, `{k}` a map from string,",
        "`<k>` a message whose fields JSON has inline.",
        '"""',
        "",
        "from __future__ import annotations",
        "",
        f"MESSAGES: dict[str, dict[int, tuple[str, str]]] = {made!r}",
    ]
    OUT.write_text("\n".join(lines) + "\n")
    return subprocess.run(
        [Path(sys.executable).with_name("ruff"), "format", "-q", str(OUT)], check=False
    ).returncode


if __name__ == "__main__":
    raise SystemExit(main())
