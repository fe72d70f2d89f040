"""What is recognised and not read is refused with the way out."""

from __future__ import annotations

import pytest

from tiler.errors import SourceError
from tiler.sources import open_source
from tiler.sources.elsewhere import CONVERTERS


@pytest.mark.parametrize("suffix", [*CONVERTERS, ".CZI"])
def test_a_file_of_another_program_names_the_command_that_converts_it(tmp_path, suffix):
    (tmp_path / f"stack{suffix}").write_bytes(b"anything")
    with pytest.raises(SourceError, match="convert it: ") as refused:
        open_source(tmp_path / f"stack{suffix}")
    assert "{" not in str(refused.value).replace("{suffix}", "")


@pytest.mark.parametrize(("file", "told"), [
    ("knossos.conf", "knossos_utils"), ("mag1/x0000/y0000/cube.raw", "knossos_utils"), ("color/1/header.wkw", "WKW"),
    ("1/header.wkw", "WKW"), ("datasource-properties.json", "one of its layers"), ("12/0_1_0.jpg", "CATMAID")])
def test_a_folder_of_another_program_is_recognised(tmp_path, file, told):
    folder = tmp_path / "dataset"
    (folder / file).parent.mkdir(parents=True)
    (folder / file).write_bytes(b"{}")
    with pytest.raises(SourceError, match=told):
        open_source(folder)
