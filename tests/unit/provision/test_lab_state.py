"""The state directory: records, locks, what providers are told, and nothing left behind."""

from __future__ import annotations

import dataclasses
import importlib
import stat
from pathlib import Path

import msgspec
import pytest

from provision.errors import HostNotReady, LabConflict, LabNotFound, ProvisionError
from provision.identities import LabRecord, allocate
from provision.labfile import parse_lab
from provision.phases.plan import Overrides, plan
from provision.providers.ec2.declaration import Ec2Options
from provision.providers.vagrant.declaration import VagrantOptions
from provision.ssh.keys import ensure_key
from provision.state import Store, lab_spec, write_private


def record(name: str = "one", spec: str = "{}") -> LabRecord:
    text = f"apiVersion: muster/v1\nkind: Lab\nmetadata: {{name: {name}}}\nspec: {spec}"
    return allocate(parse_lab(text), {})


def test_a_record_comes_back_as_it_was_and_is_private(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    saved = record(spec="{masters: 3, workers: [{disk: 4Gi}], provider: ec2, ec2: {region: x}}")
    store.save(saved)
    assert store.get("one") == saved
    assert (store.names(), store.subnets()) == (["one"], {"one": "10.200.1.0/24"})
    directory = store.directory("one")
    assert stat.S_IMODE(directory.record_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
    store.remove("one")
    assert store.names() == []


def test_a_lab_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(LabNotFound, match='no lab "two"') as caught:
        store.get("two")
    assert "muster up" in caught.value.hint
    store.save(record())
    with pytest.raises(LabNotFound) as caught:
        store.get("two")
    assert "there are: one" in caught.value.hint


def test_a_damaged_record_is_an_error_with_its_file(tmp_path: Path) -> None:
    store = Store(tmp_path)
    write_private(store.directory("one").record_file, b'{"version": 1')
    with pytest.raises(ProvisionError, match=r"lab\.json.* is damaged"):
        store.find("one")


def test_a_state_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HostNotReady, match="file"):
        Store(tmp_path / "file" / "state").save(record())


def test_one_command_at_a_time_changes_a_lab(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.locked("one"):
        with pytest.raises(LabConflict, match='another command is changing lab "one"'):
            store.locked("one").__enter__()
        with store.locked("two"):
            pass
    with store.locked("one"):
        pass


def test_the_lock_of_a_lab_that_is_gone_is_gone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.locked("one"):
        store.save(record())
    assert (tmp_path / ".locks" / "one").exists()
    with store.locked("one"):
        store.remove("one")
    assert not (tmp_path / ".locks" / "one").exists()


def test_providers_are_told_options_by_their_own_names(tmp_path: Path) -> None:
    store = Store(tmp_path)
    ec2 = record(spec="{provider: ec2, ec2: {instanceType: t3.small, bootSeconds: 9, ports: [22]}}")
    directory = store.directory("one")
    ensure_key(directory.ssh_key, "muster-one")
    spec = lab_spec(ec2, directory)
    assert spec.options == {"instance_type": "t3.small", "boot_seconds": 9.0, "ports": [22]}
    assert spec.ssh_public_key.startswith("ssh-ed25519 AAAA")
    assert stat.S_IMODE(directory.ssh_key.stat().st_mode) == 0o600
    assert lab_spec(record(), directory).options == {}


def test_the_lab_file_knows_every_option_of_every_provider() -> None:
    for name, options in (("vagrant", VagrantOptions), ("ec2", Ec2Options)):
        settings = importlib.import_module(f"provision.providers.{name}.settings").Settings
        known = {field.name for field in dataclasses.fields(settings)}
        assert known == {field.name for field in msgspec.structs.fields(options)}


def test_the_ssh_key_is_made_once(tmp_path: Path) -> None:
    ensure_key(tmp_path / "key", "x")
    first = (tmp_path / "key").read_bytes()
    ensure_key(tmp_path / "key", "x")
    assert (tmp_path / "key").read_bytes() == first


def test_flags_go_over_the_file_and_the_file_over_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    file = parse_lab("apiVersion: muster/v1\nkind: Lab\nspec: {masters: 3, workers: 5}")
    planned = plan(store, file, Overrides(workers=1, timers="kubernetes"))
    assert (len(planned.record.masters), len(planned.record.workers)) == (3, 1)
    assert planned.record.lab.spec.timers == "kubernetes"
    assert planned.is_new


def test_without_words_an_existing_lab_stays_as_it_is(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save(record(spec="{masters: 3, workers: 4}"))
    planned = plan(store, None, Overrides(name="one"))
    assert planned.record == planned.existing
    grown = plan(store, None, Overrides(name="one", workers=5))
    assert len(grown.record.workers) == 5
    assert not grown.is_new
    with pytest.raises(LabConflict, match="workers"):
        plan(store, None, Overrides(name="one", workers=3))
