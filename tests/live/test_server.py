"""The server of the page: who may ask, what is answered, and what it costs the run."""

import asyncio
import contextlib
import http.client
import json
import re
import socket
import threading
import time
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

aiohttp = pytest.importorskip("aiohttp", reason="the extra `live` is not installed")

from live.runs import make_progress, make_view, write_picture  # noqa: E402

from jaxstyle.live import server, stream  # noqa: E402
from jaxstyle.live.server import serve  # noqa: E402

FOLDER = Path(str(files("jaxstyle.live") / "page"))


@pytest.fixture
def page():
    with serve() as page:
        yield page


def request(page, path="", method="GET", host=None, **headers):
    """Send one request to the page; return its status, headers and body."""
    parts = urlsplit(page.url)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=30)
    with contextlib.closing(connection):
        path = path if path.startswith("/") else parts.path + path
        headers = {"Host": host or parts.netloc, **headers}
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read()


@contextlib.asynccontextmanager
async def connect(page, **headers):
    """Connect to the stream of a page, as a browser does."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(page.url + "news", headers=headers) as socket,
    ):
        yield socket


async def ask(socket, version=-1, image=True):
    """Return the next state, and its image or `None`."""
    await socket.send_json([version, image])
    state = await socket.receive_json(timeout=30)
    return state, await socket.receive_bytes(timeout=30) if state["image"] else None


@pytest.fixture
def encoded(monkeypatch):
    """Encoded images, by their first value."""
    values = []

    def encode_frame(image):
        values.append(float(image[0, 0, 0]))
        return b"jpeg"

    monkeypatch.setattr(stream, "encode_frame", encode_frame)
    return values


def test_the_page_is_served_with_a_strict_policy(page):
    status, headers, body = request(page)
    assert status == 200
    assert b"<!doctype html>" in body
    assert headers["Cache-Control"] == "no-store"
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path", ["/", "/wrong/", "/wrong/page.js", "/wrong/news", "//", "/%C3%A9/"]
)
def test_a_request_without_the_token_gets_nothing(page, path):
    status, headers, body = request(page, path)
    assert status == 404
    assert b"script" not in body
    assert headers["Cache-Control"] == "no-store"


def test_every_server_has_a_new_token_and_listens_to_this_host_alone(page):
    with serve() as other:
        assert urlsplit(page.url).path != urlsplit(other.url).path
    assert len(urlsplit(page.url).path) > 20
    assert urlsplit(page.url).hostname == "127.0.0.1"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:80", ""])
def test_a_foreign_host_is_refused(page, host):
    assert request(page, host=host or " ")[0] == 403


def test_a_forwarded_port_is_served(page):
    status, headers, _ = request(page, host="localhost:8080")
    assert status == 200
    assert "ws://localhost:8080;" in headers["Content-Security-Policy"]


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
def test_pages_of_other_sites_are_refused(page, origin):
    calls = []
    view = make_view()
    view.on_stop(lambda: calls.append(1))
    page.show(view)
    assert request(page, "stop", "POST", Origin=origin)[0] == 403
    assert calls == []

    async def run():
        async with connect(page, Origin=origin):
            pass

    with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
        asyncio.run(run())


@pytest.mark.parametrize(
    "path", ["nothing.js", "..%2fapp.py", "picture/content-1", "picture/..%2f..%2fapp.py", "stop"]
)
def test_other_files_are_not_served(page, tmp_path, path):
    page.show(make_view(inputs={"content": [write_picture(tmp_path / "a.png")]}))
    assert request(page, path)[0] in (404, 405)


def test_inputs_are_served_as_images(page, tmp_path):
    inputs = {"content": [write_picture(tmp_path / "a.png")], "style": [tmp_path / "missing.png"]}
    page.show(make_view(inputs=inputs))
    status, headers, body = request(page, "picture/content-0")
    assert (status, headers["Content-Type"]) == (200, "image/jpeg")
    assert body.startswith(b"\xff\xd8")
    assert request(page, "thumbnail/style-0")[0] == 404


def test_the_page_fetches_nothing_from_elsewhere_and_makes_no_html_of_texts():
    paths = sorted(FOLDER.iterdir())
    assert {"page.html", "page.css", "page.js"} <= {path.name for path in paths}
    for path in paths:
        text = path.read_text()
        assert set(re.findall(r"https?://[\w.]+", text)) <= {"http://www.w3.org"}, path
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", text)
        assert not re.search(r"<[^>]+\s(style|on\w+)=", text), path


def test_a_page_sees_the_image_change(page):
    async def run():
        async with connect(page) as socket:
            seen = []
            state = {"version": -1}
            for step, value in ((1, 0.2), (2, 0.8)):
                view.update(make_progress(step, value))
                while not seen or seen[-1][0] != step:
                    state, image = await ask(socket, state["version"])
                    if image is not None:
                        seen.append((state["step"], image))
            return seen

    view = make_view()
    page.show(view)
    (_, first), (_, second) = asyncio.run(run())
    assert first.startswith(b"\xff\xd8")
    assert first != second


def test_nothing_is_encoded_without_a_page(page, encoded):
    view = make_view()
    page.show(view)
    for step in range(1, 6):
        view.update(make_progress(step))
    request(page)
    assert encoded == []


def test_a_hidden_page_gets_states_without_images(page, encoded):
    async def run():
        async with connect(page) as socket:
            return await ask(socket, image=False)

    view = make_view()
    page.show(view)
    view.update(make_progress(3))
    state, image = asyncio.run(run())
    assert state["step"] == 3
    assert image is None
    assert encoded == []


def test_a_slow_page_gets_the_newest_image_alone(page, encoded):
    async def run():
        async with connect(page) as slow:
            state, _ = await ask(slow)
            # It reads nothing meanwhile.
            for step in range(2, 10):
                view.update(make_progress(step, step / 10))
                await asyncio.sleep(0.02)
            return await ask(slow, state["version"])

    view = make_view()
    page.show(view)
    view.update(make_progress(1, 0.1))
    state, _ = asyncio.run(run())
    assert state["step"] == 9
    assert encoded == pytest.approx([0.1, 0.9])


def test_pages_share_images_which_are_encoded_twice_a_second_at_most(page, encoded):
    async def watch_until(end):
        async with connect(page) as socket:
            version, count = -1, 0
            while time.monotonic() < end:
                state, _ = await ask(socket, version)
                version, count = state["version"], count + 1
            return count

    async def run():
        began = time.monotonic()
        watchers = [asyncio.create_task(watch_until(began + 1.2)) for _ in range(4)]
        step = 0
        while not all(watcher.done() for watcher in watchers):
            step += 1
            view.update(make_progress(1 + step % 9, step % 1000 / 1000))
            await asyncio.sleep(0.005)
        return time.monotonic() - began, [watcher.result() for watcher in watchers]

    view = make_view()
    page.show(view)
    seconds, states = asyncio.run(run())
    assert len(encoded) <= 2 * seconds + 2
    assert min(states) >= 3


def test_a_page_that_goes_away_affects_nothing(page):
    view = make_view()
    page.show(view)
    view.update(make_progress(1))
    parts = urlsplit(page.url)
    key = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: YWFhYWFhYWFhYWFhYWFhYQ==\r\n"
    with socket.create_connection(("127.0.0.1", parts.port)) as gone:
        head = f"GET {parts.path}news HTTP/1.1\r\nHost: {parts.netloc}\r\n{key}"
        gone.sendall(f"{head}Sec-WebSocket-Version: 13\r\n\r\n".encode())
        assert b" 101 " in gone.recv(4096)
        # A reset connection, in the middle of a message.
        gone.sendall(b"\x81\x90")
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    view.update(make_progress(2))
    assert request(page)[0] == 200


@pytest.mark.parametrize("text", ["", "{}", "[1]", "[1, 2]", "[true, true]", "[" * 200])
def test_a_page_that_sends_nonsense_is_disconnected(page, text):
    async def run():
        async with connect(page) as socket:
            await socket.send_str(text)
            return await socket.receive(timeout=30)

    page.show(make_view())
    assert asyncio.run(run()).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)


def test_stop_and_save_reach_the_run(page):
    stopped, saved = [], []
    view = make_view(save=lambda image, step: saved.append(image))
    view.on_stop(lambda: stopped.append(1))
    page.show(view)
    assert request(page, "save", "POST")[0] == 409
    view.update(make_progress(1, 0.5))
    assert request(page, "save", "POST")[0] == 200
    assert np.all(saved[0] == 0.5)
    assert request(page, "stop", "POST")[0] == 200
    assert stopped == [1]


def test_a_failed_save_says_why(page):
    from jaxstyle.errors import WriteError

    def save(*_):
        raise WriteError("cannot write out.png: No space left on device.")

    view = make_view(save=save)
    page.show(view)
    view.update(make_progress(1))
    status, _, body = request(page, "save", "POST")
    assert status == 409
    assert json.loads(body)["message"].endswith("No space left on device.")


def watch_the_end(page, ready, answers):
    """Watch in a thread until the run is over."""

    async def run():
        async with connect(page) as socket:
            version = -1
            while True:
                state, image = await ask(socket, version)
                version = state["version"]
                ready.set()
                if state["over"]:
                    answers.append((state, image))
                    return

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    ready.wait(30)
    return thread


def test_pages_get_the_result_before_the_server_ends():
    answers, ready = [], threading.Event()
    with serve() as page:
        view = make_view()
        page.show(view)
        view.update(make_progress(1))
        thread = watch_the_end(page, ready, answers)
        view.finish(np.ones((16, 24, 3), np.float32), "out.png: done", complete=True)
    thread.join()
    ((state, image),) = answers
    assert (state["phase"], state["message"]) == ("done", "out.png: done")
    assert image is not None
    with pytest.raises(ConnectionError):
        request(page)


def test_pages_see_why_a_run_failed():
    answers, ready = [], threading.Event()

    def fail():
        with serve() as page:
            threads.append(watch_the_end(page, ready, answers))
            raise ValueError("`size` is 3.")

    threads = []
    with pytest.raises(ValueError, match="size"):
        fail()
    threads[0].join()
    ((state, _),) = answers
    assert (state["phase"], state["message"]) == ("failed", "`size` is 3.")


def test_a_page_that_stays_delays_the_end_for_a_moment(monkeypatch):
    async def stay():
        async with connect(page) as socket:
            await ask(socket)
            ready.set()
            await asyncio.sleep(1.2)

    assert server._CLOSING_SECONDS <= 2
    monkeypatch.setattr(server, "_CLOSING_SECONDS", 0.4)
    ready = threading.Event()
    with serve() as page:
        thread = threading.Thread(target=lambda: asyncio.run(stay()))
        thread.start()
        ready.wait(30)
        began = time.monotonic()
    assert 0.3 < time.monotonic() - began < 1.1
    thread.join()


def test_without_pages_the_end_is_immediate():
    with serve():
        began = time.monotonic()
    assert time.monotonic() - began < 1
