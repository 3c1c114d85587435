"""Haystack's ranker for vLLM."""

import json

from asked import CLAIMED_BY_NONE, asked, error_of
from haystack import Document
from haystack.utils import Secret
from haystack_integrations.components.rankers.vllm import VLLMRanker

ask = asked()
documents = [Document(content=text, meta={"place": place}) for place, text in enumerate(ask.documents)]


def ranker(model="judge", key=ask.key):
    return VLLMRanker(model=model, api_base_url=f"{ask.url}/v1", api_key=Secret.from_token(key))


def rank(using, **more):
    return using.run(query=ask.query, documents=documents, **more)["documents"]


def ranking(ranked):
    return [[one.meta["place"], one.score] for one in ranked]


print(
    json.dumps(
        {
            "VLLMRanker": {
                "all": ranking(rank(ranker())),
                "top": ranking(rank(ranker(), top_k=2)),
                "errors": {
                    "key": error_of(lambda: rank(ranker(key=CLAIMED_BY_NONE))),
                    "model": error_of(lambda: rank(ranker(model=CLAIMED_BY_NONE))),
                },
            }
        }
    )
)
