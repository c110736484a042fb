"""Who may what on the kubelet's port: paths as subresources of the Node, decided by the api-server.

Upstream's table (Kubelet authentication/authorization, with KubeletFineGrainedAuthz): a path is
asked for as its own subresource first, and as `nodes/proxy`, which is everything, where that one
includes it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Middleware

from kube.component.access import Access, Question, Unanswered, caller_of

# The kubelet's defaults for what its webhook said, longer than other components'.
ALLOWED_SECONDS, DENIED_SECONDS = 300.0, 30.0
_PROXY = "proxy"
_SUBRESOURCES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("/stats", ("stats",)),
    ("/metrics", ("metrics",)),
    ("/logs", ("log",)),
    ("/checkpoint", ("checkpoint",)),
    ("/healthz", ("healthz", _PROXY)),
    ("/livez", ("healthz", _PROXY)),
    ("/readyz", ("healthz", _PROXY)),
    ("/pods", ("pods", _PROXY)),
    ("/runningpods", ("pods", _PROXY)),
    ("/configz", ("configz", _PROXY)),
)
_VERBS = {"POST": "create", "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch",
          "DELETE": "delete"}  # fmt: skip
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def subresources(path: str) -> tuple[str, ...]:
    """What a path is asked for as, in this order. Pure."""
    for prefix, found in _SUBRESOURCES:
        if path == prefix or path.startswith(f"{prefix}/"):
            return found
    return (_PROXY,)


def authorization(node: str, access: Access) -> Middleware:
    """Lets through to the handlers what the api-server allows."""

    @web.middleware
    async def authorize(request: web.Request, handler: Handler) -> web.StreamResponse:
        transport = request.transport
        peer = transport.get_extra_info("peercert") if transport else None
        caller = caller_of(peer)
        if caller is None:
            return web.Response(status=401, text="Unauthorized")
        verb, wanted = _VERBS.get(request.method, ""), subresources(request.path)
        shown = f"user={caller.user}, verb={verb}, resource=nodes, subresource"
        try:
            for subresource in wanted:
                question = Question(verb, node=node, subresource=subresource)
                if await access.allows(caller, question):
                    return await handler(request)
        except Unanswered:
            return web.Response(
                status=500, text=f"Authorization error ({shown}={','.join(wanted)})\n"
            )
        text = f"Forbidden ({shown}(s)=[{' '.join(wanted)}])\n"
        return web.Response(status=403, text=text)

    return authorize
