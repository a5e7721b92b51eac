"""SAC's losses: what they refuse, and what their notebook has no room for: slopes, limits, options, extremes, half precision."""

import math

import pytest
import torch

from sac_seic.sac_losses import (
    _contrast, NeighborMeans, balance_entropy, bidirectional_alignment, cross_weight, inter_contrastive, intra_contrastive,
    intra_weight, neighbor_mean, robust_contrastive, sac_objective)


def random_rows(n: int, c: int, seed: int) -> torch.Tensor:
    "Assignments: n rows that sum to 1."
    g = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(n, c, generator=g, dtype=torch.float64)).softmax(dim=1)


P, Q, A, B, C, D = (random_rows(7, 4, seed) for seed in range(6))
MEANS, W = NeighborMeans(A, B, C, D), torch.rand(7, generator=torch.Generator().manual_seed(6), dtype=torch.float64)

# What is refused -------------------------------------------------------------------------------------------

REFUSED = [ # the function, its arguments, settings, what the message says
    (neighbor_mean, (P, torch.tensor([[-1, 0]])), {}, "nbr holds indices from -1 to 0, but p has rows 0 to 6"),
    (neighbor_mean, (P, torch.tensor([[0, 7]])), {}, "nbr holds indices from 0 to 7"),
    (neighbor_mean, (P, torch.tensor([0, 1])), {}, "nbr has shape"),
    (intra_weight, (P, Q, A, B), {"scale": 0}, "scale is 0"),
    (intra_weight, (P, Q, A, B), {"balance": 1.1}, "balance is 1.1"),
    (intra_weight, (P, Q, A, B), {"similarity": "euclid"}, "similarity is 'euclid'"),
    (intra_weight, (P, Q, A[:3], B), {}, "p_bar has shape"),
    (cross_weight, (P, Q, C, D), {"scale": -1}, "scale is -1"),
    (cross_weight, (P, Q, C, D), {"balance": -0.1}, "balance is -0.1"),
    (cross_weight, (P, Q, C, D), {"similarity": "l2"}, "similarity is 'l2'"),
    (cross_weight, (P, Q, C[:, :2], D), {}, "q_bar has shape"),
    (intra_contrastive, (P, A, W), {"temperature": 0}, "temperature is 0"),
    (intra_contrastive, (P, A, W[:, None]), {}, "weight has shape"),
    (intra_contrastive, (P, A[:5], W), {}, "p_bar has shape"),
    (inter_contrastive, (P, Q, C, D, W), {"temperature": -1.0}, "temperature is -1"),
    (inter_contrastive, (P, Q, C, D, W[:3]), {}, "weight has shape"),
    (inter_contrastive, (P, Q[:, :3], C, D, W), {}, "q has shape"),
    (robust_contrastive, (P, Q, MEANS), {"weights": ("INUW",)}, "weights"),
    (robust_contrastive, (P, Q, MEANS), {"terms": "intra"}, "terms"),
    (robust_contrastive, (P, Q, MEANS), {"terms": ("extra",)}, "terms"),
    (bidirectional_alignment, (P - 1, Q), {}, "not logits"),
    (bidirectional_alignment, (P, Q[:4]), {}, "q has shape"),
    (balance_entropy, (P, -Q), {}, "not logits"),
    (balance_entropy, (P, Q[:2]), {}, "q has shape"),
    (sac_objective, (P, Q, MEANS), {"scale": 0}, "scale is 0"),
    (sac_objective, (P - 1, Q, MEANS), {}, "not logits"),
    (sac_objective, (P[:3], Q[:3], MEANS), {}, "p_bar has shape"),
]


@pytest.mark.parametrize("function, arguments, settings, said", REFUSED,
                         ids=[f"{f.__name__}, {said}" for f, *_, said in REFUSED])
def test_it_is_refused_in_a_sentence(function, arguments, settings, said):
    with pytest.raises(ValueError, match=said): function(*arguments, **settings)

# What the notebook has no room for -------------------------------------------------------------------------

ONES = torch.ones(7, dtype=torch.float64)
UNIFORM = torch.full((7, 4), 0.25, dtype=torch.float64)


def perfect(n: int, c: int) -> torch.Tensor: return torch.nn.functional.one_hot(torch.arange(n) % c, c).double()


@pytest.mark.parametrize("loss, arguments", [
    (lambda p: neighbor_mean(p, torch.tensor([[0, 3, 3], [6, 1, 2]])), (P,)),
    (lambda p, p_bar: intra_contrastive(p, p_bar, W), (P, A)),
    (lambda p, p_bar: intra_contrastive(p, p_bar, W, similarity="dot"), (P, A)),
    (lambda p, q, q_bar, p_bar: inter_contrastive(p, q, q_bar, p_bar, W), (P, Q, C, D)),
    (bidirectional_alignment, (P, Q)),
    (lambda p, q: bidirectional_alignment(p, q, symmetric=True), (P, Q)),
    (balance_entropy, (P, Q)),
], ids=["mean", "Eq. 8", "Eq. 8, dot", "Eq. 9", "Eq. 12", "Eq. 12, both ways", "Eq. 13"])
def test_the_gradient_is_the_slope(loss, arguments):
    assert torch.autograd.gradcheck(loss, tuple(x.clone().requires_grad_() for x in arguments))


def test_weights_in_the_limit():
    for weight, args in ((intra_weight, (P, Q, A, B)), (cross_weight, (P, Q, C, D))):
        for balance in (0.0, 1.0):  # all alike: sgm(1/a), whatever α
            torch.testing.assert_close(weight(P, Q, P, Q, scale=0.5, balance=balance), torch.sigmoid(2 * ONES))
        torch.testing.assert_close(weight(*args, scale=1e9), ONES / 2)
    torch.testing.assert_close(intra_weight(P, Q, A, Q, balance=0.0), ONES * torch.sigmoid(ONES[0]))  # α = 0 looks at the captions only
    uniform = [UNIFORM] * 4
    assert torch.allclose(intra_weight(*uniform), torch.sigmoid(ONES)) and torch.allclose(intra_weight(*uniform, similarity="dot"), torch.sigmoid(ONES / 4))


def test_a_gradient_through_the_weight_would_turn_the_loss_round():
    "Why the weights are constants: the slope of w·loss in the sample's own cosine changes sign."
    x = perfect(512, 10)
    sim = (x[:1] @ x.T)[0].requires_grad_()
    each = sim.div(1.1).logsumexp(dim=0) - sim[0] / 1.1
    slopes = [torch.autograd.grad(w * each, sim, retain_graph=True)[0][0] for w in (torch.sigmoid(sim[0]).detach(), torch.sigmoid(sim[0]))]
    assert slopes[0] < 0 < slopes[1]


def test_contrast_in_the_limit():
    perfect512 = perfect(512, 10)
    score = intra_contrastive(perfect512, perfect512, None)
    assert math.isclose(score, math.log(51.2 + 460.8 * math.exp(-1 / 1.1)), rel_tol=1e-4) and f"{score:.2f}" == "5.47"
    first = torch.tensor([1.0, 0, 0, 0, 0, 0, 0], dtype=torch.float64)  # a weight picks its own sample
    assert torch.isclose(7 * intra_contrastive(P, A, first), _contrast(P, A, 1.1, "cosine")[0])
    assert torch.isclose(intra_contrastive(P, A, None), intra_contrastive(P, A, ONES))
    turned = _contrast(perfect512, perfect512.roll(1, dims=1), 1.1, "cosine").mean() - score  # clusters numbered differently
    assert torch.isclose(turned, ONES[0] / 1.1)
    leaf = P.clone().requires_grad_()
    _contrast(leaf, Q[:1].repeat(7, 1), 1.1, "cosine").mean().backward()  # the same average for all: nothing to learn
    assert leaf.grad.abs().max() < 1e-12


def test_alignment_and_balance_in_the_limit():
    for x, want in ((UNIFORM, math.log(7) + math.log(4)), (perfect(40, 4), math.log(10)), (perfect(1, 4).repeat(7, 1), math.log(7) / 4)):
        assert math.isclose(bidirectional_alignment(x, x), want, rel_tol=1e-6)
    opposed = perfect(2, 2)
    assert math.isclose(bidirectional_alignment(opposed, opposed.flip(0)), 2 * math.log(1e12), rel_tol=1e-6)  # finite
    assert math.isclose(balance_entropy(UNIFORM, UNIFORM), 2 * math.log(4)) and balance_entropy(*[perfect(1, 4).repeat(7, 1)] * 2) == 0
    p = perfect(40, 4) * 0.5 + 0.125
    logits = p.log().requires_grad_()
    bidirectional_alignment(logits.softmax(dim=1), p).backward()  # p = q already, and still it is pushed: to be certain
    assert (-logits.grad)[p > 0.5].gt(0).all()


def test_every_option_arrives():
    other = {"scale": 0.3, "balance": 0.4, "similarity": "dot", "temperature": 0.5}
    got = sac_objective(P, Q, MEANS, weights=("CN",), **other)
    torch.testing.assert_close(got.intra + got.inter, robust_contrastive(P, Q, MEANS, weights=("CN",), **other))
    torch.testing.assert_close(got.intra, intra_contrastive(P, A, None, 0.5, "dot"))
    w = cross_weight(P, Q, C, D, 0.3, 0.4, "dot")
    torch.testing.assert_close(got.inter, inter_contrastive(P, Q, C, D, w, 0.5, "dot"))
    w = intra_weight(P, Q, A, B, 0.3, 0.4, "dot")
    torch.testing.assert_close(sac_objective(P, Q, MEANS, weights=("IN",), **other).intra, intra_contrastive(P, A, w, 0.5, "dot"))
    torch.testing.assert_close(sac_objective(P, Q, MEANS, symmetric=True).alignment, bidirectional_alignment(P, Q, symmetric=True))
    assert sac_objective(P, Q, MEANS, terms=()).intra == sac_objective(P, Q, MEANS, terms=()).inter == 0


BIG = 1e4  # softmax(BIG) has exact zeros in float32
EYE, EIGHT, NINE = torch.eye(4), perfect(8, 4).float(), perfect(9, 3).float() @ torch.eye(3, 4)
EXTREMES = {"certain, opposed": (BIG * EIGHT, -BIG * EIGHT), "identical rows": (torch.ones(8, 4), torch.ones(8, 4)),
            "an empty cluster": (BIG * NINE, BIG * NINE - BIG * EYE[3]), "all in one cluster": (BIG * EYE[:1].repeat(8, 1), BIG * EYE[1:2].repeat(8, 1)),
            "one row": (torch.tensor([[1.0, 0, -1, 2]]), torch.tensor([[0.0, 1, 1, -2]])), "one cluster": (torch.ones(5, 1), torch.zeros(5, 1))}


@pytest.mark.parametrize("options", [{}, {"similarity": "dot", "symmetric": True}, {"scale": 1e-3, "temperature": 1e-3}], ids=["as printed", "dot", "sharp"])
@pytest.mark.parametrize("logits", EXTREMES.values(), ids=EXTREMES)
def test_no_nan(logits, options):
    zp, zq = (z.clone().requires_grad_() for z in logits)
    p, q = zp.softmax(dim=1), zq.softmax(dim=1)
    for means in (NeighborMeans(p, q, q, p), NeighborMeans(*(x.detach().flip(0) for x in (p, q, q, p)))):
        loss = sac_objective(p, q, means, **options)
        assert all(x.isfinite().all() for x in (*loss, *torch.autograd.grad(loss.total, (zp, zq), retain_graph=True)))


def test_half_precision():
    torch.manual_seed(0)
    head, x = torch.nn.Linear(16, 5), torch.randn(64, 16)
    whole = lambda p: sac_objective(p, p, NeighborMeans(*[p] * 4))
    full_p = head(x).softmax(dim=1)
    full = whole(full_p)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(x)
        half_p = logits.softmax(dim=1)
        half, narrow = whole(half_p), whole(half_p.bfloat16())
        inside, rounded = _contrast(full_p, full_p, 1.1, "cosine"), full_p @ full_p.T
    half.total.backward()
    assert logits.dtype == rounded.dtype == torch.bfloat16 and head.weight.grad.isfinite().all()
    for loss in (half, narrow):
        assert all(x.dtype == torch.float32 for x in loss)
        torch.testing.assert_close(torch.stack(loss), torch.stack(full), rtol=5e-3, atol=0.01)
    assert torch.equal(inside, _contrast(full_p, full_p, 1.1, "cosine"))  # the product stays in float32, to the last bit
    assert not torch.equal(rounded.float(), full_p @ full_p.T)
