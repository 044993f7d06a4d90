"""Known files with other bytes."""

from pathlib import Path

from node_cli.data.checksums import LABELS, SIZES, altered


def test_a_file_of_the_right_size_with_other_bytes(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    labels = tmp_path / "raw" / f"t10k-{LABELS}"
    labels.write_bytes(b"\0" * (SIZES[labels.name] - 1))
    assert altered(tmp_path, "MNIST") == []
    labels.write_bytes(b"\0" * SIZES[labels.name])
    assert altered(tmp_path, "MNIST") == [labels]
    assert altered(tmp_path, "CIFAR10") == []


def test_the_files_as_published(full_data: Path) -> None:
    for name in ("MNIST", "FashionMNIST"):
        assert altered(full_data / name, name) == []
