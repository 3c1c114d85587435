"""LlamaIndex's reranker for text-embeddings-inference."""

import json

from asked import CLAIMED_BY_NONE, asked, error_of
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

ask = asked()


def ranking(top_n, key=ask.key):
    ranker = TextEmbeddingInference(base_url=ask.url, top_n=top_n, auth_token=f"Bearer {key}")
    nodes = [NodeWithScore(node=TextNode(text=text, id_=str(k))) for k, text in enumerate(ask.documents)]
    return [[int(one.node.node_id), one.score] for one in ranker.postprocess_nodes(nodes, query_str=ask.query)]


answers = {"all": ranking(64), "top": ranking(2), "errors": {"key": error_of(lambda: ranking(2, CLAIMED_BY_NONE))}}
print(json.dumps({"TextEmbeddingInference": answers}))
