"""Fixtures that several test folders share, and the closing word on what did not run."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.component.pki_fixture import Pki

# A suite that plain `make test` leaves out, by its mark: the target that runs it.
_TARGETS = {"vagrant": "make test-vagrant", "go": "make test-go"}
# How long an example takes says how busy the machine is, and nothing about what is tested.
settings.register_profile(
    "untimed", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("untimed")
_left_out: Counter[tuple[str, str]] = Counter()


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """A CA for this test run; `pki.issue(name)` gives certificates for 127.0.0.1."""
    return Pki.create(tmp_path_factory.mktemp("pki"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Two halves side by side (`make test`): modules that change the machine (mounts, namespaces,
    rules, labs) go one after the other; all others are spread. (xdist's own groups are none with
    pytest 9.2.)"""
    from xdist.scheduler import LoadScopeScheduling

    class Halves(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _half(config.rootpath / _module(nodeid))

    return Halves(config, log)


@functools.cache
def _half(module: Path) -> str:
    return "machine" if "pytest.mark.root" in module.read_text() else str(module)


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    for item in items:
        target = next(
            (_TARGETS[mark.name] for mark in item.iter_markers() if mark.name in _TARGETS), ""
        )
        _left_out[
            _module(item.nodeid), f"run it with `{target}`" if target else "not asked for"
        ] += 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Workers collect, and the terminal is the controller's: tell it what was left out."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["left_out"] = [[*key, count] for key, count in _left_out.items()]


class _FromWorkers:
    """Listens to the workers' ends, where there are workers."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        # Each has collected everything, so each says the same.
        for module, why, count in getattr(node, "workeroutput", {}).get("left_out", []):
            _left_out[module, why] = count


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_FromWorkers())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name every module of which tests did not run, and why: a suite that is skipped for want of a
    program looks like one that passed."""
    left_out = Counter(_left_out)
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        left_out[_module(report.nodeid), reason.removeprefix("Skipped: ")] += 1
    if not left_out:
        return
    terminalreporter.section("did not run")
    for (module, reason), count in sorted(left_out.items()):
        terminalreporter.line(f"{module}: {count} test{'s' * (count > 1)}: {reason}")


def _module(nodeid: str) -> str:
    return nodeid.partition("::")[0]
