"""Cohere's client, in both of its versions."""

import json
from functools import partial

import cohere
from asked import CLAIMED_BY_NONE, asked, error_of

ask = asked()
made = {"v1": partial(cohere.Client, base_url=ask.url), "v2": partial(cohere.ClientV2, base_url=ask.url)}


def ranking(answer):
    return [[one.index, one.relevance_score] for one in answer.results]


answers = {}
for name, make in made.items():
    rerank = partial(make(ask.key).rerank, model="judge", query=ask.query, documents=ask.documents)
    answers[name] = {
        "all": ranking(rerank()),
        "top": ranking(rerank(top_n=2)),
        "errors": {
            "key": error_of(
                partial(make(CLAIMED_BY_NONE).rerank, query=ask.query, documents=ask.documents, model="judge")
            ),
            "model": error_of(partial(rerank, model=CLAIMED_BY_NONE)),
            "empty": error_of(partial(rerank, documents=[])),
        },
    }
v1, v2 = made["v1"](ask.key), made["v2"](ask.key)
answers["v2"]["picture"] = ranking(v2.rerank(model="judge", query=ask.query_with_picture, documents=ask.documents))
objects = v1.rerank(query=ask.query, documents=[{"text": text} for text in ask.documents], return_documents=True)
answers["v1"]["texts"] = [[one.index, one.document.text] for one in objects.results]
print(json.dumps(answers))
