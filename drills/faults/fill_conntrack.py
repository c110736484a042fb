"""The connection table of a machine is full: no new connection passes, the old ones do."""

from __future__ import annotations

from typing import ClassVar

from drills.faults import hogs
from drills.faults.base import Fault, Needs, Scene
from drills.undo import AnyStep, RunOn

# Known by their mark, so that nobody else's entries go with them.
MARK = "0xd1211"
# Entries of connections that never were, between addresses that nobody has (RFC 5737), as many as
# the table takes. They count as assured: of a full table the kernel drops others first. What ends
# meanwhile is made up for.
FILL = (
    "import subprocess, sys, time\n"
    "mark = sys.argv[1]\n"
    "most = int(open('/proc/sys/net/netfilter/nf_conntrack_max').read())\n"
    "def entries(start, count):\n"
    "    for i in range(start, start + count):\n"
    "        yield ('-I -p udp -s 192.0.2.%d -d 198.51.100.%d --sport %d --dport 9 '\n"
    "               '--timeout 3600 -u SEEN_REPLY,ASSURED -m %s\\n'\n"
    "               % (i >> 8 & 255, i & 255, 1 + (i >> 16), mark))\n"
    "done = 0\n"
    "while True:\n"
    "    here = int(open('/proc/sys/net/netfilter/nf_conntrack_count').read())\n"
    "    if here < most:\n"
    "        text = ''.join(entries(done, most - here + 64))\n"
    "        done += most - here + 64\n"
    "        subprocess.run(['conntrack', '-R', '-'], input=text.encode(),\n"
    "                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
    "    time.sleep(0.2)\n"
)
# The way in to take it back must not need the table.
SPARE_SSH = (
    "table inet muster-drill {\n"
    "  chain in { type filter hook prerouting priority raw; tcp dport 22 notrack; }\n"
    "  chain out { type filter hook output priority raw; tcp sport 22 notrack; }\n"
    "}\n"
)
# Made first, so that it can be deleted whether it was there or not.
FLUSH = (
    f'{hogs.STOP}; conntrack -D -m "$2" >/dev/null 2>&1; '
    "nft 'table inet muster-drill { }; delete table inet muster-drill'"
)


class FillConntrack(Fault, frozen=True, kw_only=True, tag="fill-conntrack"):
    """A machine's connection table is full: new connections are lost, old ones go on."""

    title: ClassVar[str] = "connection table full"
    needs: ClassVar[Needs] = Needs(tools=("systemd-run", "python3", "conntrack", "nft"))

    async def undo(self, scene: Scene) -> tuple[AnyStep, ...]:
        empty = ("sh", "-c", FLUSH, "sh", hogs.unit(scene), MARK)
        return tuple(RunOn(name, empty, "connection table emptied") for name in scene.victims)

    async def inject(self, scene: Scene) -> None:
        for name in scene.victims:
            await scene.lab.run_on(name, ["nft", SPARE_SSH])
        await hogs.start(scene, ["python3", "-S", "-c", FILL, MARK])
