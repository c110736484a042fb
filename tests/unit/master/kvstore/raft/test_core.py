"""Raft's rules one by one; `tests/simulation` tries them together."""

from __future__ import annotations

import random

import pytest

from master.kvstore.raft import membership
from master.kvstore.raft.core import Config, Core, ProposalDropped, Ready, Role
from master.kvstore.raft.messages import (
    Entry,
    EntryKind,
    HardState,
    Membership,
    Message,
    MessageType,
    SnapshotMeta,
)
from master.kvstore.raft.progress import MAX_INFLIGHT_MESSAGES
from master.kvstore.raft.quorum import committed_index, has_quorum, vote_result

THREE = Membership(voters=frozenset({1, 2, 3}))


def new_core(
    own_id: int = 1, entries: tuple[Entry, ...] = (), term: int = 0, members: Membership = THREE
) -> Core:
    return Core(
        Config(own_id),
        random.Random(1),
        membership=members,
        hard_state=HardState(term),
        entries=entries,
    )


def settle(core: Core) -> tuple[list[Message], list[Entry]]:
    """Do what the core wants, with a perfect disk; returns what was sent and applied."""
    sent: list[Message] = []
    applied: list[Entry] = []
    while (ready := core.ready()) != Ready():
        sent += ready.messages
        applied += ready.committed
        if ready.write is not None:
            sent += ready.write.messages
            core.advance(ready.write)
    return sent, applied


def elect(core: Core, voter: int = 2) -> None:
    """Make `core` the leader by the vote of `voter`."""
    while core.role is Role.FOLLOWER:
        core.tick()
    settle(core)
    core.step(Message(MessageType.PRE_VOTE_RESPONSE, core.id, voter, core.term + 1))
    settle(core)
    core.step(Message(MessageType.VOTE_RESPONSE, core.id, voter, core.term))
    assert core.role is Role.LEADER


def accepted(core: Core, sender: int, index: int) -> Message:
    return Message(MessageType.APPEND_RESPONSE, core.id, sender, core.term, index)


def test_an_older_terms_entry_is_not_committed_by_counting() -> None:
    """Figure 8 of the paper: it could still be replaced, majority or not."""
    core = new_core(entries=(Entry(1, 1, b"a"), Entry(2, 2, b"b")), term=3)
    elect(core)
    settle(core)
    core.step(accepted(core, 2, 2))
    assert core.log.commit == 0
    core.step(accepted(core, 2, 3))
    assert core.log.commit == 3
    assert [entry.index for entry in settle(core)[1]] == [1, 2, 3]


def test_a_vote_is_on_disk_before_it_is_sent() -> None:
    core = new_core(own_id=2)
    core.step(Message(MessageType.VOTE, 2, 1, term=1))
    ready = core.ready()
    assert ready.messages == ()
    assert ready.write is not None
    assert ready.write.hard_state == HardState(1, 1, 0)
    assert [message.type for message in ready.write.messages] == [MessageType.VOTE_RESPONSE]
    core.step(Message(MessageType.VOTE, 2, 3, term=1))
    assert core.ready() == Ready(), "nothing leaves while the write is out"
    core.advance(ready.write)
    (refusal,) = core.ready().messages
    assert (refusal.to, refusal.reject) == (3, True)


def test_a_leader_sends_before_its_own_disk_is_done_but_does_not_count_itself() -> None:
    core = new_core()
    elect(core)
    settle(core)
    core.step(accepted(core, 2, 1))
    core.step(accepted(core, 3, 1))
    settle(core)
    core.propose([b"x"])
    ready = core.ready()
    assert {m.to for m in ready.messages if m.entries} == {2, 3}
    core.step(accepted(core, 2, 2))
    assert core.log.commit == 1, "one follower and an unwritten disk are no majority"
    assert ready.write is not None
    core.advance(ready.write)
    assert core.log.commit == 2


def test_somebody_cut_off_does_not_raise_the_term() -> None:
    """PreVote (dissertation 9.6): whoever nobody answers keeps asking in the same term."""
    core = new_core(term=5)
    for _ in range(500):
        core.tick()
        settle(core)
    assert core.term == 5
    assert core.role is Role.PRE_CANDIDATE


@pytest.mark.parametrize(("advance", "least"), [(True, 2), (False, 10)])
def test_the_first_wait_is_short_within_reach_of_a_majority(advance: bool, least: int) -> None:
    """As etcd's --initial-election-tick-advance. Chance decides as ever: all waits do happen."""
    waits = set()
    for seed in range(200):
        core = Core(Config(1, initial_tick_advance=advance), random.Random(seed), membership=THREE)
        core.reached({1})
        for wait in range(1, 100):
            core.reached({1, 2})
            core.tick()
            if core.role is not Role.FOLLOWER:
                waits.add(wait)
                break
    assert waits == set(range(least, least + 10))


def test_who_hears_from_a_leader_unseats_nobody() -> None:
    core = new_core(own_id=2)
    core.step(Message(MessageType.HEARTBEAT, 2, 1, term=1))
    settle(core)
    for kind in (MessageType.PRE_VOTE, MessageType.VOTE):
        core.step(Message(kind, 2, 3, term=9, index=99, log_term=8))
        assert settle(core)[0] == []
    assert (core.term, core.leader) == (1, 1)


def test_a_leader_without_a_majority_steps_down() -> None:
    """CheckQuorum (dissertation 6.2)."""
    core = new_core()
    elect(core)
    for _ in range(21):
        core.tick()
        settle(core)
    assert core.role is not Role.LEADER
    with pytest.raises(ProposalDropped):
        core.propose([b"x"])


def test_a_read_waits_for_a_quorum_and_for_an_entry_of_the_term() -> None:
    """ReadIndex (dissertation 6.4)."""
    core = new_core()
    elect(core)
    core.read_index(b"r")
    sent, _ = settle(core)
    assert not any(m.context for m in sent), "no entry of this term is committed yet"
    core.step(accepted(core, 2, 1))
    ready = core.ready()
    beats = [m for m in ready.messages if m.type is MessageType.HEARTBEAT]
    assert beats
    assert not ready.reads
    answer = Message(MessageType.HEARTBEAT_RESPONSE, 1, 3, core.term, context=beats[0].context)
    core.step(Message(MessageType.HEARTBEAT_RESPONSE, 1, 3, core.term, context=b"\0" * 8))
    assert not core.ready().reads, "an answer to an earlier heartbeat proves nothing"
    core.step(answer)
    (read,) = core.ready().reads
    assert (read.context, read.index) == (b"r", 1)


def test_leadership_goes_to_who_has_the_whole_log() -> None:
    core = new_core()
    elect(core)
    settle(core)
    core.step(accepted(core, 3, 1))
    core.propose([b"x"])
    settle(core)
    assert core.transfer_leadership(3)
    assert not any(m.type is MessageType.TIMEOUT_NOW for m in settle(core)[0])
    with pytest.raises(ProposalDropped, match="transferred"):
        core.propose([b"y"])
    core.step(accepted(core, 3, 2))
    assert [m.to for m in settle(core)[0] if m.type is MessageType.TIMEOUT_NOW] == [3]
    assert not core.transfer_leadership(99)


def test_a_silent_follower_is_not_flooded() -> None:
    core = new_core()
    elect(core)
    settle(core)
    core.step(accepted(core, 2, 1))
    sent = 0
    for _ in range(2 * MAX_INFLIGHT_MESSAGES):
        core.propose([b"x"])
        sent += sum(m.to == 2 and bool(m.entries) for m in settle(core)[0])
    assert sent <= MAX_INFLIGHT_MESSAGES


def test_a_follower_behind_the_log_is_sent_a_snapshot() -> None:
    core = new_core()
    elect(core)
    settle(core)
    for index in range(1, 6):
        core.step(accepted(core, 2, index))
        core.propose([b"x"])
        settle(core)
    meta = SnapshotMeta(core.log.applied, core.term, THREE)
    core.compact(meta, keep=0)
    core.step(Message(MessageType.APPEND_RESPONSE, 1, 3, core.term, index=0, reject=True, hint=0))
    core.step(Message(MessageType.HEARTBEAT_RESPONSE, 1, 3, core.term))
    (snapshot,) = (m for m in settle(core)[0] if m.type is MessageType.SNAPSHOT)
    assert (snapshot.to, snapshot.snapshot) == (3, meta)
    core.report_snapshot(3, delivered=True)
    core.step(Message(MessageType.HEARTBEAT_RESPONSE, 1, 3, core.term))
    appends = [m for m in settle(core)[0] if m.to == 3 and m.type is MessageType.APPEND]
    assert appends[0].index == meta.index


def test_both_majorities_decide_while_the_membership_changes() -> None:
    """Joint consensus (paper, section 6); learners never count."""
    joint = Membership(
        voters=frozenset({1, 2, 3}), outgoing=frozenset({3, 4, 5}), learners=frozenset({6})
    )
    assert committed_index(joint, {1: 9, 2: 9, 3: 9, 6: 9}) == 0
    assert committed_index(joint, {1: 9, 2: 8, 3: 9, 4: 5}) == 5
    assert not has_quorum(joint, {1, 2, 6})
    assert has_quorum(joint, {1, 3, 4})
    assert vote_result(joint, {1: True, 2: True}) is None
    assert vote_result(joint, {1: True, 2: True, 4: False, 5: False}) is False
    assert vote_result(joint, {1: True, 3: True, 4: True}) is True


@pytest.mark.parametrize("kind", list(MessageType))
def test_any_message_out_of_place_is_survived(kind: MessageType) -> None:
    for core in (new_core(), new_core(term=4)):
        for term in (0, 1, 4, 9):
            core.step(
                Message(kind, 1, 77, term, index=3, log_term=2, hint=9, snapshot=SnapshotMeta())
            )
            settle(core)


def lead(core: Core) -> None:
    """Make it the leader with everything committed and applied."""
    elect(core)
    settle(core)
    core.step(accepted(core, 2, core.log.last_index))
    settle(core)


def test_only_one_membership_change_at_a_time() -> None:
    core = new_core()
    elect(core)
    with pytest.raises(ProposalDropped):
        core.propose_config(b"too early: no entry of the own term is committed")
    settle(core)
    core.step(accepted(core, 2, core.log.last_index))
    settle(core)
    core.propose_config(b"first")
    with pytest.raises(ProposalDropped):
        core.propose_config(b"second")
    settle(core)
    core.step(accepted(core, 2, core.log.last_index))
    settle(core)
    core.propose_config(b"second")


def test_a_joint_change_needs_both_majorities_and_ends_by_itself() -> None:
    core = new_core()
    lead(core)
    joint = membership.change(THREE, {1, 4, 5}, set())
    assert joint == Membership(frozenset({1, 4, 5}), frozenset({1, 2, 3}))
    core.apply_membership(joint)
    settle(core)
    way_out = core.log.entries[-1]
    assert (way_out.kind, way_out.data) == (EntryKind.CONFIG, b"")
    core.step(accepted(core, 4, way_out.index))
    assert core.log.commit < way_out.index, "the old set has not agreed"
    core.step(accepted(core, 2, way_out.index))
    assert core.log.commit == way_out.index
    core.apply_membership(membership.leave(joint))
    assert set(core.progress) == {1, 4, 5}


def test_a_removed_leader_hands_over_and_steps_down() -> None:
    core = new_core()
    lead(core)
    core.step(accepted(core, 3, core.log.last_index))
    settle(core)
    core.apply_membership(membership.change(THREE, {2, 3}, set()))
    assert core.role is Role.FOLLOWER
    sent, _ = settle(core)
    assert [m.to for m in sent if m.type is MessageType.TIMEOUT_NOW] == [2]
    for _ in range(100):
        core.tick()
    assert core.role is Role.FOLLOWER, "who has no vote stands for nothing"


def test_nobody_campaigns_before_a_known_change_is_applied() -> None:
    core = new_core(own_id=2)
    change = Entry(1, 1, b"change", EntryKind.CONFIG)
    core.step(Message(MessageType.APPEND, 2, 1, 1, 0, 0, commit=1, entries=(change,)))
    for _ in range(100):
        core.tick()
    assert core.role is Role.FOLLOWER
    settle(core)
    core.apply_membership(THREE)
    for _ in range(100):
        core.tick()
    assert core.role is Role.PRE_CANDIDATE


@pytest.mark.parametrize(
    ("current", "voters", "learners"),
    [
        (THREE, set(), {1}),
        (THREE, {1, 2}, {2}),
        (Membership(frozenset({1}), frozenset({2})), {1}, set()),
    ],
    ids=["nobody-left", "voting-learner", "joint-under-way"],
)
def test_unsafe_changes_are_refused(
    current: Membership, voters: set[int], learners: set[int]
) -> None:
    with pytest.raises(membership.UnsafeChange):
        membership.change(current, voters, learners)


def test_a_learner_is_sent_everything_and_counts_for_nothing() -> None:
    core = new_core()
    lead(core)
    core.apply_membership(membership.change(THREE, {1, 2, 3}, {4}))
    core.propose([b"x"])
    sent, _ = settle(core)
    assert 4 in {m.to for m in sent if m.entries}
    core.step(accepted(core, 4, core.log.last_index))
    assert core.log.commit < core.log.last_index


def test_too_much_uncommitted_is_refused_until_some_of_it_commits() -> None:
    core = Core(Config(1, max_uncommitted_bytes=10), random.Random(1), membership=THREE)
    lead(core)
    core.propose([b"12345678"])
    with pytest.raises(ProposalDropped):
        core.propose([b"123"])
    settle(core)
    core.step(accepted(core, 2, core.log.last_index))
    core.propose([b"123"])


def test_a_refused_vote_tells_what_is_committed() -> None:
    """Else one that missed the end of a change waits for ever for votes of those who left."""
    core = new_core(entries=(Entry(1, 1, b"a"), Entry(1, 2, b"", EntryKind.CONFIG)), term=1)
    while core.role is Role.FOLLOWER:
        core.tick()
    settle(core)
    refusal = Message(
        MessageType.PRE_VOTE_RESPONSE, 1, 2, 1, log_term=1, commit=2, reject=True
    )  # fmt: skip
    core.step(refusal)
    assert core.log.commit == 2
    assert settle(core)[1][-1].kind is EntryKind.CONFIG


def test_a_commit_is_told_with_the_next_append_unless_its_proposer_waits() -> None:
    core = new_core()
    elect(core)
    settle(core)
    for member in (2, 3):
        core.step(Message(MessageType.APPEND_RESPONSE, 1, member, core.term, core.log.last_index))
    settle(core)

    def told_after(member: int) -> list[int]:
        """Who hears at once that an entry is committed which `member` has proposed."""
        entries = (Entry(0, 0, b"x"),)
        core.step(Message(MessageType.PROPOSE, 1, member, entries=entries))
        ready = core.ready(tell_commits=False)
        assert ready.write is not None
        core.advance(ready.write)
        for follower in (2, 3):
            last = core.log.last_index
            core.step(Message(MessageType.APPEND_RESPONSE, 1, follower, core.term, last))
        messages = core.ready(tell_commits=False).messages
        assert all(message.type is MessageType.COMMIT for message in messages)
        return [message.to for message in messages]

    assert told_after(2) == [2]
    assert core.untold_commits()
    assert told_after(3) == [3]
    late = core.ready().messages
    assert [(message.type, message.to) for message in late] == [(MessageType.COMMIT, 2)]
    assert late[0].commit == core.log.commit
    assert not core.untold_commits()


def test_the_only_voter_leads_when_its_vote_is_on_disk_not_before() -> None:
    """Else it might lead the same term twice, with a crash in between, and a learner would keep
    what it was sent the first time."""
    core = new_core(members=Membership(frozenset({1}), frozenset(), frozenset({2})))
    core.tick()
    ready = core.ready()
    assert core.role is Role.CANDIDATE
    assert ready.messages == ()
    assert ready.write is not None
    assert ready.write.hard_state == HardState(1, 1, 0)
    for _ in range(50):
        core.tick()
    assert core.term == 1, "a slow disk begins no further election"
    core.advance(ready.write)
    assert core.role is Role.LEADER
    sent, _ = settle(core)
    assert [m.to for m in sent if m.entries] == [2]
