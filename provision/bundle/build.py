"""Build the two layers of /opt/muster/lib, once, kept by the hash of what goes in.

`deps` holds the locked third-party packages for the machines' Python, `code` our own. A change
of our code ships only the second, small one. Both are compiled ahead with unchecked hashes, so
that a machine neither compiles nor compares timestamps (PEP 552).
"""

from __future__ import annotations

import errno
import fcntl
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from provision.bundle.layer import MACHINE_PYTHON, Layer
from provision.errors import HostNotReady

PACKAGES = ("kube", "master", "worker")
FORMAT = "1"
_SCRATCH = ".build-"
SOURCE = Path(__file__).resolve().parents[2]
LOCK_FILE = SOURCE / "requirements" / "machine.lock"


def ensure_bundle(cache: Path, progress: Callable[[str], None]) -> tuple[Layer, Layer]:
    """Both layers, built where the cache does not have them."""
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    version = _machine_python()
    deps = Layer("deps", _deps_hash(version), cache / f"deps-{_deps_hash(version)[:16]}.tar.gz")
    files = list(_sources())
    code_hash = _code_hash(version, files)
    code = Layer("code", code_hash, cache / f"code-{code_hash[:16]}.tar.gz")
    with _exclusive(cache):
        if not deps.archive.exists():
            progress("installing the machines' Python packages")
            _build(deps.archive, _install)
        if not code.archive.exists():
            progress("packing Muster's code")
            _build(code.archive, lambda target: _copy(files, target))
            _forget_old(cache, code.archive)
    return deps, code


def _machine_python() -> str:
    """Version and platform of the Python that machines run: this host's own distribution's."""
    script = "import sys, sysconfig; print(sys.version_info[:2], sysconfig.get_platform())"
    try:
        done = subprocess.run(
            [MACHINE_PYTHON, "-I", "-c", script], check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise HostNotReady(
            f"{MACHINE_PYTHON} does not run: {error}", "install it: apt-get install python3"
        ) from None
    return done.stdout.strip()


def _deps_hash(version: str) -> str:
    return hashlib.sha256(f"{FORMAT}\n{version}\n".encode() + LOCK_FILE.read_bytes()).hexdigest()


def _sources() -> Iterator[tuple[str, Path]]:
    """Our files by their path in the bundle, in order."""
    for package in PACKAGES:
        for path in sorted((SOURCE / package).rglob("*")):
            name = path.relative_to(SOURCE).as_posix()
            if path.is_file() and _ships(name):
                yield name, path


def _ships(name: str) -> bool:
    return not ("__pycache__" in name or name.endswith((".pyc", ".pyi")))


def _code_hash(version: str, files: list[tuple[str, Path]]) -> str:
    digest = hashlib.sha256(f"{FORMAT}\n{version}\n".encode())
    for name, path in files:
        digest.update(f"{name}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@contextmanager
def _exclusive(cache: Path) -> Iterator[None]:
    """Two labs that come up together build once."""
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in cache.glob(f"{_SCRATCH}*"):  # of a build that was killed
            shutil.rmtree(left, ignore_errors=True)
        yield


def _build(archive: Path, fill: Callable[[Path], None]) -> None:
    """Fill a directory, compile it, pack it; the archive appears whole or not at all."""
    try:
        with tempfile.TemporaryDirectory(dir=archive.parent, prefix=_SCRATCH) as directory:
            tree = Path(directory) / "lib"
            tree.mkdir()
            fill(tree)
            _compile(tree)
            packed = Path(directory) / archive.name
            _pack(tree, packed)
            packed.replace(archive)
    except OSError as error:
        raise HostNotReady(
            f'cannot build "{archive.name}": {error.strerror or error}', "free some disk space"
        ) from None


def _install(target: Path) -> None:
    """pip, run by the machines' Python, which needs no pip of its own for it."""
    command = [
        sys.executable, "-m", "pip", "--python", MACHINE_PYTHON, "install", "--quiet",
        "--require-hashes", "--only-binary", ":all:", "--no-deps", "--no-compile",
        "--disable-pip-version-check", "--root-user-action", "ignore",
        "--target", str(target), "--requirement", str(LOCK_FILE),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise _pip_failed(done.stderr or done.stdout, target)
    shutil.rmtree(target / "bin", ignore_errors=True)
    for useless in [*target.rglob("*.pyi"), *target.rglob("*.pyx"), *target.rglob("*.pxd")]:
        useless.unlink()
    for tests in [p for p in target.rglob("tests") if p.is_dir()]:
        shutil.rmtree(tests)


def _pip_failed(output: str, target: Path) -> HostNotReady:
    # pip tells of a full disk once for every file, in one line of kilobytes.
    if os.strerror(errno.ENOSPC) in output:
        return HostNotReady(
            f'the disk filled up while the machines\' packages were put into "{target}"',
            "free some disk space",
        )
    reason = output.strip().splitlines() or ["it gave no reason"]
    return HostNotReady(
        f"pip could not install the machines' packages: {reason[-1]}",
        "check that this host reaches its package index",
    )


def _copy(files: list[tuple[str, Path]], target: Path) -> None:
    for name, path in files:
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)


def _compile(tree: Path) -> None:
    command = [MACHINE_PYTHON, "-m", "compileall", "-q", "-j", "0"]
    options = ["--invalidation-mode", "unchecked-hash", "-s", str(tree), "-p", "/opt/muster/lib"]
    done = subprocess.run(
        [*command, *options, str(tree)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise HostNotReady(f"the code does not compile: {done.stdout.strip()[:2000]}")


def _pack(tree: Path, archive: Path) -> None:
    """The same bytes for the same tree: sorted, without times and owners."""
    with (
        archive.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=4, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for path in sorted(tree.rglob("*")):
            tar.add(path, path.relative_to(tree).as_posix(), recursive=False, filter=_plain)
        raw.flush()
    os.chmod(archive, 0o644)  # noqa: PTH101 - one call, no directory race


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = 0
    info.mode = 0o755 if info.isdir() or info.mode & 0o100 else 0o644
    return info


def _forget_old(cache: Path, current: Path, keep: int = 5) -> None:
    """Every edit makes another code archive; keep the last few."""
    found = sorted(cache.glob("code-*.tar.gz"), key=lambda p: p.stat().st_mtime, reverse=True)
    for path in found[keep:]:
        if path != current:
            path.unlink(missing_ok=True)
