"""What an applied command changes outside of the state machine."""

from __future__ import annotations

from kube.component.log import get_logger
from kube.stubs.etcd import command_pb2
from master.kvstore.auth.tokens import Tokens
from master.kvstore.driver.contacts import Contacts
from master.kvstore.driver.leases import Leases
from master.kvstore.driver.replica import Replica
from master.kvstore.driver.sweep import Sweeper
from master.kvstore.machine import Applied
from master.kvstore.members import membership_of
from master.kvstore.raft.core import Core
from master.kvstore.raft.messages import Entry, EntryKind

log = get_logger(__name__)

# These take their place in the log as changes of Raft's membership.
MEMBERSHIP = ("member_add", "member_remove", "member_promote")
_MEMBERS_CHANGED = (*MEMBERSHIP, "member_update")


class Followers:
    def __init__(
        self,
        core: Core,
        replica: Replica,
        leases: Leases,
        tokens: Tokens,
        contacts: Contacts,
        sweeper: Sweeper,
    ) -> None:
        self._core = core
        self._replica = replica
        self._leases = leases
        self._tokens = tokens
        self._contacts = contacts
        self._sweeper = sweeper

    def follow(self, entry: Entry, applied: Applied) -> None:
        if applied.kind == "compaction":
            self._sweeper.schedule()
            return
        if applied.error is None:
            self._leases.applied(applied.kind, applied.command)
            self._follow_tokens(applied.kind, applied.command)
        if entry.kind is EntryKind.CONFIG or applied.kind in _MEMBERS_CHANGED:
            self._members_changed(entry, applied)

    def _members_changed(self, entry: Entry, applied: Applied) -> None:
        members = self._replica.machine.members
        if entry.kind is EntryKind.CONFIG:
            # Also when it was refused: the core waits to hear that the change is over.
            self._core.apply_membership(membership_of(members))
        if applied.error is None:
            log.info("members changed", members=[f"{m.ID:x}" for m in members.listed()])
        self._contacts.members_changed()

    def _follow_tokens(self, kind: str, command: command_pb2.Command) -> None:
        match kind:
            case "authenticate":
                token = command.authenticate
                self._tokens.add(token.token, token.user)
            case "auth_disable":
                self._tokens.clear()
            case "user_delete":
                self._tokens.forget_user(command.user_delete.name)
            case "user_change_password":
                self._tokens.forget_user(command.user_change_password.name)
