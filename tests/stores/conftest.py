import itertools

import pytest
from s3_server import BUCKET, serving

numbers = itertools.count()


@pytest.fixture(scope="session")
def running():
    """The server, which all tests of a process share."""
    with serving() as server:
        server.make_bucket()
        yield server


@pytest.fixture
def server(running, monkeypatch):
    """The server as this process's environment names it."""
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TILER_STORE_TIMEOUT", "5")
    return running


@pytest.fixture
def root(server):
    """Where a test may write."""
    return f"s3://{BUCKET}/test-{next(numbers)}"
