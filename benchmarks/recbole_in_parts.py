"""The loss of RecBole's SASRec over a large batch, computed in parts that fit the processor's cache.

A batch goes through the model sorted by length and cut to the longest history in each part, and the last layer is
computed for the one position that is read. That changes the time, not the gradient, as a test shows.
"""

import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from recbole.model.sequential_recommender import SASRec
from torch import Tensor

PART = 128
"""Samples that go through the model at once."""


def calculate_in_parts(model: SASRec, interaction: Interaction, part: int = PART) -> Tensor:
    """`model.calculate_loss(interaction)`, with the same gradient, but most of it computed on the way.

    The backward pass of every part but the last happens here, into `.grad`; that of the last is the caller's. Only the
    order in which dropout draws differs.

    Returns:
        The mean loss of the batch (); its graph is that of the last part.
    """
    lengths, order = torch.sort(interaction[model.ITEM_SEQ_LEN])
    batch, size = interaction[order], len(interaction)
    done = torch.zeros((), device=lengths.device)
    for start in range(0, size, part):
        piece = batch[start : start + part]
        piece[model.ITEM_SEQ] = piece[model.ITEM_SEQ][:, : int(lengths[start : start + part].max())]
        read = encode_latest(model, piece[model.ITEM_SEQ], piece[model.ITEM_SEQ_LEN])
        logits = read @ model.item_embedding.weight.T  # (part, items)
        loss = F.cross_entropy(logits, piece[model.POS_ITEM_ID]) * (len(piece) / size)
        if start + part < size:
            torch.autograd.backward(loss)
            done = done + loss.detach()
        else:
            done = done + loss
    return done


def encode_latest(model: SASRec, items: Tensor, lengths: Tensor) -> Tensor:
    """`model.forward(items, lengths)`, but the last layer asks from the latest item of each history only.

    Args:
        model: Its modules do all the work, dropout included.
        items: RecBole's item numbers (batch, length), 0 after the end of a history.
        lengths: Of the histories (batch,), 1 or more.

    Returns:
        float (batch, width).
    """
    batch, length = items.shape
    hidden = model.item_embedding(items) + model.position_embedding.weight[:length]
    hidden = model.dropout(model.LayerNorm(hidden))
    mask = model.get_attention_mask(items)  # (batch, 1, length, length), 0 or very low
    *below, last = model.trm_encoder.layer
    for layer in below:
        hidden = layer(hidden, mask)
    attention, rows, latest = last.multi_head_attention, torch.arange(batch, device=items.device), lengths - 1
    asking, heads = hidden[rows, latest], attention.num_attention_heads
    query = attention.query(asking).view(batch, heads, 1, -1)
    key = attention.key(hidden).view(batch, length, heads, -1).permute(0, 2, 3, 1)
    value = attention.value(hidden).view(batch, length, heads, -1).transpose(1, 2)
    scores = query @ key / attention.sqrt_attention_head_size + mask[rows, :, latest].unsqueeze(2)
    read = attention.attn_dropout(scores.softmax(-1)) @ value  # (batch, heads, 1, width of a head)
    read = attention.out_dropout(attention.dense(read.reshape(batch, -1)))
    encoded: Tensor = last.feed_forward(attention.LayerNorm(read + asking))
    return encoded
