"""OpenAI's client, which knows no scores but sends what it is given."""

import json

import httpx
import openai
from asked import CLAIMED_BY_NONE, asked, error_of

ask = asked()


def client(key=ask.key):
    return openai.OpenAI(base_url=f"{ask.url}/v1", api_key=key, max_retries=0)


def score(using, model="judge", **more):
    body = {"model": model, "queries": ask.query, "documents": ask.documents} | more
    return using.post("/score", body=body, cast_to=httpx.Response).json()


def scores(answer):
    return [[one["index"], one["score"]] for one in answer["data"]]


print(
    json.dumps(
        {
            "models": [[one.id, one.owned_by] for one in client().models.list()],
            "score": {
                "all": scores(score(client())),
                "picture": scores(score(client(), queries=ask.query_with_picture)),
                "errors": {
                    "key": error_of(lambda: score(client(CLAIMED_BY_NONE))),
                    "model": error_of(lambda: score(client(), model=CLAIMED_BY_NONE)),
                    "empty": error_of(lambda: score(client(), documents=[])),
                },
            },
        }
    )
)
