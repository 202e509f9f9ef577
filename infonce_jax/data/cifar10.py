"""CIFAR-10 through TensorFlow Datasets (TFDS), without TensorFlow.

TFDS's own CIFAR-10 builder needs TensorFlow to generate the dataset. This module reads prepared
data, prepares it where it is missing, and keeps the decoded images in a cache, so that later starts
decode nothing.

Preparing by hand, on a machine with network and on one without:

    python -m infonce_jax.data.cifar10 --data_dir=DIR
    python -m infonce_jax.data.cifar10 --data_dir=DIR --archive=PATH/cifar-10-binary.tar.gz
"""

import argparse
import hashlib
import http.client
import logging
import os
import shutil
import sys
import tarfile
import tempfile
import urllib.request
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from infonce_jax.data import cache, tfds

VERSION = "3.0.2"
ARCHIVE_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
ARCHIVE_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
LABELS = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

_SPLIT_FILES = {
    "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    "test": ("test_batch.bin",),
}
_IMAGE_SHAPE = (32, 32, 3)
_RECORD_BYTES = 1 + 3 * 32 * 32
_REMEDY = "prepare it again with `python -m infonce_jax.data.cifar10 --data_dir=DIR`"

logger = logging.getLogger(__name__)


class Cifar10(NamedTuple):
    """CIFAR-10 in host memory.

    The published dataset has 50,000 training and 10,000 test images. Rows keep the order in which
    TFDS stores them, which is shuffled once and for all. Labels index `LABELS`.
    """

    train_images: UInt8[np.ndarray, "n_train 32 32 3"]
    train_labels: Int32[np.ndarray, " n_train"]
    test_images: UInt8[np.ndarray, "n_test 32 32 3"]
    test_labels: Int32[np.ndarray, " n_test"]


def load_cifar10(
    data_dir: str | os.PathLike | None,
    *,
    cache_dir: str | os.PathLike | None = None,
    url: str = ARCHIVE_URL,
    sha256: str | None = ARCHIVE_SHA256,
) -> Cifar10:
    """Returns CIFAR-10 as NumPy arrays, decoding the images only the first time.

    The decoded arrays are cached in a folder named after the dataset's version and a hash of the
    prepared files' contents, so a cache never answers for other data, wherever that lies. A cache
    that fails its checksums is rebuilt. Where `data_dir` holds no prepared CIFAR-10, the archive
    is downloaded and prepared there first (`prepare_cifar10`).

    Args:
        data_dir: The TFDS data directory, the parent of `cifar10/3.0.2`. `None` means TFDS's
            default: the environment variable `TFDS_DATA_DIR`, else `~/tensorflow_datasets`.
        cache_dir: Where decoded arrays are kept (185 MB). `None` means
            `$XDG_CACHE_HOME/infonce_jax`, else `~/.cache/infonce_jax`. If it cannot be written,
            a warning says so and the arrays are returned all the same.
        url: Where to download the archive from if the dataset is not prepared.
        sha256: The archive's expected checksum, or `None` to accept any.

    Returns:
        The two splits' images and labels.

    Raises:
        FileNotFoundError: If the dataset is not prepared and cannot be downloaded.
        ValueError: If the prepared dataset is damaged or of another kind.
    """
    folder = _dataset_dir(data_dir)
    if not tfds.is_prepared(folder):
        logger.warning("CIFAR-10 is not prepared in %s: downloading %s (170 MB).", folder, url)
        prepare_cifar10(data_dir, url=url, sha256=sha256)
    entry = cache.folder_of(cache_dir) / f"cifar10-{VERSION}-{_fingerprint(folder)[:16]}"
    cached = cache.read(entry, Cifar10._fields, "CIFAR-10")
    if cached is not None:
        return Cifar10(**cached)
    dataset = _decode(folder)
    cache.write(entry, dataset._asdict(), "CIFAR-10")
    return dataset


def prepare_cifar10(
    data_dir: str | os.PathLike | None,
    *,
    archive: str | os.PathLike | None = None,
    url: str = ARCHIVE_URL,
    sha256: str | None = ARCHIVE_SHA256,
) -> Path:
    """Writes CIFAR-10 as a TFDS `array_record` dataset, without TensorFlow.

    Any program that uses TFDS can read the result as `cifar10:3.0.2`. Images are stored as PNG,
    hence without loss. A dataset that is already prepared is left as it is.

    Args:
        data_dir: The TFDS data directory, as in `load_cifar10`.
        archive: Path of `cifar-10-binary.tar.gz`. `None` downloads it to a temporary file.
        url: Where to download it from.
        sha256: The archive's expected checksum, or `None` to accept any.

    Returns:
        The folder that holds the prepared dataset, `data_dir/cifar10/3.0.2`.

    Raises:
        FileNotFoundError: If `archive` does not exist, or the download fails.
        FileExistsError: If the folder exists but holds no prepared dataset.
        ValueError: If the archive is damaged or another one.
    """
    folder = _dataset_dir(data_dir)
    if tfds.is_prepared(folder):
        return folder
    if folder.exists():
        raise FileExistsError(
            f"The folder {folder} exists but holds no prepared TFDS dataset (dataset_info.json and "
            "features.json are not both there), so nothing was written. Move or remove it, or "
            "choose another data_dir."
        )
    if archive is not None:
        archive = Path(archive).expanduser()
        if not archive.is_file():
            raise FileNotFoundError(
                f"The archive {archive} does not exist. Download it from {url} on a machine with "
                "network, copy it here, and give its path."
            )
        _check_sha256(archive, sha256, origin=str(archive))
        _prepare_from(archive, folder)
        return folder
    try:
        archive = _download(url, folder.parent.parent)
    except (OSError, http.client.HTTPException) as error:
        given = "None, TFDS's default" if data_dir is None else repr(os.fspath(data_dir))
        raise FileNotFoundError(
            f"CIFAR-10 is not prepared in {folder} (the setting config.data.data_dir is {given}), "
            f"and downloading it from {url} failed: {error}. Point config.data.data_dir at a TFDS "
            "data directory that holds CIFAR-10 as array_record files, or prepare one with "
            "`python -m infonce_jax.data.cifar10 --data_dir=DIR`, adding "
            "`--archive=PATH/cifar-10-binary.tar.gz` on a machine without network."
        ) from error
    try:
        _check_sha256(archive, sha256, origin=f"downloaded from {url}")
        _prepare_from(archive, folder)
    finally:
        archive.unlink()
    return folder


def _dataset_dir(data_dir: str | os.PathLike | None) -> Path:
    if data_dir is None:
        # TFDS's own default, repeated because importing TFDS takes longer than reading the cache.
        data_dir = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    return Path(data_dir).expanduser() / "cifar10" / VERSION


def _fingerprint(folder: Path) -> str:
    """Hashes names and contents: unlike times, they survive a copy and tell an edited file."""
    total = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file():
            total.update(f"{path.name}\0{_file_sha256(path)}\n".encode())
    return total.hexdigest()


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _decode(folder: Path) -> Cifar10:
    splits = {
        split: tfds.read_images(folder, split, _IMAGE_SHAPE, len(LABELS), remedy=_REMEDY)
        for split in ("train", "test")
    }
    return Cifar10(*splits["train"], *splits["test"])


def _prepare_from(archive: Path, folder: Path) -> None:
    tfds.write_images(
        folder.parent.parent,
        "cifar10",
        VERSION,
        _read_archive(archive),
        labels=LABELS,
        description="CIFAR-10: 60,000 colour images of 32×32 pixels in 10 classes.",
        homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
    )


def _download(url: str, data_dir: Path, *, timeout_s: float = 30.0) -> Path:
    with urllib.request.urlopen(url, timeout=timeout_s) as response:
        data_dir.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=data_dir, prefix=".cifar-10-", suffix=".tar.gz")
        try:
            with os.fdopen(handle, "wb") as file:
                shutil.copyfileobj(response, file)
        except BaseException:
            os.unlink(name)
            raise
    return Path(name)


def _check_sha256(archive: Path, expected: str | None, *, origin: str) -> None:
    if expected is None:
        return
    found = _file_sha256(archive)
    if found != expected:
        raise ValueError(
            f"The archive {origin} is not the binary CIFAR-10 archive, or only a part of it: it "
            f"has {archive.stat().st_size:,} bytes and SHA-256 {found}, expected {expected} (the "
            f"published archive has 170,052,171 bytes). Download it from {ARCHIVE_URL}."
        )


def _read_archive(archive: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Parses the binary archive: records of one label byte, then red, green and blue planes."""
    contents = {}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                if member.isfile():
                    contents[Path(member.name).name] = tar.extractfile(member).read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"The archive {archive} cannot be read: {error}.") from error
    splits = {}
    for split, names in _SPLIT_FILES.items():
        missing = [name for name in names if name not in contents]
        if missing:
            raise ValueError(
                f"The archive {archive} lacks {', '.join(missing)}: it is not the binary version "
                "of CIFAR-10, cifar-10-binary.tar.gz."
            )
        data = b"".join(contents[name] for name in names)
        if len(data) % _RECORD_BYTES:
            raise ValueError(
                f"The {split} files of the archive {archive} hold {len(data):,} bytes, which is no "
                f"multiple of the {_RECORD_BYTES} bytes of one record."
            )
        records = np.frombuffer(data, np.uint8).reshape(-1, _RECORD_BYTES)
        labels = records[:, 0]
        if labels.size and labels.max() >= len(LABELS):
            raise ValueError(
                f"The {split} files of the archive {archive} hold the label {labels.max()}; "
                "CIFAR-10 has labels from 0 to 9."
            )
        splits[split] = (records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels)
    return splits


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `python -m infonce_jax.data.cifar10`; returns 0, or 2 after printing an error."""
    parser = argparse.ArgumentParser(
        prog="python -m infonce_jax.data.cifar10",
        description="Prepares CIFAR-10 for TFDS as array_record files, without TensorFlow.",
    )
    parser.add_argument(
        "--data_dir",
        help="the TFDS data directory to write to (default: $TFDS_DATA_DIR, else "
        "~/tensorflow_datasets)",
    )
    parser.add_argument(
        "--archive",
        help="path of cifar-10-binary.tar.gz, for a machine without network (default: download it)",
    )
    parser.add_argument("--url", default=ARCHIVE_URL, help="where to download the archive from")
    parser.add_argument(
        "--sha256",
        default=ARCHIVE_SHA256,
        help="the archive's checksum (default: the published one's)",
    )
    arguments = parser.parse_args(argv)
    try:
        folder = prepare_cifar10(
            arguments.data_dir,
            archive=arguments.archive,
            url=arguments.url,
            sha256=arguments.sha256,
        )
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"CIFAR-10 is prepared in {folder}; set config.data.data_dir to {folder.parent.parent}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
