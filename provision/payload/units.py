"""Units as text, in the order that systemd.unit(5) and systemd.service(5) describe."""

from __future__ import annotations

from provision.payload.model import LIBRARY, Unit

PYTHON = "/usr/bin/python3"
_ENVIRONMENT = (
    f"Environment=PYTHONPATH={LIBRARY}",
    "Environment=PYTHONUNBUFFERED=1",
    "Environment=PYTHONDONTWRITEBYTECODE=1",
)
# kube/component/run.py feeds it from the event loop. Generous: an emulated machine on a busy host
# stalls for seconds. What then dies of SIGABRT leaves its stack in the journal and no core (the
# store's would hold its secrets); what its children may dump is for them to say.
_WATCHDOG = ("WatchdogSec=30", "LimitCORE=0:infinity")
# Far more than all listeners of a component together accept (kube/http/listener.py), so that a
# flood of connections never takes the descriptors that its own work needs.
_FILES = "LimitNOFILE=65536"


def render(unit: Unit) -> str:
    after = " ".join(("network.target", *unit.after))
    lines = [
        "[Unit]",
        f"Description={unit.description}",
        f"After={after}",
        *((f"Wants={' '.join(unit.after)}",) if unit.after else ()),
        # A component whose peer is still booting comes back as often as it takes.
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        f"Type={unit.kind}",
        f"ExecStart={_command(unit.command)}",
        *(_ENVIRONMENT if unit.python else ()),
        "Restart=always",
        "RestartSec=100ms",
        "TimeoutStartSec=180",
        "TimeoutStopSec=15",
        *(_WATCHDOG if unit.python else ()),
        _FILES,
        *unit.service,
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines) + "\n"


def _command(command: tuple[str, ...]) -> str:
    """One argument per line: what a reader compares when two machines differ.

    `%` is systemd's specifier character; none of our values may be taken for one.
    """
    program = 3 if command[1:2] == ("-m",) else 1
    head, rest = command[:program], command[program:]
    return " \\\n    ".join((" ".join(head), *rest)).replace("%", "%%")


def module(name: str, arguments: list[str]) -> tuple[str, ...]:
    """The command line of one of our components."""
    return (PYTHON, "-m", name, *arguments)
