"""Lab files: what is accepted, and how each mistake is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision.errors import LabFileError
from provision.labfile import load_lab, parse_lab
from provision.labfile.parse import MAX_BYTES
from provision.labfile.schema import schema_text
from provision.labfile.spec import MachineSize

HEAD = "apiVersion: muster/v1\nkind: Lab\n"


def test_the_shortest_lab_file_is_one_master_and_two_workers() -> None:
    lab = parse_lab(HEAD)
    assert (lab.metadata.name, lab.spec.masters, lab.spec.workers) == ("default", 1, 2)
    assert (lab.spec.provider, lab.spec.timers, lab.spec.runtime) == ("local", "fast", "muster")


def test_machines_may_be_counted_or_listed() -> None:
    lab = parse_lab(HEAD + "spec: {masters: 3, workers: [{memory: 4Gi}, {cpus: 0.5, disk: 10Gi}]}")
    assert lab.spec.masters == 3
    assert lab.spec.workers == [
        MachineSize(memory="4Gi"),
        MachineSize(cpus=0.5, disk="10Gi"),
    ]


MISTAKES = {
    "spec: {worker: 3}": ("spec.worker: unknown field", 'did you mean "workers"?'),
    "spec: {workers: [{}, {memory: 3}]}": (
        "spec.workers[1].memory: expected text, got 3",
        "schema",
    ),
    "spec: {workers: [{memory: 2G}]}": (
        'spec.workers[0].memory: expected a size such as 512Mi, 2Gi or 1Ti, got "2G"',
        "",
    ),
    "spec: {workers: [{memory: 16Mi}]}": ("spec.workers[0].memory: expected at least 256Mi", ""),
    "spec: {workers: [{cpu: 1}]}": ("spec.workers[0].cpu: unknown field", "cpus"),
    "spec: {masters: 0}": ("spec.masters: expected at least 1, got 0", ""),
    "spec: {masters: 2}": ("spec.masters: expected an odd number, got 2", "use 1 or 3"),
    "spec: {masters: 11}": ("spec.masters: expected at most 9, got 11", ""),
    "spec: {masters: '3'}": ('spec.masters: expected a whole number or a list, got "3"', ""),
    "spec: {workers: -1}": ("spec.workers: expected", ""),
    "spec: {provider: gce}": ('spec.provider: unknown value "gce"', "local or vagrant or ec2"),
    "spec: {ec2: {}}": ("spec.ec2: options of ec2", "spec.provider"),
    "spec: {timers: slow}": ('spec.timers: unknown value "slow"', "fast or kubernetes"),
    "metadata: {name: Big_Lab}": ("metadata.name: expected a DNS label", ""),
    "metadata: {name: much-too-long-name}": ("metadata.name: expected a DNS label", ""),
    "metadata: {name: a-}": ("metadata.name: expected a DNS label", ""),
    "spec: {network: {subnet: 10.200.0.1/24}}": ("host bits", "did you mean 10.200.0.0/24?"),
    "spec: {network: {subnet: 300.1.1.0/24}}": ("spec.network.subnet: ", ""),
    "spec: {network: {subnet: 10.200.0.0/28}}": ("from /16 to /24, got 10.200.0.0/28", ""),
    "spec: {network: {podCIDR: 10.244.0.0/24}}": ("spec.network.podCIDR: expected a prefix", ""),
    "spec: {workers: 9, network: {podCIDR: 10.244.0.0/22}}": (
        "fewer /24 networks than the 10 machines need",
        "",
    ),
    "spec: {network: {subnet: 10.96.7.0/24}}": (
        "spec.network.serviceCIDR: 10.96.0.0/16 overlaps spec.network.subnet 10.96.7.0/24",
        "",
    ),
    "spec: {network: {podCIDR: 10.96.0.0/12}}": ("overlaps", "its own range"),
    "spec: {network: {nodePortRange: 40000-30000}}": ("spec.network.nodePortRange", ""),
    "spec: {network: {nodePortRange: 80}}": ("nodePortRange: expected text, got 80", ""),
    "spec:": ("spec: expected a mapping, got nothing", ""),
    "spec: {1: 2}": ("spec: a key is no text", ""),
    "spec: [": ("line 3, column ", "not valid YAML"),
    "spec: {masters: 1}\nspec: {}": ('line 4, column 1: the key "spec" is given twice', ""),
    "spec: !!python/object/apply:os.system [id]": ("line 3, column 7", ""),
    "spec: {images: [1]}": ("spec.images[0]: expected text, got 1", ""),
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_named_with_its_path_and_fix(text: str) -> None:
    said, hint = MISTAKES[text]
    with pytest.raises(LabFileError) as caught:
        parse_lab(HEAD + text, "lab.yaml")
    assert caught.value.message.startswith("lab.yaml: ")
    assert said in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a mapping with apiVersion"),
        ("[]", "expected a mapping"),
        ("kind: Lab", "apiVersion: missing"),
        ("apiVersion: muster/v2\nkind: Lab", 'apiVersion: unknown value "muster/v2"'),
        ("apiVersion: muster/v1\nkind: Cluster", 'kind: unknown value "Cluster"'),
        ("\x00", "unacceptable character"),
    ],
)
def test_what_is_no_lab_file_is_refused(text: str, said: str) -> None:
    with pytest.raises(LabFileError, match=said):
        parse_lab(text)


@given(st.text(max_size=200))
def test_no_text_does_worse_than_a_lab_file_error(text: str) -> None:
    try:
        parse_lab(HEAD + text)
    except LabFileError as error:
        assert error.message


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
        max_leaves=8,
    ),
    st.sampled_from(["masters", "workers", "network", "provider", "images", "local", "runtime"]),
)
def test_no_value_does_worse_than_a_lab_file_error(value: object, field: str) -> None:
    from provision.labfile.parse import parse_document

    document = {"apiVersion": "muster/v1", "kind": "Lab", "spec": {field: value}}
    try:
        parse_document(document, "lab")
    except LabFileError as error:
        assert "spec" in error.message


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabFileError, match="no lab file"):
        load_lab(tmp_path / "none.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LabFileError, match="not UTF-8"):
        load_lab(binary)
    huge = tmp_path / "huge.yaml"
    huge.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(LabFileError, match="larger than 1 MiB"):
        load_lab(huge)
    with pytest.raises(LabFileError, match="cannot read"):
        load_lab(tmp_path)


def test_the_published_schema_is_fresh() -> None:
    published = Path(__file__).parents[4] / "docs" / "lab.schema.json"
    assert published.read_text() == schema_text(), (
        "python -m provision.labfile.schema > docs/lab.schema.json"
    )


def test_archives_are_named_relative_to_the_lab_file(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(HEAD + "spec: {images: [a.tar, /b.tar]}")
    assert load_lab(file).spec.images == [str(tmp_path / "a.tar"), "/b.tar"]
