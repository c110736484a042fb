"""From the text of a lab file to a `Lab`, or to an error that names the place and the fix."""

from __future__ import annotations

from pathlib import Path

from msgspec import structs

from provision.labfile import base
from provision.labfile.form import MAX_BYTES, Form, parse_yaml
from provision.labfile.spec import Lab
from provision.labfile.validate import validate

LAB = Form(
    kind="Lab",
    type=Lab,
    noun="lab file",
    help="docs/lab.schema.json",
    # What a value must look like, in words instead of a regular expression.
    in_words={
        base.NAME_PATTERN: "a DNS label of at most 12 characters (a-z, 0-9, '-', first a letter)",
        base.SIZE_PATTERN: "a size such as 512Mi, 2Gi or 1Ti",
        base.DISK_PATTERN: "a size such as 512Mi or 20Gi, or none",
        base.CIDR_PATTERN: "an IPv4 network such as 10.200.0.0/24",
        base.PORT_RANGE_PATTERN: "a range of ports such as 30000-32767",
    },
)


def load_lab(path: Path) -> Lab:
    """Read, parse and validate the lab file at `path`."""
    lab = parse_lab(LAB.read(path), str(path))
    # Archives are named relative to the file that names them.
    images = [str((path.parent / Path(x).expanduser()).resolve()) for x in lab.spec.images]
    return structs.replace(lab, spec=structs.replace(lab.spec, images=images))


def parse_lab(text: str, source: str = "lab file") -> Lab:
    """Parse and validate; `source` is named in errors."""
    return parse_document(parse_yaml(text, source), source)


def parse_document(document: object, source: str) -> Lab:
    """The same for a document that is already parsed YAML."""
    lab = LAB.decode(document, source)
    validate(lab, source)
    return lab


__all__ = ["LAB", "MAX_BYTES", "load_lab", "parse_document", "parse_lab"]
