"""The six images by hand: what stands in nbs/equations.csv is what the package gives, from the pictures on."""

import csv
import re

import numpy as np
import pytest
import torch
from nbdev.config import get_config

BAG = torch.tensor([[0.8, 0.8, 0.8, 0.2, 0.2, 0.2], [0.9, 0.9, 0.3, 0.2, 0.2, 0.2]])  # p and q for cluster 0, "bags"
P, Q = torch.stack([BAG, 1 - BAG], dim=2)
NEAR_V = torch.tensor([[2, 1], [0, 2], [0, 1], [4, 5], [3, 5], [3, 4]])
NEAR_T = torch.tensor([[1, 2], [0, 2], [4, 5], [4, 5], [5, 2], [4, 3]])
INDEX = {f"{row['paper']} {row['number']}": row for row in csv.DictReader((get_config().nbs_path / "equations.csv").read_text(encoding="utf-8").splitlines())}


@pytest.fixture(scope="module")
def six():
    "The pictures, as the chapters embed and caption them."
    from dataclasses import replace

    from sac_seic.data.files import no_progress
    from sac_seic.data.images import fashion_mnist_sample
    from sac_seic.models.mini import MiniCaptioner
    from sac_seic.models.presets import load_preset
    from sac_seic.pairs import make_pairs

    images = fashion_mnist_sample().subset([700, 1263, 579, 509, 614, 639])
    preset = load_preset("mini", image_encoder="classic")
    return make_pairs(images, replace(preset, captioner=MiniCaptioner(load_preset("mini").image_encoder, top=2)), progress=no_progress)


def test_neighbours_are_those_of_the_pictures(six):
    from sac_seic.pairs import nearest_neighbors

    near_v, near_t = nearest_neighbors(six.v, 2), nearest_neighbors(six.t, 2)
    near_t[:2] = np.sort(near_t[:2])  # A's and B's captions are equal
    assert near_v.tolist() == NEAR_V.tolist() and near_t.tolist() == NEAR_T.tolist()


def own_answers(x):
    "A head that knows one view only: it starts at k-means of that view; A's cluster comes first."
    from sac_seic.sac import ClusterHead, kmeans_start

    x = torch.nn.functional.normalize(torch.from_numpy(x), dim=1)
    head = ClusterHead(x.shape[1], 2)
    head.layers.weight.data, head.layers.bias.data = kmeans_start(x, x, 2, 2.0, seed=0)[0]
    p = head(x).detach()
    return p if p[0, 0] > 0.5 else p.flip(1)


def test_answers_are_those_of_the_pictures(six):
    for x, rounded in ((six.v, P), (six.t, Q)): torch.testing.assert_close(own_answers(x).round(decimals=1), rounded)


def letters(**values): return ", ".join(f"{name} {x:.3f}" for name, x in values.items())


def weights(x): return letters(A=x[0], C=x[2])


def sac(six):
    "SAC's equations on the six, at the paper's settings."
    from sac_seic import sac_losses as L
    from sac_seic.sac import ClusterHead

    yield "1", "C: " + six.captions[2].removeprefix("a photo of a ")
    head = ClusterHead(2, 2)
    head.layers.weight.data, head.layers.bias.data = torch.tensor([[2.0, 0], [-2, 0]]), torch.zeros(2)
    bag = [head(plane(x))[:, 0] for x in (six.v, six.t)]
    yield "2", f"A's picture {bag[0][0]:.1f} bag, C's caption {bag[1][2]:.1f} bag"
    m = L.four_neighbor_means(P, Q, NEAR_T, NEAR_V)
    intra, cross = ((P, Q, m.p_bar_text, m.q_bar_image), (P, Q, m.q_bar_text, m.p_bar_image))
    w_in, w_cn = L.intra_weight(*intra), L.cross_weight(*cross)
    yield "3", weights(L.intra_weight(*intra, balance=1))
    yield "4", weights(w_in)
    yield "5", weights(L.cross_weight(*cross, balance=1))
    yield "6", weights(w_cn)
    yield "7", f"{L.robust_contrastive(P, Q, m):.3f}"
    yield "8", f"{L.intra_contrastive(P, m.p_bar_text, w_in):.3f}; with all weights 1, {L.intra_contrastive(P, m.p_bar_text, None):.3f}"
    yield "9", f"{L.inter_contrastive(*cross, w_cn):.3f}; with all weights 1, {L.inter_contrastive(*cross, None):.3f}"
    yield "10", f"with all weights 1, {L.intra_contrastive(P, m.q_bar_text, None):.3f}"  # Eq. 8 with other averages
    yield "11", f"with all weights 1, {L.intra_contrastive(Q, m.p_bar_image, None):.3f}"
    yield "12", f"{L.bidirectional_alignment(P, Q):.3f}"
    yield "13", f"{L.balance_entropy(P, Q):.3f}"
    yield "14", f"{L.sac_objective(P, Q, m).total:.3f}"


def plane(x):
    "The two directions in which the rows differ most; A to the right."
    x = torch.nn.functional.normalize(torch.from_numpy(x), dim=1)
    x = x - x.mean(dim=0)
    flat = x @ torch.linalg.svd(x, full_matrices=False)[2][:2].T
    return flat * flat[0].sign()


ZV = torch.tensor([[-0.7, 0.3], [-0.9, 0], [-0.4, 0.4], [0.7, -0.1], [0.6, -0.3], [0.6, -0.3]])  # the projections, in two of their dimensions
ZT = torch.tensor([[-0.4, -0.5], [-0.5, -0.6], [0, 0.1], [0.2, 0.2], [0.3, 0.4], [0.3, 0.4]])
NOUNS = "handbag purse mailbag suitcase backpack basket bucket sweatshirt jersey coat cloak vest shirt sandal boot trousers dress cat boat chair teapot violin".split()


def one_way(a, b, tau, package):
    "What each row of a pays; both ways, the mean is what the package gives."
    unit = lambda x: torch.nn.functional.normalize(x, dim=1)
    cosines, own = unit(a) @ unit(b).T / tau, torch.arange(len(a))
    forth, back = (torch.nn.functional.cross_entropy(c, own, reduction="none") for c in (cosines, cosines.T))
    torch.testing.assert_close((forth.mean() + back.mean()) / 2, package)
    return forth


def groups(mu): return ", ".join(f"{name} ({x:.2f}, {y:.2f})" for name, (x, y) in zip(("bags", "tops"), mu))


def seic():
    "SEIC's equations on the six; the heads' answers are those of SAC's, no captions."
    from sac_seic import seic_losses as L
    from sac_seic.enhance import ConfidenceWeight, self_enhancement_loss

    yield "1", "C: " + ", ".join(f"{noun} {share:.2f}" for noun, share in nouns_of_c())
    instance = L.instance_contrastive(ZV, ZT, 1.0)
    pays = one_way(ZV, ZT, 1.0, instance)
    yield "2", f"A {pays[0]:.2f}, C {pays[2]:.2f}, mean {pays.mean():.3f}"
    yield "3", f"{instance:.3f}"
    assignment = L.assignment_contrastive(P, Q, 0.5)
    yield "4", "bags {:.3f}, tops {:.3f}".format(*one_way(P.T, Q.T, 0.5, assignment))
    yield "5", f"{assignment:.3f}"
    mu_v, mu_t = L.weighted_centers(ZV, P), L.weighted_centers(ZT, Q)
    yield "6", groups(mu_v)
    yield "7", groups(mu_t)
    center = L.center_contrastive(mu_v, mu_t, 0.5)
    yield "8", "bags {:.3f}, tops {:.3f}".format(*one_way(mu_v, mu_t, 0.5, center))
    yield "9", f"{center:.3f}"
    balance = L.DynamicBalance(2, scaled=False).eval()
    even = balance(P, Q)
    balance.h.copy_(torch.tensor([0.6, 0.4]))
    yield "10", f"{balance(P, Q):.3f}; with an even past, {even:.3f}"
    yield "11", f"{L.alignment_objective(ZV, ZT, P, Q, L.DynamicBalance(2).eval(), temperature=1.0).total:.3f}"
    w = ConfidenceWeight(momentum=0.0)(Q)  # no memory: mean and variance are the batch's
    yield "12", f"A {w[0]:.0f}, C {w[2]:.3f}, D {w[3]:.3f}"
    loss = lambda weight: self_enhancement_loss(P.log(), Q, weight)
    yield "13", f"{loss(w):.3f}; with all weights 1, {loss(torch.ones(6)):.3f}"


def nouns_of_c():
    "What Eq. 1 makes of C: its three nouns and their shares, of 22 nouns in mini's shared space."
    from sac_seic.data.images import fashion_mnist_sample
    from sac_seic.models.encoders import cache_dir, embed_images
    from sac_seic.models.presets import load_preset
    from sac_seic.models.wordnet import shared_space
    from sac_seic.nouns import retrieve_text

    preset = load_preset("mini")
    space = shared_space(preset, cache_dir())
    v, _, _ = embed_images(fashion_mnist_sample().subset([700, 1263, 579, 509, 614, 639]), preset.image_encoder)
    found = retrieve_text(space.image(v), space.noun(preset.text_encoder.encode(NOUNS)), k1=4, k2=3, n_clusters=2)
    return zip([NOUNS[j] for j in found.nouns[2]], found.weights[2])


def test_by_hand_is_what_the_package_gives(six):
    given = {f"SAC {n}": value for n, value in sac(six)} | {f"SEIC {n}": value for n, value in seic()}
    assert {name: value.replace("-", "−") for name, value in given.items()} == {name: row["by_hand"] for name, row in INDEX.items()}


@pytest.mark.parametrize("equation", INDEX)
def test_by_hand_stands_on_the_page(equation):
    "Its numbers, or else its words, are in the text or in an output of the equation's notebook."
    row = INDEX[equation]
    text = (get_config().nbs_path / f"{row['notebook']}.ipynb").read_text(encoding="utf-8").replace("−", "-")
    numbers = re.findall(r"\d+\.\d+", row["by_hand"])
    words = [] if numbers else [row["by_hand"].removeprefix("C: ")]
    assert [x for x in [*numbers, *words] if x not in text] == []
