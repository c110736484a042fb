"""From the text of a drill to a `Drill`, or to an error that names the place and the fix.

Also the drills that come with Muster, and the JSON schemas that are published:
`python -m drills.document > docs/drill.schema.json`, and with `report` that of reports.
"""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import yaml

from drills.base import LABEL_PATTERN, NAME_PATTERN
from drills.errors import DrillNotFound
from drills.faults import tag
from drills.phases import BY_KEY
from drills.report.data import Report
from drills.spec import Drill
from drills.timeline import metric_names
from provision.errors import LabFileError
from provision.labfile.form import Form, parse_yaml

DRILL = Form(
    kind="Drill",
    type=Drill,
    noun="drill",
    help="docs/drill.schema.json",
    in_words={
        NAME_PATTERN: "a DNS label (a-z, 0-9, '-', first a letter)",
        LABEL_PATTERN: "a name of a-z, 0-9 and '_', first a letter",
    },
)


def parse(text: str, source: str, settings: Sequence[str] = ()) -> Drill:
    """A drill document. Raises LabFileError that names the source and the field's path.

    `settings` are `path=value`, as in `--set spec.faults[0].percent=30`; values are YAML.
    """
    document = parse_yaml(text, source)
    for setting in settings:
        document = _set(document, setting)
    drill = DRILL.decode(document, source)
    validate(drill, source)
    return drill


def validate(drill: Drill, source: str) -> None:
    """What types alone do not say. Raises LabFileError."""
    for where, keys in (("recovery", drill.spec.recovery.phases),
                        ("wayBack", drill.spec.way_back.phases)):  # fmt: skip
        for i, key in enumerate(keys):
            _known(f"{source}: spec.{where}.phases[{i}]", "phase", key, list(BY_KEY))
    probes = drill.probes
    for i, name in enumerate(probes):
        if name in probes[:i]:
            _refuse(source, f"spec.steadyState.probes[{i}].name", f'"{name}" is taken', "")
    metrics = metric_names(drill.phases, probes)
    for i, level in enumerate(drill.spec.levels):
        _known(f"{source}: spec.levels[{i}].metric", "figure", level.metric, metrics)
        if level.max is None and level.min is None:
            _refuse(source, f"spec.levels[{i}]", "a level needs max or min", "add `max: 0`")
    for i, abort in enumerate(drill.spec.abort):
        path = f"{source}: spec.abort[{i}]"
        if bool(abort.metric) == bool(abort.probe):
            _refuse(source, f"spec.abort[{i}]", "give it a metric or a probe", "one of the two")
        if abort.metric:
            _known(f"{path}.metric", "figure", abort.metric, metrics)
            if abort.max is None:
                _refuse(source, f"spec.abort[{i}].max", "missing", "say from where on to abort")
        else:
            _known(f"{path}.probe", "probe", abort.probe, list(probes))
    for i, fault in enumerate(drill.spec.faults):
        if fault.repeat > 1 and fault.duration_seconds is None and not fault.instant:
            _refuse(
                source, f"spec.faults[{i}].durationSeconds", "missing",
                f"a {tag(fault)} that is repeated must end in between",
            )  # fmt: skip


def _known(path: str, noun: str, given: str, known: Sequence[str]) -> None:
    if given in known:
        return
    close = difflib.get_close_matches(given, known, n=1)
    listed = f"there are: {', '.join(known) or 'none'}"
    hint = f'did you mean "{close[0]}"? {listed}' if close else listed
    raise LabFileError(f'{path}: unknown {noun} "{given}"', hint)


def _refuse(source: str, path: str, problem: str, hint: str) -> None:
    raise LabFileError(f"{source}: {path}: {problem}", hint)


def _set(document: object, setting: str) -> object:
    """`document` with the value at a path replaced. The path's parents must be there."""
    path, equals, value = setting.partition("=")
    if not equals or not path:
        raise LabFileError(
            f"--set {setting}: expected PATH=VALUE", "such as spec.load.requestsPerSecond=50"
        )
    steps = [step for part in path.split(".") for step in part.replace("]", "").split("[")]
    parsed = parse_yaml(value, f"--set {path}")
    place: Any = document
    try:
        for step in steps[:-1]:
            place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
        if isinstance(place, list):
            place[int(steps[-1])] = parsed
        else:
            place[steps[-1]] = parsed
    except (AttributeError, IndexError, TypeError, ValueError):
        raise LabFileError(
            f"--set {path}: there is no such place in the drill", "see `muster drill show`"
        ) from None
    return document


def catalog_texts() -> Iterator[tuple[str, str]]:
    """(name, text) of the drills that come with Muster, by name."""
    folder = files("drills").joinpath("catalog")
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".yaml"):
            yield entry.name.removesuffix(".yaml"), entry.read_text(encoding="utf-8")


def catalog() -> Iterator[Drill]:
    for name, text in catalog_texts():
        yield parse(text, name)


def text_of(name: str) -> tuple[str, str]:
    """(text, source) of a drill: one from the catalog by name, or a file by its path."""
    known = dict(catalog_texts())
    if name in known:
        return known[name], name
    if "/" in name or name.endswith((".yaml", ".yml")):
        return DRILL.read(Path(name)), name
    close = difflib.get_close_matches(name, list(known), n=1)
    raise DrillNotFound(
        f'there is no drill "{name}"',
        (f'did you mean "{close[0]}"? ' if close else "")
        + "`muster drill list` names them; a file of your own is given by its path",
    )


def find(name: str, settings: Sequence[str] = ()) -> Drill:
    text, source = text_of(name)
    return parse(text, source, settings)


def as_yaml(drill: Drill) -> str:
    """The drill with everything that it left to defaults."""
    return yaml.safe_dump(msgspec.to_builtins(drill), sort_keys=False, allow_unicode=True)


def schema_text(type_: type[Any], title: str) -> str:
    """A JSON schema, byte for byte as it is published."""
    (reference,), components = msgspec.json.schema_components(
        [type_], ref_template="#/$defs/{name}"
    )
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        **reference,
        "$defs": components,
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


SCHEMAS = {
    "drill": lambda: schema_text(Drill, "Muster drill"),
    "report": lambda: schema_text(Report, "Report of a Muster drill"),
}

if __name__ == "__main__":
    sys.stdout.write(SCHEMAS[sys.argv[1] if len(sys.argv) > 1 else "drill"]())
