"Stage 2 on three processes, started by torchrun, gives what one process gives, though their shares are not equal."

import os
import subprocess
import sys

import numpy as np

SCRIPT = """
import os, sys
import numpy as np
import torch
from sac_seic.data.images import fashion_mnist_sample
from sac_seic.enhance import Enhancer
from sac_seic.models.mini import MiniImageEncoder
from sac_seic.sac import ClusterHead

torch.manual_seed(0)
folder, rank = sys.argv[1], os.environ.get("RANK", "0")
several = int(os.environ.get("WORLD_SIZE", "1")) > 1
images, head = fashion_mnist_sample().subset(range(24)), ClusterHead(1280, 3)
p = torch.randn(24, 3).mul(3).softmax(1).numpy()

def fit(checkpoint=None, **settings):
    settings = {"steps": 3, "batch_size": 8, "size": 64, "lr": 1e-2, "device": "cpu"} | settings
    return Enhancer(**settings).fit(images, MiniImageEncoder(), head, p, checkpoint)

found = {}
for name, settings in {"frozen": {"micro_batch": 2}, "ema": {"teacher": "ema"}}.items(): # shares of 3, 3 and 2 images
    model = fit(**settings)
    found[name] = model.p_
    found[f"{name} history"] = [list(step.values()) for step in model.history_]
if several: # drawn by the first process for all of them
    found["seed"] = fit(steps=0, random_state=None).seed_
np.savez(f"{folder}/{'several' if several else 'one'}-{rank}.npz", **found)

if several:
    refused, state = [], f"{folder}/state"
    fit(state, steps=1)
    for settings, checkpoint in (({"batch_size": 2}, None), ({"steps": 1}, state if rank == "0" else None)):
        try: fit(checkpoint, **settings)
        except ValueError as error: refused.append(str(error))
    assert "too few for 3 processes" in refused[0] and "Not every process found the checkpoint" in refused[1], refused
"""


def test_three_processes(tmp_path):
    (tmp_path / "train.py").write_text(SCRIPT)
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    for launch in ([], ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3"]):
        done = subprocess.run([sys.executable, *launch, tmp_path / "train.py", tmp_path], env=env,
                              capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
    one, first, *others = (np.load(tmp_path / f"{name}.npz") for name in ("one-0", *(f"several-{i}" for i in range(3))))
    for name in first.files:
        for other in others: np.testing.assert_array_equal(other[name], first[name])
    for name in one.files:  # the history has Eq. 12's moving mean and variance over all processes
        np.testing.assert_allclose(first[name], one[name], atol=1e-4)
