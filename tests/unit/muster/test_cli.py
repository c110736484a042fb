"""The command line: bad input named, exit codes kept, output in the form that was asked for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from drills.document import catalog
from muster.console import ConsoleReporter, stderr
from muster.journal import Lines, readable
from muster.main import COMMANDS, main
from muster.session import Interrupted, run, translated
from provision import errors
from provision.identities import LabRecord, allocate
from provision.labfile.parse import parse_lab
from provision.providers.base import (
    LabBusy,
    LabSpec,
    Problem,
    ProviderError,
    UnknownMachine,
    Unprepared,
)
from provision.providers.local.provider import LocalProvider
from provision.ssh.keys import ensure_key
from provision.state import Store

LAB = "apiVersion: muster/v1\nkind: Lab\n"


@pytest.fixture
def able_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a dry run says of the lab, on a host where it could be made."""

    async def check(self: LocalProvider, lab: LabSpec) -> list[Problem]:
        return []

    monkeypatch.setattr(LocalProvider, "check", check)


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSTER_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("NO_COLOR", "1")


def test_every_command_is_there_and_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for command in COMMANDS:
        assert command in text
        assert main([command, "--help"]) == 0
    assert "Exit codes:" in text
    assert "130" in text


def test_exit_codes_are_distinct_and_documented() -> None:
    from muster.main import EXIT_CODES

    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.ProvisionError)
    ]
    codes = [kind.exit_code for kind in kinds]
    assert len(set(codes)) == len(codes)
    document = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()
    for code in codes:
        assert f"\n  {code} " in EXIT_CODES
        assert f"| {code} |" in document


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["no-such-command"], 2, "no-such-command"),
        (["up", "--masters", "0"], 2, "--masters"),
        (["up", "--masters", "2"], 2, "expected an odd number, got 2"),
        (["up", "--masters", "3", "--workers", "300"], 2, "spec.workers"),
        (["up", "--provider", "gce"], 2, "gce"),
        (["up", "--name", "Not_A_Label"], 2, "metadata.name: expected a DNS label"),
        (["up", "--timeout", "0"], 2, "--timeout"),
        (["up", "-f", "none.yaml"], 2, 'no lab file "none.yaml"'),
        (["status"], 4, 'there is no lab "default"'),
        (["statsu"], 2, 'did you mean "status"?'),
        (["down", "--name", "../.."], 2, "no lab's name"),
        (["status", "--name", ".cache"], 2, "no lab's name"),
        (["ssh", "m1", "--name", "/etc"], 2, "no lab's name"),
        (["status", "-o", "csv"], 2, "csv"),
        (["ssh", "w1", "--", "true"], 4, 'there is no lab "default"'),
        (["cp", "a", "w1:/"], 4, 'there is no lab "default"'),
        (["cp", "a"], 2, "a source and a target"),
        (["exec", "--", "true"], 2, "--all or --node"),
        (["exec", "--all", "--", "true"], 4, 'there is no lab "default"'),
        (["ssh-config"], 4, 'there is no lab "default"'),
        (["node", "stop", "w1"], 4, 'there is no lab "default"'),
        (["node", "stop"], 2, "NODE"),
        (["stop"], 4, "there is no lab"),
        (["start", "--name", "x"], 4, 'there is no lab "x"'),
        (["kubeconfig"], 4, "there is no lab"),
        (["image", "load", "a.tar"], 4, "there is no lab"),
        (["logs", "etcd"], 2, "kvstore"),
        (["completion", "tcsh"], 2, "tcsh"),
    ],
)
def test_bad_requests_are_named_with_their_exit_code(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_taking_down_what_is_not_there_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["down", "--name", "nothing"]) == 0
    assert 'there is no lab "nothing"' in capsys.readouterr().out


def test_taking_down_what_was_killed_before_it_was_written_down(tmp_path: Path) -> None:
    directory = tmp_path / "state" / "early"
    ensure_key(directory / "ssh" / "id_ed25519", "test")
    assert main(["down", "--name", "early"]) == 0
    assert not directory.exists()


def test_a_directory_with_more_than_keys_is_not_removed_without_its_record(tmp_path: Path) -> None:
    directory = tmp_path / "state" / "late"
    (directory / "machines").mkdir(parents=True)
    assert main(["down", "--name", "late"]) == 4
    assert (directory / "machines").exists()


@pytest.mark.usefixtures("able_host")
def test_a_dry_run_shows_the_machines_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "lab.yaml"
    spec = "{workers: [{memory: 1Gi}], network: {subnet: 10.77.1.0/24}}"
    file.write_text(f"{LAB}metadata: {{name: plan}}\nspec: {spec}\n")
    assert main(["up", "-f", str(file), "--masters", "3", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert 'lab "plan": 3 master(s), 1 worker(s) on 10.77.1.0/24' in out
    assert "w1    worker  10.77.1.21      2 CPU, 1024 MiB  would be made" in out
    assert "dry run: nothing was changed" in out
    assert not (tmp_path / "state").exists()


@pytest.mark.root
def test_a_dry_run_compares_sizes_with_this_host(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(f"{LAB}spec: {{workers: [{{memory: 9000Gi}}]}}\n")
    assert main(["up", "-f", str(file), "--dry-run"]) == 5
    shown = capsys.readouterr()
    assert f"this host has {os.cpu_count()} CPU" in shown.out
    assert "w1 is to have 9216000 MiB of memory" in shown.err
    assert not (tmp_path / "state").exists()


def test_a_name_that_contradicts_the_lab_file_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(LAB + "metadata: {name: one}\n")
    assert main(["up", "-f", str(file), "--name", "two", "--dry-run"]) == 3
    assert '--name says "two", the lab file "one"' in capsys.readouterr().err


def saved(text: str) -> LabRecord:
    record = allocate(parse_lab(LAB + text), {})
    Store().save(record)
    ensure_key(Store().directory(record.name).ssh_key, "test")
    return record


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["scheduler", "--node", "w1"], "w1 does not run scheduler"),
        (["proxy", "--node", "w9"], 'no machine "w9"'),
        (["containerd"], "the lab's runtime is muster"),
        (["keepalived"], "no machine runs keepalived"),
    ],
)
def test_logs_of_what_is_not_there_are_an_error(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    saved("spec: {workers: 1}")
    assert main(["logs", *arguments]) == 4
    assert said in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look for machines")
def test_the_status_of_a_lab_that_does_not_answer_is_no_success(
    capsys: pytest.CaptureFixture[str],
) -> None:
    saved("metadata: {name: t-nobody}\nspec: {workers: 0}")
    assert main(["status", "--name", "t-nobody", "-o", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["api"] == "no master runs"


def test_the_version_is_an_option_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    said = capsys.readouterr().out
    assert main(["version"]) == 0
    assert capsys.readouterr().out == said


@pytest.mark.parametrize("seconds", [0.02, 0.05, 0.1, 0.2, 0.4, 0.8])
def test_an_interrupt_at_any_moment_is_one_sentence(seconds: float, tmp_path: Path) -> None:
    """Also while Python still imports what the command needs."""
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "muster", "logs", "kvstore"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    # Before our own first import it is Python that a signal ends.
    while (line := process.stderr.readline()) and b"click" not in line:
        pass
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    words = [line for line in said.decode().splitlines() if line and "|" not in line]
    assert not [line for line in words if "Traceback" in line or "KeyboardInterrupt" in line]
    assert process.returncode in (130, 4)
    if process.returncode == 130:
        assert words == ["interrupted"]


@pytest.mark.parametrize("form", ["json", "yaml", "name", "table"])
def test_the_version_comes_in_every_form(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    from kube.component.version import GIT_VERSION

    assert main(["version", "-o", form]) == 0
    out = capsys.readouterr().out
    assert GIT_VERSION in out
    if form == "json":
        assert json.loads(out)["gitVersion"] == GIT_VERSION
    if form == "yaml":
        assert yaml.safe_load(out)["gitVersion"] == GIT_VERSION


def completed(*words: str) -> list[str]:
    """What bash offers for the last of `words`."""
    done = subprocess.run(
        [sys.executable, "-c", "from muster.main import main; main()"],
        env=os.environ | {"_MUSTER_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(words),
                          "COMP_CWORD": str(len(words) - 1)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_drills_are_completed() -> None:
    for command in ("run", "show", "validate", "loop", "suite"):
        assert completed("muster", "drill", command, "node-power") == ["node-power-off"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_for_the_shell(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    assert "_MUSTER_COMPLETE" in capsys.readouterr().out


def test_a_damaged_record_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    directory = tmp_path / "state" / "broken"
    directory.mkdir(parents=True)
    (directory / "lab.json").write_text("{")
    assert main(["status", "--name", "broken"]) == 1
    assert "is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (ProviderError("no bridge", "make one"), errors.MachinesFailed, "no bridge"),
        (UnknownMachine("lab", "w9"), errors.LabNotFound, "w9"),
        (LabBusy("busy"), errors.LabConflict, "busy"),
        (Unprepared([Problem("no root", "use sudo")]), errors.HostNotReady, "- no root"),
    ],
)
def test_providers_errors_become_ours_also_out_of_groups(
    error: Exception, kind: type[errors.ProvisionError], said: str
) -> None:
    for raised in (error, ExceptionGroup("side by side", [ExceptionGroup("inner", [error])])):
        with pytest.raises(kind) as caught, translated():
            raise raised
        assert said in caught.value.message


def test_an_unknown_group_stays_what_it_is() -> None:
    with pytest.raises(ExceptionGroup), translated():
        raise ExceptionGroup("x", [ValueError("y")])


def test_an_interrupt_cleans_up_and_has_its_own_exit_code() -> None:
    import asyncio
    import os
    import signal

    cleaned = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(30)
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    with pytest.raises(Interrupted) as caught:
        run(work())
    assert (cleaned, caught.value.exit_code) == ([True], 130)


def test_progress_goes_to_stderr_line_by_line_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    reporter = ConsoleReporter(stderr())
    reporter.begin("machines")
    reporter.step("machines", "w1", "booting [1/2]")
    reporter.end("machines", 1.25, "3 made")
    reporter.begin("ssh")
    reporter.failed("ssh", 0.5)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "  machines: w1: booting [1/2]",
        "ok   machines        1.2 s  3 made",
        "FAIL ssh             0.5 s",
    ]


def test_a_second_ctrl_c_does_not_cut_off_the_clean_up(capsys: pytest.CaptureFixture[str]) -> None:
    cleaned = False

    async def work() -> None:
        nonlocal cleaned
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(60)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(10):
                await asyncio.sleep(0)  # a cancellation would be raised here
            cleaned = True

    with pytest.raises(Interrupted) as caught:
        run(work())
    assert cleaned
    assert caught.value.exit_code == 130
    assert "cleaning up" in capsys.readouterr().err


def test_the_doctor_answers_a_user_who_may_not_read_the_labs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    denied = errors.HostNotReady('cannot use "lab.json": Permission denied', "run it as root")

    def subnets(_store: object) -> None:
        raise denied

    monkeypatch.setattr("provision.state.Store.subnets", subnets)
    assert main(["doctor", "-o", "json"]) == 5
    findings = {f["name"]: f for f in json.loads(capsys.readouterr().out)}
    assert findings[denied.message] == {
        "name": denied.message, "state": "missing", "fix": "run it as root",
    }  # fmt: skip
    assert findings["ssh"]["fix"] == "" or findings["ssh"]["state"] == "missing"


@pytest.mark.parametrize("form", ["json", "yaml", "name", "table", "wide"])
def test_the_drills_come_in_every_form(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drill", "list", "-o", form]) == 0
    out = capsys.readouterr().out
    assert "node-power-off" in out
    if form == "table":
        # A title and a line each, never wrapped: what is piped on must be whole.
        assert len(out.splitlines()) == 1 + len(list(catalog()))


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            '2026-01-02T03:04:05.000001+0000 m1 python3[17]: {"ts": "x", "level": "info", '
            '"logger": "a.b", "msg": "pod bound", "pod": "default/web-1", "n": 2, "why": "a b"}',
            '2026-01-02T03:04:05.000001+0000 m1 INFO    pod bound pod=default/web-1 n=2 why="a b"',
        ),
        (
            "2026-01-02T03:04:05.000001+0000 m1 systemd[1]: Started muster-proxy.service - Proxy.",
            "2026-01-02T03:04:05.000001+0000 m1 Started muster-proxy.service - Proxy.",
        ),
        ("-- No entries --", "-- No entries --"),
        (
            '2026-01-02T03:04:05+0000 m1 python3[17]: {"level": "error", "msg": "failed", '
            '"traceback": "Traceback:\\nKeyError"}',
            "2026-01-02T03:04:05+0000 m1 ERROR   failed\nTraceback:\nKeyError",
        ),
    ],
)
def test_a_journal_is_shown_for_people(line: str, shown: str) -> None:
    assert readable(line) == shown


def test_lines_come_whole_however_they_are_cut() -> None:
    lines = Lines()
    assert lines.feed(b"one\ntw") == ["one"]
    assert lines.feed(b"o\n\n") == ["two", ""]


@pytest.mark.usefixtures("able_host")
def test_a_missing_image_archive_is_found_before_anything_is_made(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(LAB + "spec: {images: [./none.tar]}\n")
    assert main(["up", "-f", str(file), "--dry-run"]) == 2
    assert f'spec.images[0]: there is no file "{tmp_path}/none.tar"' in capsys.readouterr().err
    (tmp_path / "none.tar").write_bytes(b"")
    assert main(["up", "-f", str(file), "--dry-run"]) == 0
