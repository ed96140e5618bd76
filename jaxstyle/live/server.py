"""The server of a page, in a thread of its own."""

import asyncio
import contextlib
import secrets
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future

from aiohttp import web

from jaxstyle.errors import one_line
from jaxstyle.live.app import Site, logger
from jaxstyle.live.stream import Stream
from jaxstyle.live.views import EmptyView, Page, View

_HOST = "127.0.0.1"
# For pages to receive the end of the run.
_CLOSING_SECONDS = 2.0


class _Server:
    """The server of a page.

    Args:
      listener: socket that listens for browsers.
    """

    def __init__(self, listener: socket.socket):
        self._listener, self._token = listener, secrets.token_urlsafe(16)
        self.url = f"http://{_HOST}:{listener.getsockname()[1]}/{self._token}/"
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)
        self._thread.start()
        self._started.result()

    def show(self, view: View) -> None:
        """Show a view instead of the one before."""
        view.changed = self._stream.change
        self._stream.view = view
        self._stream.change()

    def close(self, error: BaseException | None = None) -> None:
        """Show the end of the run, wait until the pages have it, and end the server.

        Args:
          error: why the run ended early, or `None`.
        """
        text = "the run has ended." if error is None else one_line(error)
        self._stream.view.end("failed", text)
        with contextlib.suppress(RuntimeError):  # The loop has ended.
            self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:
            if self._started.done():
                logger.exception("the server ended")
            else:
                self._started.set_exception(error)

    async def _serve(self) -> None:
        self._loop, self._closing = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_exception_handler(lambda _, context: logger.debug("%s", context))
        self._stream = Stream(EmptyView(""))
        site = Site(self._stream, self._token)
        runner = web.AppRunner(
            site.make_app(),
            handle_signals=False,
            access_log=None,
            logger=logger,
            shutdown_timeout=0.1,
        )
        await runner.setup()
        await web.SockSite(runner, self._listener).start()
        self._started.set_result(None)
        await self._closing.wait()
        self._stream.hurry()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(site.alone.wait(), _CLOSING_SECONDS)
        await runner.cleanup()
        self._stream.close()


@contextlib.contextmanager
def serve(port: int = 0) -> Iterator[Page]:
    """Serve a page on this host, until the block ends and connected browsers have seen its end.

    Args:
      port: port to listen on; 0 chooses a free one.

    Raises:
      OSError: the port cannot be used.

    Example:
      >>> from urllib.request import urlopen
      >>> from jaxstyle.live.server import serve
      >>> with serve() as page, urlopen(page.url) as response:
      ...     response.status
      200
    """
    server = _Server(socket.create_server((_HOST, port)))
    try:
        yield Page(server.url, server.show)
    except BaseException as error:
        server.close(error)
        raise
    server.close()
