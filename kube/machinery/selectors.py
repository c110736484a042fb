"""Label and field selectors: text to predicates (apimachinery's `labels` and `fields`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from kube.api.meta import LabelSelector


class SelectorError(ValueError):
    """The selector's text cannot be read; the message quotes the part."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """`key in (values)`, `key notin (values)`, `key` exists, `!key` does not."""

    key: str
    operator: str  # In, NotIn, Exists, DoesNotExist
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        if self.operator == "Exists":
            return self.key in labels
        if self.operator == "DoesNotExist":
            return self.key not in labels
        if self.operator == "In":
            return self.key in labels and labels[self.key] in self.values
        return self.key not in labels or labels[self.key] not in self.values


@dataclass(frozen=True, slots=True)
class Selector:
    """All requirements must hold; none at all selects everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(requirement.matches(labels) for requirement in self.requirements)


EVERYTHING = Selector()
_SET = re.compile(r"(?P<key>[^\s,!=()]+)\s+(?P<op>in|notin)\s*\((?P<values>[^()]*)\)")
_EQUALITY = re.compile(r"(?P<key>[^\s,!=()]+)\s*(?P<op>==|=|!=)\s*(?P<value>[^\s,!=()]*)")
_SPACES = re.compile(r"\s*")
# Each is asked of each object. People write a few; a list of values is one.
MAX_REQUIREMENTS = 50
_MAX_KEY = 253 + 1 + 63
_SHOWN = 200
_EXISTENCE = re.compile(r"(?P<op>!?)\s*(?P<key>[^\s,!=()]+)")
_KEY = re.compile(
    r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)


def parse_labels(text: str) -> Selector:
    """`app=web,tier in (a,b),!legacy` to a Selector. Raises SelectorError."""
    requirements: list[Requirement] = []
    at = _after_spaces(text, 0)
    while at < len(text):
        requirement, at = _one_requirement(text, at)
        requirements.append(requirement)
        if len(requirements) > MAX_REQUIREMENTS:
            raise SelectorError(f"too many requirements: a selector has {MAX_REQUIREMENTS} at most")
        if at < len(text) and text[at] != ",":
            raise _unparsable(text, at)
        at = _after_spaces(text, at + 1)
    return Selector(tuple(requirements))


def _after_spaces(text: str, at: int) -> int:
    match = _SPACES.match(text, at)
    return match.end() if match else at


def _unparsable(text: str, at: int) -> SelectorError:
    found, whole = text[at : at + _SHOWN], text[:_SHOWN]
    return SelectorError(f"unable to parse requirement: found '{found}' in '{whole}'")


def _one_requirement(text: str, at: int) -> tuple[Requirement, int]:
    if match := _SET.match(text, at):
        values = frozenset(value.strip() for value in match["values"].split(","))
        operator = "In" if match["op"] == "in" else "NotIn"
        found = Requirement(match["key"], operator, values)
    elif match := _EQUALITY.match(text, at):
        operator = "NotIn" if match["op"] == "!=" else "In"
        found = Requirement(match["key"], operator, frozenset({match["value"]}))
    elif match := _EXISTENCE.match(text, at):
        found = Requirement(match["key"], "DoesNotExist" if match["op"] else "Exists")
    else:
        raise _unparsable(text, at)
    if len(found.key) > _MAX_KEY or not _KEY.fullmatch(found.key):
        shown = found.key[:_SHOWN]
        raise SelectorError(f"unable to parse requirement: invalid label key '{shown}'")
    return found, _after_spaces(text, match.end())


def from_label_selector(selector: LabelSelector | None) -> Selector | None:
    """A LabelSelector object: None selects nothing, an empty one everything (KEP-less lore)."""
    if selector is None:
        return None
    found = [Requirement(k, "In", frozenset({v})) for k, v in selector.match_labels.items()]
    found += [
        Requirement(e.key, e.operator, frozenset(e.values)) for e in selector.match_expressions
    ]
    return Selector(tuple(found))


def format_labels(labels: Mapping[str, str]) -> str:
    """An exact-match selector as text."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    field: str
    value: str
    negated: bool


def parse_fields(text: str) -> tuple[FieldRequirement, ...]:
    """`spec.nodeName=w1,status.phase!=Running` to requirements. Raises SelectorError."""
    found: list[FieldRequirement] = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        match = re.fullmatch(r"([^=!]+)(==|=|!=)(.*)", part)
        if not match:
            shown, wrong = text[:_SHOWN], part[:_SHOWN]
            raise SelectorError(f"invalid field selector: '{shown}'; can't understand '{wrong}'")
        if len(found) == MAX_REQUIREMENTS:
            raise SelectorError(f"too many requirements: a selector has {MAX_REQUIREMENTS} at most")
        found.append(FieldRequirement(match[1], match[3], match[2] == "!="))
    return tuple(found)


def fields_match(requirements: tuple[FieldRequirement, ...], fields: Mapping[str, str]) -> bool:
    """Whether an object with these selectable fields is selected."""
    return all((fields.get(r.field, "") == r.value) != r.negated for r in requirements)
