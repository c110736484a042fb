"""The user's kubeconfig: our context goes in and out by kubectl's rules, and nothing else moves."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from provision import kubeconfig
from provision.errors import KubeconfigProblem
from provision.pki.authority import KeyPair
from provision.pki.kubeconfig import cluster_stanza, document, user_stanza

MINE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "mine",
    "preferences": {"colors": True},
    "clusters": [{"name": "mine", "cluster": {"server": "https://example.test"}}],
    "contexts": [{"name": "mine", "context": {"cluster": "mine", "user": "me", "namespace": "x"}}],
    "users": [{"name": "me", "user": {"exec": {"command": "login"}}}],
    "extensions": [{"name": "kept", "extension": {"a": 1}}],
}


def ours(lab: str = "one", server: str = "https://10.200.0.11:6443") -> dict[str, Any]:
    pair = KeyPair(b"cert", b"key")
    return document(f"muster-{lab}", cluster_stanza(server, b"ca"), user_stanza(pair))


def put(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content


def test_a_new_file_is_made_for_the_user_alone(tmp_path: Path) -> None:
    changed = kubeconfig.install("one", ours(), {"HOME": str(tmp_path)})
    path = tmp_path / ".kube" / "config"
    assert changed == [path]
    assert read(path) == ours()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.with_name("config.lock").exists()


def test_what_the_user_has_stays_and_stays_current(tmp_path: Path) -> None:
    path = put(tmp_path / "config", MINE)
    kubeconfig.install("one", ours(), {"KUBECONFIG": str(path)})
    after = read(path)
    assert after["current-context"] == "mine"
    assert [c["name"] for c in after["contexts"]] == ["mine", "muster-one"]
    assert after["extensions"] == MINE["extensions"]
    assert after["users"][0] == MINE["users"][0]
    kubeconfig.uninstall("one", {"KUBECONFIG": str(path)})
    assert read(path) == MINE


def test_merging_twice_changes_nothing_the_second_time(tmp_path: Path) -> None:
    environment = {"KUBECONFIG": str(put(tmp_path / "config", MINE))}
    assert kubeconfig.install("one", ours(), environment)
    assert kubeconfig.install("one", ours(), environment) == []


def test_two_labs_live_side_by_side(tmp_path: Path) -> None:
    environment = {"KUBECONFIG": str(tmp_path / "config")}
    kubeconfig.install("one", ours("one"), environment)
    kubeconfig.install("two", ours("two"), environment)
    kubeconfig.uninstall("one", environment)
    after = read(tmp_path / "config")
    assert [u["name"] for u in after["users"]] == ["muster-two"]
    assert after["current-context"] == ""


def test_a_stanza_is_changed_in_the_file_that_defines_it(tmp_path: Path) -> None:
    first = put(tmp_path / "first", MINE)
    second = put(tmp_path / "second", ours(server="https://old"))
    kubeconfig.install("one", ours(), {"KUBECONFIG": f"{first}:{second}"})
    assert read(first) == MINE
    assert read(second)["clusters"][0]["cluster"]["server"] == "https://10.200.0.11:6443"


def test_new_things_go_to_the_first_file_that_exists_else_to_the_last(tmp_path: Path) -> None:
    absent, present = tmp_path / "absent", put(tmp_path / "present", MINE)
    kubeconfig.install("one", ours(), {"KUBECONFIG": f"{absent}:{present}"})
    assert not absent.exists()
    assert len(read(present)["contexts"]) == 2
    other = tmp_path / "other"
    kubeconfig.install("one", ours(), {"KUBECONFIG": f"{absent}:{other}"})
    assert not absent.exists()
    assert read(other) == ours()


def test_a_symbolic_link_and_the_mode_stay(tmp_path: Path) -> None:
    real = put(tmp_path / "real", MINE)
    real.chmod(0o640)
    link = tmp_path / "config"
    link.symlink_to(real)
    kubeconfig.install("one", ours(), {"KUBECONFIG": str(link)})
    assert link.is_symlink()
    assert len(read(real)["contexts"]) == 2
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


@pytest.mark.parametrize("text", ["a: [", "- 1\n", "kind: Pod\n", "\x00"])
def test_a_file_that_is_no_kubeconfig_is_left_as_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(KubeconfigProblem, match=r"cannot be read|no kubeconfig"):
        kubeconfig.install("one", ours(), {"KUBECONFIG": str(path)})
    assert path.read_text() == text
    assert not path.with_name("config.lock").exists()


def test_a_lock_that_stays_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "config", MINE)
    lock = tmp_path / "config.lock"
    lock.touch()
    monkeypatch.setattr(kubeconfig, "LOCK_SECONDS", 0.2)
    with pytest.raises(KubeconfigProblem, match=r"config\.lock"):
        kubeconfig.install("one", ours(), {"KUBECONFIG": str(path)})
    assert lock.exists()
    assert read(path) == MINE


def test_taking_out_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    environment = {"KUBECONFIG": str(tmp_path / "none")}
    assert kubeconfig.uninstall("one", environment) == []
    assert not (tmp_path / "none").exists()


def test_paths_are_kubectls(tmp_path: Path) -> None:
    assert kubeconfig.paths({"HOME": "/h"}) == [Path("/h/.kube/config")]
    assert kubeconfig.paths({"HOME": "/h", "KUBECONFIG": "/a::/b:/a"}) == [Path("/a"), Path("/b")]
