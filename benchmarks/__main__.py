"""`python -m benchmarks`: the first figures of a lab, on this machine, as root.

Makes a lab of its own (1 master, 2 workers), measures, and removes it:
time from the command to "the app answers through its Service" by phase, PSS of each process,
and the latency from creating a pod to Running and Ready.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

LAB = "bench"
PODS = 10
# Runs inside a machine: PSS by command of each process, from the kernel's own accounting.
PSS_SCRIPT = r"""
for p in /proc/[0-9]*; do
  pss=$(awk '/^Pss:/{print $2}' $p/smaps_rollup 2>/dev/null) || continue
  [ -n "$pss" ] && echo "$pss $(tr '\0\n' '  ' < $p/cmdline | cut -c1-120)"
done
"""


def muster(*args: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "muster", *args], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"muster {' '.join(args)}: {done.stderr}{done.stdout}")
    return done.stdout


def kubectl(*args: str, stdin: str | None = None) -> str:
    command = ["kubectl", f"--context=muster-{LAB}", *args]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True).stdout


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def time_to_app() -> None:
    started = time.monotonic()
    muster("up", "--name", LAB)
    up = time.monotonic() - started
    kubectl("apply", "-f", "examples/hello.yaml")
    state = json.loads(muster("status", "--name", LAB, "-o", "json"))
    address = next(m["address"] for m in state["machines"] if m["role"] == "worker")
    while not answers(f"http://{address}:30080/"):
        time.sleep(0.02)
    total = time.monotonic() - started
    print("## From the command to the app answering through its Service, seconds")
    for phase, seconds in json.loads(Path(state["timings"]).read_text()).items():
        print(f"{phase:<28}{seconds:8.2f}")
    print(f"{'muster up':<28}{up:8.2f}")
    print(f"{'kubectl apply to answer':<28}{total - up:8.2f}")
    print(f"{'total':<28}{total:8.2f}\n")


def memory() -> None:
    print("## PSS by process, MiB")
    for machine in ("m1", "w1"):
        lines = muster("ssh", "--name", LAB, machine, "--", PSS_SCRIPT).splitlines()
        rows = sorted(((int(kb), name) for kb, _, name in (x.partition(" ") for x in lines)))
        ours = 0
        for kb, command in reversed(rows):
            if " -m master." in command or " -m worker." in command:
                name = command.split(" -m ")[1].split()[0]
                ours += kb
            else:
                name = command.split(" ")[0]
            if kb >= 1024:
                print(f"{machine}  {name:<40}{kb / 1024:8.1f}")
        print(f"{machine}  {'all of Muster':<40}{ours / 1024:8.1f}")
    print()


def pod_start() -> None:
    """One pod after another, timed on this side: the API's own times are whole seconds."""
    print("## Pod start, seconds from `kubectl create` returning")
    running, ready = [], []
    for number in range(PODS):
        name = f"bench-{number}"
        manifest = {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [
                {"name": "c", "image": "muster.local/busybox:1", "command": ["sleep", "600"]}]},
        }  # fmt: skip
        kubectl("create", "-f", "-", stdin=json.dumps(manifest))
        started = time.monotonic()
        kubectl("wait", f"pod/{name}", "--for=jsonpath={.status.phase}=Running", "--timeout=60s")
        running.append(time.monotonic() - started)
        kubectl("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=60s")
        ready.append(time.monotonic() - started)
        kubectl("delete", f"pod/{name}", "--wait=false")
    for title, values in (("Running", running), ("Ready", ready)):
        print(
            f"{title:<10} median {statistics.median(values):.2f}  "
            f"min {min(values):.2f}  max {max(values):.2f}  (n={PODS})"
        )


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["KUBECONFIG"] = str(Path(scratch) / "config")
        try:
            time_to_app()
            memory()
            pod_start()
        finally:
            muster("down", "--name", LAB)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
