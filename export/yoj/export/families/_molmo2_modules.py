"""Modules of Molmo2 that are traced: trunk with read-out, and vision tower.

The modules repeat ``transformers/models/molmo2/modeling_molmo2.py`` (5.23) in a form without data-dependent shapes:
features enter by Gather, pooling is written out over its slots, and no tensor is dropped or scattered. Parameters
have the names of the released checkpoints, in which q, k, v and value, gate are fused.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from ..checkpoint.checkpoint import Checkpoint
from ..graph._key_value_cache import KeyValueCache
from ..graph._vocabulary_head import VocabularyHead
from ..graph.modules import (
    AttentionContext,
    LayerNorm,
    Projection,
    Readout,
    RMSNorm,
    Rotary,
    WideProjection,
    at_rows,
    causal,
    gather_rows,
    insert_features,
    prunes_last_layer,
    split_product,
    upcast,
)
from ._molmo2_config import Molmo2TextConfig, Molmo2VisionConfig


class Block(nn.Module):
    """One decoder layer."""

    def __init__(self, config: Molmo2TextConfig):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = (
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
        )
        wide, narrow = self.heads * self.head_dim, self.kv_heads * self.head_dim
        self.attn_norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.self_attn = nn.ModuleDict(
            {
                "att_proj": Projection(config.hidden_size, wide + 2 * narrow),
                "q_norm": RMSNorm(self.head_dim, config.norm_eps),
                "k_norm": RMSNorm(self.head_dim, config.norm_eps),
                "attn_out": Projection(wide, config.hidden_size),
            }
        )
        self.ff_norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.mlp = nn.ModuleDict(
            {
                "ff_proj": Projection(config.hidden_size, 2 * config.intermediate_size),
                "ff_out": Projection(config.intermediate_size, config.hidden_size),
            }
        )
        self.sizes = [wide, narrow, narrow]
        self.halves = [config.intermediate_size] * 2

    def forward(self, x_BLD: torch.Tensor, around: AttentionContext) -> torch.Tensor:
        """Compute [B, L, D], or [B, N, D] for some rows, from [B, L, D]."""
        x_BND = around.queries(x_BLD) + self._attend(self.attn_norm(x_BLD), around)
        normed = self.ff_norm(x_BND)
        up, gate = split_product(self.mlp["ff_proj"], (normed, normed), self.halves)
        return x_BND + self.mlp["ff_out"](F.silu(gate) * up)

    def _attend(self, x: torch.Tensor, around: AttentionContext) -> torch.Tensor:
        q, k, v = split_product(self.self_attn["att_proj"], (around.queries(x), x, x), self.sizes)
        q = self.self_attn["q_norm"](q.unflatten(-1, (self.heads, self.head_dim)))
        k = self.self_attn["k_norm"](k.unflatten(-1, (self.kv_heads, self.head_dim)))
        v = v.unflatten(-1, (self.kv_heads, self.head_dim)).transpose(1, 2)
        q, k = around.rotate(q.transpose(1, 2), k.transpose(1, 2))
        k, v = around.behind_past(k, v)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=around.mask, enable_gqa=self.heads != self.kv_heads)
        return self.self_attn["attn_out"](out.transpose(1, 2).flatten(2))


class Molmo2Trunk(nn.Module):
    """Trunk: tokens and visual features -> hidden states."""

    def __init__(self, config: Molmo2TextConfig, rows: int, post_norm: bool):
        super().__init__()
        self.embedding = nn.Embedding(rows, config.hidden_size)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.ln_f = RMSNorm(config.hidden_size, config.norm_eps, wide=True) if post_norm else nn.Identity()
        self.rotary = Rotary(config.rope_theta, config.head_dim)

    def trunk(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        media_blocks: torch.Tensor,
        visual_index: torch.Tensor,
        image_features: torch.Tensor,
        segment_ids: torch.Tensor | None = None,
        rows_BN: torch.Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> torch.Tensor:
        """Hidden states before the final norm, [B, L, D], or of some rows, [B, N, D].

        With a cache, of the tokens behind those that it holds; no block of media may reach from the ones to the others.
        """
        x_BLD = upcast(self.embedding(input_ids))
        x_BLD = x_BLD + insert_features(x_BLD, image_features, visual_index)
        if cache is None:
            mask = attention_mask(media_blocks, segment_ids)
        else:
            mask = attention_mask(cache.whole_row(media_blocks), None, cache.rows(media_blocks))
        around = AttentionContext(mask, *self.rotary(position_ids), cache=cache)
        for number, block in enumerate(self.blocks):
            if number == len(self.blocks) - 1 and prunes_last_layer(rows_BN):
                return block(
                    x_BLD, replace(around, mask=attention_mask(media_blocks, segment_ids, rows_BN), rows_BN=rows_BN)
                )
            x_BLD = block(x_BLD, around)
        return gather_rows(x_BLD, rows_BN)


class Molmo2Scorer(Molmo2Trunk):
    """Trunk with value head: tokens and visual features -> scores."""

    def __init__(self, config: Molmo2TextConfig, rows: int, checkpoint: Checkpoint, post_norm: bool):
        super().__init__(config, rows, post_norm)
        self.readout = Readout(self.ln_f, checkpoint.head, checkpoint.head.divisor(config.hidden_size))

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        media_blocks: torch.Tensor,
        visual_index: torch.Tensor,
        image_features: torch.Tensor,
        response_end: torch.Tensor,
        response_start: torch.Tensor | None = None,
        segment_ids: torch.Tensor | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Scores, and sigma of a Gaussian head, [B, N] float32; for the arguments see `GraphSpec.inputs`.

        With ``segment_ids`` it is the graph ``scorer.segmented``, without them ``scorer.joint``.
        """
        rows_BN = self.readout.rows(response_end, response_start)
        tokens = input_ids, position_ids, media_blocks, visual_index
        x_BND = self.trunk(*tokens, image_features, segment_ids=segment_ids, rows_BN=rows_BN)
        return self.readout(x_BND, response_end, response_start)


class Molmo2Language(Molmo2Trunk):
    """Trunk with language head: tokens and visual features -> logits of the next token."""

    def __init__(self, config: Molmo2TextConfig, rows: int, vocabulary: int):
        super().__init__(config, rows, post_norm=True)
        self.lm_head = VocabularyHead(vocabulary, config.hidden_size)

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        media_blocks: torch.Tensor,
        visual_index: torch.Tensor,
        image_features: torch.Tensor,
        past_keys: torch.Tensor,
        past_values: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits of the token behind the last, [B, W], and keys and values of the new ones; see `GraphSpec.inputs`."""
        cache = KeyValueCache(past_keys, past_values)
        x_BLD = self.trunk(input_ids, position_ids, media_blocks, visual_index, image_features, cache=cache)
        return self.lm_head(self.ln_f(x_BLD)), *cache.added()


def attention_mask(
    media_blocks_BL: torch.Tensor, segment_ids_BL: torch.Tensor | None, rows_BN: torch.Tensor | None = None
) -> torch.Tensor:
    """Mask: causal, within segments where there are some; image tokens of one block see each other in both directions.

    Args:
        media_blocks_BL: number of the block of each image token, from 1; 0 for other tokens.
        segment_ids_BL: segments for isolated reading.
        rows_BN: positions of the queries; None for all.

    Returns:
        Mask, bool [B, 1, L, L], or [B, 1, N, L] for some rows, true where a query (third axis) attends to a key.
    """
    seen = causal(media_blocks_BL, segment_ids_BL, rows_BN)
    block_BQ1, block_B1L = at_rows(media_blocks_BL, rows_BN), media_blocks_BL.unsqueeze(1)
    return (seen | ((block_BQ1 == block_B1L) & (block_B1L > 0))).unsqueeze(1)


class Molmo2VisionBlock(nn.Module):
    """One layer of the vision tower."""

    def __init__(self, config: Molmo2VisionConfig):
        super().__init__()
        self.heads, self.head_dim = config.num_attention_heads, config.head_dim
        width, inner = config.hidden_size, config.num_attention_heads * config.head_dim
        self.attention_norm = LayerNorm(width, eps=config.norm_eps)
        self.attention = nn.ModuleDict({name: Projection(width, inner, bias=True) for name in ("wq", "wk", "wv")})
        self.attention["wo"] = Projection(inner, width, bias=True)
        self.ffn_norm = LayerNorm(width, eps=config.norm_eps)
        self.feed_forward = nn.ModuleDict(
            {
                "w1": Projection(width, config.intermediate_size, bias=True),
                "w2": Projection(config.intermediate_size, width, bias=True),
            }
        )

    def forward(self, x_CPD: torch.Tensor) -> torch.Tensor:
        """Compute [C, P, D] from [C, P, D]."""
        crops, patches, _ = x_CPD.shape
        normed = self.attention_norm(x_CPD)
        q, k, v = (
            self.attention[name](normed).view(crops, patches, self.heads, self.head_dim).transpose(1, 2)
            for name in ("wq", "wk", "wv")
        )
        out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(crops, patches, -1)
        x_CPD = x_CPD + self.attention["wo"](out)
        inner = F.gelu(self.feed_forward["w1"](self.ffn_norm(x_CPD)), approximate="tanh")
        return x_CPD + self.feed_forward["w2"](inner)


class Molmo2Vision(nn.Module):
    """Vision tower: crops and a pooling table -> visual features."""

    def __init__(self, config: Molmo2VisionConfig, text_size: int):
        super().__init__()
        self.config = config
        width, inner = config.hidden_size, config.pool_heads * config.pool_head_dim
        self.patch_embedding = Projection(3 * config.patch_size**2, width, bias=True)
        self.positional_embedding = nn.Parameter(torch.empty(config.patches, width))
        self.resblocks = nn.ModuleList(Molmo2VisionBlock(config) for _ in range(max(config.taps) + 1))
        tapped = width * len(config.taps)
        self.image_pooling_2d = nn.ModuleDict(
            {name: Projection(tapped, inner, bias=True) for name in ("wq", "wk", "wv")}
        )
        self.image_pooling_2d["wo"] = Projection(inner, config.pool_size, bias=True)
        self.image_projector = nn.ModuleDict(
            {
                "w1": Projection(config.pool_size, config.projector_size),
                "w2": WideProjection(config.projector_size, text_size),
                "w3": Projection(config.pool_size, config.projector_size),
            }
        )

    def forward(self, pixel_values: torch.Tensor, pooling_index: torch.Tensor) -> torch.Tensor:
        """Compute [V, D] from crops [C, P, 588] and a pooling table [V, K] (-1: empty slot, never a whole row)."""
        x_CPD = upcast(self.patch_embedding(pixel_values)) + self.positional_embedding
        states = []
        for block in self.resblocks:
            x_CPD = block(x_CPD)
            states.append(x_CPD)
        tapped = torch.cat([states[tap] for tap in self.config.taps], dim=-1)
        pooled_VD = self._pool(tapped.reshape(-1, tapped.shape[-1]), pooling_index)
        inner = F.silu(self.image_projector["w1"](pooled_VD)) * self.image_projector["w3"](pooled_VD)
        return self.image_projector["w2"](inner).float()

    def _pool(self, patches: torch.Tensor, index_VK: torch.Tensor) -> torch.Tensor:
        """Attention of the mean of each window over its patches, written out: one query, K keys."""
        heads, size = self.config.pool_heads, self.config.pool_head_dim
        valid_VK1 = (index_VK >= 0).unsqueeze(-1)
        window = F.embedding(index_VK.clamp(min=0), patches) * valid_VK1.to(patches.dtype)
        mean = window.sum(dim=1) / valid_VK1.to(patches.dtype).sum(dim=1).clamp(min=1)
        q = self.image_pooling_2d["wq"](mean).unflatten(-1, (heads, size)).unsqueeze(1)
        k = self.image_pooling_2d["wk"](window).unflatten(-1, (heads, size))
        v = self.image_pooling_2d["wv"](window).unflatten(-1, (heads, size))
        logits = ((q.float() * k.float()).sum(dim=-1) * size**-0.5).masked_fill(~valid_VK1, -1e30)
        weight = torch.softmax(logits, dim=1).unsqueeze(-1).to(v.dtype)
        return self.image_pooling_2d["wo"]((weight * v).sum(dim=1).flatten(1))
