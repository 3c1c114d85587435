"""Schemas of bodies and answers, for ``/docs`` and generated clients."""

from __future__ import annotations

from typing import Any

import msgspec

from yoj.runtime import Judgement
from yoj.runtime.codec import Line

from ._group_forms import SHARED
from ._uploads import REQUEST

DESCRIPTION = """Multi-response reward model: one prompt, N responses, N scores in one forward pass.

**Scores depend on the set.** The model reads all responses of a request together, so that a score, and with
it P(best), means something only beside the others of the same request. In the forms of rerankers, whose own
models read each document alone, `relevance_score` is P(best) among the documents of the request, and answers
bear the header `X-Yoj-Meaning`. Never merge the results of two requests into one ranking.

Media stand in the request as data URLs or base64. Or the body is a form (`multipart/form-data`): its part
`request` holds the JSON, and each file a part of its own, which the JSON names as `cid:` and the part's name.
Errors have the form `{"error": {"message", "type",
"code"}}`; 429 and 503 bear `Retry-After`. The header `X-Request-Timeout` gives the seconds after which a
caller wants no answer any more.
"""
ITEM: dict[str, Any] = {
    "anyOf": [
        {"type": "string"},
        {"type": "object", "description": '{"text"}, {"image"}, {"content": [parts]}, or a part'},
    ]
}
ITEMS: dict[str, Any] = {"anyOf": [ITEM, {"type": "array", "items": ITEM}]}
ANSWERS: dict[str, Any] = {
    "Request": {"$ref": "#/components/schemas/Judgement"},
    "Requests": {"type": "object", "description": '{"results": [judgements, and {"error"} where one failed]}'},
    "Rerank": {"description": '{"id", "model", "usage", "results"}; of TEI\'s form a list of {"index", "score"}'},
    "Score": {"type": "object", "description": '{"id", "object", "created", "model", "data", "usage"}'},
    "Sample": {"type": "object", "description": '{"reward", "place", "group": {"rewards", "scores", ...}}'},
    "OpenRLHF": {"type": "object", "description": '{"rewards", "scores", "extra_logs"}: numbers'},
}
"""Schema of a body -> schema of its answer."""
ERROR: dict[str, Any] = {
    "message": {"type": "string"},
    "type": {"type": "string"},
    "param": {"type": "null"},
    "code": {"type": "integer"},
}


def operation(path: str, summary: str, name: str) -> dict[str, Any]:
    """Description of a route whose body has a schema of this name."""
    schema = {"$ref": f"#/components/schemas/{name}"}
    form = {
        "type": "object",
        "properties": {REQUEST: schema},
        "additionalProperties": {"type": "string", "format": "binary"},
        "required": [REQUEST],
    }
    content = {"application/json": {"schema": schema}, "multipart/form-data": {"schema": form}}
    error = {"$ref": "#/components/schemas/Error"}
    return {
        "summary": summary,
        "operationId": path.strip("/").replace("/", "_"),
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {"description": "The answer.", "content": {"application/json": {"schema": ANSWERS[name]}}},
            "default": {"description": "An error.", "content": {"application/json": {"schema": error}}},
        },
    }


def judge_schemas() -> dict[str, Any]:
    """All schemas by their names."""
    _, components = msgspec.json.schema_components([Line, Judgement], ref_template="#/components/schemas/{name}")
    own = {"Request": components.pop("Line"), **components}
    one = {"$ref": "#/components/schemas/Request"}
    return own | {
        "Error": _object({"error": _object(ERROR, *ERROR)}, "error"),
        "Requests": _object({"requests": {"type": "array", "items": one}}, "requests"),
        "Rerank": {
            "anyOf": [
                _object(
                    {
                        "model": {"type": "string"},
                        "query": ITEM,
                        "documents": {"type": "array", "items": ITEM},
                        "top_n": {"type": "integer"},
                        "return_documents": {"type": "boolean"},
                    },
                    "query",
                    "documents",
                ),
                _object(
                    {
                        "query": {"type": "string"},
                        "texts": {"type": "array", "items": {"type": "string"}},
                        "raw_scores": {"type": "boolean"},
                        "return_text": {"type": "boolean"},
                        "truncate": {"type": "boolean"},
                        "top_n": {"type": "integer"},
                    },
                    "query",
                    "texts",
                ),
            ]
        },
        **_group_schemas(own["Request"]["properties"]),
        "Score": {
            "anyOf": [
                _object({"model": {"type": "string"}, left: ITEMS, right: ITEMS}, left, right)
                for left, right in (("queries", "documents"), ("data_1", "data_2"), ("text_1", "text_2"))
            ]
        },
    }


def _group_schemas(request: dict[str, Any]) -> dict[str, Any]:
    """Schemas of the bodies that bring one sample, from the properties of a request."""
    shared = {name: request[name] for name in SHARED if name in request}
    own = {
        "group": {"type": "string", "description": "Key that no other group has."},
        "size": {"type": "integer", "minimum": 1},
        "sample": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        "response": {"anyOf": [{"type": "string"}, {"type": "array", "description": "Texts and media."}]},
    }
    one = {"type": "array", "minItems": 1, "maxItems": 1}
    texts = one | {"items": {"type": "string"}}
    label = "JSON of group, size, prompt and media; sample where each has a name."
    return {
        "Sample": _object({**own, **shared}, *own, "prompt"),
        "OpenRLHF": _object(
            {"query": texts, "prompts": texts, "labels": one | {"description": label}}, "query", "prompts", "labels"
        ),
    }


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}
