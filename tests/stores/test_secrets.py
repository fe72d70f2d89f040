"""Whatever goes wrong on the command line, no secret is on the screen, in the log or in a file."""

import pytest
from s3_server import BUCKET, LOOPBACK, SECRET

from tiler.cli.main import main

IN_ENDPOINT = {"AWS_ENDPOINT_URL": f"http://user:{SECRET}@{LOOPBACK}:1"}


@pytest.mark.parametrize(("source", "environment"), [
    (f"s3://user:{SECRET}@{BUCKET}/a.zarr", {}),
    (f"https://{LOOPBACK}/a.zarr?token={SECRET}", {}),
    (f"precomputed://https://user:{SECRET}@{LOOPBACK}/a", {}),
    (f"s3://{BUCKET}/a.zarr", IN_ENDPOINT),
], ids=["userinfo", "query", "precomputed", "endpoint"])
def test_secrets_stay_secret(server, source, environment, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, value in {"TILER_STORE_RETRIES": "0", **environment}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as end:
        main(["segment", source, "nothing.tif", "--model", "unet", "--verbose", "--log-file", "log.txt"])
    heard = capsys.readouterr()
    said = heard.out + heard.err + "".join(file.read_text() for file in tmp_path.rglob("*") if file.is_file())
    assert end.value.code == 1
    assert "tiler: " in heard.err
    assert SECRET not in said
