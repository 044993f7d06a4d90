"""Files that the commands of ``golden.py`` read: a tiny MNIST, and a user's own configuration."""

import struct
from pathlib import Path

import numpy as np

OWN = "--config-dir ../own"
"""From the folder of a case, or of the messages."""

TINY_DATA = "data.root=../data data.download=false"

TINY = """\
title: Tiny
rows:
  - data.limit=100 epochs=1 seed=0,1
  - data.limit=100 epochs=1 model.core=none optimizer.lr=1e-2
note: Every seed counts.
plots: {plots/error.png: the error}
"""
EXPERIMENT = """\
# @package _global_
epochs: 2
data: {limit: 150}
published:
  - title: 'Epochs'
    source: 'nowhere'
    setting: {model.name: dense}
    columns: epoch seconds train_loss test_accuracy
    rows: ['1 0.1 2.0 0.5', '2 0.1 1.5 -']
  - title: 'The end'
    source: 'nowhere'
    setting: {solver.name: dopri5}
    columns: test_error parameters seconds
    rows: ['0.5 16000 -']
  - title: 'Steps'
    source: 'nowhere'
    setting: {}
    columns: step loss nfe_forward
    rows: ['1 2.3 14', '2 - 14']
"""
BROKEN = """\
# @package _global_
epochs: 2
published:
  - {title: '', source: '', setting: {model.nam: dense}, columns: 'epoch lss', rows: ['1 2 3']}
"""
MODEL = """\
name: mine
stem: conv_flat
field: dense_relu
head: linear
core: ode
init: glorot
field_call: module
"""
CONFIGURATION = {
    "table/tiny.yaml": TINY,
    "table/short.yaml": "rows: [data.limit=100 epochs=1]",
    "table/both.yaml": "tables: [tiny, short]",
    "table/loop.yaml": "tables: [loop]",
    "table/broken.yaml": "row: [epochs=1]",
    "experiment/tiny.yaml": EXPERIMENT,
    "experiment/broken.yaml": BROKEN,
    "model/mine.yaml": MODEL,
}

SPLITS = {"train": 600, "t10k": 150}


def write_files(folder: Path) -> None:
    """Put all of them into a folder, and what wrong commands stumble over."""
    for name, text in CONFIGURATION.items():
        path = folder / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name in ("MNIST", "FashionMNIST"):
        _write_images(folder / "data" / name / "raw")
    (folder / "messages" / "full").mkdir(parents=True)
    (folder / "messages" / "full" / "x").touch()
    (folder / "messages" / "file").touch()


def _write_images(folder: Path) -> None:
    """Noisy stripes, ten kinds of them, in MNIST's format."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for split, count in SPLITS.items():
        labels = random.integers(10, size=count, dtype=np.uint8)
        rows = np.arange(28)[None, :, None]
        stripes = 127 + 100 * np.sin(rows * (1 + labels[:, None, None]) / 4)
        images = (stripes + random.integers(-27, 28, size=(count, 28, 28))).astype(np.uint8)
        (folder / f"{split}-images-idx3-ubyte").write_bytes(_idx(images))
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(_idx(labels))


def _idx(values: np.ndarray) -> bytes:
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    return header + values.tobytes()
