"""The way to a store: a lab's, or any by its endpoints and a client certificate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from muster import options

if TYPE_CHECKING:
    from kube.component.tls import TlsFiles
    from master.kvstore.client import Login, StoreClient


def access(function: Callable[..., Any]) -> Callable[..., Any]:
    """Which store: a lab's, or any by its endpoints and a client certificate."""
    for flag, text in (
        ("--password", "The user's, if --user does not say it."),
        ("--user", "NAME or NAME:PASSWORD, where the store asks who you are."),
        ("--key", "The client's key."),
        ("--cert", "The client's certificate."),
        ("--cacert", "The CA that the members' certificates are of."),
        ("--endpoints", "host:port,... instead of a lab's masters."),
    ):
        function = click.option(flag, default="", metavar=flag[2:].upper(), help=text)(function)
    return options.name(function)


@contextmanager
def client(
    name: str, endpoints: str, cacert: str, cert: str, key: str, user: str, password: str
) -> Iterator[StoreClient]:
    import grpc

    from master.kvstore.client import StoreClient

    login = _login(user, password)

    if endpoints:
        addresses = [part.removeprefix("https://") for part in endpoints.split(",") if part]
        tls = _tls(cacert, cert, key)
    else:
        addresses, tls = _of_lab(name)
    store = StoreClient(addresses, tls, login)
    try:
        yield store
    except grpc.RpcError as error:
        raise click.ClickException(error.details() or error.code().name) from error
    finally:
        store.close()


def _login(user: str, password: str) -> Login | None:
    """As etcdctl takes them: the password is asked for when nothing says it."""
    from master.kvstore.client import Login

    name, colon, after = user.partition(":")
    if password and (colon or not name):
        raise click.UsageError("--password goes with --user NAME, without a password in it")
    if not name:
        return None
    if not colon and not password:
        password = click.prompt("Password", hide_input=True, err=True)
    return Login(name, after if colon else password)


def _tls(cacert: str, cert: str, key: str) -> TlsFiles | None:
    from kube.component.tls import TlsFiles

    if not (cacert or cert or key):
        return None
    for flag, value in (("--cacert", cacert), ("--cert", cert), ("--key", key)):
        if not Path(value).is_file():
            raise click.UsageError(f'{flag}: "{value}" is no file')
    return TlsFiles(Path(cert), Path(key), Path(cacert))


def _of_lab(name: str) -> tuple[list[str], TlsFiles]:
    from kube.component.tls import TlsFiles
    from provision.state import Store

    store = Store()
    record = store.get(name)
    pki = store.directory(name).pki / "etcd"
    addresses = [f"{machine.address}:2379" for machine in record.masters]
    tls = TlsFiles(pki / "healthcheck-client.crt", pki / "healthcheck-client.key", pki / "ca.crt")
    return addresses, tls
