"""Data that is not where data.root says: what to type, or what to do, is told."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node_cli.config.schema import Config
from node_cli.data import sources, torchvision_sets
from node_cli.errors import UserError

Configure = Callable[..., Config]


def message(configure: Configure, root: Path) -> str:
    config = configure("data=mnist", f"data.root={root}", "data.download=false")
    with pytest.raises(UserError) as caught:  # looks, as ``check`` does, before it reads
        sources.load(config.data, 0)  # type: ignore[arg-type]
    return str(caught.value)


@pytest.mark.parametrize("inner", ["MNIST", "MNIST/raw"])
def test_the_folder_of_the_set_itself(configure: Configure, tmp_path: Path, inner: str) -> None:
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    found = message(configure, tmp_path / inner)
    assert f"it lies in {tmp_path}: type data.root={tmp_path}" in found


def test_packed_files(configure: Configure, tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "train-images-idx3-ubyte.gz").touch()
    assert f"packed files only: unpack them with gunzip -k {raw}/*.gz" in message(
        configure, tmp_path
    )


def test_a_download_says_so_and_does_not_wait_for_ever(
    configure: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def read(config: Any, *, download: bool) -> None:
        if not download:
            raise FileNotFoundError
        assert socket.getdefaulttimeout() == torchvision_sets.SILENCE
        raise TimeoutError("timed out")

    monkeypatch.setattr(torchvision_sets, "_read", read)
    config = configure("data=mnist", f"data.root={tmp_path}", "data.download=true")
    with pytest.raises(UserError, match=r"could not be downloaded \(timed out\)"):
        sources.load(config.data, 0)  # type: ignore[arg-type]
    assert socket.getdefaulttimeout() is None
    assert capfd.readouterr().out == f"downloading MNIST to {tmp_path / 'MNIST'}\n"
