"""Kills `muster up`, `down` and `start` at random moments: `python tools/soak_lab.py --times N`.

Each round starts one of them, ends it with SIGKILL (its children live on), and gives the same
command again. What must hold each time: the command succeeds, and leaves a whole lab (nodes
Ready, no unit that goes on restarting) or none (no machine, link, mount or directory of it).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 300
# How long each takes by itself, roughly: kills fall into this time.
SPAN = {"up": 14.0, "down": 3.0, "start": 8.0}


class Failed(Exception):
    """What did not hold."""


def muster(*arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [sys.executable, "-m", "muster", *arguments],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Failed(f"muster {' '.join(arguments)} did not end in {SECONDS} s") from None


def succeeds(*arguments: str) -> str:
    done = muster(*arguments)
    if done.returncode != 0:
        raise Failed(f"muster {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def killed(after: float, *arguments: str) -> bool:
    """Start a command and SIGKILL it. False: it had ended before."""
    process = subprocess.Popen(
        [sys.executable, "-m", "muster", *arguments],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    return False


def whole(name: str) -> None:
    """Every node is Ready, and no unit goes on restarting."""
    nodes = json.loads(succeeds("status", "--name", name, "-o", "json"))["machines"]
    if unready := [n["name"] for n in nodes if n["node"] != "Ready"]:
        raise Failed(f"not Ready: {unready}")
    before = restarts(name)
    time.sleep(2)
    if (after := restarts(name)) != before:
        raise Failed(f"units go on restarting:\n{before}\n{after}")


def restarts(name: str) -> str:
    """A line a unit and machine, in order: systemctl has them in none."""
    told = succeeds(
        "exec", "--name", name, "--all", "--", "systemctl show -p Id,NRestarts 'muster-*'"
    )
    lines, number = [], ""
    for line in told.splitlines():
        machine, _, text = line.partition(" | ")
        key, _, value = text.partition("=")
        if key == "NRestarts":
            number = value
        elif key == "Id":
            lines.append(f"{machine} {value} {number}")
    return "\n".join(sorted(lines))


def leftovers(name: str, state: Path) -> list[str]:
    """What the host still has of the lab. Its machines are called by its name everywhere."""
    found = [str(path) for path in state.glob(f"{name}*")]
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    found += [line for line in mounts if str(state / name) in line]
    for command in (["ip", "-br", "link"], ["ip", "netns", "list"]):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found += [line for line in done.stdout.splitlines() if name in line]
    return found


def rounds(name: str, state: Path, times: int, dice: random.Random) -> Counter[str]:
    done: Counter[str] = Counter()
    up = False
    for number in range(times):
        verb = dice.choice(["up", "down", "start"] if up else ["up"])
        if verb == "start":
            succeeds("stop", "--name", name)
        after = dice.uniform(0.1, SPAN[verb])
        hit = killed(after, verb, "--name", name)
        print(
            f"{number + 1:4} {verb:5} {'killed' if hit else 'ended'} after {after:.2f} s",
            flush=True,
        )
        succeeds(verb, "--name", name)
        up = verb != "down"
        if up:
            whole(name)
        elif left := leftovers(name, state):
            raise Failed("left behind:\n" + "\n".join(left))
        done[f"{verb} {'killed' if hit else 'ended first'}"] += 1
    return done


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--name", default="soak")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as kube:
        os.environ["KUBECONFIG"] = str(Path(kube) / "config")
        state = Path(os.environ.get("MUSTER_STATE_DIR") or "/var/lib/muster-lab")
        try:
            done = rounds(given.name, state, given.times, random.Random(given.seed))
        except Failed as error:
            print(f"FAILED (seed {given.seed}): {error}", file=sys.stderr)
            return 1
        finally:
            muster("down", "--name", given.name)
    print(", ".join(f"{what}: {n}" for what, n in sorted(done.items())) + ": all held")
    return 0


if __name__ == "__main__":
    sys.exit(main())
