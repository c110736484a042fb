"""What each machine is given: only its own secrets, and flags that its components understand."""

from __future__ import annotations

import importlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from provision.identities import LabRecord, allocate
from provision.labfile import parse_lab
from provision.payload.archive import payload_archive
from provision.payload.build import build_payload
from provision.payload.keepalived import router_id
from provision.payload.masters import api_servers
from provision.payload.model import Payload, arguments
from provision.payload.units import render
from provision.pki.store import Pki, ensure_pki


def lab(spec: str) -> LabRecord:
    return allocate(parse_lab(f"apiVersion: muster/v1\nkind: Lab\nspec: {spec}"), {})


RECORD = lab("{masters: 3, workers: 2}")


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return ensure_pki(RECORD, tmp_path_factory.mktemp("pki"))


def payload(pki: Pki, name: str, record: LabRecord = RECORD) -> Payload:
    machine = record.machine(name)
    assert machine is not None
    return build_payload(record, machine, pki)


@pytest.mark.parametrize("machine", ["m1", "w1"])
@pytest.mark.parametrize("profile", ["fast", "kubernetes"])
def test_every_component_understands_its_flags(
    pki: Pki, machine: str, profile: str, tmp_path: Path
) -> None:
    record = lab(f"{{masters: 3, workers: 2, timers: {profile}}}")
    found = payload(pki, machine, record)
    for file in found.files:  # some components look whether their files are there
        place = tmp_path / file.path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.content)
    for unit in found.units:
        if unit.python:
            assert unit.command[:2] == ("/usr/bin/python3", "-m")
            module = importlib.import_module(f"{unit.command[2]}.main")
            flags = [flag.replace("=/etc/", f"={tmp_path}/etc/") for flag in unit.command[3:]]
            assert module.Config.from_argv(flags)


def test_the_control_plane_runs_on_masters_only(pki: Pki) -> None:
    agents = ["muster-runtime", "muster-kubelet", "muster-proxy", "muster-network"]
    agents += ["prometheus-node-exporter"]
    assert [u.name for u in payload(pki, "w1").units] == agents
    masters = [u.name for u in payload(pki, "m1").units]
    assert masters[-5:] == agents
    assert "muster-kvstore" in masters and "muster-keepalived" in masters


def test_one_master_needs_no_floating_address(pki: Pki) -> None:
    units = payload(pki, "m1", lab("{workers: 0}")).units
    assert "muster-keepalived" not in [u.name for u in units]


def test_a_machine_gets_no_other_machines_secret_and_no_authoritys_key(pki: Pki) -> None:
    own = {name: pair.key for name, pair in pki.pairs.items()}
    for machine in RECORD.machines:
        content = b"".join(f.content for f in payload(pki, machine.name).files)
        for name, key in own.items():
            if name.startswith("machines/") and not name.startswith(f"machines/{machine.name}/"):
                assert key not in content
            if name in ("ca", "etcd/ca", "front-proxy-ca", "monitoring", "etcd/monitoring"):
                assert key not in content


def test_a_worker_gets_nothing_of_the_store_or_the_administrator(pki: Pki) -> None:
    paths = [f.path for f in payload(pki, "w1").files]
    assert not [p for p in paths if "etcd" in p or "admin" in p or "/sa." in p or "apiserver" in p]


def test_whatever_holds_a_private_key_is_not_for_everybody(pki: Pki) -> None:
    for machine in ("m1", "w1"):
        for file in payload(pki, machine).files:
            holds_key = b"PRIVATE KEY" in file.content or b"client-key-data" in file.content
            assert file.secret is holds_key, file.path


def test_a_masters_key_is_readable_only_by_the_component_that_needs_it(pki: Pki) -> None:
    """By root, and by the user of the one unit that names the file; metrics' key by a group."""
    found = payload(pki, "m1")
    users = {u.name: _user(u.service) for u in found.units}
    for file in (f for f in found.files if f.secret and f.path.startswith("/etc/kubernetes")):
        needed = {users[u.name] for u in found.units if file.path in u.inputs} - {"root"}
        if len(needed) == 1:
            assert (file.owner, file.mode) == (needed.pop(), 0o600), file.path
        elif needed:
            assert (file.owner, file.group, file.mode) == ("root", "muster-component", 0o640)
        else:
            assert (file.owner, file.mode) == ("root", 0o600), file.path


def _user(lines: tuple[str, ...]) -> str:
    return next((x.removeprefix("User=") for x in lines if x.startswith("User=")), "root")


def test_a_worker_has_no_users_of_ours(pki: Pki) -> None:
    assert {(f.owner, f.group) for f in payload(pki, "w1").files} == {("root", "root")}


def test_a_unit_restarts_for_every_file_that_it_reads(pki: Pki) -> None:
    for machine in ("m1", "w1"):
        found = payload(pki, machine)
        paths = {f.path for f in found.files}
        for unit in found.units:
            named = {p for p in paths if any(arg.endswith(f"={p}") for arg in unit.command)}
            assert named <= set(unit.inputs), unit.name
            assert set(unit.inputs) <= paths, unit.name


def test_masters_try_themselves_first_and_workers_start_at_different_ones() -> None:
    order = {m.name: api_servers(RECORD, m).split(",") for m in RECORD.machines}
    for index, master in enumerate(RECORD.masters):
        assert order[master.name][0] == f"10.200.0.1{index + 1}:6444"
    assert order["w1"][0] != order["w2"][0]
    assert all(len(set(each)) == 3 for each in order.values())


def test_flags_are_written_plainly() -> None:
    assert arguments({"a": None, "b": 4.5, "c": 40, "d": "x"}) == [
        "--a",
        "--b=4.5",
        "--c=40",
        "--d=x",
    ]


def test_systemds_specifier_character_is_escaped(pki: Pki) -> None:
    from dataclasses import replace

    unit = replace(payload(pki, "w1").units[0], command=("/bin/x", "--a=100%"))
    assert "--a=100%%" in render(unit)


def test_the_archive_is_the_same_bytes_for_the_same_payload(pki: Pki) -> None:
    first, second = (payload_archive(payload(pki, "m1")) for _ in range(2))
    assert first == second
    assert payload_archive(payload(pki, "m2")) != first


def test_the_archive_holds_what_the_manifest_says(pki: Pki) -> None:
    with tarfile.open(fileobj=io.BytesIO(payload_archive(payload(pki, "m1")))) as archive:
        names = set(archive.getnames())
        manifest = json.load(archive.extractfile("manifest.json"))
        assert names == {"manifest.json", "apply.py"} | {f"files{p}" for p in manifest["files"]}
        assert archive.getmember("files/etc/kubernetes/pki/sa.key").mode == 0o600
        assert manifest["files"]["/etc/muster/keepalived.conf"]["interface"] is True
        assert manifest["address"] == "10.200.0.11"


def test_the_hash_follows_content_mode_and_units(pki: Pki) -> None:
    from dataclasses import replace

    base = payload(pki, "w1")
    file = base.files[0]
    hashes = {
        base.hash(),
        replace(base, files=(replace(file, content=b"x"), *base.files[1:])).hash(),
        replace(base, files=(replace(file, mode=0o600), *base.files[1:])).hash(),
        replace(base, units=base.units[:-1]).hash(),
    }
    assert len(hashes) == 4


def test_router_ids_are_vrrps() -> None:
    assert all(1 <= router_id(f"lab{n}") <= 255 for n in range(300))


def test_the_check_script_is_complete(pki: Pki) -> None:
    check = payload(pki, "m1").file("/etc/muster/check_apiserver.py")
    compile(check.content, check.path, "exec")
    assert check.mode == 0o755
    source = Path("provision/payload/check_apiserver.py")
    assert check.content == (Path(__file__).parents[4] / source).read_bytes()
