"""The JSON schema of lab files, as published in docs/lab.schema.json.

python -m provision.labfile.schema > docs/lab.schema.json
"""

from __future__ import annotations

import json
import sys

import msgspec

from provision.labfile.spec import Lab


def schema_text() -> str:
    """The schema, byte for byte as it is published."""
    (reference,), components = msgspec.json.schema_components([Lab], ref_template="#/$defs/{name}")
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Muster lab file",
        **reference,
        "$defs": components,
    }
    return json.dumps(schema, indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
