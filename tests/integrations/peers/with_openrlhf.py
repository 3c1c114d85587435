"""OpenRLHF's executor with our groups, loaded and called as its rollout actor does, on an engine with known texts.

Its actor itself imports vLLM, so that its two methods are written out here. Prints what each sample got.
"""

import asyncio
import importlib.util
import json
import sys
import types

from openrlhf.utils.agent import AgentExecutorBase
from transformers import AutoTokenizer

asked = json.load(sys.stdin)
tokenizer = AutoTokenizer.from_pretrained(asked["tokenizer"])


def load_agent_executor(path):
    spec = importlib.util.spec_from_file_location("agent_module", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert issubclass(module.AgentExecutor, AgentExecutorBase)
    return module.AgentExecutor()


async def generate_responses(executor, engine, prompt, images, count):
    params = types.SimpleNamespace(max_tokens=64, logprobs=None)
    samples = [
        executor.execute(
            prompt=prompt,
            label="",
            sampling_params=params,
            max_length=512,
            hf_tokenizer=tokenizer,
            llm_engine=engine,
            images=images,
        )
        for _ in range(count)
    ]
    return await asyncio.gather(*samples)


class Engine:
    """Engine that gives the responses of one prompt in their order, and the later ones sooner."""

    def __init__(self, responses):
        self._left = list(enumerate(responses))

    async def generate(self, prompt_token_ids, sampling_params, multi_modal_data=None):
        place, text = self._left.pop(0)
        await asyncio.sleep(0.02 * (len(self._left) + 1) if place else 0)
        ids = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
        output = types.SimpleNamespace(token_ids=ids, text=text, finish_reason="stop", logprobs=None)
        return types.SimpleNamespace(outputs=[output])


async def one(executor, group):
    prompt = group["prompt"]
    if group["template"]:
        turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}
        prompt = tokenizer.apply_chat_template([turn], tokenize=False, add_generation_prompt=True)
    images = [group["picture"], None] if group["picture"].endswith(".png") else group["picture"]
    try:
        outputs = await generate_responses(
            executor, Engine(group["responses"]), prompt, images, len(group["responses"])
        )
    except Exception as error:
        return {"error": str(error)}
    return [{name: output[name] for name in ("reward", "scores", "extra_logs")} for output in outputs]


async def main():
    executor = load_agent_executor(asked["executor"])
    return await asyncio.gather(*(one(executor, group) for group in asked["groups"]))


print(json.dumps(asyncio.run(main())))
