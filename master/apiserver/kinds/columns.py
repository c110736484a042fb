"""The columns of a kind's Table (kubernetes pkg/printers/internalversion). Pure."""

from __future__ import annotations

from dataclasses import dataclass

Cell = str | int | None
Cells = list[Cell]
_DESCRIPTIONS = {
    "Name": "Name must be unique within a namespace.",
    "Age": "Time since the object was created.",
}


@dataclass(frozen=True, slots=True)
class Column:
    """`priority` 1 is shown with `-o wide` only."""

    name: str
    type: str = "string"
    priority: int = 0
    format: str = ""
    description: str = ""


def columns(spec: str) -> tuple[Column, ...]:
    """`Name Ready Restarts IP+`: a trailing + is for wide, _ is a space, # an integer."""
    made = []
    for word in spec.split():
        name = word.rstrip("+#").replace("_", " ")
        made.append(
            Column(
                name=name,
                type="integer" if "#" in word else "string",
                priority=1 if "+" in word else 0,
                format="name" if name == "Name" else "",
                description=_DESCRIPTIONS.get(name, name),
            )
        )
    return tuple(made)
