"""Model files that mean harm: refused in one line, and what they would run is not run."""

import io
import lzma
import os
import pickle
import zipfile
import zlib

import pytest
import torch
from package_cases import (
    CODE,
    described,
    onnx_entry,
    onnx_of,
    script_of,
    sha,
    small,
    state_of,
    with_onnx,
    written,
    zipped,
)
from torch import nn

from tiler.errors import ModelError
from tiler.models import load_model
from tiler.models.loading.files import find
from tiler.models.loading.packages.recipes import read_tensors

pytest.importorskip("bioimageio.spec")


@pytest.fixture
def canary(tmp_path):
    """A file that appears where a harmful model has run."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists(), "the model has run"


class Harmful:
    """Unpickling it leaves the canary."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def refusal(*args, **kwargs):
    with pytest.raises(ModelError) as caught:
        load_model(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def torch_saved(thing):
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    return buffer.getvalue()


HARMLESS = CODE.format(before="").encode()


def package_of_values(folder, content, code=HARMLESS):
    own = {"source": "code.py", "sha256": sha(code), "callable": "Small", "kwargs": {"width": 3}}
    entry = {"source": "w.pth", "sha256": sha(content), "pytorch_version": "2.5", "architecture": own}
    return written(folder, described({"pytorch_state_dict": entry}), {"w.pth": content, "code.py": code})


def test_the_canary_appears_where_a_pickle_runs(tmp_path):
    pickle.loads(pickle.dumps(Harmful(tmp_path / "canary")))
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize("save", [pickle.dumps, torch_saved])
@pytest.mark.parametrize("trust", [True, False])
def test_a_harmful_pickle(tmp_path, canary, save, trust):
    content = save({"0.weight": Harmful(canary)})
    for name in ("net.pt", "net.pth", "net.onnx"):
        (tmp_path / name).write_bytes(content)
        refusal(tmp_path / name, trust=trust)
    message = refusal(package_of_values(tmp_path / "pack", content), trust=trust)
    assert ("more than tensors" if trust else "trust=") in message


def test_a_harmful_pickle_in_an_exported_program(tmp_path, canary):
    path = tmp_path / "net.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data/sample_inputs/model.pt", torch_saved(Harmful(canary)))
    message = refusal(path)
    assert "trust=" in message
    assert sha(path.read_bytes())[:12] in message


def test_a_torchscript_file(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.jit, "load", lambda *args, **kwargs: pytest.fail("it was loaded"))
    content = script_of(small())
    (tmp_path / "net.pt").write_bytes(content)
    entry = {"torchscript": {"source": "w.pt", "sha256": sha(content), "pytorch_version": "2.5"}}
    package = zipped(written(tmp_path / "pack", described(entry), {"w.pt": content}))
    for path, name in ((tmp_path / "net.pt", "net.pt"), (package, "pack.zip/w.pt")):
        message = refusal(path)
        assert name in message
        assert sha(content)[:12] in message
        assert "trust=" in message


def test_the_code_of_a_package(tmp_path, canary):
    code = CODE.format(before=f"import os; os.mkdir({str(canary)!r})").encode()
    folder = package_of_values(tmp_path / "pack", state_of(small()), code)
    message = refusal(folder)
    for part in ("Small", "code.py", sha(code)[:12], "would run", "trust="):
        assert part in message
    (folder / "code.py").write_bytes(code + b"# changed")
    assert "damaged or was changed" in refusal(folder, trust=True)
    (folder / "code.py").write_bytes(code)
    load_model(folder, trust=True)
    canary.rmdir()  # raises where the code, now trusted, has not run


@pytest.fixture
def strict(monkeypatch):
    """So that a bomb need not be large."""
    monkeypatch.setattr("tiler.models.loading.files.HARMLESS_BYTES", 1 << 20)


def bomb(path, names, size=4 << 20):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, bytes(size))
    return path


def test_a_zip_bomb(tmp_path, monkeypatch, strict):
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *args, **kwargs: pytest.fail("it was unpacked"))
    for name, members in (("pack.zip", ["bioimageio.yaml", "w.pt"]), ("net.pt", ["net/code/__torch__.py"]),
                          ("net.pt2", ["net/model.json"])):
        path = bomb(tmp_path / name, members)
        assert path.stat().st_size < 1 << 16
        assert "zip bomb" in refusal(path, trust=True)


def test_a_bomb_inside_of_a_package(tmp_path, strict):
    content = bomb(tmp_path / "w.pth", ["w/data.pkl"]).read_bytes()
    assert "zip bomb" in refusal(package_of_values(tmp_path / "pack", content), trust=True)


@pytest.mark.parametrize("error", [zlib.error("invalid block"), lzma.LZMAError("corrupt"), EOFError("short"),
                                   NotImplementedError("method 99"), RuntimeError("encrypted"), OSError(5, "broken")])
def test_a_zip_whose_content_cannot_be_unpacked(tmp_path, monkeypatch, error):
    def read(*_, **__):
        raise error

    path = zipped(with_onnx(tmp_path / "pack"))
    monkeypatch.setattr(zipfile.ZipFile, "read", read)
    assert "pack.zip" in refusal(path)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02.", b"\x08" + bytes(7) + b"{\"a\": 1}"])
def test_damaged_values_of_a_package(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ModelError) as refused:
        read_tensors(find(path))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["../evil.py", "/etc/evil", "a/../../evil", "..\\evil", "C:\\evil"])
def test_a_zip_with_names_that_lead_out(tmp_path, name):
    path = zipped(with_onnx(tmp_path / "pack"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, "evil")
    assert "leads out" in refusal(path)
    assert not (tmp_path / "evil.py").exists()


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("source", ["../secret.onnx", "sub/../../secret.onnx"])
def test_a_description_that_names_files_outside(tmp_path, source, packed):
    content = onnx_of(small())
    (tmp_path / "secret.onnx").write_bytes(content)
    weights = {"onnx": onnx_entry(content)["onnx"] | {"source": source}}
    folder = written(tmp_path / "pack", described(weights), {})
    assert "leads out" in refusal(zipped(folder) if packed else folder)


def test_a_link_out_of_the_folder(tmp_path):
    folder = with_onnx(tmp_path / "pack")
    (folder / "weights.onnx").rename(tmp_path / "secret.onnx")
    (folder / "weights.onnx").symlink_to(tmp_path / "secret.onnx")
    assert "link that leads out" in refusal(folder)


def test_changed_weights(tmp_path):
    folder = with_onnx(tmp_path / "pack")
    (folder / "weights.onnx").write_bytes(onnx_of(nn.Conv2d(1, 1, 3)))
    assert "damaged or was changed" in refusal(folder)


def test_weights_elsewhere_are_not_fetched(tmp_path):
    weights = {"onnx": {"source": "https://example.com/w.onnx", "sha256": "0" * 64, "opset_version": 17}}
    assert "fetches nothing" in refusal(written(tmp_path / "pack", described(weights), {}))


@pytest.mark.parametrize("bomb", ["aliases", "circle"])
def test_a_description_that_grows_by_its_aliases_is_refused(tmp_path, bomb):
    """Nine lists of nine aliases each: 400 bytes that stand for 9^9 values; and a list that holds itself."""
    lists = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    for level in range(1, 9):
        lists += f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n"
    text = lists if bomb == "aliases" else "a: &a [*a]\n"
    folder = tmp_path / "pack"
    folder.mkdir()
    (folder / "bioimageio.yaml").write_text(f"{text}type: model\nweights: {{}}\n")
    assert "once its aliases are followed" in refusal(folder)
