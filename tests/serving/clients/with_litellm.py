"""litellm, which speaks the forms of several servers."""

import json
from functools import partial

import litellm
from asked import CLAIMED_BY_NONE, asked, error_of

ask = asked()
litellm.suppress_debug_info = True  # which it prints to the standard output
PROVIDERS = ("hosted_vllm", "jina_ai", "cohere", "huggingface")


def ranking(answer):
    return [[one["index"], one["relevance_score"]] for one in answer.results]


answers = {}
for name in PROVIDERS:
    given = {"api_base": ask.url, "api_key": ask.key, "query": ask.query, "documents": ask.documents}
    rerank = partial(litellm.rerank, model=f"{name}/judge", **given)
    answers[name] = {
        "all": ranking(rerank()),
        "top": ranking(rerank(top_n=2)),
        "errors": {
            "key": error_of(partial(rerank, api_key=CLAIMED_BY_NONE)),
            # The form of TEI names no model.
            "model": None if name == "huggingface" else error_of(partial(rerank, model=f"{name}/{CLAIMED_BY_NONE}")),
            "empty": error_of(partial(rerank, documents=[])),
        },
    }
print(json.dumps(answers))
