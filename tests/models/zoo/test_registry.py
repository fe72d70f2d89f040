import subprocess
import sys
from pathlib import Path
from pkgutil import resolve_name

import pytest

from tiler import models
from tiler.errors import ModelError, WeightsError
from tiler.models.loading.weights import file_hash
from tiler.models.zoo import registry


def test_every_name_has_its_card():
    for name in models.names():
        entry = models.describe(name)
        assert entry.name == name
        assert callable(resolve_name(entry.factory))
        assert entry.doi.startswith("10.") or not entry.doi
        assert entry.weights is None or entry.weights.is_file()


@pytest.mark.parametrize(("wrong", "hint"), [("unett", "did you mean unet"), ("restormer-of-mine", "known are .*unet")])
def test_unknown_name_is_one_line_with_what_is_close(wrong, hint):
    with pytest.raises(ModelError, match=hint) as caught:
        models.describe(wrong)
    assert "\n" not in str(caught.value)
    assert "model=" in str(caught.value)


def test_listing_needs_no_torch():
    code = "import sys; from tiler import models; models.describe('unet'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_all_public_names_resolve():
    for name in models.__all__:
        assert getattr(models, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = models.nonsense


def test_bundled_weights_are_found_by_name(tmp_path, monkeypatch):
    for entry in registry.bundled_weights():
        assert registry.weights_file(entry.name) == entry.path
        assert models.read_card(entry.path).architecture == entry.model
        assert file_hash(entry.path) in entry.path.with_suffix(".md").read_text()
        assert entry.path.stat().st_size < 16e6
    named = models.load_model("unet", "unet-isbi2012")
    assert named.identity == models.load_model("unet").identity
    monkeypatch.chdir(tmp_path)
    (tmp_path / "unet-isbi2012").write_bytes(b"a file of that name")
    assert registry.weights_file("unet-isbi2012") == Path("unet-isbi2012")


def test_unknown_weights_are_one_line_with_what_is_bundled():
    with pytest.raises(WeightsError, match=r"no weights 'unet-isbi': bundled are .*unet-isbi2012.*\(weights=\)"):
        models.load_model("unet", "unet-isbi")
    with pytest.raises(WeightsError, match=r"cannot read weights .*unet-isbi\.safetensors"):
        models.load_model("unet", "unet-isbi.safetensors")
