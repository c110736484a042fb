"""CNI configuration, WebSocket channels, sandbox files, cgroup texts."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.machinery import remotecommand
from kube.rpc.service import snake_case
from kube.stubs.cri import api_pb2 as cri
from worker.runtime.containers import channels
from worker.runtime.main import Config
from worker.runtime.oci import cgroups
from worker.runtime.records import SandboxRecord
from worker.runtime.sandboxes import cni_config
from worker.runtime.sandboxes.cni_config import CniConfigError
from worker.runtime.sandboxes.sandboxes import attachment, resolv_conf
from worker.runtime.service import convert


def test_the_first_configuration_by_name_counts() -> None:
    assert cni_config.choose(["20-b.conf", "10-a.conflist", "05-notes.txt", ".00.conf"]) == (
        "10-a.conflist"
    )
    assert cni_config.choose([]) is None


def test_each_plugin_gets_its_part_and_the_result_so_far() -> None:
    text = json.dumps(
        {
            "cniVersion": "1.0.0",
            "name": "net",
            "plugins": [
                {"type": "ptp", "mtu": 1400},
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        }
    )
    network = cni_config.parse("10-x.conflist", text)
    args = {"portMappings": [{"hostPort": 80}]}
    first = cni_config.plugin_input(network, network.plugins[0], args, None)
    assert first == {"type": "ptp", "mtu": 1400, "name": "net", "cniVersion": "1.0.0"}
    second = cni_config.plugin_input(network, network.plugins[1], args, {"ips": []})
    assert second["runtimeConfig"] == args
    assert second["prevResult"] == {"ips": []}
    assert "capabilities" not in second


def test_a_single_plugin_file_is_a_list_of_one() -> None:
    network = cni_config.parse("x.conf", '{"name": "n", "type": "bridge", "cniVersion": "0.3.1"}')
    assert (network.name, network.cni_version) == ("n", "0.3.1")
    assert network.plugins[0]["type"] == "bridge"


@pytest.mark.parametrize("text", ["", "{}", '{"name": "n", "plugins": []}', '{"plugins": [{}]}'])
def test_unusable_configurations_are_told(text: str) -> None:
    with pytest.raises(CniConfigError, match="10-x"):
        cni_config.parse("10-x.conflist", text)


def test_what_plugins_are_told_about_a_pod() -> None:
    config = cri.PodSandboxConfig(
        metadata=cri.PodSandboxMetadata(name="web", namespace="ns", uid="u")
    )
    config.port_mappings.add(container_port=80, host_port=8080)
    config.port_mappings.add(container_port=81)
    made = attachment("sb", "/run/netns/sb", config)
    assert "K8S_POD_NAMESPACE=ns;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=sb" in made.args
    assert [m["hostPort"] for m in made.capability_args["portMappings"]] == [8080]


def test_resolv_conf() -> None:
    dns = cri.DNSConfig(servers=["10.96.0.10"], searches=["a.b", "b"], options=["ndots:5"])
    assert resolv_conf(dns) == "search a.b b\nnameserver 10.96.0.10\noptions ndots:5\n"


# ---- Channels


def test_the_end_of_stdin_exists_only_in_v5() -> None:
    assert channels.decode(b"\xff\x00", remotecommand.V5) == channels.EndOfInput()
    assert channels.decode(b"\xff\x00", remotecommand.V4) is None
    assert channels.decode(b"\x00abc", remotecommand.V4) == channels.Input(b"abc")
    size = b'\x04{"Width": 80, "Height": 24}'
    assert channels.decode(size, remotecommand.V4) == channels.Resize(24, 80)


@given(st.binary(max_size=40), st.sampled_from(remotecommand.PROTOCOLS))
def test_no_message_breaks_the_decoder(message: bytes, protocol: str) -> None:
    channels.decode(message, protocol)


def test_the_exit_code_is_a_cause_of_the_status() -> None:
    assert json.loads(channels.exit_status(0)) == {"metadata": {}, "status": "Success"}
    failed = json.loads(channels.exit_status(3))
    assert failed["reason"] == "NonZeroExitCode"
    assert failed["details"]["causes"][0]["message"] == "3"


# ---- Messages and texts


def test_sandbox_filters() -> None:
    record = SandboxRecord(id="abc", config=b"", created_at=1)
    config = cri.PodSandboxConfig(labels={"app": "x"})

    def matches(**fields: object) -> bool:
        return convert.sandbox_matches(cri.PodSandboxFilter(**fields), record, config, True)

    assert matches()
    assert matches(id="ab", label_selector={"app": "x"})
    assert not matches(id="b")
    assert not matches(label_selector={"app": "y"})
    assert not matches(state=cri.PodSandboxStateValue(state=cri.SANDBOX_NOTREADY))


def test_cgroup_texts() -> None:
    assert cgroups.keyed("oom_kill 3\nunder_oom 0\nbad\n") == {"oom_kill": 3, "under_oom": 0}
    assert cgroups.limit("max") == 0
    assert cgroups.limit("9223372036854771712") == 0
    assert cgroups.limit("4096\n") == 4096


def test_network_usage_from_proc() -> None:
    text = (
        "Inter-| Receive | Transmit\n face |bytes\n"
        "    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n"
        "  eth0: 100 2 3 0 0 0 0 0 200 4 5 0 0 0 0 0\n"
    )
    usage = convert.network_usage(text, 7).default_interface
    assert (usage.rx_bytes.value, usage.rx_errors.value) == (100, 3)
    assert (usage.tx_bytes.value, usage.tx_errors.value) == (200, 5)


def test_operation_names_and_flags() -> None:
    assert snake_case("RunPodSandbox") == "run_pod_sandbox"
    config = Config.from_argv(
        ["--listen", "unix:///run/x.sock", "--stream-address", "127.0.0.1", "--oci-runtime", "sh",
         "--conmon", "sh", "--cgroup-parent", "pods/"]
    )  # fmt: skip
    assert str(config.listen) == "/run/x.sock"
    assert config.streaming_address == ("127.0.0.1", 0)
    assert config.cgroup_parent == "/pods"
    with pytest.raises(SystemExit, match="not installed"):
        Config.from_argv(["--conmon", "no-such-tool-anywhere"])
