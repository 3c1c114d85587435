"""A server of NeMo Gym's own kind with our groups, asked over its own routes. Prints what it answered."""

import asyncio
import json
import sys
from unittest.mock import MagicMock

import httpx
from nemo_gym.server_utils import ServerClient

from yoj.integrations.nemo_gym import YojConfig, YojResourcesServer

asked = json.load(sys.stdin)
config = YojConfig(
    host="127.0.0.1",
    port=0,
    entrypoint="",
    name="yoj_judge",
    domain="rlhf",
    judge=asked["bundle"],
    num_rollouts_per_prompt=asked["size"],
    settings={"spread_floor": 0},
    meeting={"timeout": 2},
)
server = YojResourcesServer(config=config, server_client=MagicMock(spec=ServerClient))
server.server_client.global_config_dict = {}


def body(rollout):
    """A rollout in the form of the Responses API."""
    text = {"type": "output_text", "text": rollout["response"], "annotations": []}
    first = {"type": "output_text", "text": "Let me see.", "annotations": []}
    message = {"id": "m", "type": "message", "role": "assistant", "status": "completed"}
    response = {
        "id": "r",
        "created_at": 0.0,
        "model": "policy",
        "object": "response",
        "output": [message | {"content": [first]}, message | {"content": [text]}],
        "parallel_tool_calls": False,
        "tool_choice": "none",
        "tools": [],
    }
    content = [
        {"type": "input_image", "image_url": rollout["picture"], "detail": "auto"},
        {"type": "input_text", "text": rollout["prompt"]},
    ]
    params = {"input": [{"role": "user", "content": content}]}
    return {"responses_create_params": params, "response": response} | rollout["place"]


async def main():
    transport = httpx.ASGITransport(server.setup_webserver())
    async with httpx.AsyncClient(transport=transport, base_url="http://gym", timeout=60) as client:
        rounds = []
        for rollouts in asked["rounds"]:
            found = await asyncio.gather(*(client.post("/verify", json=body(one)) for one in rollouts))
            rounds.append([[one.status_code, one.json()] for one in found])
        return rounds


print(json.dumps(asyncio.run(main())))
