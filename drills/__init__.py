"""Drills: break a running lab on purpose, follow its recovery, give a verdict.

`spec` is the drill's document. Its parts are one file each: `faults` break, `targets` choose whom,
`probes` ask whether the lab still does what it is for, `observers` watch, `phases` say when what
happened. `engine` runs them together; `injection`, `journal`, `heal` and `watchdog` see to it that
every fault ends. Nothing outside imports this package but the command line.
"""
