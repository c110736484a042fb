"""The judges of robustness runs: a sound history passes, and every way to break it is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.robustness.history import Compare, Event, Found, Op, Response, Run, Session, Watch, Write
from tests.robustness.history import load as load_run
from tests.robustness.judge import judge

LEASE = 77


def sound() -> Run:
    """Two keys, a lease that runs out, a failed comparison and a watch that resumed."""
    put_a = Event("r/a", "v1", 2, 2, 1)
    put_b = Event("r/b", "v2", 3, 3, 1)
    again = Event("r/a", "v3", 4, 2, 2, 0, ("v1", 2))
    both = [Event("r/a", "v4", 5, 2, 3, 0, ("v3", 4)), Event("r/b", None, 5, previous=("v2", 3))]
    leased = Event("l/x", "v5", 6, 6, 1, LEASE)
    expired = Event("l/x", None, 7, previous=("v5", 6))
    events = [[put_a], [put_b], [again], both, [leased], [expired]]
    times = [1.5, 2.5, 3.5, 4.5, 6.5, 9.5]
    responses = [Response(at, e[0].mod, list(e)) for at, e in zip(times, events, strict=True)]
    bare = [
        Response(r.at, r.revision, [msgspec.structs.replace(e, previous=None) for e in r.events])
        for r in responses
    ]
    ops = [
        Op(1, "put", "m1", 1.0, writes=[Write("r/a", "v1")], end=1.9, revision=2, incarnation=1),
        Op(2, "put", "m2", 2.0, writes=[Write("r/b", "v2")], end=2.9, revision=3, incarnation=1),
        Op(3, "put", "m1", 3.0, writes=[Write("r/a", "v3")]),
        Op(
            4, "txn", "m1", 4.0, compares=[Compare("r/a", 4, "v3")],
            writes=[Write("r/a", "v4"), Write("r/b", None)], reads=["r/*"], end=4.9, revision=5,
            incarnation=1, found=[Found("r/a", "v4", 5)],
            previous=[Found("r/a", "v3", 4), Found("r/b", "v2", 3)], deleted=1,
        ),
        Op(5, "get", "m2", 5.0, reads=["r/a"], end=5.1, revision=5, incarnation=1,
           found=[Found("r/a", "v4", 5)]),
        Op(6, "stale", "m3", 5.0, reads=["r/a"], end=5.2, revision=3, incarnation=1,
           found=[Found("r/a", "v1", 2)]),
        Op(7, "txn", "m2", 5.3, compares=[Compare("r/a", 2, "v1")], writes=[Write("r/a", "no")],
           reads=["r/a"], end=5.4, revision=5, incarnation=1, succeeded=False,
           found=[Found("r/a", "v4", 5)]),
        Op(8, "grant", "m1", 5.5, lease=LEASE, ttl=2, end=5.6, revision=5),
        Op(9, "put", "m1", 6.0, writes=[Write("l/x", "v5", LEASE)], end=6.4, revision=6),
        Op(10, "renew", "m1", 7.0, lease=LEASE, ttl=2, end=7.1, revision=6),
        Op(11, "delete", "m1", 7.2, writes=[Write("r/b", None)], end=7.3, revision=6),
        Op(12, "put", "m1", 7.4, writes=[Write("r/b", "refused")], end=7.5, refused="NotFound"),
        Op(13, "compact", "m1", 9.6, target=3, end=9.7, revision=7),
    ]  # fmt: skip
    return Run(
        "sound", 3, 0, "none", ops,
        recorder=Watch("recorder", "", prev_kv=True, sessions=[Session(1, "m1", responses)]),
        watches=[
            Watch("resumed", "r/", sessions=[
                Session(1, "m1", bare[:2]), Session(4, "m2", [*bare[2:4], Response(9, 7, [])]),
            ]),
            Watch("late", "", puts=False, sessions=[
                Session(1, "m1", [], compacted=3),
                Session(4, "m1", [
                    Response(4.6, 5, [Event("r/b", None, 5)]), Response(9.5, 7, [bare[5].events[0]])
                ]),
            ]),
        ],
        final_revision=7,
    )  # fmt: skip


def test_a_sound_history_passes(tmp_path: Path) -> None:
    verdict = judge(sound())
    assert verdict.problems == []
    assert verdict.lost == 0
    path = tmp_path / "history.json"
    sound().save(path)
    assert judge(load_run(path)).problems == []


Break = Callable[[Run], None]


def _op(run: Run, number: int) -> Op:
    return next(op for op in run.ops if op.id == number)


def _responses(run: Run, watch: int, session: int) -> list[Response]:
    return run.watches[watch].sessions[session].responses


def lost_write(run: Run) -> None:
    run.ops.append(Op(20, "put", "m1", 5.0, writes=[Write("r/c", "gone")], end=5.1, revision=6))


def wrong_revision(run: Run) -> None:
    _op(run, 2).revision = 4


def applied_twice(run: Run) -> None:
    event = Event("r/a", "v1", 8, 2, 4, 0, ("v4", 5))
    run.recorder.sessions[0].responses.append(Response(9.8, 8, [event]))


def half_a_transaction(run: Run) -> None:
    run.recorder.sessions[0].responses[3].events.pop()


def against_its_comparison(run: Run) -> None:
    _op(run, 4).compares = [Compare("r/a", 2, "v1")]


def refused_but_done(run: Run) -> None:
    _op(run, 2).refused = "ResourceExhausted"


def invented(run: Run) -> None:
    event = Event("r/z", "nobody wrote this", 8, 8, 1)
    run.recorder.sessions[0].responses.append(Response(9.8, 8, [event]))


def unasked_deletion(run: Run) -> None:
    event = Event("r/a", None, 8, previous=("v4", 5))
    run.recorder.sessions[0].responses.append(Response(9.8, 8, [event]))


def stale_read(run: Run) -> None:
    op = _op(run, 5)
    op.revision, op.found = 4, [Found("r/a", "v3", 4)]


def wrong_value_read(run: Run) -> None:
    _op(run, 5).found = [Found("r/a", "v3", 4)]


def stale_read_from_the_future(run: Run) -> None:
    """It shows what was written after it had ended."""
    op = _op(run, 6)
    op.call, op.end = 2.6, 2.7
    op.revision, op.found = 5, [Found("r/a", "v4", 5)]


def member_goes_back(run: Run) -> None:
    op = _op(run, 6)
    op.call, op.end, op.member = 5.2, 5.3, "m2"


def write_order_against_time(run: Run) -> None:
    op = _op(run, 2)
    op.call, op.end = 0.1, 0.2
    _op(run, 1).call = 0.5


def wrong_prev_kv_answer(run: Run) -> None:
    _op(run, 4).previous = [Found("r/a", "v1", 2), Found("r/b", "v2", 3)]


def wrong_delete_count(run: Run) -> None:
    _op(run, 4).deleted = 2


def lease_too_early(run: Run) -> None:
    _op(run, 10).call = 7.9


def lease_renewed_after_its_end(run: Run) -> None:
    op = _op(run, 10)
    op.call, op.end = 9.6, 9.7


def lease_key_stays(run: Run) -> None:
    run.recorder.sessions[0].responses.pop()


def lease_key_after_revoke(run: Run) -> None:
    run.ops.append(Op(20, "revoke", "m1", 8.0, lease=LEASE, end=8.1, revision=6))


def recorder_gap(run: Run) -> None:
    run.recorder.sessions[0].responses.pop(1)


def watch_loses(run: Run) -> None:
    _responses(run, 0, 0).pop(0)


def watch_repeats(run: Run) -> None:
    responses = _responses(run, 0, 0)
    responses.append(responses[-1])


def watch_out_of_order(run: Run) -> None:
    _responses(run, 0, 0).reverse()


def watch_splits_a_revision(run: Run) -> None:
    responses = _responses(run, 0, 1)
    whole = responses[1]
    responses[1:2] = [Response(whole.at, 5, [event]) for event in whole.events]


def watch_bookmark_ahead(run: Run) -> None:
    _responses(run, 0, 0).insert(1, Response(2.0, 3, []))


def watch_stops(run: Run) -> None:
    _responses(run, 0, 1).pop()


def watch_ignores_its_filter(run: Run) -> None:
    _responses(run, 1, 1).insert(0, Response(4.0, 4, [Event("r/a", "v3", 4, 2, 2)]))


def watch_wrong_prev_kv(run: Run) -> None:
    events = run.recorder.sessions[0].responses[2].events
    events[0] = msgspec.structs.replace(events[0], previous=("v0", 1))


def watch_unwanted_prev_kv(run: Run) -> None:
    events = _responses(run, 0, 1)[0].events
    events[0] = msgspec.structs.replace(events[0], previous=("v1", 2))


def watch_compacted_for_nothing(run: Run) -> None:
    run.watches[1].sessions[0].compacted = 6


def wrong_version(run: Run) -> None:
    events = run.recorder.sessions[0].responses[2].events
    events[0] = msgspec.structs.replace(events[0], version=3)


BREAKS: list[tuple[Break, str]] = [
    (lost_write, "lost: request 20"),
    (wrong_revision, "lost: request 2"),
    (applied_twice, "request 1 took effect a second time"),
    (half_a_transaction, "revision 5: request 4 asked for"),
    (against_its_comparison, "against its comparisons"),
    (refused_but_done, 'answered "ResourceExhausted"'),
    (invented, "revision 8: nobody asked"),
    (unasked_deletion, "revision 8: nobody asked"),
    (stale_read, "request 5 (get at m2) stands at revision 4"),
    (wrong_value_read, "request 5 (get of ['r/a'] at m2) found"),
    (stale_read_from_the_future, "request 4 (txn at m1) stands at revision 5, but request 6"),
    (member_goes_back, "request 6 (stale at m2) stands at revision 3"),
    (write_order_against_time, "request 1 (put at m1) stands at revision 2"),
    (wrong_prev_kv_answer, "request 4: prev_kv says"),
    (wrong_delete_count, "deleted 2 keys, not 1"),
    (lease_too_early, "0.400 s too early after request 10"),
    (lease_renewed_after_its_end, "too early after request 10"),
    (lease_key_stays, "['l/x'] never went"),
    (lease_key_after_revoke, "there after it was revoked"),
    (recorder_gap, "nothing was sent for revisions [3]"),
    (watch_loses, "watch resumed, session 0: lost"),
    (watch_repeats, "watch resumed, session 0: revision 3 came again"),
    (watch_out_of_order, "watch resumed, session 0: revision 2 came again, or late"),
    (watch_splits_a_revision, "watch resumed, session 1: "),
    (watch_bookmark_ahead, "progress to 3 was told before the events of [3]"),
    (watch_stops, "watch resumed was told nothing beyond revision 5"),
    (watch_ignores_its_filter, "watch late, session 1: lost [], not in the history"),
    (watch_wrong_prev_kv, "its prev_kv says ('v0', 1)"),
    (watch_unwanted_prev_kv, "without being asked for"),
    (watch_compacted_for_nothing, "ended as compacted at 6"),
    (wrong_version, "version 3, not (2, 2)"),
]


@pytest.mark.parametrize(("broken", "said"), BREAKS, ids=[b.__name__ for b, _ in BREAKS])
def test_what_breaks_a_promise_is_found(broken: Break, said: str) -> None:
    run = sound()
    broken(run)
    problems = judge(run).problems
    assert any(said in problem for problem in problems), problems
