"Stage 2 on two processes, started by torchrun, gives what one process gives."

import os
import subprocess
import sys

import numpy as np

SCRIPT = """
import sys
import numpy as np
from accelerate import PartialState
from sac_seic.data.images import fashion_mnist_sample
from sac_seic.models.mini import MiniImageEncoder
from sac_seic.enhance import Enhancer
from sac_seic.sac import ClusterHead
import torch

torch.manual_seed(0)
images, head = fashion_mnist_sample().subset(range(24)), ClusterHead(1280, 3)
p = torch.randn(24, 3).mul(3).softmax(1).numpy()
model = Enhancer(steps=3, batch_size=8, size=64, lr=1e-2, device="cpu").fit(images, MiniImageEncoder(), head, p)
state = PartialState()
np.savez(f"{sys.argv[1]}/{state.num_processes}-{state.process_index}.npz", p=model.p_, mean=[h["mean"] for h in model.history_])
"""


def test_two_processes(tmp_path):
    (tmp_path / "train.py").write_text(SCRIPT)
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    for launch in ([], ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]):
        done = subprocess.run([sys.executable, *launch, tmp_path / "train.py", tmp_path], env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
    one, first, second = (np.load(tmp_path / f"{name}.npz") for name in ("1-0", "2-0", "2-1"))
    np.testing.assert_array_equal(first["p"], second["p"])
    np.testing.assert_allclose(first["p"], one["p"], atol=1e-4)
    np.testing.assert_allclose(first["mean"], one["mean"], rtol=1e-6)  # Eq. 12's moving mean is over both
