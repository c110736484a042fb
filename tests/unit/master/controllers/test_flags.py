"""The flags of controller-manager and scheduler: upstream's names, and clear refusals."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from master.controllers.all import CONTROLLERS
from master.controllers.machinery.controller import Controller
from master.controllers.main import Config as ControllerConfig
from master.controllers.nodes.nodelifecycle import NodeLifecycleController
from master.scheduler.main import Config as SchedulerConfig

API = ["--api-servers", "a:6444,b:6444"]


def test_flags_reach_the_configuration() -> None:
    config = ControllerConfig.from_argv(
        [*API, "--leader-elect=false", "--node-monitor-grace-period", "4.5",
         "--leader-elect-lease-duration", "3", "--secure-port", "20257"]
    )  # fmt: skip
    assert config.client.servers == ("a:6444", "b:6444")
    assert not config.client.leader_elect
    assert (config.client.lease_duration, config.client.secure_port) == (3.0, 20257)


def test_defaults_are_upstreams() -> None:
    config = ControllerConfig.from_argv(API)
    assert config.client.secure_port == 10257
    assert SchedulerConfig.from_argv(API).client.secure_port == 10259
    assert config.client.leader_elect


def _flags(controller: type[Controller], *flags: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    controller.add_flags(parser)
    return parser.parse_args(flags)


def test_a_controllers_flags_stand_beside_it() -> None:
    args = _flags(NodeLifecycleController, "--node-monitor-grace-period", "4.5")
    assert (args.node_monitor_period, args.node_monitor_grace_period) == (5, 4.5)
    assert args.large_cluster_size_threshold == 50


def test_flags_switch_a_controller_off(tmp_path: Path) -> None:
    off = ControllerConfig.from_argv([*API, "--allocate-node-cidrs=false"]).makers
    (tmp_path / "ca.crt").write_text("a CA")
    both = ControllerConfig.from_argv([*API, "--root-ca-file", str(tmp_path / "ca.crt")]).makers
    assert len(off) == len(CONTROLLERS) - 2
    assert len(both) == len(CONTROLLERS)


def test_without_certificates_only_this_machine_can_ask() -> None:
    assert ControllerConfig.from_argv(API).client.address == "127.0.0.1"
    files = ["--tls-cert-file", "c", "--tls-private-key-file", "k", "--client-ca-file", "a"]
    assert ControllerConfig.from_argv([*API, *files]).client.address == "0.0.0.0"


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ([], "--api-servers"),
        ([*API, "--cluster-cidr", "10.0.0.0/99"], "10.0.0.0/99"),
        ([*API, "--node-cidr-mask-size", "12"], "--node-cidr-mask-size 12"),
        ([*API, "--root-ca-file", "/nowhere/ca.crt"], "/nowhere/ca.crt"),
        ([*API, "--leader-elect=perhaps"], "perhaps"),
    ],
)
def test_bad_flags_are_refused_by_name(
    flags: list[str], names: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        ControllerConfig.from_argv(flags)
    assert ended.value.code == 2
    assert names in capsys.readouterr().err
