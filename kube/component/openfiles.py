"""How many files this process may open: as many as it is allowed to, as Go's programs take them.

The soft limit protects programs that call select(2); none of ours does. What a process may have is
what its unit says (`LimitNOFILE=`), the hard limit.
"""

from __future__ import annotations

import resource

# As it came to this process: what a child shall have that did not ask for more.
INHERITED = resource.getrlimit(resource.RLIMIT_NOFILE)


def raise_limit() -> None:
    """The soft limit to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def affordable_connections() -> int:
    """How many a process may hold at once and still open what its work needs.

    Of a small limit half, of a large one all but what the largest component uses itself.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return 1 << 20
    return max(limit // 2, limit - _OWN_FILES)


# The kubelet and the runtime follow logs and hold a few pipes for each container and stream.
_OWN_FILES = 4096
