"""The plain lines of the two pages that tell a paper in ten minutes: they give what the package gives."""

import json
import re

import matplotlib
import torch
from nbdev.config import get_config


def all_right(labels): return list(labels) in ([0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0])  # either numbering of the groups


def run(page):
    "What the code cells of a page define, the long control aside, and how many plain lines they are: no imports, plots, prints."
    matplotlib.use("Agg")
    cells = json.loads((get_config().nbs_path / f"{page}.ipynb").read_text(encoding="utf-8"))["cells"]
    sources = {cell["id"]: re.sub(r"^%.*", "", "".join(cell["source"]), flags=re.M) for cell in cells if cell["cell_type"] == "code"}
    names = {}
    for name, source in sources.items():
        if name != "control" and not re.search(r"^#\|\s*slow", source, re.M): exec(source, names)
    code = [s for s in sources.values() if not re.search(r"^#\| (?:label|hide|code-fold)|^import|^from", s, re.M)]
    return names, sum(bool(re.match(r"\s*(?!print\()[^\s#]", line)) for s in code for line in s.splitlines())


def test_sac_in_one_page(monkeypatch):
    from sac_seic.sac import SAC
    from sac_seic.sac_losses import cross_weight, four_neighbor_means, intra_weight, sac_objective

    page, lines = run("sac_in_one_page")
    assert lines < 70
    v, t, near_v, near_t = (page[name] for name in ("v", "t", "near_v", "near_t"))
    for p, q in ((page["own_view"](v), page["own_view"](t)), page["after"]):
        means = four_neighbor_means(p, q, near_t, near_v)
        w_in, w_cn = page["weights"](p, q)
        torch.testing.assert_close(w_in, intra_weight(p, q, means.p_bar_text, means.q_bar_image))
        torch.testing.assert_close(w_cn, cross_weight(p, q, means.q_bar_text, means.p_bar_image))
        torch.testing.assert_close(page["sac"](p, q), sac_objective(p, q, means).total)
    assert page["w_in"].argmin() == page["w_cn"].argmin() == 2  # C, the wrong caption
    for seed in range(3):
        def same_start(model, *dims, seed=seed):  # the package's heads, with the page's first weights
            ours = model._new_heads(dims)
            torch.manual_seed(seed)
            for head, d in zip(ours, dims): head.layers.load_state_dict(torch.nn.Linear(d, 2).state_dict())
            return ours

        monkeypatch.setattr("sac_seic.sac.random_heads", same_start)
        ours = SAC(2, k=2, init="random", lr=0.03, max_steps=50, tolerance=0.0, random_state=seed, device="cpu").fit(v.numpy(), t.numpy())
        p, q = page["train"](seed)
        assert all_right(p.argmax(dim=1)) and p.argmax(dim=1).tolist() == ours.labels_.tolist()
        for got, expected in ((p, ours.p_), (q, ours.q_)): torch.testing.assert_close(got, torch.from_numpy(expected), atol=1e-3, rtol=0)


def test_seic_in_one_page(monkeypatch):
    import numpy as np

    from sac_seic.enhance import ConfidenceWeight
    from sac_seic.nouns import retrieve_text
    from sac_seic.seic import SEIC
    from sac_seic.seic_losses import DynamicBalance, alignment_objective

    page, lines = run("seic_in_one_page")
    assert lines < 70
    found = retrieve_text(page["x"].numpy(), page["n"].numpy(), 4, 3, n_clusters=2)
    np.testing.assert_allclose(page["t"].numpy(), found.t, atol=1e-5)
    np.testing.assert_allclose(page["share"].numpy(), found.weights, atol=1e-5)
    assert page["kept"][page["own"]].tolist() == found.nouns.tolist()
    v, t = page["v"], page["t"]
    for seed in range(3):
        heads = page["new_heads"](v, t, seed)
        (zv, pv), (zt, pt) = (page["answer"](layers, x) for layers, x in zip(heads, (v, t)))
        balance = DynamicBalance(2, scaled=False, floor=0.0).eval()
        balance.h.copy_(torch.tensor([0.7, 0.3]))
        total, parts = page["seic"](zv, pv, zt, pt, balance.h, 0.07)
        torch.testing.assert_close(torch.stack([total, *parts]), torch.stack(alignment_objective(zv, zt, pv, pt, balance, 0.07)))

        def same_start(model, *dims, heads=heads):  # the package's heads, with the page's first weights
            ours = model._new_heads(dims)
            for parameter, first in zip(ours.parameters(), heads.parameters()): parameter.data.copy_(first.data)
            return ours

        monkeypatch.setattr("sac_seic.seic.random_heads", same_start)
        model = SEIC(2, projection_dim=8, init="random", lr=0.03, max_steps=50, tolerance=0.0, scaled=False, floor=0.0, device="cpu").fit(v.numpy(), t.numpy())
        pv, pt = page["train"](v, t, seed)
        np.testing.assert_allclose(pv.numpy(), model.pv_, atol=1e-3)
        np.testing.assert_allclose(pt.numpy(), model.pt_, atol=1e-3)
        assert pv.argmax(dim=1).tolist() == model.labels_.tolist()
    assert all_right(page["after"][0].argmax(dim=1)) and page["w"].argmin() == 2  # C, with the wrong nouns
    torch.testing.assert_close(page["w"], ConfidenceWeight()(page["after"][0]))
