"""A host without yoj: rows of tokens and index tables of a text request, made as docs/native.md says."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer


class Host:
    """Host of one bundle, from its manifest and its tokenizer."""

    def __init__(self, bundle: Path):
        self.manifest = json.loads((bundle / "manifest.json").read_text("utf-8"))
        self.layout = self.manifest["layout"]
        fields = json.loads((bundle / "tokenizer.json").read_text("utf-8"))
        self.special = {token["content"]: token["id"] for token in fields["added_tokens"]}
        self.tokenizer = Tokenizer.from_str(json.dumps(fields | {"added_tokens": [], "normalizer": None}))

    def ids(self, parts: list[tuple[str, str]]) -> list[int]:
        """Ids of texts and special tokens; neighbouring texts are encoded in one piece."""
        ids: list[int] = []
        text = ""
        for kind, value in [*parts, ("token", "")]:
            if kind == "text":
                text += value
                continue
            if text:
                ids += self.tokenizer.encode(unicodedata.normalize("NFC", text), add_special_tokens=False).ids
            ids += [self.special[value]] if value else []
            text = ""
        return ids

    def _before(self, prompt: str) -> list[tuple[str, str]]:
        before = self.layout["text_only"]["before"]
        parts = [*pieces(before["user"]), ("text", prompt)]
        if self.layout["name"] == "assistant":
            return parts + pieces(before["user>assistant"])
        return [*parts, ("text", self.layout["glue"])]

    def _after(self) -> list[tuple[str, str]]:
        return pieces(self.layout["text_only"]["after"])

    def joint(self, prompt: str, responses: list[str]) -> dict[str, np.ndarray]:
        """Row and tables of joint reading, for a prompt that no token shares with the first response."""
        glue, separator = ("text", self.layout["glue"]), ("token", self.layout["separator"])
        parts = [*self._before(prompt), ("text", responses[0])]
        for response in responses[1:]:
            parts += [glue, separator, glue, ("text", response)]
        ids = np.array(self.ids([*parts, *self._after()]), np.int64)
        places = np.flatnonzero(ids == self.layout["separator_id"])
        ends = np.append(places - 1, len(ids) - 1)
        starts = np.minimum(np.append(len(self.ids(self._before(prompt))), places + 1), ends)
        return self._tables(ids, np.arange(len(ids)), starts, ends)

    def isolated(self, prompt: str, responses: list[str]) -> dict[str, np.ndarray]:
        """Row and tables of isolated reading, for a prompt that no token shares with a response."""
        rows = [self.ids([*self._before(prompt), ("text", response), *self._after()]) for response in responses]
        shared = len(self.ids(self._before(prompt)))
        tails = [len(row) - shared for row in rows]
        begins = shared + np.cumsum([0, *tails[:-1]])
        ids = np.array(rows[0][:shared] + [token for row in rows for token in row[shared:]], np.int64)
        positions = np.concatenate([np.arange(shared), *(shared + np.arange(tail) for tail in tails)])
        tables = self._tables(ids, positions, begins, begins + np.array(tails) - 1)
        return tables | {"segment_ids": np.repeat(np.arange(len(tails) + 1), [shared, *tails])}

    def _tables(self, ids, positions, starts, ends) -> dict[str, np.ndarray]:
        qwen = self.manifest["family"] == "qwen3_vl"
        own = {} if qwen else {"media_blocks": np.zeros_like(ids)}
        return own | {
            "input_ids": ids,
            "position_ids": np.tile(positions, (3, 1)) if qwen else positions,
            "visual_index": np.zeros_like(ids),
            "response_start": starts,
            "response_end": ends,
        }


def pieces(given: list[dict[str, str]]) -> list[tuple[str, str]]:
    """Kind and value of each piece of the manifest."""
    return [(piece["kind"], piece["value"]) for piece in given]
