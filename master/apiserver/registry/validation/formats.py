"""Formats of values that several kinds have: addresses, ports, paths, numbers in a range. Pure.

Each function gives the text of what is wrong, as upstream words it, or None.
"""

from __future__ import annotations

import re
from ipaddress import ip_network

from kube.api.meta import StatusCause
from kube.machinery.addresses import parsed_ip, special
from master.apiserver.registry.validation import field

Causes = list[StatusCause]
NOT_AN_IP = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
NOT_AN_IPV4 = "must be a valid IPv4 address"
NOT_AN_IPV6 = "must be a valid IPv6 address"
NOT_A_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
PORT = "must be between 1 and 65535, inclusive"
MODE = "must be a number between 0 and 0777 (octal), both inclusive"
_PORT_NAME = re.compile(r"[-a-z0-9]{1,15}")
_HEADER = re.compile(r"[-A-Za-z0-9]+")
# What ends a line, or a string of C's, wherever the value is written to.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def ip(path: str, text: str) -> Causes:
    return [] if parsed_ip(text) else [field.invalid(path, text, NOT_AN_IP)]


def cidr(path: str, text: str) -> Causes:
    try:
        if "/" in text and "%" not in text:
            ip_network(text.strip(), strict=False)
            return []
    except ValueError:
        pass
    return [field.invalid(path, text, NOT_A_CIDR)]


def special_ip(path: str, text: str) -> Causes:
    """Addresses that mean another machine to each that reads them (ValidateEndpointIP)."""
    found = parsed_ip(text)
    if found is None:
        return [field.invalid(path, text, NOT_AN_IP)]
    why = special(found)
    return [field.invalid(path, text, why)] if why else []


def port_name(text: str) -> str | None:
    if not text or len(text) > 15:
        return "must be no more than 15 characters"
    if not _PORT_NAME.fullmatch(text):
        return "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"
    if not any(c.isalpha() for c in text):
        return "must contain at least one letter (a-z)"
    if "--" in text:
        return "must not contain consecutive hyphens"
    if text.startswith("-") or text.endswith("-"):
        return "must not begin or end with a hyphen"
    return None


def port(path: str, value: int | str | None) -> Causes:
    """A number or a name (ValidatePortNumOrName)."""
    if isinstance(value, str):
        why = port_name(value)
        return [field.invalid(path, value, why)] if why else []
    if value is not None and 1 <= value <= 65535:
        return []
    return [field.invalid(path, value or 0, PORT)]


def within(path: str, value: int | None, least: int, most: int) -> Causes:
    if value is None or least <= value <= most:
        return []
    return [field.invalid(path, value, f"must be between {least} and {most}, inclusive")]


def at_least(path: str, value: int | None, least: int) -> Causes:
    if value is None or value >= least:
        return []
    text = "must be greater than 0" if least == 1 else f"must be greater than or equal to {least}"
    return [field.invalid(path, value, text)]


def mode(path: str, value: int | None) -> Causes:
    return [] if value is None or 0 <= value <= 0o777 else [field.invalid(path, value, MODE)]


def user_id(path: str, value: int | None) -> Causes:
    """A user or group: what Linux has room for."""
    return within(path, value, 0, 2**31 - 1)


def one_line(path: str, text: str) -> Causes:
    """No control characters: they would end a line, or a string, where the value is written."""
    if _CONTROL.search(text):
        return [field.invalid(path, text, "must not contain control characters")]
    return []


def no_nul(path: str, text: str) -> Causes:
    return [field.invalid(path, text, "must not contain NUL")] if "\0" in text else []


def no_backsteps(path: str, text: str) -> Causes:
    if ".." in text.split("/"):
        return [field.invalid(path, text, "must not contain '..'")]
    return no_nul(path, text)


def descending(path: str, text: str) -> Causes:
    """A path that stays below where it begins (validateLocalDescendingPath)."""
    if text.startswith("/"):
        return [field.invalid(path, text, "must be a relative path")]
    return no_backsteps(path, text)


def not_reserved(path: str, text: str) -> Causes:
    """The same, and none of the names that the volumes' writer uses (..data)."""
    causes = descending(path, text)
    if not causes and text.startswith(".."):
        causes.append(field.invalid(path, text, "must not start with '..'"))
    return causes


def header_name(path: str, text: str) -> Causes:
    if _HEADER.fullmatch(text):
        return []
    return [
        field.invalid(
            path,
            text,
            "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. "
            "'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')",
        )
    ]
