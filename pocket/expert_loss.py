"""What the pocket expert is trained on: a set loss on the decoder, and a dense loss on the encoder's proposals.

Both replace what transformers 5.23 computes for Grounding DINO. Its classification target looks up the phrases of
sample i in the label maps of sample 1 for every i >= 1 (the offset is not cumulative), which is wrong as soon as the
samples of a batch ask for different phrases; and its loss on proposals reads the learned queries instead of the
proposals, so that the heads which choose the queries get no gradient. Here each cell of the coarse level proposes the
object whose centre it holds.

Source: Grounding DINO (arXiv:2303.05499), its focal, L1 and generalised-IoU terms and their weights; the one-to-one
dense assignment is ours (the grid of the pocket world makes it exact).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_convert, generalized_box_iou_loss, sigmoid_focal_loss
from transformers.loss.loss_grounding_dino import GroundingDinoHungarianMatcher

from pocket.scenes import GRID

_CLASS, _L1, _IOU = 2.0, 5.0, 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Targets:
    """Objects of one picture that its phrases ask for.

    phrases_N: which phrase, int64. boxes_N4: centre x, centre y, width, height, as shares of the picture. cells_N: cell
    that holds the centre, int64. label_map_PT: 1 where a token belongs to a phrase.
    """

    phrases_N: Tensor
    boxes_N4: Tensor
    cells_N: Tensor
    label_map_PT: Tensor


def set_loss(logits_BQT: Tensor, boxes_BQ4: Tensor, token_mask_BT: Tensor, targets: list[Targets]) -> Tensor:
    """Loss of one decoder layer after matching queries and objects one to one; shape (), per object.

    logits_BQT: similarity of query and token, minus infinity at padding. token_mask_BT: True at tokens of phrases.
    """
    matcher = GroundingDinoHungarianMatcher(class_cost=1.0, bbox_cost=5.0, giou_cost=2.0)
    outputs = {"logits": logits_BQT, "pred_boxes": boxes_BQ4, "label_maps": [t.label_map_PT for t in targets]}
    pairs = matcher(outputs, [{"class_labels": t.phrases_N, "boxes": t.boxes_N4} for t in targets])
    return _assigned_loss(logits_BQT, boxes_BQ4, token_mask_BT, targets, pairs)


def dense_loss(logits_BCT: Tensor, boxes_BC4: Tensor, token_mask_BT: Tensor, targets: list[Targets]) -> Tensor:
    """Loss of the encoder's proposals, where cell C proposes the object centred in it; shape (), per object.

    logits_BCT and boxes_BC4: all positions, those of the coarse level last.
    """
    offset = logits_BCT.shape[1] - GRID * GRID
    pairs = [(t.cells_N + offset, torch.arange(len(t.cells_N))) for t in targets]
    return _assigned_loss(logits_BCT, boxes_BC4, token_mask_BT, targets, pairs)


def _assigned_loss(
    logits_BQT: Tensor,
    boxes_BQ4: Tensor,
    token_mask_BT: Tensor,
    targets: list[Targets],
    pairs: list[tuple[Tensor, Tensor]],
) -> Tensor:
    num_objects = max(sum(len(t.phrases_N) for t in targets), 1)
    wanted = torch.zeros_like(logits_BQT)
    found, true = [], []
    for sample, (target, (queries, objects)) in enumerate(zip(targets, pairs, strict=True)):
        wanted[sample, queries] = target.label_map_PT[target.phrases_N[objects]].to(wanted.dtype)
        found.append(boxes_BQ4[sample, queries])
        true.append(target.boxes_N4[objects])
    seen = token_mask_BT[:, None, :].expand_as(logits_BQT)
    class_loss = sigmoid_focal_loss(logits_BQT[seen], wanted[seen], alpha=0.25, gamma=2, reduction="sum")
    boxes, truth = torch.cat(found), torch.cat(true)
    corners, true_corners = (box_convert(b, "cxcywh", "xyxy") for b in (boxes, truth))
    box_loss = _L1 * F.l1_loss(boxes, truth, reduction="sum")
    box_loss = box_loss + _IOU * generalized_box_iou_loss(corners, true_corners, reduction="sum")
    total: Tensor = (_CLASS * class_loss + box_loss) / num_objects
    return total
