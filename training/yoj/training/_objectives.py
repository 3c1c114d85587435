"""Losses that are minimised, of scores float32 [B, N] and rankings float32 [B, N], 1 = best, NaN where absent.

Each loss is the mean over requests. Absent responses take no part.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F


def n_way(scores_BN: torch.Tensor, rankings_BN: torch.Tensor) -> torch.Tensor:
    """Cross-entropy on the best of N (the loss of the YOJO code); several best share the probability equally.

    Args:
        scores_BN: scores, float32; see the module.
        rankings_BN: ranks, float32; see the module. Ranks below the best make no difference.

    Returns:
        Loss, a scalar.
    """
    present = ~rankings_BN.isnan()
    ranks = rankings_BN.masked_fill(~present, math.inf)
    best = (ranks == ranks.min(dim=1, keepdim=True).values) & present
    target = best.float() / best.sum(dim=1, keepdim=True).clamp(min=1)
    log_p = F.log_softmax(scores_BN.masked_fill(~present, -math.inf), dim=1).masked_fill(~present, 0.0)
    return -(target * log_p).sum(dim=1).mean()


def plackett_luce(scores_BN: torch.Tensor, rankings_BN: torch.Tensor) -> torch.Tensor:
    """Negative log likelihood of the whole ranking (Plackett 1975), divided by the number of its choices.

    Equal ranks are treated as in Breslow's method for ties: each is chosen from all that are not better than it.
    """
    present = ~rankings_BN.isnan()
    ranks = rankings_BN.masked_fill(~present, math.inf)
    left = (ranks.unsqueeze(1) >= ranks.unsqueeze(2)) & present.unsqueeze(1) & present.unsqueeze(2)
    # A choice from equals only, the last group, says nothing of their order.
    chosen = present & (ranks < ranks.masked_fill(~present, -math.inf).max(dim=1, keepdim=True).values)
    rest = scores_BN.unsqueeze(1).expand_as(left).masked_fill(~left, -math.inf)
    # Rows without a choice get any finite value, so that no gradient is NaN.
    log_total = torch.logsumexp(torch.where(chosen.unsqueeze(2), rest, torch.zeros_like(rest)), dim=2)
    gain = (scores_BN.masked_fill(~present, 0.0) - log_total).masked_fill(~chosen, 0.0)
    return -(gain.sum(dim=1) / chosen.sum(dim=1).clamp(min=1)).mean()


def pairs(rankings_BN: torch.Tensor) -> torch.Tensor:
    """Whether the response of the second axis is better than that of the third, bool [B, N, N]."""
    return rankings_BN.unsqueeze(2) < rankings_BN.unsqueeze(1)  # comparisons with NaN are false


def bradley_terry(scores_BN: torch.Tensor, rankings_BN: torch.Tensor) -> torch.Tensor:
    """Loss -log sigmoid(s_i - s_j), mean over the pairs of a request in which i is better than j."""
    difference = _difference(scores_BN, rankings_BN)
    return _mean_over_pairs(-F.logsigmoid(difference), pairs(rankings_BN))


def gaussian(mean_BN: torch.Tensor, log_sigma_BN: torch.Tensor, rankings_BN: torch.Tensor) -> torch.Tensor:
    """Loss -log P(i better than j), mean over pairs, where both rewards are normal and independent.

    Equations 4 and 5 of JRM. The integral E[sigmoid(z)], z ~ N(m, s^2), has no closed form; MacKay's approximation is
    sigmoid(m / sqrt(1 + pi s^2 / 8)) (MacKay 1992, "The evidence framework applied to classification networks").
    """
    variance = log_sigma_BN.clamp(-10, 10).mul(2).exp().masked_fill(rankings_BN.isnan(), 0.0)
    width = torch.sqrt(1 + math.pi / 8 * (variance.unsqueeze(2) + variance.unsqueeze(1)))
    difference = _difference(mean_BN, rankings_BN) / width
    return _mean_over_pairs(-F.logsigmoid(difference), pairs(rankings_BN))


def language(logits_TW: torch.Tensor, labels_T: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the next token, mean over tokens; 0 where there are none."""
    if not len(labels_T):
        return logits_TW.sum() * 0.0
    return F.cross_entropy(logits_TW.float(), labels_T)


def draw_best(rankings_BN: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Rankings in which one of several best responses is left as the best, drawn at random (as the YOJO code does)."""
    ranks = rankings_BN.nan_to_num(math.inf)
    best = ranks == ranks.min(dim=1, keepdim=True).values
    chance = torch.rand(rankings_BN.shape, generator=generator).to(rankings_BN.device).masked_fill(~best, -1.0)
    drawn = F.one_hot(chance.argmax(dim=1), rankings_BN.shape[1]).bool()
    return torch.where(best & ~drawn, rankings_BN + 0.5, rankings_BN)


def _difference(scores_BN: torch.Tensor, rankings_BN: torch.Tensor) -> torch.Tensor:
    finite = scores_BN.masked_fill(rankings_BN.isnan(), 0.0)
    return finite.unsqueeze(2) - finite.unsqueeze(1)


def _mean_over_pairs(loss_BNN: torch.Tensor, pairs_BNN: torch.Tensor) -> torch.Tensor:
    total = loss_BNN.masked_fill(~pairs_BNN, 0.0).sum(dim=(1, 2))
    return (total / pairs_BNN.sum(dim=(1, 2)).clamp(min=1)).mean()
