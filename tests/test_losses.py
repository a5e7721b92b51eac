"""SAC's losses: what they refuse."""

import pytest
import torch

from sac_seic.sac_losses import (
    NeighborMeans, balance_entropy, bidirectional_alignment, cross_weight, inter_contrastive, intra_contrastive,
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
