"""gs:// against a server that speaks the XML API of Google Cloud Storage: whole runs, and writes under conditions."""

import numpy as np
import pytest
import zarr
from s3_server import BUCKET, serving
from standins import Stopping

import tiler
from tiler.errors import Interrupted, JournalError, SinkError, StoreError
from tiler.running.output import output_of
from tiler.stores import asking
from tiler.stores.address import Address
from tiler.testing.predictors import PoolingNet

VOLUME = np.random.default_rng(0).integers(0, 250, (2, 61, 53), dtype=np.uint8)
CHOICES = {"tile": "22", "block": "1x32x32"}


@pytest.fixture(scope="module")
def running():
    with serving(google=True) as server:
        server.make_bucket()
        yield server


def store_of(address, read_only):
    return asking("zarr_store").zarr_store(Address.parse(address), read_only=read_only)


def test_a_run_is_stopped_resumed_and_checked_over_a_bad_line(server):
    source, output = f"gs://{BUCKET}/run/volume.zarr", f"gs://{BUCKET}/run/out.zarr"
    store = store_of(source, read_only=False)
    zarr.create_array(store, shape=VOLUME.shape, dtype="uint8", chunks=(1, 32, 32))[:] = VOLUME
    listener, again = Stopping(after=3), Stopping()
    with server.failing(share=0.05) as faults:
        with pytest.raises(Interrupted):
            tiler.segment(source, PoolingNet(), output, listener=listener, stop=listener.stop, **CHOICES)
        with pytest.raises(SinkError, match="has an unfinished run: resume="):
            tiler.segment(source, PoolingNet(), output, **CHOICES)
        tiler.segment(source, PoolingNet(), output, resume=True, listener=again)
        report = tiler.check(output, model=PoolingNet(), windows=2)
    assert len(faults.injected) > 3
    assert listener.blocks + again.blocks == 8
    assert report.sound
    found = zarr.open_array(store_of(f"{output}/0", read_only=True))[:]
    np.testing.assert_array_equal(found, tiler.segment(VOLUME, PoolingNet(), **CHOICES))
    kept = {each.key.split("/")[0] for each in asking().listing(Address.parse(f"gs://{BUCKET}/run"))}
    assert kept == {"volume.zarr", "out.zarr", "out.zarr.journal"}


def test_a_write_replaces_what_it_was_told_to_and_nothing_else(server):
    objects, place = asking(), Address.parse(f"gs://{BUCKET}/object")
    first = objects.put_if(place, b"first", None)
    with pytest.raises(objects.Taken):
        objects.put_if(place, b"another first", None)
    second = objects.put_if(place, b"second", first)
    with pytest.raises(objects.Taken):
        objects.put_if(place, b"late", first)
    assert objects.get(place).mark == second != first
    assert objects.get(place).content == b"second"


def test_a_lock_is_renewed_and_held_against_others(server, monkeypatch, caplog):
    lease, output = asking("lease"), Address.parse(f"gs://{BUCKET}/locked.zarr")
    monkeypatch.setattr(lease, "RENEWED", 0.02)
    with output_of(output).lock():
        assert len(_marks(output, 3)) == 3
        with pytest.raises(JournalError, match="another run is writing"), output_of(output).lock():
            pass
    assert caplog.text == ""
    assert asking().get(Address.parse(f"{output}.lock")) is None


def _marks(output, count):
    """Wait for this many renewals of the lock."""
    seen = set()
    while len(seen) < count:
        seen.add(asking().get(Address.parse(f"{output}.lock")).mark)
    return seen


def test_what_is_not_there_is_told(server):
    with pytest.raises(StoreError, match=r"there is no bucket gs://nowhere"):
        tiler.open_volume("gs://nowhere/a.zarr")
