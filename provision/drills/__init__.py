"""Drills: break a running lab on purpose, follow its recovery, give a verdict.

`spec` reads the drill's document, `engine` runs it (faults through the provider, from outside
the victim), `timeline` and `verdict` are pure judgements over what `observe` and `probe` saw.
"""
