"""Reaching machines by SSH, with the host keys that they were given and no others."""

from provision.ssh.client import Connection, Finished, connect, over_ssh

__all__ = ["Connection", "Finished", "connect", "over_ssh"]
