"""An S3 server on loopback, and a proxy before it that does what a test wants."""

import http.client
import http.server
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from typing import NamedTuple

import pytest


@pytest.fixture(scope="session")
def s3_server():
    """The address of moto's S3 server, in a process of its own on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", str(port)]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with suppress(OSError), closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as client:
                client.request("PUT", "/bucket")
                if client.getresponse().status == 200:
                    break
            time.sleep(0.1)
        else:
            pytest.fail("moto's server does not answer")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


class Request(NamedTuple):
    method: str
    path: str
    number: int


class Proxy:
    """Stands between client and server and does what ``plan`` says of a request: of its method, path and number.

    None passes it on; a number answers with that status; ``hang`` answers after a while, ``slow`` passes the answer in
    small pieces, ``truncate`` ends it in the middle.
    """

    def __init__(self, server):
        self.server = server.removeprefix("http://")
        self.plan = lambda _: None
        self.seen = []
        self.closing = threading.Event()
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                proxy.seen.append((self.command, self.path))
                fault = proxy.plan(Request(self.command, self.path, len(proxy.seen)))
                if fault == "hang":
                    proxy.closing.wait(3)
                    self.close_connection = True
                elif isinstance(fault, int):
                    self.answer(fault, {}, DENIED if fault == 403 else b"")
                else:
                    with closing(http.client.HTTPConnection(proxy.server, timeout=30)) as server:
                        server.request(self.command, self.path, body, dict(self.headers))
                        said = server.getresponse()
                        self.answer(said.status, dict(said.getheaders()), said.read(), fault)

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_one  # noqa: N815

            def answer(self, status, headers, body, fault=None):
                self.send_response_only(status)
                for name, value in headers.items():
                    if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                        self.send_header(name, value)
                head = self.command == "HEAD"
                self.send_header("Content-Length", headers.get("Content-Length", "0") if head else str(len(body)))
                self.end_headers()
                if head:
                    return
                if fault == "truncate":
                    body, self.close_connection = body[: len(body) // 2], True
                step = max(1, len(body) // 8) if fault == "slow" else len(body) or 1
                for start in range(0, len(body), step):
                    self.wfile.write(body[start : start + step])
                    if fault == "slow":
                        self.wfile.flush()
                        time.sleep(0.02)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):  # a client that gave up
                pass

        self.http = Server(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.closing.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


@pytest.fixture
def proxy(s3_server):
    """A proxy before the server; it passes everything on until a plan is set."""
    found = Proxy(s3_server)
    yield found
    found.close()


@pytest.fixture(scope="session")
def objects():
    """Return a function that reads all objects below a URL."""

    def read(address, url):
        """Return the bytes of every object below a URL, by key, asked for without any client of ours."""
        bucket, _, root = url.removeprefix("s3://").partition("/")
        with closing(http.client.HTTPConnection(address.removeprefix("http://"))) as client:

            def get(path):
                client.request("GET", path, headers={"Authorization": "AWS somebody:signed"})
                return client.getresponse().read()

            listed = re.findall("<Key>([^<]+)</Key>", get(f"/{bucket}?list-type=2&prefix={root}/").decode())
            return {key.removeprefix(f"{root}/"): get(f"/{bucket}/{key}") for key in listed}

    return read


@pytest.fixture(scope="module")
def whole(tmp_path_factory, example):
    """A finished store, to be copied."""
    path = tmp_path_factory.mktemp("whole") / "s"
    example.written(path)
    return path


@pytest.fixture
def store(tmp_path, whole):
    shutil.copytree(whole, tmp_path / "s")
    return tmp_path / "s"
