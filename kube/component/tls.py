"""TLS material: files in, ssl contexts and grpc credentials out. Every port is mutual TLS.

Kubeconfig files (client-go's `clientcmd` v1 Config) carry a component's identity: the
cluster's CA and the client certificate, embedded or as paths.
"""

from __future__ import annotations

import base64
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import grpc


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of one identity: certificate, its key, and the CA that the peer must be from."""

    cert: Path
    key: Path
    ca: Path

    def material(self) -> TlsMaterial:
        return TlsMaterial(self.cert.read_bytes(), self.key.read_bytes(), self.ca.read_bytes())


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """The same as PEM bytes."""

    cert: bytes
    key: bytes
    ca: bytes


@dataclass(frozen=True, slots=True)
class Kubeconfig:
    """The current context of a kubeconfig: where the api-server is and who we are."""

    server: str
    material: TlsMaterial


class KubeconfigError(Exception):
    """The file is no usable kubeconfig; the message names the file and the missing part."""


def load_kubeconfig(path: Path) -> Kubeconfig:
    """Read the current context's server, CA and client certificate."""
    import yaml  # not every component reads one

    try:
        document = yaml.safe_load(path.read_text())
        context = _named(document["contexts"], document["current-context"])["context"]
        cluster = _named(document["clusters"], context["cluster"])["cluster"]
        user = _named(document["users"], context["user"])["user"]
        material = TlsMaterial(
            cert=_bytes_of(user, "client-certificate"),
            key=_bytes_of(user, "client-key"),
            ca=_bytes_of(cluster, "certificate-authority"),
        )
        return Kubeconfig(server=str(cluster["server"]), material=material)
    except (KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise KubeconfigError(f'kubeconfig "{path}" is not usable: {error!r}') from error


def _named(items: list[dict[str, Any]], name: str) -> dict[str, Any]:
    for item in items:
        if item["name"] == name:
            return item
    raise KeyError(name)


def _bytes_of(stanza: dict[str, Any], field: str) -> bytes:
    """A `FIELD-data` value (base64) or the content of the file that `FIELD` names."""
    if data := stanza.get(f"{field}-data"):
        return base64.b64decode(data)
    return Path(stanza[field]).read_bytes()


# Of TLS 1.2; 1.3 has no others. Forward secrecy and authenticated encryption only, so no CBC.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


def _strict(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    # A client could have the server sign again and again over one connection.
    context.options |= ssl.OP_NO_RENEGOTIATION
    return context


def server_context(files: TlsFiles, *, require_client_cert: bool = True) -> ssl.SSLContext:
    """A server's context, TLS 1.2 or newer, that asks clients for a certificate of `files.ca`.

    With `require_client_cert` False a client may come without one (and is then anonymous).
    """
    context = _strict(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    # Nobody here resumes sessions; a ticket would be work and bytes for each handshake.
    context.num_tickets = 0
    context.load_cert_chain(files.cert, files.key)
    context.load_verify_locations(files.ca)
    context.verify_mode = ssl.CERT_REQUIRED if require_client_cert else ssl.CERT_OPTIONAL
    return context


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """A client's context: presents `files.cert`, verifies the server's name and chain."""
    context = _strict(ssl.create_default_context(cafile=str(files.ca)))
    context.load_cert_chain(files.cert, files.key)
    return context


def client_context_from(material: TlsMaterial) -> ssl.SSLContext:
    """Like `client_context`, from PEM bytes; the key touches a 0600 file only while it loads."""
    context = _strict(ssl.create_default_context(cadata=material.ca.decode()))
    with tempfile.NamedTemporaryFile() as chain:  # created 0600
        chain.write(material.cert + b"\n" + material.key)
        chain.flush()
        context.load_cert_chain(chain.name)
    return context


def grpc_channel_credentials(material: TlsMaterial) -> grpc.ChannelCredentials:
    import grpc  # only where it carries something: it is large

    return grpc.ssl_channel_credentials(
        root_certificates=material.ca,
        private_key=material.key,
        certificate_chain=material.cert,
    )
