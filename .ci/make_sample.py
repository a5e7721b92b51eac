"""Make the sample that ships in the package from Fashion-MNIST's own files.

    python .ci/make_sample.py FOLDER

FOLDER holds t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz. Debian's package
dataset-fashion-mnist puts them into /usr/share/datasets/fashion-mnist.

Takes the first 200 test images of each of the 10 classes, in their original order, and writes
sac_seic/fashion_mnist_sample.png (a lossless sheet, 50 images to a row) and
sac_seic/fashion_mnist_sample.json (their row numbers in the test split, and their labels).
The data set's licence lies beside them in sac_seic/FASHION_MNIST_LICENSE."""

import gzip
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

PACKAGE = Path(__file__).resolve().parent.parent / "sac_seic"
sys.path.insert(0, str(PACKAGE.parent))
from sac_seic.data.benchmarks import open_benchmark  # noqa: E402

# of the uncompressed files: how they are packed differs from one publisher to the next
SHA256 = {
    "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
PER_CLASS, COLUMNS = 200, 50


def main(folder: Path) -> None:
    for name, expected in SHA256.items():
        found = hashlib.sha256(gzip.decompress((folder / name).read_bytes())).hexdigest()
        if found != expected:
            sys.exit(f"{folder / name} is not Fashion-MNIST's file: its SHA-256 is {found}, not {expected}.")
    test = open_benchmark("fashion-mnist", folder, "test")
    rows = np.sort(np.concatenate([np.flatnonzero(test.labels == c)[:PER_CLASS] for c in range(10)]))
    images = test.arrays[rows]
    n, h, w = images.shape
    sheet = images.reshape(n // COLUMNS, COLUMNS, h, w).swapaxes(1, 2).reshape(n // COLUMNS * h, COLUMNS * w)
    Image.fromarray(sheet).save(PACKAGE / "fashion_mnist_sample.png", optimize=True)
    index = {"rows": rows.tolist(), "labels": test.labels[rows].tolist()}
    (PACKAGE / "fashion_mnist_sample.json").write_text(json.dumps(index, separators=(",", ":")) + "\n")
    print(n, "images, the last is row", rows[-1], "· SHA-256 of their pixels", hashlib.sha256(images.tobytes()).hexdigest())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
