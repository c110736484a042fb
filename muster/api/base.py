"""What every generated API type is built with."""

from __future__ import annotations

from typing import TypedDict

# A resource quantity as JSON allows it: "100m", "64Mi", 1, 0.5. See muster.api.quantity.
Quantity = str | int | float


def no_items() -> tuple[()]:
    """An empty list that is written: msgspec leaves out only what stands as a plain default."""
    return ()


class _Options(TypedDict):
    frozen: bool
    kw_only: bool
    omit_defaults: bool


OPTIONS: _Options = {"frozen": True, "kw_only": True, "omit_defaults": True}
