"""A result fitted on a part of one folder, saved, and put to new images in a fresh process:

    python tests/score_predict.py FITTED NEW K [images to fit on]

Both folders have a folder a class; ACC of either, by the classes, which no method has seen."""

import subprocess
import sys
import tempfile

import numpy as np

import sac_seic
from sac_seic.data.files import no_progress
from sac_seic.data.images import ImageFolder

ANEW = """import sys, sac_seic
from sac_seic.data.images import ImageFolder
new = sac_seic.load(sys.argv[1]).predict(ImageFolder(sys.argv[2], labels=True))
print(f"{100 * new.scores()['ACC']:.1f} % of {len(new):,} new ones ({100 * new.unlike:.1f} % of them unlike those fitted)")"""


def main(fitted: str, new: str, k: str, n: str = "5000"):
    images = ImageFolder(fitted, labels=True)
    for seed in range(3):
        some = np.random.default_rng(seed).choice(len(images), min(int(n), len(images)), replace=False)
        found = sac_seic.cluster(images.subset(np.sort(some)), int(k), seed=seed, progress=no_progress)
        with tempfile.TemporaryDirectory() as folder:
            found.save(folder)
            said = subprocess.run([sys.executable, "-c", ANEW, folder, new], capture_output=True, text=True, check=True)
        print(f"seed {seed}: ACC {100 * found.scores()['ACC']:.1f} % of {len(found):,} fitted,", said.stdout.strip())


if __name__ == "__main__": main(*sys.argv[1:])
