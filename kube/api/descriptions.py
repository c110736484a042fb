"""What Kubernetes publishes in words about its types and their fields.

The file is made when the project is set up (`tools/gen_api.py --descriptions`); without it,
everything works and `kubectl explain` prints no descriptions.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

# `module.Class` of kube.api -> name in JSON -> text; "" for the type itself.
Descriptions = Mapping[str, Mapping[str, str]]
FILE = Path(__file__).with_name("_descriptions.json")


def read_descriptions(file: Path = FILE) -> Descriptions:
    """Read anew by each call: a megabyte that nobody needs for long. Raises for a broken file."""
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return {}
    return msgspec.json.decode(data, type=dict[str, dict[str, str]])
