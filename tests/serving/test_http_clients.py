"""Clients of other servers, as they are on the package index, get from a real server what the scorer gives."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from pathlib import Path

import pytest
from conftest import running
from test_app import data_url, picture

from yoj.serving import HttpSettings

HERE = Path(__file__).parent / "clients"
MADE = Path(__file__).parents[2] / ".venv-clients"
PYTHON = Path(os.environ.get("YOJ_CLIENTS_VENV", MADE)) / "bin" / "python"
KEY = "the-key-of-the-tests"
QUERY = "Which of these is it?"
DOCUMENTS = ["A cat.", "Nothing.", "Two dogs on a red sofa.", "A parrot and a lamp."]
SAYS = {
    "key": "No valid API key",
    "model": "The model 'nobody' is not served here",
    "empty": "is an empty list; give at least one.",
}
"""What was wrong -> part of our text that the client's exception must show."""
COHERE = {"key": "UnauthorizedError", "model": "NotFoundError", "empty": "BadRequestError"}
LITELLM = {"key": "AuthenticationError", "model": "NotFoundError", "empty": "BadRequestError"}
RANKERS = {
    ("cohere", "v1"): COHERE,
    ("cohere", "v2"): COHERE,
    ("litellm", "hosted_vllm"): LITELLM,
    ("litellm", "jina_ai"): LITELLM,
    ("litellm", "cohere"): LITELLM,
    ("litellm", "huggingface"): LITELLM | {"model": None},  # the form of TEI names no model
    ("haystack", "VLLMRanker"): {"key": "RuntimeError", "model": "RuntimeError"},
    ("llama_index", "TextEmbeddingInference"): {},  # see the test of its error
}
"""Script and client -> what was wrong -> the client's exception."""

pytestmark = [
    pytest.mark.export,
    pytest.mark.slow,
    pytest.mark.skipif(
        not PYTHON.exists() and "YOJ_CLIENTS_VENV" not in os.environ,
        reason=f"no clients: neither {MADE.name}, which make {MADE.name}/.ready makes, nor YOJ_CLIENTS_VENV",
    ),
]


@pytest.fixture(scope="module")
def ask(scorer):
    """ask(name) -> what the script of this client printed, which runs once."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "HAYSTACK_TELEMETRY_ENABLED": "False"}
    asked = {"key": KEY, "query": QUERY, "documents": DOCUMENTS, "picture": data_url(picture())}
    with running(scorer("qwen3_vl"), HttpSettings(name="judge", api_keys=(KEY,))) as server:

        @functools.cache
        def run(name: str) -> dict:
            command = [str(PYTHON), str(HERE / f"with_{name}.py"), f"http://127.0.0.1:{server.port}"]
            done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, env=environment)
            assert done.returncode == 0, done.stderr[-2000:]
            return json.loads(done.stdout)

        yield run


@pytest.fixture(scope="module")
def judgement(scorer):
    return scorer("qwen3_vl").score(QUERY, DOCUMENTS)


@pytest.fixture(scope="module")
def with_picture(scorer):
    return scorer("qwen3_vl").score(QUERY, DOCUMENTS, images=[picture()])


def ranked(judgement) -> list[list[float]]:
    """Index and P(best), best first."""
    order = sorted(range(len(DOCUMENTS)), key=lambda k: -judgement.scores[k])
    return [[k, judgement.probabilities[k]] for k in order]


def test_the_case_tells_orders_apart(judgement, with_picture):
    order = [k for k, _ in ranked(judgement)]
    assert order not in (sorted(order), sorted(order, reverse=True))
    assert ranked(judgement) != ranked(with_picture)


@pytest.mark.parametrize(("script", "name"), RANKERS)
def test_documents_are_ranked_as_the_scorer_ranks_them(script, name, ask, judgement):
    answer = ask(script)[name]
    assert answer["all"] == ranked(judgement)
    assert answer["top"] == ranked(judgement)[:2]


@pytest.mark.parametrize(("script", "name"), [one for one in RANKERS if RANKERS[one]])
def test_an_error_is_the_clients_own_with_the_servers_text(script, name, ask):
    errors = ask(script)[name]["errors"]
    assert {wrong: error and error["class"] for wrong, error in errors.items()} == RANKERS[script, name]
    assert [wrong for wrong, error in errors.items() if error and SAYS[wrong] not in error["text"]] == []


def test_llama_index_does_not_look_at_the_status_and_shows_no_text(ask):
    """It takes the error for a list of scores, and counts them. docs/clients.md says so."""
    assert ask("llama_index")["TextEmbeddingInference"]["errors"] == {"key": {"class": "AssertionError", "text": ""}}


def test_cohere_shows_the_texts_of_documents(ask, judgement):
    assert ask("cohere")["v1"]["texts"] == [[k, DOCUMENTS[k]] for k, _ in ranked(judgement)]


def test_cohere_lets_a_query_with_a_picture_pass(ask, with_picture):
    assert ask("cohere")["v2"]["picture"] == ranked(with_picture)


def test_openai_gets_raw_scores(ask, judgement, with_picture):
    answer = ask("openai")
    assert answer["models"] == [["judge", "yoj"]]
    assert answer["score"]["all"] == [[k, score] for k, score in enumerate(judgement.scores)]
    assert answer["score"]["picture"] == [[k, score] for k, score in enumerate(with_picture.scores)]
    errors = answer["score"]["errors"]
    assert {wrong: error["class"] for wrong, error in errors.items()} == LITELLM
    assert [wrong for wrong, error in errors.items() if SAYS[wrong] not in error["text"]] == []
