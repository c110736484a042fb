"""The clock of one process goes wrong: libfaketime under its unit, and nothing else notices."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from drills.faults.base import Fault, Needs, Scene
from drills.faults.components import Component, unit
from drills.undo import AnyStep, RunOn

LIBRARY = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
FOLDER = "/run/systemd/system"
FILE = "muster-drill-clock.conf"
# Timers must not jump with the wall clock: only what reads the time of day is wrong.
DROP_IN = "[Service]\\nEnvironment=LD_PRELOAD=%s FAKETIME=%+ds DONT_FAKE_MONOTONIC=1\\n"
SKEW = (
    'mkdir -p "$1/$2.d" && printf "%b" "$4" > "$1/$2.d/$3" && '
    'systemctl daemon-reload && systemctl restart --no-block "$2"'
)
STRAIGHTEN = (
    '[ ! -e "$1/$2.d/$3" ] || { rm -f "$1/$2.d/$3"; rmdir "$1/$2.d" 2>/dev/null; '
    'systemctl daemon-reload && systemctl restart --no-block "$2"; }'
)


class SkewClock(Fault, frozen=True, kw_only=True, tag="skew-clock"):
    """The clock of one process is off by some seconds. Do leases and certificates survive it?"""

    title: ClassVar[str] = "clock skew"
    needs: ClassVar[Needs] = Needs(tools=("systemctl", LIBRARY))

    component: Component
    seconds: Annotated[int, Meta(ge=-86400, le=86400, description="Ahead; less than 0: behind.")]

    def words(self, scene: Scene) -> str:
        return f"clock of {self.component} {self.seconds:+d} s on {', '.join(scene.victims)}"

    def components(self) -> tuple[str, ...]:
        return (self.component,)

    async def undo(self, scene: Scene) -> tuple[AnyStep, ...]:
        right = ("sh", "-c", STRAIGHTEN, "sh", FOLDER, unit(self.component), FILE)
        return tuple(RunOn(n, right, f"clock of {self.component} right again")
                     for n in scene.victims)  # fmt: skip

    async def inject(self, scene: Scene) -> None:
        text = DROP_IN % (LIBRARY, self.seconds)
        command = ["sh", "-c", SKEW, "sh", FOLDER, unit(self.component), FILE, text]
        for name in scene.victims:
            await scene.lab.run_on(name, command)
