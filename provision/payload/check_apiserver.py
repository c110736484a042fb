"""Tells keepalived whether this master's api-server answers: writes 0 (it does) or 1 to a file.

One process that stays, with one connection that stays: a check that is started anew takes a
second of processor time from a starved machine, every time. Runs on the machine with nothing
but the standard library: `check_apiserver.py FILE [PKI-DIRECTORY [PORT]]`.
"""

import http.client
import os
import pathlib
import socket
import ssl
import sys
import time

# A refusal is known at once; an answer that is late, on a machine out of breath, is waited for.
INTERVAL, TIMEOUT, FALL = 1.0, 3.0, 2


class Check:
    """Asks `/readyz`, over a connection that is made anew when it fails."""

    def __init__(self, pki: str, port: int) -> None:
        self._pki, self._port = pki, port
        self._connection: http.client.HTTPSConnection | None = None

    def answers(self) -> bool:
        try:
            if self._connection is None:
                self._connection = self._connect()
            self._connection.request("GET", "/readyz")
            answer = self._connection.getresponse()
            answer.read()
            return answer.status == 200
        except (OSError, http.client.HTTPException):
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            return False

    def _connect(self) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=f"{self._pki}/ca.crt")
        identity = f"{self._pki}/apiserver-kubelet-client"
        context.load_cert_chain(f"{identity}.crt", f"{identity}.key")
        return http.client.HTTPSConnection(
            "127.0.0.1", self._port, timeout=TIMEOUT, context=context
        )


def notify(message: str) -> None:
    """sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.connect(address.replace("@", "\0", 1) if address[0] == "@" else address)
            told.send(message.encode())


def main(file: str, pki: str = "/etc/kubernetes/pki", port: str = "6443") -> None:
    place = pathlib.Path(file)
    check = Check(pki, int(port))
    written, failures = None, FALL  # until it has answered, it does not
    while True:
        failures = 0 if check.answers() else failures + 1
        value = int(failures >= FALL)
        if value != written:
            new = place.with_suffix(".new")
            new.write_text(f"{value}\n")
            new.chmod(0o644)
            new.replace(place)
            written = value
        notify("READY=1\nWATCHDOG=1")
        time.sleep(INTERVAL)


if __name__ == "__main__":
    main(*sys.argv[1:])
