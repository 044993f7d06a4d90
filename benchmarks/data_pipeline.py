"""Images per second: our batches against a DataLoader over the same torchvision data set.

    python benchmarks/data_pipeline.py

needs MNIST under ``--root`` (data). Both make normalised float32 batches of 128 shuffled training
images and nothing else. They are timed in turn in one process; the table gives median and range
over the rounds, and the ratio round by round.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import MNIST

from node_cli.data.batches import Preprocess, in_batches
from node_cli.data.catalog import IMAGES
from node_cli.data.images import ImageSet

BATCH = 128
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--root", default="data", help="folder that holds MNIST")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    source = IMAGES["mnist"]
    transform = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize(source.mean, source.std)]
    )
    dataset = MNIST(arguments.root, train=True, transform=transform)
    images = ImageSet(dataset.data.unsqueeze(1), dataset.targets)
    preprocess = Preprocess(torch.float32, CPU, source.mean, source.std)

    def ours() -> Iterator[Tensor]:
        for batch in in_batches(images, BATCH, CPU, torch.randperm(len(images))):
            yield preprocess(batch.pixels)

    def loader(workers: int) -> Callable[[], Iterator[Tensor]]:
        def batches() -> Iterator[Tensor]:
            for pixels, _ in DataLoader(dataset, BATCH, shuffle=True, num_workers=workers):
                yield pixels

        return batches

    pipelines = {"node-train": ours, "DataLoader": loader(0), "DataLoader, 2 workers": loader(2)}
    rates: dict[str, list[float]] = {name: [] for name in pipelines}
    for _ in range(arguments.rounds):
        for name, batches in pipelines.items():
            rates[name].append(images_per_second(batches()))

    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {arguments.rounds} rounds"
    )
    print(f"{'':<22} {'images/s':>12} {'(range)':>26} {'node-train is faster by':>28}")
    for name, values in rates.items():
        ratios = [a / b for a, b in zip(rates["node-train"], values, strict=True)]
        print(
            f"{name:<22} {statistics.median(values):>12,.0f} "
            f"{f'({min(values):,.0f} to {max(values):,.0f})':>26} "
            f"{f'{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})':>28}"
        )


def images_per_second(batches: Iterator[Tensor]) -> float:
    start, seen = time.perf_counter(), 0
    for batch in batches:
        seen += len(batch)
    return seen / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
