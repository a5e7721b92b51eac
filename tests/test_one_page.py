"""The plain lines of the two pages that tell a paper in ten minutes: they give what the package gives."""

import json
import re

import matplotlib
import torch
from nbdev.config import get_config
from sklearn.metrics import adjusted_rand_score


def run(page):
    "What the code cells of a page define, and how many plain lines they are: no imports, no plots."
    matplotlib.use("Agg")
    cells = json.loads((get_config().nbs_path / f"{page}.ipynb").read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    sources = [re.sub(r"^%.*", "", s, flags=re.M) for s in sources if not re.search(r"^#\|\s*slow", s, re.M)]
    names = {}
    for source in sources: exec(source, names)
    code = [s for s in sources if not re.search(r"^#\| (?:label|hide|code-fold)|^import|^from", s, re.M)]
    return names, sum(bool(re.match(r"\s*[^\s#]", line)) for s in code for line in s.splitlines())


def test_sac_in_one_page():
    from sac_seic.sac import SAC
    from sac_seic.sac_losses import cross_weight, four_neighbor_means, intra_weight, sac_objective

    page, lines = run("sac_in_one_page")
    assert lines <= 65
    v, t, near_v, near_t = (page[name] for name in ("v", "t", "near_v", "near_t"))
    for p, q in ((page["own_view"](v), page["own_view"](t)), page["after"]):
        means = four_neighbor_means(p, q, near_t, near_v)
        w_in, w_cn = page["weights"](p, q)
        torch.testing.assert_close(w_in, intra_weight(p, q, means.p_bar_text, means.q_bar_image))
        torch.testing.assert_close(w_cn, cross_weight(p, q, means.q_bar_text, means.p_bar_image))
        torch.testing.assert_close(page["sac"](p, q), sac_objective(p, q, means).total)
    assert page["w_in"].argmin() == page["w_cn"].argmin() == 2  # C, the wrong caption
    for seed in range(3):  # the two draw their random heads differently, so the groups may be numbered the other way round
        ours = SAC(2, k=2, init="random", lr=0.03, max_steps=50, tolerance=0.0, random_state=seed, device="cpu").fit(v.numpy(), t.numpy())
        p, q = page["train"](seed)
        assert page["all_right"](p.argmax(dim=1).tolist())
        for labels in (p.argmax(dim=1).numpy(), q.argmax(dim=1).numpy(), ours.labels_): assert adjusted_rand_score(labels, ours.labels_) == 1
