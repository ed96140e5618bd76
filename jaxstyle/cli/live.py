"""`--live`: connects a run with the page that shows it."""

import argparse
import contextlib
import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import jax

from jaxstyle.batch.ledger import Shard
from jaxstyle.io.remote import FilePath
from jaxstyle.live.views import BatchView, Page, View
from jaxstyle.reporting import Reporter


@contextlib.contextmanager
def live_page(args: argparse.Namespace) -> Iterator[None]:
    """Serve the page of `--live` during a command; `args.live` becomes the page, or `None`.

    Raises:
      ValueError: the page cannot be served, or would show nothing.
    """
    port, args.live = args.live, None
    if args.quiet and args.log_format == "text":
        raise ValueError("`--live` prints the address of its page; leave `--quiet` out.")
    if getattr(args, "dry_run", False):
        raise ValueError("`--dry-run` makes no images to watch; leave `--live` out.")
    if find_spec("aiohttp") is None:
        raise ValueError("`--live` needs aiohttp; pip install 'jaxstyle[live]'.")
    from jaxstyle.live.server import serve

    with contextlib.ExitStack() as stack:
        if _is_first(args):
            try:
                args.live = stack.enter_context(serve(port))
            except OSError as error:
                reason = os.strerror(error.errno or 0)
                raise ValueError(
                    f"`--live` cannot use port {port} ({reason}); choose another one, or none for "
                    "a free one."
                ) from error
        yield


def show(page: Page, view: View, reporter: Reporter) -> None:
    """Show a view on a page, and report the address."""
    page.show(view)
    reporter.note(f"watch at {page.url}", url=page.url)


class LiveReporter(Reporter):
    """Shows what a batch does on a page, and reports it as another reporter does.

    Args:
      reporter: the other reporter.
      page: the page.
      folder: folder of the outputs.

    Attributes:
      view: what the page shows.
    """

    def __init__(self, reporter: Reporter, page: Page, folder: FilePath):
        super().__init__()
        self._reporter, self.view = reporter, BatchView(folder)
        show(page, self.view, reporter)

    def plan(
        self, total: float, text: str = "", *, items: int = 0, done: int = 0, **fields: Any
    ) -> None:
        self._reporter.plan(total, text, items=items, done=done, **fields)
        self.view.plan(total, items=items, done=done)

    def progress(self, work: float, text: str = "", **fields: Any) -> None:
        self._reporter.progress(work, text, **fields)
        self.view.progress(work)

    def item(self, text: str, *, failed: bool = False, **fields: Any) -> None:
        self._reporter.item(text, failed=failed, **fields)
        self.view.item(fields)

    def note(self, text: str, **fields: Any) -> None:
        self._reporter.note(text, **fields)

    def row(self, text: str, **fields: Any) -> None:
        self._reporter.row(text, **fields)

    def result(self, text: str, **fields: Any) -> None:
        self._reporter.result(text, **fields)
        self.view.finish(text.partition("\n")[0], complete=fields.get("complete"))


def _is_first(args: argparse.Namespace) -> bool:
    """Return whether this process reports, of those that a launcher has started together."""
    if getattr(args, "distributed", None) is not None:
        return jax.process_index() == 0
    launched = args.command == "batch" and args.shard is None and args.engine == "local"
    return not launched or Shard.of_process().index == 1
