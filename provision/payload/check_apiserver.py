"""keepalived's check: exit 0 while this master's api-server answers `/readyz`.

Runs on the machine with nothing but the standard library; the master keeps the floating
address only while it can serve.
"""

import http.client
import ssl
import sys

PKI = "/etc/kubernetes/pki"


def main() -> int:
    context = ssl.create_default_context(cafile=f"{PKI}/ca.crt")
    identity = f"{PKI}/apiserver-kubelet-client"
    context.load_cert_chain(f"{identity}.crt", f"{identity}.key")
    connection = http.client.HTTPSConnection("127.0.0.1", 6443, timeout=1.5, context=context)
    try:
        connection.request("GET", "/readyz")
        return 0 if connection.getresponse().status == 200 else 1
    except (OSError, http.client.HTTPException):
        return 1


if __name__ == "__main__":
    sys.exit(main())
