"""One iptables rule as text, written exactly as `iptables-save` prints it. Pure.

Because written and printed text agree, a resync compares strings and rewrites only the
chains that somebody changed.
"""

from __future__ import annotations

_FRACTION = 0x80000000  # xt_statistic keeps a probability as a 31-bit fraction


def rule(
    chain: str,
    jump: str = "",
    *,
    comment: str = "",
    source: str = "",
    destination: str = "",
    protocol: str = "",
    match: str = "",
    dport: int = 0,
) -> str:
    """`source` and `destination` may start with "! ". `match` stands before the port match."""
    words = [f"-A {chain}"]
    words += _address("-s", source) + _address("-d", destination)
    name = protocol.lower()
    if name:
        words.append(f"-p {name}")
    if comment:
        words.append(f'-m comment --comment "{comment}"')
    if match:
        words.append(match)
    if name:
        words.append(f"-m {name}")
    if dport:
        words.append(f"--dport {dport}")
    if jump:
        words.append(f"-j {jump}")
    return " ".join(words)


def _address(flag: str, address: str) -> list[str]:
    if not address:
        return []
    negated = address.startswith("! ")
    bare = address.removeprefix("! ")
    network = bare if "/" in bare else f"{bare}/32"
    if network == "0.0.0.0/0" and not negated:
        return []  # matches everything: iptables-save prints nothing
    return [f"! {flag} {network}" if negated else f"{flag} {network}"]


def one_in(count: int) -> str:
    """A match for one packet in `count`, with the digits that the kernel gives back."""
    return f"-m statistic --mode random --probability {_kernel_fraction(count):.11f}"


def _kernel_fraction(count: int) -> float:
    return round(_FRACTION / count) / _FRACTION


def remembers(table: str, seconds: int) -> str:
    """A match for a source address that `remember` noted in the last `seconds`."""
    return f"-m recent --rcheck --seconds {seconds} --reap --name {table} {_BY_SOURCE}"


def remember(table: str) -> str:
    """Note the source address; always matches."""
    return f"-m recent --set --name {table} {_BY_SOURCE}"


_BY_SOURCE = "--mask 255.255.255.255 --rsource"
REJECT = "REJECT --reject-with icmp-port-unreachable"
DROP = "DROP"
TO_LOCAL = "-m addrtype --dst-type LOCAL"
FROM_LOCAL = "-m addrtype --src-type LOCAL"
