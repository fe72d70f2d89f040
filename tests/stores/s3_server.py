"""A local S3 server (moto's) behind a proxy that can answer late, wrongly or not at all.

Before it a `Google` may stand, which makes it speak the XML API of Google Cloud Storage: that of S3 but for the
conditions of writes. No emulator of that store in the registries serves this API, which obstore speaks.
"""

from __future__ import annotations

import itertools
import json
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
    """Faults of requests, drawn from a generator with a fixed seed.

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


class Google:
    """A WSGI application that numbers the contents of objects: https://cloud.google.com/storage/docs/xml-api/overview

    A write may name the number that it replaces, 0 for none; marks of other kinds are not looked at.
    """

    def __init__(self, behind) -> None:
        self.behind = behind
        self._numbers, self._generations, self._lock = itertools.count(1700000000), {}, threading.RLock()

    def __call__(self, environ, start_response):
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        wanted = environ.pop("HTTP_X_GOOG_IF_GENERATION_MATCH", None)
        if environ.get("HTTP_AUTHORIZATION", "").startswith("Bearer"):
            del environ["HTTP_AUTHORIZATION"]  # S3 signs in another way

        def started(status, headers, *more):
            if status[0] == "2" and method in ("PUT", "DELETE"):
                self._generations[path] = next(self._numbers) if method == "PUT" else 0
            number = [("x-goog-generation", str(self._generations.get(path, 0)))]
            return start_response(status, [*headers, *number], *more)

        with self._lock:
            if wanted is not None and int(wanted) != self._generations.get(path, 0):
                _drain(environ)
                start_response("412 Precondition Failed", [("Content-Length", "0")])
                return [b""]
            return list(self.behind(environ, started))


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
        """Environment variables that a process needs to reach the server."""
        return {"AWS_ENDPOINT_URL": self.url, "AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": SECRET,
                "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true"}


@dataclass(frozen=True)
class GoogleServer(Server):
    """One that speaks as Google's store does."""

    @property
    def environment(self) -> dict[str, str]:
        account = {"gcs_base_url": self.url, "disable_oauth": True, "client_email": "", "private_key": SECRET,
                   "private_key_id": ""}
        return {"GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(account)}


@contextmanager
def serving(google=False):
    """A server with no bucket yet."""
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    behind = DomainDispatcherApplication(create_backend_app)
    front = Front(Google(behind) if google else behind)
    http = make_server(LOOPBACK, 0, front, threaded=True)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield (GoogleServer if google else Server)(f"http://{LOOPBACK}:{http.server_port}", front)
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
