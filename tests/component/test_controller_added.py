"""A controller is one file and one line: this one runs in a real process on a real api-server."""

from __future__ import annotations

from pathlib import Path

from kube.api.core import ConfigMap
from kube.api.meta import ObjectMeta
from kube.client.client import Client
from kube.machinery.errors import NotFound
from tests.component.control_harness import ControlPlane, control_plane, until
from tests.component.pki_fixture import Pki

# The file, with a flag of its own.
GREETER = '''
"""The greeter: a greeting in each ConfigMap that is labelled `greet`."""

import msgspec

from kube.api.core import ConfigMap
from master.controllers.machinery.controller import Controller
from master.controllers.machinery.watching import exists, own_key


class Greeter(Controller):
    name = "greeter"

    def __init__(self, context, greeting):
        super().__init__(context)
        self.greeting = greeting
        self.configmaps = self.watch(ConfigMap, lambda obj: own_key(obj) if greets(obj) else ())

    @classmethod
    def add_flags(cls, parser):
        parser.add_argument("--greeting", default="hello")

    @classmethod
    def from_flags(cls, args):
        return lambda context: cls(context, args.greeting)

    async def reconcile(self, key):
        found = self.configmaps.get(key)
        if found is not None and found.data.get("greeting") != self.greeting:
            data = {**found.data, "greeting": self.greeting}
            await self.client.update(msgspec.structs.replace(found, data=data))


def greets(configmap):
    return "greet" in configmap.metadata.labels
'''
# The line, and `python -m master.controllers`.
RUN = """
from master.controllers.all import CONTROLLERS
from greeter import Greeter
CONTROLLERS.append(Greeter)
import sys
from master.controllers.main import main
sys.exit(main())
"""


async def test_a_controller_of_one_file_and_one_line_works(tmp_path: Path, pki: Pki) -> None:
    (tmp_path / "greeter.py").write_text(GREETER)
    (tmp_path / "greeting_controllers.py").write_text(RUN)
    with control_plane(tmp_path, pki) as plane:
        plane.start_controllers_from(tmp_path / "greeting_controllers.py", "--greeting", "ahoy")
        async with plane.client() as client:
            await _make(client, "asked", {"greet": ""})
            await _make(client, "silent", {})
            await until(lambda: _greeting(client, "asked"), "greeted")
            assert await _greeting(client, "asked") == "ahoy"
            changed = await client.get(ConfigMap, "asked", "default")
            await client.delete(ConfigMap, "asked", "default", uid=changed.metadata.uid)
            await _make(client, "asked", {"greet": ""})
            assert await until(lambda: _greeting(client, "asked"), "greeted again") == "ahoy"
            assert await _greeting(client, "silent") == ""
        await _others_work_too(plane)


async def _make(client: Client, name: str, labels: dict[str, str]) -> None:
    meta = ObjectMeta(name=name, namespace="default", labels=labels)
    await client.create(ConfigMap(metadata=meta))


async def _greeting(client: Client, name: str) -> str:
    try:
        return (await client.get(ConfigMap, name, "default")).data.get("greeting", "")
    except NotFound:
        return ""


async def _others_work_too(plane: ControlPlane) -> None:
    async with plane.client() as client:

        async def published() -> str:
            try:
                found = await client.get(ConfigMap, "kube-root-ca.crt", "default")
            except NotFound:
                return ""
            return found.data["ca.crt"]

        assert "BEGIN CERTIFICATE" in await until(published, "the root CA published")
