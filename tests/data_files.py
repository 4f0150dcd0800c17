"""Small data sets written in every layout that can be read, for tests of what comes back."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

Arrays = dict[str, np.ndarray]


def random_arrays(shape=(32, 32, 3), *, classes=4, training=24, test=8, seed=0) -> Arrays:
    """Random uint8 images; labels are shuffled, each class is in both parts."""
    rng = np.random.default_rng(seed)

    def part(images):
        labels = rng.permutation(np.arange(images) % classes)
        return rng.integers(0, 256, (images, *shape), dtype=np.uint8), labels

    (x_train, y_train), (x_test, y_test) = part(training), part(test)
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


def save_npz(arrays: Arrays, folder: Path) -> Path:
    file = folder / "data.npz"
    np.savez_compressed(file, **arrays)
    return file


def save_hdf5(arrays: Arrays, folder: Path) -> Path:
    file = folder / "data.h5"
    with h5py.File(file, "w") as target:
        for name, array in arrays.items():
            target.create_dataset(name, data=array, chunks=True, compression="gzip")
    return file


def idx_bytes(array: np.ndarray) -> bytes:
    lengths = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, 8, array.ndim]) + lengths + array.astype(np.uint8).tobytes()


def save_idx(arrays: Arrays, folder: Path, *, packed: bool = False) -> Path:
    """Images must be grey."""
    home = folder / ("idx-gz" if packed else "idx")
    home.mkdir()
    for part, prefix in (("train", "train"), ("test", "t10k")):
        images, labels = arrays[f"x_{part}"], arrays[f"y_{part}"]
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = idx_bytes(array.reshape(array.shape[:3]) if array.ndim == 4 else array)
            name = f"{prefix}-{kind}-ubyte" + (".gz" if packed else "")
            (home / name).write_bytes(gzip.compress(content) if packed else content)
    return home


def planes(images: np.ndarray) -> np.ndarray:
    """Rows of CIFAR batches: all red, then all green, then all blue values."""
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1)


def save_cifar10_python(arrays: Arrays, folder: Path, *, protocol: int = 2) -> Path:
    """Two data batches; keys are bytes, as in the files of 2009."""
    home = folder / "cifar-10-batches-py"
    home.mkdir()
    half = len(arrays["x_train"]) // 2
    batches = {
        "data_batch_1": (arrays["x_train"][:half], arrays["y_train"][:half]),
        "data_batch_2": (arrays["x_train"][half:], arrays["y_train"][half:]),
        "test_batch": (arrays["x_test"], arrays["y_test"]),
    }
    for name, (images, labels) in batches.items():
        batch = {
            b"batch_label": name.encode(),
            b"labels": labels.tolist(),
            b"data": planes(images),
            b"filenames": [b"image_%d.png" % number for number in range(len(images))],
        }
        (home / name).write_bytes(pickle.dumps(batch, protocol=protocol))
    names = {b"label_names": [b"class %d" % label for label in range(arrays["y_train"].max() + 1)]}
    (home / "batches.meta").write_bytes(pickle.dumps(names, protocol=protocol))
    return home


def save_cifar100_python(arrays: Arrays, folder: Path, *, protocol: int = 2) -> Path:
    home = folder / "cifar-100-python"
    home.mkdir()
    for part in ("train", "test"):
        batch = {
            "fine_labels": arrays[f"y_{part}"].tolist(),
            "coarse_labels": (arrays[f"y_{part}"] // 2).tolist(),
            "data": planes(arrays[f"x_{part}"]),
        }
        (home / part).write_bytes(pickle.dumps(batch, protocol=protocol))
    return home


def save_cifar10_binary(arrays: Arrays, folder: Path) -> Path:
    home = folder / "cifar-10-batches-bin"
    home.mkdir()
    for part, name in (("train", "data_batch_1.bin"), ("test", "test_batch.bin")):
        labels = arrays[f"y_{part}"].astype(np.uint8)[:, None]
        rows = np.concatenate([labels, planes(arrays[f"x_{part}"])], axis=1)
        (home / name).write_bytes(rows.tobytes())
    return home


def save_cifar100_binary(arrays: Arrays, folder: Path) -> Path:
    home = folder / "cifar-100-binary"
    home.mkdir()
    for part in ("train", "test"):
        fine = arrays[f"y_{part}"].astype(np.uint8)[:, None]
        rows = np.concatenate([fine // 2, fine, planes(arrays[f"x_{part}"])], axis=1)
        (home / f"{part}.bin").write_bytes(rows.tobytes())
    return home


def image_bytes(image: np.ndarray, form: str = "PNG") -> bytes:
    """A file of one image (height, width[, channels])."""
    target = io.BytesIO()
    grey = image.ndim == 3 and image.shape[2] == 1
    Image.fromarray(image[..., 0] if grey else image).save(target, form)
    return target.getvalue()


def png_checksum(chunk: bytes) -> bytes:
    """What follows a chunk (its name and content) in a PNG."""
    return struct.pack(">I", zlib.crc32(chunk))


def save_files(files: dict[str, bytes], home: Path) -> Path:
    """A folder with these files, by their paths in it."""
    for path, content in files.items():
        file = home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return home


def save_image_folder(arrays: Arrays, folder: Path) -> Path:
    """``train/<label>/<number>.png``, numbered through."""
    home = folder / "images"
    for part in ("train", "test"):
        for number, (image, label) in enumerate(
            zip(arrays[f"x_{part}"], arrays[f"y_{part}"], strict=True)
        ):
            file = home / part / str(label) / f"{number:05d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(image_bytes(image))
    return home


def save_tiny_imagenet(arrays: Arrays, folder: Path) -> Path:
    """The layout of tiny-imagenet-200.zip; classes are ``n00000000``, ``n00000001``, ..."""
    home = folder / "tiny-imagenet-200"
    names = [f"n{label:08d}" for label in range(arrays["y_train"].max() + 1)]
    (home / "val" / "images").mkdir(parents=True)
    (home / "test" / "images").mkdir(parents=True)
    (home / "wnids.txt").write_text("".join(f"{name}\n" for name in reversed(names)))
    (home / "words.txt").write_text("".join(f"{name}\tthing\n" for name in names))
    numbers = dict.fromkeys(names, 0)
    for image, label in zip(arrays["x_train"], arrays["y_train"], strict=True):
        name = names[label]
        file = home / "train" / name / "images" / f"{name}_{numbers[name]}.JPEG"
        numbers[name] += 1
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(image_bytes(image, "JPEG"))
    lines = []
    for number, (image, label) in enumerate(zip(arrays["x_test"], arrays["y_test"], strict=True)):
        (home / "val" / "images" / f"val_{number}.JPEG").write_bytes(image_bytes(image, "JPEG"))
        lines.append(f"val_{number}.JPEG\t{names[label]}\t0\t0\t31\t31\n")
    (home / "val" / "val_annotations.txt").write_text("".join(lines))
    (home / "test" / "images" / "test_0.JPEG").write_bytes(image_bytes(arrays["x_test"][0], "JPEG"))
    return home


def save_zip(home: Path) -> Path:
    """The folder as an archive, wrapped in a folder of its name."""
    file = home.with_name(f"{home.name}.zip")
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(home.rglob("*")):
            archive.write(path, path.relative_to(home.parent))
    return file


def save_tar(home: Path, packing: str = "gz") -> Path:
    """The same as ``.tar``, ``.tar.gz``, ``.tar.bz2`` or ``.tar.xz``."""
    file = home.with_name(f"{home.name}.tar{'.' if packing else ''}{packing}")
    with tarfile.open(file, f"w:{packing}") as archive:
        archive.add(home, home.name)
    return file
