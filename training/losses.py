"""The loss of VL-GenRM's first stage: fine-tuning on all kept critiques, plus more of it where the judge is weak.

    L = mean_i ℓ_i + λ · mean_i w_i · ℓ_i,    ℓ_i = −(1/T_i) Σ_t log p(token t | image, question, responses, tokens < t)

over the T_i tokens of critique and verdict of sample i. w_i says how much the judge still has to learn from it. The
paper (arXiv 2506.13888) names the two parts; the per-token mean, so that long critiques do not outweigh short ones, and
the weights are our choice (docs/design/judge-training.md).
"""

import torch.nn.functional as F
from torch import Tensor

IGNORED = -100
"""Label of tokens that are not learned, as in transformers."""


def mixture_loss(logits_BSV: Tensor, labels_BS: Tensor, weights_B: Tensor, *, mixing: float) -> Tensor:
    """The loss above, nats per token, shape ().

    logits_BSV: position s predicts token s + 1. labels_BS: token ids, `IGNORED` outside critique and verdict; every
    sample has at least one. weights_B: w, in [0, 1]. mixing: λ ≥ 0.
    """
    losses_B = sample_losses(logits_BSV, labels_BS)
    return losses_B.mean() + mixing * (weights_B * losses_B).mean()


def sample_losses(logits_BSV: Tensor, labels_BS: Tensor) -> Tensor:
    """ℓ of each sample, shape (B,)."""
    targets_BT = labels_BS[:, 1:]
    losses_BT = F.cross_entropy(
        logits_BSV[:, :-1].float().transpose(1, 2), targets_BT, ignore_index=IGNORED, reduction="none"
    )
    return losses_BT.sum(1) / (targets_BT != IGNORED).sum(1)


def learning_weight(probability: float | None) -> float:
    """W for a sample whose comparison the judge now decides rightly with this probability, in [0, 1].

    1 where the judge is wrong or gives no verdict (None), falling linearly from one half to 0 where it is certain.
    """
    return 1.0 if probability is None else min(1.0, 2 * (1 - probability))
