"""Addresses are used like paths, and hold no secrets."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from tiler.errors import StoreError
from tiler.sources import open_source
from tiler.stores.address import Address, is_address, place_of


@pytest.mark.parametrize("text", ["s3://lab/a/b.zarr", "gs://lab/b.zarr", "https://example.org/data/b.zarr",
                                  "http://127.0.0.1:9000/lab/b.zarr"])
def test_an_address_is_spelt_as_it_was_given(text):
    assert is_address(text)
    address = place_of(text)
    assert str(address) == str(place_of(address)) == text
    assert pickle.loads(pickle.dumps(address)) == address
    assert (address.name, address.suffix) == ("b.zarr", ".zarr")


def test_an_address_that_passed_for_a_path_is_known_again():
    assert str(place_of(Path("s3://lab/a/b.zarr"))) == "s3://lab/a/b.zarr"


@pytest.mark.parametrize("text", ["a.zarr", "/data/a.zarr", "file.h5:/volumes/raw", "C:/data/a.zarr", "s3/a.zarr"])
def test_a_path_is_no_address(text):
    assert not is_address(text)
    assert place_of(text) == Path(text)


def test_what_stands_beside_below_and_above():
    address = Address.parse("s3://lab/a/b.zarr/")
    assert str(address / "0") == "s3://lab/a/b.zarr/0"
    assert str(address.with_name("c.zarr")) == "s3://lab/a/c.zarr"
    assert [str(parent) for parent in (address / "0").parents] == ["s3://lab/a/b.zarr", "s3://lab/a"]
    assert (address / "labels/0").inside(address) == "labels/0"


@pytest.mark.parametrize(("text", "told"), [
    ("ftp://lab/a.zarr", "begin with s3://"), ("s3://lab", "names no key"), ("s3://lab/", "names no key"),
    ("https://example.org", "names no file"), ("s3://lab/../a.zarr", "names no key"), ("s3:///", "names no key")])
def test_what_is_no_place_is_refused(text, told):
    with pytest.raises(StoreError, match=told):
        place_of(text)


@pytest.mark.parametrize("text", ["s3://user:hush@lab/a.zarr", "https://hush@example.org/a.zarr",
                                  "https://example.org/a.zarr?token=hush", "gs://lab/a.zarr#hush"])
def test_credentials_in_an_address_are_refused_and_not_repeated(text):
    with pytest.raises(StoreError, match="holds no user, password") as refusal:
        place_of(text)
    assert "hush" not in str(refusal.value)


def test_a_leading_tilde_is_the_home_folder_unless_there_is_such_a_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert place_of("~/a.tif") == tmp_path / "home/a.tif"
    assert place_of("~t.tif") == Path("~t.tif")
    (tmp_path / "~").mkdir()
    assert place_of("~/a.tif") == Path("~/a.tif")


@pytest.mark.parametrize("text", ["file:///data/a%20b.tif", "file://localhost/data/a b.tif"])
def test_an_address_of_a_file_is_a_path(text):
    assert not is_address(text)
    assert place_of(text) == Path("/data/a b.tif")


def test_a_volume_is_found_by_the_address_of_its_file(tmp_path):
    np.save(tmp_path / "in put.npy", np.zeros((3, 4), np.uint8))
    assert open_source((tmp_path / "in put.npy").as_uri()).shape == (1, 1, 3, 4)
