"""The loss of VL-GenRM's first stage: fine-tuning on all kept critiques, plus more of it where the judge is weak.

    L = mean_i ℓ_i + λ · mean_i w_i · ℓ_i,    ℓ_i = −(1/T_i) Σ_t log p(token t | image, question, responses, tokens < t)

over the T_i tokens of critique and verdict of sample i. w_i says how much the judge still has to learn from it. The
paper (arXiv 2506.13888) names the two parts; the per-token mean, so that long critiques do not outweigh short ones, and
the weights are our choice (docs/design/judge-training.md).
"""

import torch.nn.functional as F
from torch import Tensor


def mixture_loss(logits_KV: Tensor, targets_K: Tensor, owners_K: Tensor, weights_N: Tensor, *, mixing: float) -> Tensor:
    """The loss above, nats per token, shape ().

    K tokens of N samples: logits_KV predict targets_K (token ids), owners_K says whose they are; every sample has at
    least one. weights_N: w, in [0, 1]. mixing: λ ≥ 0.
    """
    losses_N = sample_losses(logits_KV, targets_K, owners_K, num_samples=len(weights_N))
    return losses_N.mean() + mixing * (weights_N * losses_N).mean()


def sample_losses(logits_KV: Tensor, targets_K: Tensor, owners_K: Tensor, *, num_samples: int) -> Tensor:
    """ℓ of each sample, shape (N,)."""
    losses_K = F.cross_entropy(logits_KV.float(), targets_K, reduction="none")
    sums_N = losses_K.new_zeros(num_samples).index_add(0, owners_K, losses_K)
    return sums_N / owners_K.bincount(minlength=num_samples)


def learning_weight(probability: float | None) -> float:
    """W for a sample whose comparison the judge now decides rightly with this probability, in [0, 1].

    1 where the judge is wrong or gives no verdict (None), falling linearly from one half to 0 where it is certain.
    """
    return 1.0 if probability is None else min(1.0, 2 * (1 - probability))
