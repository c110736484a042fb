"""etcd3gw, a client of the JSON gateway: `python etcd3gw_recipes.py PORT`. Says what it saw."""

from __future__ import annotations

import sys
import threading
from typing import Any

import etcd3gw


def main() -> None:
    client = etcd3gw.client(port=int(sys.argv[1]), api_path="/v3/")
    keys(client)
    leases(client)
    locks(client)
    watches(client)
    transactions(client)
    say("members", sorted(member["name"] for member in client.members()))
    say("done")


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def keys(client: Any) -> None:
    say("put", client.put("gw/a", "1"), client.put("gw/b", "2"))
    say("get", client.get("gw/a"), client.get("gw/none"))
    for value, about in client.get_prefix("gw/", sort_order="descend", sort_target="key"):
        say("prefix", value, about["key"], about["version"])
    say("create", client.create("gw/c", "1"), client.create("gw/c", "2"), client.get("gw/c"))
    say("replace", client.replace("gw/c", "1", "3"), client.replace("gw/c", "1", "4"))
    say("delete", client.delete("gw/a"), client.delete("gw/a"), client.delete_prefix("gw/"))


def leases(client: Any) -> None:
    lease = client.lease(ttl=300)
    say("lease", client.put("gw/leased", "x", lease=lease), lease.keys(), lease.refresh())
    say("ttl", 290 <= lease.ttl() <= 300, lease.revoke(), client.get("gw/leased"))


def locks(client: Any) -> None:
    with client.lock("gw", ttl=30) as lock:
        say("lock", lock.is_acquired())
        other = client.lock("gw", ttl=30)
        say("other", other.acquire())
    say("free", lock.is_acquired())


def watches(client: Any) -> None:
    """It does not tell from when on it watches: one puts until it has seen that."""
    events, cancel = client.watch("gw/watched")
    seen = threading.Event()

    def put() -> None:
        while not seen.wait(0.2):
            client.put("gw/watched", "seen")

    putting = threading.Thread(target=put)
    putting.start()
    event = next(iter(events))
    seen.set()
    say("watch", event["kv"]["key"], event["kv"]["value"])
    cancel()
    putting.join()


def transactions(client: Any) -> None:
    asked = {
        "compare": [{"key": "Z3cveA==", "result": "EQUAL", "target": "VERSION", "version": 0}],
        "success": [{"request_put": {"key": "Z3cveA==", "value": "eA=="}}],
        "failure": [{"request_range": {"key": "Z3cveA=="}}],
    }
    for _ in range(2):
        done = client.transaction(asked)
        say("txn", done.get("succeeded", False), [sorted(one) for one in done["responses"]])


if __name__ == "__main__":
    main()
