"""Makes a network namespace whose owner is a new user namespace, and pins it.

`python -m provision.providers.local.usernet BASE PIN`: users 0 to 65,535 of the new namespace are
BASE and up outside. The pin keeps both alive, and leads to the user namespace again
(ioctl_ns(2), NS_GET_USERNS). A process of its own, because only a child can be mapped from
outside; standard library only.

With `--try DIRECTORY...` nothing stays: says whether this kernel makes such namespaces, and shifts
the owners of files there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from provision.providers.local import kernel
from provision.providers.local.users import COUNT, FIRST


def make(base: int, pin: Path) -> None:
    """Raises OSError where the kernel or its administrator does not allow it."""
    with _owner(base) as child:
        pin.touch()
        kernel.mount(f"/proc/{child}/ns/net", str(pin), flags=kernel.MS_BIND)


def try_out(places: Iterable[str]) -> None:
    """Raises OSError, with the place, where files cannot belong to the users of a namespace."""
    with _owner(FIRST) as child:
        kernel.unshare(kernel.CLONE_NEWNS)
        kernel.mount("", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
        namespace = kernel.user_namespace_of(f"/proc/{child}/ns/net")
        for place in places:
            try:
                kernel.shift_owners(kernel.cloned(place), namespace)
            except OSError as error:
                raise OSError(error.errno, f"{place}: {error.strerror}") from error


@contextmanager
def _owner(base: int) -> Iterator[int]:
    """A process in the new namespaces, by its pid; it ends with the block."""
    ready_read, ready_write = os.pipe()
    go_read, go_write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(go_write)
        os.close(ready_read)
        _become_owner(go_read, ready_write)
    os.close(ready_write)
    os.close(go_read)
    try:
        _step(ready_read)
        for kind in ("uid_map", "gid_map"):
            Path(f"/proc/{child}/{kind}").write_text(f"0 {base} {COUNT}\n")
        os.write(go_write, b".")
        _step(ready_read)
        yield child
    finally:
        os.close(go_write)  # the child ends
        os.waitpid(child, 0)


def _become_owner(go: int, ready: int) -> None:
    """The child: never returns."""
    try:
        kernel.unshare(kernel.CLONE_NEWUSER)
        os.write(ready, b".")
        if os.read(go, 1):
            kernel.unshare(kernel.CLONE_NEWNET)
            os.write(ready, b".")
            os.read(go, 1)
    except OSError as error:
        os.write(ready, str(error.strerror).encode())
    finally:
        os._exit(0)


def _step(ready: int) -> None:
    answer = os.read(ready, 200)
    if answer != b".":
        raise OSError(0, answer.decode() or "the child died")


def main() -> int:
    try:
        if sys.argv[1] == "--try":
            try_out(sys.argv[2:])
        else:
            make(int(sys.argv[1]), Path(sys.argv[2]))
    except OSError as error:
        sys.stderr.write(f"{error.strerror or error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
