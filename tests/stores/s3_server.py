"""An S3 server on loopback (moto's), behind a front that answers late, badly or not at all when it is told to."""

from __future__ import annotations

import logging
import random
import socket
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

BUCKET = "lab"
SECRET = "zq0secret0of0the0tests0zq"
"""Looked for in all that tiler says."""
LOOPBACK = "127.0.0.1"


@dataclass
class Faults:
    """What goes wrong with requests, chosen by a generator of random numbers that starts the same each time.

    Parameters
    ----------
    share
        Of the requests that fail.
    latency
        Seconds before any answer.
    chosen
        Says of a method and path whether its request fails; None leaves it to chance.
    status
        Of failures that ``chosen`` picks.
    """

    share: float = 0.0
    latency: float = 0.0
    chosen: Callable[[str, str], bool] | None = None
    status: str = "500 Internal Server Error"
    injected: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    _random: random.Random = field(default_factory=lambda: random.Random(20150518))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def draw(self, method: str, path: str) -> str | None:
        """The fault of one request: a status, "reset" before an answer, "cut" within it, or none."""
        with self._lock:
            self.seen.append(f"{method} {path}")
            fault = None
            if self.chosen is not None and self.chosen(method, path):
                fault = self.status
            elif self._random.random() < self.share:
                fault = self._random.choice(["500 Internal Server Error", "503 Slow Down", "reset", "cut"])
            if fault:
                self.injected.append(fault)
            return fault


class Front:
    """A WSGI application before another one."""

    def __init__(self, behind) -> None:
        self.behind = behind
        self.faults = Faults()

    def __call__(self, environ, start_response):
        faults = self.faults
        time.sleep(faults.latency)
        fault = faults.draw(environ["REQUEST_METHOD"], environ["PATH_INFO"])
        if fault == "reset":
            _reset(environ)
        if fault == "no bucket":
            start_response("404 Not Found", [("Content-Type", "application/xml")])
            return [b"<Error><Code>NoSuchBucket</Code></Error>"]
        if fault and fault[0].isdigit():
            _drain(environ)
            start_response(fault, [("Content-Type", "application/xml"), ("Content-Length", "0")])
            return [b""]
        answer = self.behind(environ, start_response)
        return _half(answer, environ) if fault == "cut" else answer


def _drain(environ) -> None:
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))


def _half(answer, environ):
    whole = b"".join(answer)
    if len(whole) > 1:
        yield whole[:len(whole) // 2]
    _reset(environ)


def _reset(environ) -> None:
    """End the connection as a crashed server does."""
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionError("injected")


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    front: Front

    def make_bucket(self) -> None:
        """If it is not there yet; anybody may read it, as over https."""
        client = boto3.client("s3", endpoint_url=self.url, region_name="us-east-1", aws_access_key_id="owner",
                              aws_secret_access_key="owner")
        client.create_bucket(Bucket=BUCKET, ACL="public-read")

    @contextmanager
    def failing(self, **faults):
        """Faults for as long as the block runs."""
        before, self.front.faults = self.front.faults, Faults(**faults)
        try:
            yield self.front.faults
        finally:
            self.front.faults = before

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to reach it."""
        return {"AWS_ENDPOINT_URL": self.url, "AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": SECRET,
                "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true"}


@contextmanager
def serving():
    """A server with an empty bucket."""
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    front = Front(DomainDispatcherApplication(create_backend_app))
    http = make_server(LOOPBACK, 0, front, threaded=True)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield Server(f"http://{LOOPBACK}:{http.server_port}", front)
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
