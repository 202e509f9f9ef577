"""Images per second and memory of the streamed path, beside a plain PyTorch DataLoader.

python -m benchmarks.streaming --images=10000
python -m benchmarks.streaming --images=50000 --files=2000 --sizes 256 --only streamed --repeats=1

The work is the same for both: read a JPEG of 256 x 256 pixels, decode it with Pillow, and give batches
of uint8 arrays in a random order that changes every epoch. The DataLoader copies what PyTorch's
documentation shows: a Dataset whose __getitem__ opens the file, num_workers processes, shuffle=True.
Both run in one process group, one after the other, in an order that alternates.
"""

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 256


def write_images(folder: Path, count: int, distinct: int = 500) -> None:
    """Writes `count` JPEGs as hard links to `distinct` of them: the page cache holds all either way."""
    rng = np.random.default_rng(0)
    for index in range(count):
        path = folder / f"class{index % 10}" / f"{index:06d}.jpg"
        path.parent.mkdir(exist_ok=True)
        if index < distinct:
            coarse = Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8))
            fine = rng.integers(0, 24, (SIDE, SIDE, 3), np.uint8)
            smooth = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.uint8)
            image = np.minimum(smooth.astype(int) + fine, 255).astype(np.uint8)
            Image.fromarray(image).save(path, quality=90)
        else:
            first = index % distinct
            os.link(folder / f"class{first % 10}" / f"{first:06d}.jpg", path)


def resident_mb() -> float:
    """Memory of this process and its children, in MB."""
    total, page = 0, resource.getpagesize()
    children = [child.pid for child in multiprocessing.active_children()]
    for pid in (os.getpid(), *children):
        total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page
    return total / 1e6


def ours(folder: Path, size: int, batch: int, images: int, workers: int):
    """Yields after every batch of the streamed path, put on the device."""
    import jax
    import jax.numpy as jnp

    from infonce_jax import data
    from infonce_jax.config import default_config

    config = default_config()
    config.data.source, config.data.image_size = f"folder:{folder}", size
    config.data.max_memory_gb, config.data.workers, config.data.test_size = 0.0, workers, 100
    config.data.cache_dir = str(folder.parent / "cache")
    found = data.load(config)
    keys = jax.vmap(jax.random.key)(jnp.arange(1))
    index = data.make_host_index(keys, batch, found.spec.train_size)

    def place(rows, labels):
        return jax.device_put(rows[0]), jax.device_put(labels[0])

    stream = data.Stream(found.train, found.train_labels, index, place, ahead=2)
    for step in range(images // batch):
        jax.block_until_ready(stream(step))
        yield


def theirs(folder: Path, size: int, batch: int, images: int, workers: int):
    """Yields after every batch of a DataLoader."""
    import torch
    from torch.utils.data import DataLoader, Dataset

    class Folder(Dataset):
        def __init__(self):
            self.paths = sorted(folder.rglob("*.jpg"))

        def __len__(self):
            return len(self.paths)

        def __getitem__(self, index):
            with Image.open(self.paths[index]) as image:
                image = image.convert("RGB")
                if size != SIDE:
                    image = image.resize((size, size), Image.Resampling.BILINEAR)
                return torch.from_numpy(np.array(image)), int(self.paths[index].parent.name[-1])

    loader = DataLoader(
        Folder(),
        batch,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
        persistent_workers=True,
        multiprocessing_context="fork",
    )
    done = 0
    while True:
        for _ in loader:
            done += batch
            if done > images:
                return
            yield


def measure(name: str, batches, batch: int) -> dict:
    """Images per second after the first batches, and memory along the way."""
    start = time.perf_counter()
    times, memory = [], []
    for _ in batches:
        times.append(time.perf_counter() - start)
        if len(times) % 10 == 0:
            memory.append(resident_mb())
    warm = min(10, len(times) // 4)
    rate = (len(times) - 1 - warm) * batch / (times[-1] - times[warm])
    # Every tenth batch; fewer than ten batches say nothing about memory.
    places = {"after 10 batches": 0, "a tenth": 0.1, "half": 0.5, "the end": 1}
    found = {what: memory[int(at * (len(memory) - 1))] for what, at in places.items() if memory}
    return {
        "name": name,
        "images_per_s": rate,
        "memory_mb": found | ({"most": max(memory)} if memory else {}),
        "images": len(times) * batch,
    }


def run(name: str, folder: Path, size: int, batch: int, images: int, workers: int) -> None:
    """One measurement, in a process of its own so that neither's memory counts for the other."""
    function = {"streamed": ours, "DataLoader": theirs}[name]
    found = measure(name, function(folder, size, batch, images, workers), batch)
    memory = ", ".join(f"{what} {mb:,.0f}" for what, mb in found["memory_mb"].items())
    print(
        f"{name:>10}  {size} px  {found['images']:,} images  {found['images_per_s']:7.0f} images/s  "
        f"memory in MB: {memory}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--files", type=int, help="default: as many as images")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 64])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--only", choices=["streamed", "DataLoader"])
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch) / "images"
        if not folder.exists():
            folder.mkdir(parents=True)
            # A hundred of them are held out.
            count = max(arguments.files or arguments.images, 2 * arguments.batch) + 100
            write_images(folder, count, distinct=arguments.files or 500)
        context = multiprocessing.get_context("spawn")
        for size in arguments.sizes:
            for repeat in range(arguments.repeats):
                names = ["streamed", "DataLoader"][:: 1 if repeat % 2 == 0 else -1]
                for name in [arguments.only] if arguments.only else names:
                    options = (arguments.batch, arguments.images, arguments.workers)
                    process = context.Process(target=run, args=(name, folder, size, *options))
                    process.start()
                    process.join()


if __name__ == "__main__":
    main()
