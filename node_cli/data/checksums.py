"""The MD5 sums of known files: files that were swapped, or altered, keep their size."""

import hashlib
from pathlib import Path

IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
SIZES = {
    f"train-{IMAGES}": 47_040_016,
    f"train-{LABELS}": 60_008,
    f"t10k-{IMAGES}": 7_840_016,
    f"t10k-{LABELS}": 10_008,
}
SUMS = {
    "MNIST": {
        f"train-{IMAGES}": "6bbc9ace898e44ae57da46a324031adb",
        f"train-{LABELS}": "a25bea736e30d166cdddb491f175f624",
        f"t10k-{IMAGES}": "2646ac647ad5339dbf082846283269ea",
        f"t10k-{LABELS}": "27ae3e4e09519cfbb04c329615203637",
    },
    "FashionMNIST": {
        f"train-{IMAGES}": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        f"train-{LABELS}": "9018921c3c673c538a1fc5bad174d6f9",
        f"t10k-{IMAGES}": "8181f5470baa50b63fa0f6fddb340f0a",
        f"t10k-{LABELS}": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}


def altered(folder: Path, name: str) -> list[Path]:
    """The files of a known data set that have its size, and other bytes. ``folder``: that of the
    set, with a folder ``raw``. Cost: reading the files, a tenth of a second."""
    found = []
    for file, checksum in SUMS.get(name, {}).items():
        path = folder / "raw" / file
        if path.is_file() and path.stat().st_size == SIZES[file]:
            content = hashlib.md5(path.read_bytes(), usedforsecurity=False)
            if content.hexdigest() != checksum:
                found.append(path)
    return found
