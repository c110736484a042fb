"""The shim as it is built: fuzzed with the address sanitizer, loaded by h2load, or missing."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from kube.rpc import transports
from kube.rpc.errors import Code
from kube.rpc.h2 import binding
from kube.rpc.listen import Listen
from kube.stubs.etcd.rpc_pb2 import PutRequest as Msg
from tests.component.rpc_echo import SERVICE, Recorder, caller, channel, echo_server, methods

ROOT = Path(__file__).resolve().parents[2]


def test_the_shim_is_built() -> None:
    """Else the suites of this transport would be skipped unseen."""
    assert binding.why_not() == ""


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which a Python loads a shim with ASAN and UBSAN."""
    shim = tmp_path_factory.mktemp("asan") / "shim.so"
    build = [sys.executable, "tools/build_shim.py", "--sanitize", "--output", str(shim)]
    subprocess.run(build, cwd=ROOT, check=True)
    runtimes = [
        subprocess.run(
            ["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    # Python itself keeps much until its end: leaks are judged by the fuzzer's memory bound.
    return {
        **os.environ,
        "LD_PRELOAD": " ".join(runtimes),
        "ASAN_OPTIONS": "detect_leaks=0",
        binding.OVERRIDE: str(shim),
    }


def fuzz(environment: dict[str, str], count: int, most_kib: int) -> None:
    """Fails if an input broke a rule, or memory grew by more."""
    done = subprocess.run(
        [sys.executable, "tools/fuzz_rpc.py", "--count", str(count), "--most-kib", str(most_kib)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:] + done.stdout
    assert f"{count} inputs, no violation" in done.stdout


def test_fuzzed_under_the_address_sanitizer(sanitized: dict[str, str]) -> None:
    fuzz(sanitized, 10_000, 1 << 20)  # the sanitizer keeps what was freed


def test_fuzzing_leaks_nothing() -> None:
    """A session's leak of 100 bytes would show as more than this."""
    fuzz(dict(os.environ), 12_000, 1000)


def test_calls_under_the_address_sanitizer(sanitized: dict[str, str]) -> None:
    """Real sockets, both sides ours: every kind of call."""
    code = """
import asyncio
from tests.component.rpc_echo import *
async def main():
    seen = Recorder()
    async with echo_server("nghttp2", seen) as port, channel("nghttp2", port) as c:
        calls = [caller(c, "Unary")(Msg(value=b"x" * n * 999), timeout=20) for n in range(100)]
        assert len(await asyncio.gather(*calls)) == 100
        assert len(await collect(caller(c, "ServerStream")(Msg(value=b"300 5000")))) == 300
        assert len(await collect(caller(c, "Bidi")([Msg()] * 300))) == 300
        assert (await failure(caller(c, "Unary")(Msg(key=b"hang"), timeout=0.1))).code == 4
        left = caller(c, "ServerStream")(Msg(value=b"9999 9999"))
        await left.read()
        left.cancel()
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=sanitized, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.skipif(shutil.which("h2load") is None, reason="h2load: apt-get install nghttp2-client")
async def test_h2load(tmp_path: Path) -> None:
    message = Msg(key=b"k", value=b"v" * 100).SerializeToString()
    body = tmp_path / "body"
    body.write_bytes(b"\0" + struct.pack(">I", len(message)) + message)
    seen = Recorder()
    async with echo_server("nghttp2", seen) as port:
        process = await asyncio.create_subprocess_exec(
            "h2load", "-n2000", "-c10", "-m20", "-d", str(body),
            "-H", "content-type: application/grpc", "-H", "te: trailers",
            f"http://127.0.0.1:{port}/{SERVICE}/Unary", stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await process.communicate()
    assert b"2000 succeeded, 0 failed, 0 errored" in out, out
    # What h2load takes for success is HTTP's status only.
    assert seen.codes == [("Unary", Code.OK)] * 2000


async def test_grpcio_serves_where_the_shim_is_missing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(transports, "why_not", lambda: '"_shim.so" is not built (make shim)')
    seen = Recorder()
    listen = [Listen("127.0.0.1", 0)]
    with caplog.at_level(logging.WARNING):
        serving = transports.rpc_server("nghttp2", methods(seen), listen, seen)
    assert "grpcio serves instead" in caplog.text
    async with serving as ports, channel("grpcio", ports[0]) as open_:
        assert await caller(open_, "Unary")(Msg(key=b"a")) == Msg(key=b"a")


def test_a_shim_of_other_sources_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(binding, "source_hash", lambda: "of newer sources")
    binding.load.cache_clear()
    try:
        assert "other sources" in binding.why_not()
        monkeypatch.setenv(binding.OVERRIDE, str(tmp_path / "none.so"))
        assert "is not built" in binding.why_not()
    finally:
        monkeypatch.undo()
        binding.load.cache_clear()
        assert binding.why_not() == ""
