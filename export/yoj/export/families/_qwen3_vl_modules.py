"""Modules of Qwen3-VL that are traced: trunk with read-out, and vision tower.

The modules repeat ``transformers/models/qwen3_vl/modeling_qwen3_vl.py`` (5.23) in a form without data-dependent
shapes: frames of one size go through the vision tower as a batch, features enter by Gather, and nothing is scattered.
Parameters have the names of the released checkpoints.
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
    MultiAxisRotary,
    Projection,
    Readout,
    RMSNorm,
    WideProjection,
    at_rows,
    causal,
    gather_rows,
    insert_features,
    prunes_last_layer,
    rotate,
    upcast,
)
from ._qwen3_vl_config import Qwen3VLTextConfig, Qwen3VLVisionConfig

NORM_EPS = 1e-6
"""Epsilon of the vision tower's norms; a constant in transformers."""


class Attention(nn.Module):
    """Causal self-attention of the trunk."""

    def __init__(self, config: Qwen3VLTextConfig):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = (
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
        )
        self.q_proj = Projection(config.hidden_size, self.heads * self.head_dim)
        self.k_proj = Projection(config.hidden_size, self.kv_heads * self.head_dim)
        self.v_proj = Projection(config.hidden_size, self.kv_heads * self.head_dim)
        self.o_proj = Projection(self.heads * self.head_dim, config.hidden_size)
        self.q_norm = RMSNorm(self.head_dim, config.norm_eps)
        self.k_norm = RMSNorm(self.head_dim, config.norm_eps)

    def forward(self, x_BLD: torch.Tensor, around: AttentionContext) -> torch.Tensor:
        """Compute [B, L, D], or [B, N, D] for some rows, from [B, L, D]."""
        mask = around.mask
        q = self.q_proj(around.queries(x_BLD)).unflatten(-1, (self.heads, self.head_dim))
        k = self.k_proj(x_BLD).unflatten(-1, (self.kv_heads, self.head_dim))
        v = self.v_proj(x_BLD).unflatten(-1, (self.kv_heads, self.head_dim)).transpose(1, 2)
        q, k = around.rotate(self.q_norm(q).transpose(1, 2), self.k_norm(k).transpose(1, 2))
        k, v = around.behind_past(k, v)
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=self.heads != self.kv_heads
        )
        return self.o_proj(out.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """One decoder layer."""

    def __init__(self, config: Qwen3VLTextConfig):
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.norm_eps)
        self.mlp = nn.ModuleDict(
            {
                "gate_proj": Projection(config.hidden_size, config.intermediate_size),
                "up_proj": Projection(config.hidden_size, config.intermediate_size),
                "down_proj": Projection(config.intermediate_size, config.hidden_size),
            }
        )

    def forward(self, x_BLD: torch.Tensor, around: AttentionContext) -> torch.Tensor:
        """Compute [B, L, D], or [B, N, D] for some rows, from [B, L, D]."""
        x_BND = around.queries(x_BLD) + self.self_attn(self.input_layernorm(x_BLD), around)
        normed = self.post_attention_layernorm(x_BND)
        inner = F.silu(self.mlp["gate_proj"](normed)) * self.mlp["up_proj"](normed)
        return x_BND + self.mlp["down_proj"](inner)


class Qwen3VLTrunk(nn.Module):
    """Trunk: tokens and visual features -> hidden states."""

    def __init__(self, config: Qwen3VLTextConfig, rows: int, post_norm: bool):
        super().__init__()
        self.embedding = nn.Embedding(rows, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.norm_eps, wide=True) if post_norm else nn.Identity()
        self.rotary = MultiAxisRotary(config.rope_theta, config.head_dim, config.mrope_section)

    def trunk(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        visual_index: torch.Tensor,
        image_features: torch.Tensor,
        deepstack_0: torch.Tensor | None = None,
        deepstack_1: torch.Tensor | None = None,
        deepstack_2: torch.Tensor | None = None,
        segment_ids: torch.Tensor | None = None,
        rows_BN: torch.Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> torch.Tensor:
        """Hidden states before the final norm, [B, L, D], or of some rows, [B, N, D].

        With a cache, of the tokens behind those that it holds.
        """
        embeds_BLD = upcast(self.embedding(input_ids))
        visual_BL1 = visual_index.unsqueeze(-1) > 0
        x_BLD = torch.where(visual_BL1, insert_features(embeds_BLD, image_features, visual_index), embeds_BLD)
        mask = None if segment_ids is None else causal(input_ids, segment_ids).unsqueeze(1)
        if cache is not None:
            mask = causal(cache.whole_row(input_ids), rows_BN=cache.rows(input_ids)).unsqueeze(1)
        around = AttentionContext(mask, *self.rotary(position_ids), cache=cache)
        deepstack = dict(enumerate((deepstack_0, deepstack_1, deepstack_2)))
        for number, layer in enumerate(self.layers):
            if number == len(self.layers) - 1 and prunes_last_layer(rows_BN):
                around = replace(around, mask=causal(input_ids, segment_ids, rows_BN).unsqueeze(1), rows_BN=rows_BN)
            x_BLD = layer(x_BLD, around)
            if (features_VD := deepstack.get(number)) is not None:
                x_BLD = x_BLD + insert_features(x_BLD, features_VD, at_rows(visual_index, around.rows_BN).squeeze(-1))
        return x_BLD if prunes_last_layer(rows_BN) else gather_rows(x_BLD, rows_BN)


class Qwen3VLScorer(Qwen3VLTrunk):
    """Trunk with value head: tokens and visual features -> scores."""

    def __init__(self, config: Qwen3VLTextConfig, rows: int, checkpoint: Checkpoint, post_norm: bool):
        super().__init__(config, rows, post_norm)
        self.readout = Readout(self.norm, checkpoint.head, checkpoint.head.divisor(config.hidden_size))

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        visual_index: torch.Tensor,
        response_end: torch.Tensor,
        image_features: torch.Tensor,
        deepstack_0: torch.Tensor | None = None,
        deepstack_1: torch.Tensor | None = None,
        deepstack_2: torch.Tensor | None = None,
        response_start: torch.Tensor | None = None,
        segment_ids: torch.Tensor | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Scores, and sigma of a Gaussian head, [B, N] float32; for the arguments see `GraphSpec.inputs`.

        With ``segment_ids`` it is the graph ``scorer.segmented``, without them ``scorer.joint``, which has no mask.
        """
        features = image_features, deepstack_0, deepstack_1, deepstack_2
        rows_BN = self.readout.rows(response_end, response_start)
        x_BND = self.trunk(input_ids, position_ids, visual_index, *features, segment_ids=segment_ids, rows_BN=rows_BN)
        return self.readout(x_BND, response_end, response_start)


class Qwen3VLLanguage(Qwen3VLTrunk):
    """Trunk with language head: tokens and visual features -> logits of the next token."""

    def __init__(self, config: Qwen3VLTextConfig, rows: int, vocabulary: int):
        super().__init__(config, rows, post_norm=True)
        self.lm_head = VocabularyHead(vocabulary, config.hidden_size)

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        visual_index: torch.Tensor,
        image_features: torch.Tensor,
        past_keys: torch.Tensor,
        past_values: torch.Tensor,
        deepstack_0: torch.Tensor | None = None,
        deepstack_1: torch.Tensor | None = None,
        deepstack_2: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits of the token behind the last, [B, W], and keys and values of the new ones; see `GraphSpec.inputs`."""
        cache = KeyValueCache(past_keys, past_values)
        features = image_features, deepstack_0, deepstack_1, deepstack_2
        x_BLD = self.trunk(input_ids, position_ids, visual_index, *features, cache=cache)
        return self.lm_head(self.norm(x_BLD)), *cache.added()


class Qwen3VLVisionBlock(nn.Module):
    """One layer of the vision tower."""

    def __init__(self, config: Qwen3VLVisionConfig):
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_heads
        self.norm1 = LayerNorm(width, eps=NORM_EPS)
        self.attn = nn.ModuleDict(
            {"qkv": Projection(width, 3 * width, bias=True), "proj": Projection(width, width, bias=True)}
        )
        self.norm2 = LayerNorm(width, eps=NORM_EPS)
        self.mlp = nn.ModuleDict(
            {
                "linear_fc1": Projection(width, config.intermediate_size, bias=True),
                "linear_fc2": Projection(config.intermediate_size, width, bias=True),
            }
        )

    def forward(self, x_FPD: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        """Compute [F, P, D] from [F, P, D]; patches attend to those of their own frame."""
        frames, patches, _ = x_FPD.shape
        q, k, v = (
            part.view(frames, patches, self.heads, -1).transpose(1, 2)
            for part in self.attn["qkv"](self.norm1(x_FPD)).chunk(3, dim=-1)
        )
        out = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v)
        x_FPD = x_FPD + self.attn["proj"](out.transpose(1, 2).reshape(frames, patches, -1))
        inner = F.gelu(self.mlp["linear_fc1"](self.norm2(x_FPD)), approximate="tanh")
        return x_FPD + self.mlp["linear_fc2"](inner)


class Merger(nn.Module):
    """Merger of neighbouring patches, which follow each other, into one visual token."""

    def __init__(self, config: Qwen3VLVisionConfig, text_size: int, norm_merged: bool):
        super().__init__()
        self.merged = config.hidden_size * config.merge_size**2
        self.norm_merged = norm_merged
        self.norm = LayerNorm(self.merged if norm_merged else config.hidden_size, eps=NORM_EPS)
        self.linear_fc1 = Projection(self.merged, self.merged, bias=True)
        self.linear_fc2 = WideProjection(self.merged, text_size, bias=True)

    def forward(self, x_FPD: torch.Tensor) -> torch.Tensor:
        """Compute [V, D] of the trunk from [F, P, D]."""
        if self.norm_merged:
            merged = self.norm(x_FPD.reshape(-1, self.merged))
        else:
            merged = self.norm(x_FPD).reshape(-1, self.merged)
        return self.linear_fc2(F.gelu(self.linear_fc1(merged)))


class Qwen3VLVision(nn.Module):
    """Vision tower: frames of one size with their index tables -> visual features."""

    def __init__(self, config: Qwen3VLVisionConfig, text_size: int):
        super().__init__()
        self.taps = config.taps
        # The released kernel is as large as its stride: a matrix product of each patch.
        self.patch_embed = nn.ModuleDict({"proj": Projection(config.patch_values, config.hidden_size, bias=True)})
        self.pos_embed = nn.Embedding(config.num_position_embeddings, config.hidden_size)
        self.blocks = nn.ModuleList(Qwen3VLVisionBlock(config) for _ in range(config.depth))
        self.merger = Merger(config, text_size, norm_merged=False)
        self.deepstack_merger_list = nn.ModuleList(
            Merger(config, text_size, norm_merged=True) for _ in range(len(config.taps))
        )

    def forward(
        self,
        pixel_values: torch.Tensor,
        position_index: torch.Tensor,
        position_weight: torch.Tensor,
        rotary_cos: torch.Tensor,
        rotary_sin: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Compute [V, D] for each output from [F, P, X] and index tables that are alike for all frames.

        The tables are [P, 4], [P, 4], [P, E / 2] and [P, E / 2].
        """
        position_PD = (self.pos_embed(position_index).float() * position_weight.unsqueeze(-1)).sum(dim=1)
        x_FPD = upcast(self.patch_embed["proj"](pixel_values))
        x_FPD = x_FPD + position_PD.to(x_FPD.dtype)
        cos, sin = (table.expand(x_FPD.shape[0], -1, -1) for table in (rotary_cos, rotary_sin))
        tapped: list[torch.Tensor] = []
        for number, block in enumerate(self.blocks):
            x_FPD = block(x_FPD, cos, sin)
            if number in self.taps:
                tapped.append(self.deepstack_merger_list[len(tapped)](x_FPD))
        return tuple(features_VD.float() for features_VD in (self.merger(x_FPD), *tapped))
