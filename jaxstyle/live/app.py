"""The web application of a page: its files, the stream of its state, images, two commands.

Every URL starts with a secret token. Only requests of this host's own pages are answered: a page
of another site can neither know the token nor, by a name that it resolves to this host, send the
right `Host` or `Origin`.
"""

import asyncio
import contextlib
import json
import logging
import re
import secrets
from collections.abc import Awaitable, Callable
from importlib.resources import files

from aiohttp import WSMsgType, web

from jaxstyle.errors import JaxstyleError, one_line
from jaxstyle.live.frames import MAX_SIDE, THUMBNAIL_SIDE, encode_file
from jaxstyle.live.stream import Stream

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# Problems of a browser or its connection do not concern the run.
logger = logging.getLogger("jaxstyle.live")
logger.addHandler(logging.NullHandler())
logger.propagate = False

_LOCAL = re.compile(r"(127\.0\.0\.1|localhost)(:\d{1,5})?")
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_PAGE = "page.html"
_SIZES = {"picture": MAX_SIDE, "thumbnail": THUMBNAIL_SIDE}
# A page that is gone without a word is noticed after this time.
_HEARTBEAT_SECONDS = 20.0
_MAX_MESSAGE = 256
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self' ws://{host}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Site:
    """Handlers of the requests of pages.

    Args:
      stream: state of the run.
      token: secret part of every URL.

    Attributes:
      alone: set while no page is connected.
    """

    def __init__(self, stream: Stream, token: str):
        self._stream, self._token = stream, token
        self._pages = 0
        self.alone = asyncio.Event()
        self.alone.set()
        folder = files("jaxstyle.live") / "page"
        self._files = {item.name: item.read_bytes() for item in folder.iterdir() if item.is_file()}

    def make_app(self) -> web.Application:
        """Return the application."""
        app = web.Application(middlewares=[self._guard])
        app.on_response_prepare.append(_add_headers)
        app.add_routes(
            [
                web.get("/{token}/", self._send_file),
                web.get("/{token}/news", self._send_news),
                web.get("/{token}/{size:picture|thumbnail}/{name}", self._send_image),
                web.get("/{token}/{file}", self._send_file),
                web.post("/{token}/save", self._save),
                web.post("/{token}/stop", self._stop),
            ]
        )
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse what does not come from a page of this server."""
        host, origin = request.headers.get("Host", ""), request.headers.get("Origin")
        if not _LOCAL.fullmatch(host):
            return web.Response(status=403, text="Open this page as 127.0.0.1 or localhost.\n")
        if origin is not None and origin != f"http://{host}":
            return web.Response(status=403, text="This page answers no other pages.\n")
        token = request.raw_path.lstrip("/").partition("/")[0].encode(errors="replace")
        if not secrets.compare_digest(token, self._token.encode()):
            return web.Response(status=404, text="Not found. Is the address complete?\n")
        return await handler(request)

    async def _send_file(self, request: web.Request) -> web.Response:
        name = request.match_info.get("file", _PAGE)
        suffix = name[name.rfind(".") :]
        if name not in self._files or suffix not in _TYPES:
            raise web.HTTPNotFound
        return web.Response(body=self._files[name], content_type=_TYPES[suffix], charset="utf-8")

    async def _send_image(self, request: web.Request) -> web.Response:
        size, name = request.match_info["size"], request.match_info["name"]
        path = self._stream.view.file(name)
        if path is None:
            raise web.HTTPNotFound
        try:
            body = await self._stream.in_thread(encode_file, path, _SIZES[size])
        except (JaxstyleError, OSError, ValueError, MemoryError):
            raise web.HTTPNotFound from None
        return web.Response(body=body, content_type="image/jpeg")

    async def _stop(self, _: web.Request) -> web.Response:
        self._stream.view.stop()
        return web.json_response({"message": "Stopping after the current steps."})

    async def _save(self, _: web.Request) -> web.Response:
        try:
            # A large file takes a while, in which the pages go on.
            await asyncio.to_thread(self._stream.view.save)
        except (JaxstyleError, ValueError) as error:
            return web.json_response({"message": one_line(error)}, status=409)
        return web.json_response({"message": "Saved."})

    async def _send_news(self, request: web.Request) -> web.WebSocketResponse:
        """Send the newest state to a page as often as it asks."""
        socket = web.WebSocketResponse(
            heartbeat=_HEARTBEAT_SECONDS, max_msg_size=_MAX_MESSAGE, compress=False
        )
        await socket.prepare(request)
        asks: asyncio.Queue[tuple[int, bool]] = asyncio.Queue(1)
        self._pages += 1
        self.alone.clear()
        sender = asyncio.create_task(self._answer(socket, asks))
        # If it fails, the page would wait for ever; it connects again.
        sender.add_done_callback(lambda _: request.transport and request.transport.close())
        try:
            async for message in socket:
                ask = _read_ask(message.data) if message.type == WSMsgType.TEXT else None
                if ask is None or asks.full():
                    break
                asks.put_nowait(ask)
        finally:
            sender.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await sender
            self._pages -= 1
            if not self._pages:
                self.alone.set()
        return socket

    async def _answer(self, socket: web.WebSocketResponse, asks: asyncio.Queue) -> None:
        """Answer each ask with a newer state, and an image if it is another one."""
        shown = None
        while True:
            version, wants_image = await asks.get()
            snapshot = await self._stream.newer(version)
            frame, image = None, snapshot.image
            wants_image = wants_image or snapshot.fields["over"]
            if wants_image and image is not None and image[0] != shown:
                shown, frame = image[0], await self._stream.in_thread(snapshot.encode)
            state = {**snapshot.fields, "version": snapshot.version, "image": frame is not None}
            # Both wait until the page has read enough.
            await socket.send_str(json.dumps(state))
            if frame is not None:
                await socket.send_bytes(frame)


def _read_ask(text: str) -> tuple[int, bool] | None:
    """Return the version that a page has, and whether it wants an image; `None` if malformed."""
    try:
        version, wants_image = json.loads(text)
    except (ValueError, TypeError):
        return None
    return (version, wants_image) if type(version) is int and type(wants_image) is bool else None


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    host = request.headers.get("Host", "")
    policy = _POLICY.format(host=host if _LOCAL.fullmatch(host) else "")
    response.headers.update({**_HEADERS, "Content-Security-Policy": policy})
