"""What every generated API type is built with."""

from __future__ import annotations

from typing import Annotated, TypedDict

from msgspec import Meta

# A resource quantity as JSON allows it: "100m", "64Mi", 1, 0.5. See kube.machinery.quantity.
Quantity = str | int | float
# Go's int32 and int64: a decoder refuses what does not fit.
Int32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
# metav1.Time and metav1.MicroTime as they are stored; the api-server brings input into this form.
Time = Annotated[str, Meta(extra={"time": "Time"})]
MicroTime = Annotated[str, Meta(extra={"time": "MicroTime"})]


def no_items() -> tuple[()]:
    """An empty list that is written: msgspec leaves out only what stands as a plain default."""
    return ()


class _Options(TypedDict):
    frozen: bool
    kw_only: bool
    omit_defaults: bool


OPTIONS: _Options = {"frozen": True, "kw_only": True, "omit_defaults": True}
