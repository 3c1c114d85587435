"""OpenRLHF's own executor with a remote reward, on an engine that gives known texts. Prints what each sample got."""

import asyncio
import json
import sys
import types

from openrlhf.utils.agent import SingleTurnAgentExecutor
from transformers import AutoTokenizer

asked = json.load(sys.stdin)
tokenizer = AutoTokenizer.from_pretrained(asked["tokenizer"])


class Engine:
    """Engine that gives the responses of one prompt in their order, and the later ones sooner."""

    def __init__(self, responses):
        self._left = list(responses)

    async def generate(self, prompt_token_ids, sampling_params, multi_modal_data=None):
        text = self._left.pop(0)
        await asyncio.sleep(0.02 * len(self._left))
        ids = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
        output = types.SimpleNamespace(token_ids=ids, text=text, finish_reason="stop", logprobs=None)
        return types.SimpleNamespace(outputs=[output])


async def one(executor, group):
    turn = {"role": "user", "content": [{"type": "text", "text": group["prompt"]}]}
    call = {
        "prompt": tokenizer.apply_chat_template([turn], tokenize=False, add_generation_prompt=True),
        "label": json.dumps(group["label"]),
        "sampling_params": types.SimpleNamespace(max_tokens=64, logprobs=None),
        "max_length": 512,
        "hf_tokenizer": tokenizer,
        "llm_engine": Engine(group["responses"]),
    }
    outputs = await asyncio.gather(*(executor.execute(**call) for _ in group["responses"]))
    return [{name: output[name] for name in ("reward", "scores", "extra_logs")} for output in outputs]


async def main():
    executor = SingleTurnAgentExecutor(asked["url"])
    return [await asyncio.gather(*(one(executor, group) for group in groups)) for groups in asked["steps"]]


print(json.dumps(asyncio.run(main())))
