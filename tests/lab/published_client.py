"""Follows a pod and talks to it with the published Python client; run by test_workloads.py.

A process of its own, because that client leaves connections open. Prints what it saw, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from kubernetes import client, config, stream, watch

NAME = "followed"


def phases(core: client.CoreV1Api, revision: str) -> list[str]:
    seen: list[str] = []
    follower = watch.Watch()
    for event in follower.stream(
        core.list_namespaced_pod, "default", field_selector=f"metadata.name={NAME}",
        resource_version=revision, timeout_seconds=30,
    ):  # fmt: skip
        seen.append(event["object"].status.phase)
        if seen[-1] == "Running":
            follower.stop()
    return seen


def log_of(core: client.CoreV1Api) -> str:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if text := core.read_namespaced_pod_log(NAME, "default"):
            return str(text)
        time.sleep(0.2)
    return ""


def talk(core: client.CoreV1Api) -> tuple[str, int | None]:
    """The client tells an exit code only once it has noticed the end by itself."""
    shell = stream.stream(
        core.connect_get_namespaced_pod_exec, NAME, "default", command=["sh"],
        stdin=True, stdout=True, stderr=True, tty=False, _preload_content=False,
    )  # fmt: skip
    shell.write_stdin("echo from the shell; exit 5\n")
    shell.run_forever(timeout=20)
    return shell.read_stdout(), shell.returncode


def main(kubeconfig: str, context: str, pod: dict[str, Any]) -> None:
    config.load_kube_config(kubeconfig, context=context)
    core = client.CoreV1Api()
    made = core.create_namespaced_pod("default", pod)
    seen = phases(core, made.metadata.resource_version)
    log = log_of(core)
    answer, code = talk(core)
    deleted = core.delete_namespaced_pod(NAME, "default").metadata.name
    report = {"phases": seen, "log": log, "answer": answer, "code": code, "deleted": deleted}
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
