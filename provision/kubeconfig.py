"""The user's kubeconfig: put a lab's context in, take it out, touch nothing else.

kubectl's own rules (client-go `clientcmd.ModifyConfig`): `$KUBECONFIG` is a list of files, the
first to define a thing wins, a thing is changed in the file that defines it, and a new thing goes
to the first file that exists, else to the last of the list. Writes hold `FILE.lock`, as
kubectl's do, and replace the file in one step.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from provision.errors import KubeconfigProblem
from provision.state import write_private

Document = dict[str, Any]
SECTIONS = {"clusters": "cluster", "contexts": "context", "users": "user"}
LOCK_SECONDS = 10.0


def context_name(lab: str) -> str:
    return f"muster-{lab}"


def paths(environment: Mapping[str, str]) -> list[Path]:
    """The files that kubectl would read, in its order."""
    listed = [Path(p) for p in environment.get("KUBECONFIG", "").split(":") if p]
    if listed:
        return list(dict.fromkeys(listed))
    home = environment.get("HOME")
    return [(Path(home) if home else Path.home()) / ".kube" / "config"]


def merged(documents: Mapping[Path, Document], lab: str, ours: Document) -> dict[Path, Document]:
    """The documents that change so that `lab`'s context is there. Pure.

    `documents` has an entry for each file of the list, an empty one where there is no file (its
    place in the list still counts). The current context is set only where none is.
    """
    changed: dict[Path, Document] = {}
    name = context_name(lab)
    for section in SECTIONS:
        item = next(i for i in ours[section] if i["name"] == name)
        path = _defining(documents, section, name) or _for_new(documents)
        document = changed.get(path) or deepcopy(documents[path])
        if _put(document, section, item):
            changed[path] = document
    if not any(d.get("current-context") for d in documents.values()):
        path = _for_new(documents)
        document = changed.get(path) or deepcopy(documents[path])
        document["current-context"] = name
        changed[path] = document
    return changed


def without(documents: Mapping[Path, Document], lab: str) -> dict[Path, Document]:
    """The documents that change so that nothing of `lab` is left. Pure."""
    changed: dict[Path, Document] = {}
    name = context_name(lab)
    for path, document in documents.items():
        new = deepcopy(document)
        for section in SECTIONS:
            if isinstance(new.get(section), list):
                new[section] = [i for i in new[section] if _name_of(i) != name]
        if new.get("current-context") == name:
            new["current-context"] = ""
        if new != document:
            changed[path] = new
    return changed


def _name_of(item: object) -> object:
    return item.get("name") if isinstance(item, dict) else None


def _defining(documents: Mapping[Path, Document], section: str, name: str) -> Path | None:
    for path, document in documents.items():
        if any(_name_of(item) == name for item in document.get(section) or []):
            return path
    return None


def _for_new(documents: Mapping[Path, Document]) -> Path:
    existing = [path for path, document in documents.items() if document]
    return existing[0] if existing else list(documents)[-1]


def _put(document: Document, section: str, item: Document) -> bool:
    """Replace or add `item`. True if that changed anything."""
    if not document:
        document |= {"apiVersion": "v1", "kind": "Config", "preferences": {}}
    items = document.get(section) or []
    for index, existing in enumerate(items):
        if _name_of(existing) == item["name"]:
            items[index] = item
            document[section] = items
            return bool(existing != item)
    document[section] = [*items, item]
    return True


def install(lab: str, ours: Document, environment: Mapping[str, str]) -> list[Path]:
    """Merge and write. Returns the files that changed."""
    files = paths(environment)
    with _locked(files):
        return _write(merged(_read(files), lab, ours))


def uninstall(lab: str, environment: Mapping[str, str]) -> list[Path]:
    files = [path for path in paths(environment) if path.exists()]
    with _locked(files):
        return _write(without(_read(files), lab))


def _read(files: list[Path]) -> dict[Path, Document]:
    return {path: _load(path) for path in files}


def _load(path: Path) -> Document:
    try:
        document = yaml.safe_load(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise KubeconfigProblem(
            f'kubeconfig "{path}" cannot be read: {str(error).splitlines()[0]}',
            "repair it, or point KUBECONFIG to another file; it was left as it is",
        ) from None
    if document is None:
        # An empty file is a file: new things go there rather than to the list's last.
        return {"apiVersion": "v1", "kind": "Config"}
    if not isinstance(document, dict) or document.get("kind", "Config") != "Config":
        raise KubeconfigProblem(
            f'"{path}" is no kubeconfig', "point KUBECONFIG to another file; it was left as it is"
        )
    return document


def _write(changed: Mapping[Path, Document]) -> list[Path]:
    for path, document in changed.items():
        target = path.resolve()  # a symbolic link stays one
        try:
            before = target.stat() if target.exists() else None
            mode = (before.st_mode & 0o7777) if before else 0o600
            write_private(target, yaml.safe_dump(document, sort_keys=False).encode(), mode)
            if before and (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                os.chown(target, before.st_uid, before.st_gid)
        except OSError as error:
            raise KubeconfigProblem(
                f'kubeconfig "{path}" cannot be written: {error.strerror}',
                "point KUBECONFIG to a file that you may write",
            ) from None
    return list(changed)


@contextlib.contextmanager
def _locked(files: list[Path]) -> Iterator[None]:
    """Hold `FILE.lock` of each file; in one order for everybody, so that nobody waits in a ring."""
    held: list[Path] = []
    try:
        for path in sorted(files):
            held.append(_lock(path))
        yield
    finally:
        for lock in held:
            lock.unlink(missing_ok=True)


def _lock(path: Path) -> Path:
    lock = path.with_name(f"{path.name}.lock")
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            return lock
        except FileExistsError:
            if time.monotonic() > deadline:
                raise KubeconfigProblem(
                    f'"{lock}" has been there for {LOCK_SECONDS:.0f} s',
                    "another program is writing the kubeconfig; if none is, remove that file",
                ) from None
            time.sleep(0.05)
        except OSError as error:
            raise KubeconfigProblem(
                f'"{lock}" cannot be made: {error.strerror}',
                "point KUBECONFIG to a file that you may write",
            ) from None
