"""SEIC's losses: what the page leaves out. Refusals, gradients, an independent reference, no NaN, half precision."""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nbdev.config import get_config

from sac_seic.sac_losses import balance_entropy
from sac_seic.seic_losses import (
    DynamicBalance, alignment_objective, assignment_contrastive, balance_loss, center_contrastive, instance_contrastive, weighted_centers)


def features(n, d, seed): return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
def rows(n, k, seed): return (2 * features(n, k, seed)).softmax(dim=1)


ZV, ZT, PV, PT = features(7, 5, 0), features(7, 5, 1), rows(7, 4, 2), rows(7, 4, 3)
BATCH, K = (ZV, ZT, PV, PT), 4
MV, MT = weighted_centers(ZV, PV), weighted_centers(ZT, PT)


@pytest.mark.parametrize("call, said", [
    (lambda: instance_contrastive(ZV, ZT, 0), "temperature is 0"), (lambda: instance_contrastive(ZV, ZT[:3]), "zt has shape .* where zv"),
    (lambda: assignment_contrastive(-PV, PT), "softmax"), (lambda: assignment_contrastive(PV, PT[:3]), "pt has shape"),
    (lambda: weighted_centers(ZV[:3], PV), "one row per sample"), (lambda: weighted_centers(ZV, -PV), "softmax"),
    (lambda: weighted_centers(ZV, PV, "median"), "'median'"), (lambda: center_contrastive(MV, MT[:2]), "mu_t has shape .* where mu_v"),
    (lambda: center_contrastive(MV, MT, -1), "temperature is -1"), (lambda: balance_loss(PV[0], PT[0, :2], PV[0]), "one number per cluster"),
    (lambda: DynamicBalance(0), "n_clusters is 0"), (lambda: DynamicBalance(3, momentum=1.0), "momentum is 1.0"), (lambda: DynamicBalance(3, floor=-.1), "floor is -0.1"),
    (lambda: DynamicBalance(4)(PV[:, :3], PT[:, :3]), "4 columns"), (lambda: alignment_objective(*BATCH, "Entropy"), "balance is 'Entropy'"),
    (lambda: alignment_objective(*BATCH, 3), "balance is 3")])
def test_it_is_refused_in_a_sentence(call, said):
    with pytest.raises(ValueError, match=said): call()


def test_instances_are_clips_loss():
    from open_clip.loss import ClipLoss

    zv, zt = [features(64, 16, seed).float().requires_grad_() for seed in (4, 5)]
    tau = torch.tensor(0.07, requires_grad=True)
    ours, theirs = instance_contrastive(zv, zt, tau), ClipLoss()(F.normalize(zv, dim=1), F.normalize(zt, dim=1), 1 / tau)
    torch.testing.assert_close(ours, theirs)
    for got, expected in zip(*[torch.autograd.grad(loss, (zv, zt, tau)) for loss in (ours, theirs)]): torch.testing.assert_close(got, expected)


def test_instances_in_the_limit():
    eye, order = torch.eye(6), torch.randperm(7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(instance_contrastive(eye, eye.roll(1, 0), 1e6), torch.tensor(math.log(6)))
    assert instance_contrastive(eye[:1], eye[1:2]) == 0                                                    # a batch of one
    torch.testing.assert_close(instance_contrastive(3 * ZV, 0.1 * ZT), instance_contrastive(ZV, ZT))       # lengths don't matter
    torch.testing.assert_close(instance_contrastive(ZV[order], ZT[order]), instance_contrastive(ZV, ZT))   # nor the order
    pure = torch.eye(4).repeat(8, 1)
    torch.testing.assert_close(instance_contrastive(pure, pure, 0.01), torch.tensor(math.log(32 / 4)))     # ln(B/K)
    tau = torch.tensor(0.07, requires_grad=True)
    slope = lambda texts: torch.autograd.grad(instance_contrastive(eye, texts, tau), tau)[0].item()
    assert slope(eye + 0.1) > 0 > slope(eye.roll(1, 0))                                                     # τ falls where all is right


def test_assignments_in_the_limit():
    lopsided = [torch.eye(3).repeat_interleave(torch.tensor(s), dim=0) for s in ((34, 33, 33), (98, 1, 1))]
    for p in lopsided: torch.testing.assert_close(assignment_contrastive(p, p), torch.tensor(math.log(1 + 2 * math.exp(-2))))
    p = torch.eye(3).repeat(3, 1)
    torch.testing.assert_close(assignment_contrastive(p, p.roll(1, 1)), torch.tensor(math.log(2 + math.exp(2))))  # renumbered
    assert assignment_contrastive(PV[:, [0, 2, 1, 3]], PT[:, [0, 2, 1, 3]]).item() == pytest.approx(assignment_contrastive(PV, PT).item())


def test_centres_in_the_limit():
    sure = torch.tensor([0, 0, 2, 2, 2, 0, 2])  # nobody in clusters 1 and 3
    p = torch.eye(4)[sure].double()
    centres = weighted_centers(ZV, p)
    torch.testing.assert_close(centres[0], ZV[sure == 0].sum(dim=0))
    torch.testing.assert_close(F.normalize(centres, dim=1), F.normalize(weighted_centers(ZV, p, "mean"), dim=1))
    assert (centres[[1, 3]] == 0).all()
    z = ZV.clone().requires_grad_()
    lonely = center_contrastive(weighted_centers(z, torch.eye(4)[torch.zeros(7, dtype=int)]), weighted_centers(z, torch.eye(4)[torch.ones(7, dtype=int)]))
    lonely.backward()                           # no cluster in both views: 0, and a graph behind it
    assert lonely == 0 and (z.grad == 0).all()
    pair = [x.detach().clone().requires_grad_() for x in (torch.cat([MV, MV[:1]]), torch.cat([MT, 0 * MT[:1]]))]
    kept, alone = (torch.autograd.grad(center_contrastive(*some), pair) for some in (pair, [x[:4] for x in pair]))
    for x, y in zip(kept, alone): torch.testing.assert_close(x, y, atol=1e-12, rtol=1e-6)
    logits = PV.log().requires_grad_()          # plain means give the head nothing
    assert torch.autograd.grad(center_contrastive(weighted_centers(z, logits.softmax(dim=1), "mean"), MT), logits, allow_unused=True)[0] is None


def test_balance_pushes_the_wrong_way_with_two_clusters():
    def push(h):
        balance = DynamicBalance(len(h), scaled=False, floor=1e-6).eval()
        balance.h.copy_(torch.tensor(h))
        logits = torch.zeros(8, len(h), requires_grad=True)
        balance(logits.softmax(dim=1), torch.full((8, len(h)), 1 / len(h))).backward()
        return -8 * logits.grad[0]
    assert push([0.6, 0.4])[1] < 0 < push([0.4, 0.3, 0.3])[1] and push([0.19] + [0.09] * 9)[1] > 0
    torch.testing.assert_close(push([0.91] + [0.01] * 9)[1] / 10, torch.tensor((math.log(10) - 1) / 10 * (10 - (9 * 10 + 1 / 9.1) / 10)), atol=1e-3, rtol=0)


def test_balance_in_half_precision():
    b = torch.tensor([1., 0]).half()  # widened: no log of 0
    assert balance_loss(b, b, torch.ones(2).half()) == 0


def test_shares_leave_one_part_out():
    full = alignment_objective(*BATCH, DynamicBalance(K))
    for share, part in (("alpha", "instance"), ("beta", "assignment"), ("gamma", "center"), ("delta", "balance")):
        balance = DynamicBalance(K)
        less = alignment_objective(*BATCH, balance, **{share: 0})
        assert getattr(less, part) == 0
        torch.testing.assert_close(less.total, full.total - getattr(full, part))
    assert (balance.h == 0.25).all()  # δ = 0 came last: not even h was updated
    torch.testing.assert_close(alignment_objective(*BATCH, "entropy").balance, -balance_entropy(PV, PT))
    assert alignment_objective(*BATCH, None).balance == 0 and alignment_objective(*BATCH, None, weighting="mean").center != full.center


@pytest.mark.parametrize("loss", [instance_contrastive, lambda zv, zt: weighted_centers(zv, zt.softmax(dim=1)),
                                  lambda zv, zt: assignment_contrastive(zv.softmax(dim=1), zt.softmax(dim=1)), center_contrastive,
                                  lambda zv, zt: alignment_objective(zv, zt, zv[:, :4].softmax(dim=1), zt[:, 1:].softmax(dim=1), DynamicBalance(4), 0.2).total])
def test_gradients(loss): assert torch.autograd.gradcheck(loss, [x.clone().requires_grad_() for x in (ZV, ZT)])


ONE, BIG = torch.eye(4)[:1], 1e4  # softmax(BIG) has exact zeros in float32
Z, PERFECT = features(8, 3, 0).float(), torch.eye(4).repeat(2, 1)
ODD = {"one-hot, opposed": (Z, BIG * PERFECT, -BIG * PERFECT), "all in one cluster": (Z, BIG * ONE.repeat(8, 1), BIG * ONE.repeat(8, 1)),
       "each in another one": (Z, BIG * ONE.repeat(8, 1), BIG * ONE.roll(1).repeat(8, 1)), "undecided": (Z, torch.zeros(8, 4), torch.zeros(8, 4)),
       "one row": (Z[:1], torch.zeros(1, 4), torch.zeros(1, 4)), "one cluster": (Z, torch.zeros(8, 1), torch.zeros(8, 1)), "zero features": (0 * Z, PERFECT, PERFECT)}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("balance", [dict(momentum=0), dict(momentum=0, scaled=False), "entropy"], ids=["dynamic", "printed", "entropy"])
def test_no_nan(name, balance):
    z, lv, lt = ODD[name]
    leaves = [x.clone().requires_grad_() for x in (z, z, lv, lt)]
    balance = balance if isinstance(balance, str) else DynamicBalance(lv.shape[1], **balance)
    loss = alignment_objective(*leaves[:2], *[x.softmax(dim=1) for x in leaves[2:]], balance, temperature=0.01, cluster_temperature=0.01)
    assert all(x.isfinite().all() for x in (*loss, *torch.autograd.grad(loss.total, leaves)))


def test_autocast_changes_nothing_but_roundings():
    parts = [features(8, 3, 0).float().requires_grad_(), features(8, 3, 1).float(), rows(8, 4, 2).float(), rows(8, 4, 3).float()]
    whole = torch.stack(alignment_objective(*parts, DynamicBalance(4)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside, narrow = (torch.stack(alignment_objective(*some, DynamicBalance(4))) for some in (parts, [x.bfloat16() for x in parts]))
    assert torch.equal(whole, inside) and narrow.dtype == torch.float32
    torch.testing.assert_close(narrow, whole, rtol=0.02, atol=0.02)


def features_of(preset, images):
    v = preset.image_encoder.encode(np.stack([preset.image_encoder.preprocess(image) for image in images]))
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def test_the_six_come_from_the_pictures():
    "ZV and ZT of the page: pictures and their texts by Eq. 1, in the plane in which the twelve vary most, to one decimal. PV and PT are SAC's, and not far off."
    from sklearn.cluster import KMeans

    from sac_seic.data.images import fashion_mnist_sample
    from sac_seic.models.presets import load_preset
    from sac_seic.nouns import retrieve_text, shared_space

    folder = get_config().nbs_path
    sources = {cell["id"]: "".join(cell["source"]) for name in ("05_nouns", "06_seic_losses") for cell in json.loads((folder / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
               if cell["id"] in ("live-six", "six")}
    page = {}
    exec(sources["live-six"], page)
    words = eval(sources["six"].split("words = ")[1].split("space = ")[0])
    preset, images = load_preset("mini"), fashion_mnist_sample().subset([700, 1263, 579, 509, 614, 639])
    space = shared_space(preset)
    x = space.image(preset.image_encoder.encode(np.stack([preset.image_encoder.preprocess(image) for image in images])))
    t = retrieve_text(x, space.noun(preset.text_encoder.encode(words)), 4, 3, n_clusters=2).t
    both = np.vstack([x - x.mean(axis=0), t - t.mean(axis=0)])
    plane = both @ np.linalg.svd(both, full_matrices=False)[2][:2].T
    ours = np.array(page["ZV"] + page["ZT"])
    plane *= np.sign((plane * ours).sum(axis=0))  # an axis may point either way
    np.testing.assert_allclose(plane, ours, atol=0.051)

    for view, answers in ((features_of(preset, images), page["PV"]), (t, page["PT"])):
        group, middle = KMeans(2, n_init=10, random_state=0).fit_predict(view), view - view.mean(axis=0)
        score = np.array([middle @ (c / np.linalg.norm(c)) for c in (middle[group == g].mean(axis=0) for g in (group[0], 1 - group[0]))])
        np.testing.assert_allclose(1 / (1 + np.exp(2 * (score[1] - score[0]))), np.array(answers)[:, 0], atol=0.11)
