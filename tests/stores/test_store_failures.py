"""Servers that fail, are slow or refuse: asked again within bounds, told in one line, never taken for zeros."""

import logging

import numpy as np
import pytest
import zarr
from s3_server import BUCKET, LOOPBACK, SECRET

from tiler.errors import SourceError, StoreError
from tiler.geometry import Box
from tiler.sources import open_source
from tiler.stores import asking
from tiler.stores.address import Address
from tiler.testing.sources import refused

VALUES = np.random.default_rng(1).integers(1, 250, (4, 32, 32)).astype("uint8")


@pytest.fixture
def volume(root):
    """An array whose last chunk was never written."""
    store = asking("zarr_store").zarr_store(Address.parse(f"{root}/a.zarr"), read_only=False)
    array = zarr.create_array(store, shape=VALUES.shape, dtype="uint8", chunks=(4, 16, 16))
    array[:, :, :16], array[:, :16] = VALUES[:, :, :16], VALUES[:, :16]
    return f"{root}/a.zarr"


def whole(address):
    return open_source(address).read(Box.of_shape(VALUES.shape))[0]


def expected():
    values = VALUES.copy()
    values[:, 16:, 16:] = 0
    return values


@pytest.mark.parametrize("status", ["500 Internal Server Error", "503 Slow Down", "reset", "cut"])
def test_one_failure_of_each_request_is_not_seen(server, volume, status):
    seen = set()

    def first_time(method, path):
        return (method, path) not in seen and not seen.add((method, path))

    with server.failing(chosen=first_time, status=status) as faults:
        np.testing.assert_array_equal(whole(volume), expected())
    assert len(faults.injected) >= 4


@pytest.mark.parametrize("status", ["500 Internal Server Error", "503 Slow Down", "reset", "cut", "403 Forbidden",
                                    "401 Unauthorized", "416 Range Not Satisfiable", "302 Found"])
def test_a_chunk_that_cannot_be_had_is_an_error_and_never_zeros(server, volume, status, monkeypatch):
    monkeypatch.setenv("TILER_STORE_RETRIES", "1")
    source = open_source(volume)
    with server.failing(chosen=lambda method, path: "/c/0/1/0" in path, status=status) as faults:
        message = refused((SourceError, StoreError), lambda: source.read(Box.of_shape(VALUES.shape)))
    assert volume in message
    assert 1 <= len(faults.injected) <= 4


def test_a_bucket_that_is_gone_holds_no_zeros(server, volume):
    source = open_source(volume)
    with server.failing(chosen=lambda method, path: "/c/" in path, status="no bucket"):
        assert "there is no bucket" in refused(StoreError, lambda: source.read(Box.of_shape(VALUES.shape)))


def test_a_slow_answer_is_given_up(server, volume, monkeypatch):
    monkeypatch.setenv("TILER_STORE_RETRIES", "1")
    monkeypatch.setenv("TILER_STORE_TIMEOUT", "0.2")
    with server.failing(latency=1.0):
        message = refused((SourceError, StoreError), lambda: open_source(volume))
    assert "no answer in time" in message


def test_pauses_grow_and_are_bounded(monkeypatch):
    from tiler.stores.patience import Patience

    assert [Patience(10, 1).pause(attempt) for attempt in (0, 1, 2, 20)] == [0.1, 0.2, 0.4, 10.0]
    for value in ("-1", "many", "nan"):
        monkeypatch.setenv("TILER_STORE_RETRIES", value)
        assert "TILER_STORE_RETRIES" in refused(StoreError, Patience.chosen)


@pytest.mark.parametrize(("address", "environment", "told"), [
    ("s3://nobody/a.zarr", {}, "there is no bucket s3://nobody"),
    (f"s3://{BUCKET}/nothing.zarr", {}, "there is none"),
    (f"s3://{BUCKET}/a.zarr", {"AWS_ENDPOINT_URL": f"http://user:{SECRET}@{LOOPBACK}:1"}, "cannot be reached"),
    (f"http://{LOOPBACK}:1/a.zarr", {}, r"cannot be reached.* right\?$"),
])
def test_what_cannot_be_opened_is_one_line(server, address, environment, told, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("TILER_STORE_RETRIES", "1")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises((SourceError, StoreError), match=told) as refusal:
        open_source(address)
    assert SECRET not in "".join(map(str, (refusal.getrepr(chain=True), caplog.text)))


def test_wrong_credentials_are_named_and_not_shown(server, volume):
    with server.failing(chosen=lambda method, path: True, status="403 Forbidden"):
        message = refused(StoreError, lambda: open_source(volume))
    assert "refuses access with status 403" in message
    assert "AWS_ACCESS_KEY_ID" in message
    assert SECRET not in message
