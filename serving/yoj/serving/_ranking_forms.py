"""Requests of the clients of rerankers: vLLM's and Jina's ``/score`` and ``/rerank``, TEI's, and Cohere's ``/rerank``.

One query with N documents is one pass: the query is the prompt, the documents are the responses. Fields, with what was
compared: vLLM 0.33.0 ``vllm/entrypoints/pooling/scoring/protocol.py``; text-embeddings-inference's ``RerankRequest``;
Cohere's API v1 and v2; Jina's reranker API.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from yoj.runtime import Judgement, Request
from yoj.runtime.codec import Line, to_line, to_request
from yoj.runtime.error_texts import shorten
from yoj.runtime.errors import RequestError
from yoj.runtime.request import Overflow
from yoj.runtime.strict_json import Fields, check_values, parse_object

from ._work import Results, Rules, Work, check_count, check_model, now, object_id, only

SAYS_NOTHING = ("user", "request_id", "priority", "cache_salt")
"""Fields of vLLM's clients that change no score."""
NOT_HERE = {
    "use_activation": "scores are those of the value head, and /rerank gives probabilities",
    "max_tokens_per_query": "nothing is cut unless /v1/judge is asked to, with overflow",
    "max_tokens_per_doc": "nothing is cut unless /v1/judge is asked to, with overflow",
    "truncate_prompt_tokens": "nothing is cut unless /v1/judge is asked to, with overflow",
    "truncation_side": "nothing is cut unless /v1/judge is asked to, with overflow",
    "max_chunks_per_doc": "a document is read whole",
    "rank_fields": "a document is a text, or a list of parts",
    "instruction": "the model was trained with the question alone; write it into the query",
    "chat_template_kwargs": "the bundle has the prompts that its model was trained with",
    "mm_processor_kwargs": "the bundle has the sizes of pictures that its model was trained with",
    "return_embeddings": "this model has none",
}
"""Fields that these clients may send and that would change scores elsewhere -> why they cannot here."""
PAIRS = (("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2"))
"""Names of the two sides of ``/score``."""


def read_score(body: bytes, rules: Rules) -> Work:
    """Read the body of vLLM's ``/score``. One query with N documents is one pass; N with N are N passes of one each."""
    fields = _known(body, rules)
    given = [pair for pair in PAIRS if pair[0] in fields and pair[1] in fields]
    if len(given) != 1 or len(fields) != 2:
        raise RequestError(
            f"The body has {_listed(fields)}; give queries and documents, or data_1 and data_2, or text_1 and text_2."
        )
    ((left, right),) = given
    queries, documents = _items(fields[left], left), _items(fields[right], right)
    if len(queries) == 1:
        requests = [_request(queries[0], documents, rules)]
    elif len(queries) == len(documents):
        pairs = zip(check_count(queries, rules), documents, strict=True)
        requests = [_request(query, [document], rules) for query, document in pairs]
    else:
        raise RequestError(
            f"{left} has {len(queries)} entries, {right} {len(documents)}; give one query with any number of "
            "documents, or as many of each."
        )
    return Work(requests, lambda results: _score_answer(results, rules))


def _score_answer(results: Results, rules: Rules) -> dict[str, Any]:
    judgements = [only([one]) for one in results]
    scores = [score for one in judgements for score in one.scores]
    return {
        "id": object_id("score"),
        "object": "list",
        "created": now(),
        "model": rules.model,
        "data": [{"index": k, "object": "score", "score": score} for k, score in enumerate(scores)],
        "usage": _usage(judgements)
        | {"completion_tokens": 0, "prompt_tokens_details": None, "completion_tokens_details": None},
    }


def read_rerank(body: bytes, rules: Rules) -> Work:
    """Read the body of ``/rerank``: with ``texts`` it is TEI's, else vLLM's, Jina's or Cohere's."""
    fields = _known(body, rules)
    return _read_tei(fields, rules) if "texts" in fields else _read_documents(fields, rules)


def _read_documents(fields: Fields, rules: Rules) -> Work:
    _check_fields(fields, ("query", "documents"), ("top_n", "return_documents"))
    documents = _items(fields["documents"], "documents")
    top_n, shown = _top_n(fields, len(documents)), _flag(fields, "return_documents", True)

    def answer(results: Results) -> dict[str, Any]:
        judgement = only(results)
        entries = [
            {"index": k, "relevance_score": judgement.probabilities[k]}
            | ({} if not shown else {"document": _document(documents[k])})
            for k in judgement.best_first[:top_n]
        ]
        return {"id": object_id("rerank"), "model": rules.model, "usage": _usage([judgement]), "results": entries}

    return Work([_request(_item(fields["query"], "query"), documents, rules)], answer)


def _top_n(fields: Fields, count: int) -> int:
    """Number of results; 0 or null means all of them."""
    top_n = fields.get("top_n", 0)
    if type(top_n) is not int or top_n < 0:
        told = shorten(repr(top_n), 60)
        raise RequestError(f"top_n is {told}; give a whole number from 1, or leave it out for all documents.")
    return top_n or count


def _flag(fields: Fields, name: str, default: bool = False) -> bool:
    value = fields.get(name, default)
    if not isinstance(value, bool):
        raise RequestError(f"{name} is {shorten(repr(value), 60)}; give true or false.")
    return value


def _read_tei(fields: Fields, rules: Rules) -> Work:
    """TEI itself has no ``top_n``, but litellm's client of it sends one and cuts nothing itself."""
    others = ("raw_scores", "return_text", "truncate", "truncation_direction", "top_n")
    _check_fields(fields, ("query", "texts"), others)
    raw, shown = _flag(fields, "raw_scores"), _flag(fields, "return_text")
    if str(fields.get("truncation_direction") or "right").lower() != "right":
        raise RequestError("truncation_direction is not Right; responses are cut at their end only.")
    texts = _items(fields["texts"], "texts")
    top_n = _top_n(fields, len(texts))

    def answer(results: Results) -> list[dict[str, Any]]:
        judgement = only(results)
        values = judgement.scores if raw else judgement.probabilities
        return [
            {"index": k, "score": values[k]} | ({"text": texts[k]} if shown else {})
            for k in judgement.best_first[:top_n]
        ]

    overflow: Overflow = "truncate" if _flag(fields, "truncate") else "error"
    return Work([_request(_item(fields["query"], "query"), texts, rules, overflow)], answer)


def _known(body: bytes, rules: Rules) -> Fields:
    fields = {name: value for name, value in parse_object(body).items() if value is not None}
    check_values(fields)
    check_model(fields, rules)
    for name in SAYS_NOTHING:
        fields.pop(name, None)
    for name, why in NOT_HERE.items():
        # What a client says by default asks for nothing.
        if fields.pop(name, False) is not False:
            raise RequestError(f"{name} is not taken: {why}. Leave it out.")
    return fields


def _check_fields(fields: Fields, needed: Sequence[str], others: Sequence[str]) -> None:
    known = (*needed, *others)
    if missing := [name for name in needed if name not in fields]:
        raise RequestError(f"The body has no {' and no '.join(missing)}; it needs {' and '.join(needed)}.")
    if wrong := [name for name in fields if name not in known]:
        raise RequestError(f"The body has {_listed(wrong)}, which is not read; known are {', '.join(known)}.")


def _items(value: Any, name: str) -> list[Any]:
    listed = cast("list[Any]", value) if isinstance(value, list) else [value]
    if not listed:
        raise RequestError(f"{name} is an empty list; give at least one.")
    return [_item(one, f"{name}[{k}]") for k, one in enumerate(listed)]


def _item(value: Any, name: str) -> Any:
    """A query or document as the codec takes it: a text, or a list of parts."""
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        raise RequestError(f"{name} is {shorten(repr(value), 60)}; give a text, or an object with its content.")
    given = {key: one for key, one in cast("Mapping[str, Any]", value).items() if one is not None}
    if "type" in given:
        return [given]
    if given.keys() == {"content"} and isinstance(given["content"], list):
        return cast("list[Any]", given["content"])
    if given.keys() == {"text"}:
        return given["text"]
    if given.keys() == {"image"}:
        return [{"type": "image", "image": given["image"]}]
    raise RequestError(
        f'{name} has {_listed(given)}; give a text, {{"text": ...}}, {{"image": ...}}, or {{"content": [parts]}}.'
    )


def _document(item: Any) -> dict[str, Any]:
    return {"text": item, "multi_modal": None} if isinstance(item, str) else {"text": None, "multi_modal": item}


def _request(query: Any, documents: Sequence[Any], rules: Rules, overflow: Overflow = "error") -> Request:
    fields = {"prompt": query, "responses": list(documents), "overflow": overflow}
    return to_request(to_line(fields, Line, rules.reading.ignore), rules.reading)


def _usage(judgements: Sequence[Judgement]) -> dict[str, Any]:
    """Tokens of the rows. All of them are read, and none is written."""
    tokens = sum(one.tokens.row for one in judgements if one.tokens is not None)
    return {"prompt_tokens": tokens, "total_tokens": tokens}


def _listed(names: Sequence[str] | Mapping[str, Any]) -> str:
    return shorten(", ".join(sorted(names)) or "nothing", 120)
