"""Log excerpts of a drill: warnings and errors, each once, and nothing that breaks a report."""

from __future__ import annotations

import json

from drills.logs import TEXT_LENGTH, worth_showing


def entry(second: int, unit: str, message: object) -> str:
    return json.dumps(
        {"__REALTIME_TIMESTAMP": str(second * 1_000_000), "_SYSTEMD_UNIT": unit, "MESSAGE": message}
    )


def said(level: str, msg: str, **rest: object) -> str:
    return json.dumps({"ts": "t", "level": level, "logger": "l", "msg": msg, **rest})


def test_warnings_are_shown_with_what_they_are_about() -> None:
    journal = "\n".join(
        [
            entry(10, "muster-kubelet.service", said("info", "starting")),
            entry(11, "muster-kubelet.service", said("warning", "lease not renewed", retry_in=0.2)),
            entry(12, "muster-kubelet.service", said("warning", "lease not renewed", retry_in=0.2)),
            entry(13, "muster-proxy.service", said("error", "watch broken", traceback="long")),
            entry(14, "muster-proxy.service", "no JSON"),
            entry(15, "muster-proxy.service", [255, 254]),
            entry(16, "init.scope", said("error", "x" * 1000)),
            '{"__REALTIME_TIMESTAMP": "17',
            "{}",
        ]
    )
    lines = list(worth_showing("w1", journal))
    assert [(x.at, x.component, x.text) for x in lines[:2]] == [
        (11.0, "kubelet", "lease not renewed retry_in=0.2"),
        (13.0, "proxy", "watch broken"),
    ]
    assert len(lines) == 3
    assert len(lines[2].text) == TEXT_LENGTH + 1
