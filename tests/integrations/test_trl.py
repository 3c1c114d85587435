"""Calls as TRL 1.16 makes them, replayed, against the scorer; test_trl_trainers.py has the trainers themselves."""

from __future__ import annotations

import asyncio
import copy
import io
import pickle
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from test_group import RESPONSES, Told

from yoj.integrations import GroupReward as Core
from yoj.integrations import RewardSettings
from yoj.integrations.trl import AsyncGroupReward, GroupReward
from yoj.runtime import Image as Picture
from yoj.runtime import Request, RequestError, ScoreError, Scorer, YojError

pytestmark = pytest.mark.export

EXACT = RewardSettings(spread_floor=0.0)
FOUR = RESPONSES[:4]
GREY = Image.radial_gradient("L").resize((40, 40))
PICTURE, OTHER = GREY.convert("RGB"), GREY.rotate(90).point(lambda v: 255 - v).convert("RGB")


@pytest.fixture(scope="module")
def judge(scorer) -> Scorer:
    return scorer("qwen3_vl")


class Log:
    """What a reward function logs."""

    def __init__(self):
        self.metrics: dict[str, list[float]] = {}
        self.extra: dict[str, list] = {}

    def given(self, step: int = 3, **columns) -> dict:
        """Keyword arguments of a call, as GRPO and RLOO give them."""
        state = SimpleNamespace(global_step=step)
        return {"trainer_state": state, "log_metric": self.metric, "log_extra": self.column} | columns

    def metric(self, name: str, value: float) -> None:
        self.metrics.setdefault(name, []).append(value)

    def column(self, name: str, values: list) -> None:
        self.extra.setdefault(name, []).extend(values)


def said(text: str) -> list[dict]:
    return [{"role": "assistant", "content": text}]


def asked(text: str, *pictures) -> list[dict]:
    """Prompt with pictures as TRL puts them into it, beside the column."""
    parts = [{"type": "image", "image": picture} for picture in pictures]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def by_hand(judge: Scorer, log: Log, rows: Sequence[int], prompt, responses, **media) -> list[float]:
    """Centred scores of a group from the scorer, in the order that the log names."""
    order = sorted(range(len(rows)), key=lambda k: log.extra["yoj_place"][rows[k]])
    scores_N = np.empty(len(rows))
    scores_N[order] = judge.score(prompt, [responses[k] for k in order], **media).scores
    assert [log.extra["yoj_score"][row] for row in rows] == scores_N.tolist()
    return (scores_N - scores_N.mean()).tolist()


def test_plain_prompts(judge):
    log, prompts = Log(), ["Which?"] * 4 + ["Where?"] * 4
    rewards = GroupReward(judge, 4, settings=EXACT)(prompts, [*FOUR, *FOUR[::-1]], **log.given())
    first = by_hand(judge, log, range(4), "Which?", FOUR)
    second = by_hand(judge, log, range(4, 8), "Where?", FOUR[::-1])
    assert rewards == first + second
    assert log.extra["yoj_place"][:4] != log.extra["yoj_place"][4:]


def test_conversations_and_columns_that_are_none_of_its_own(judge):
    log, conversation = Log(), [{"role": "system", "content": "Be strict."}, {"role": "user", "content": "Which?"}]
    rewards = GroupReward(judge, 4, settings=EXACT)(
        prompts=[conversation] * 4,
        completions=[said(text) for text in FOUR],
        completion_ids=[[1, 2]] * 4,
        solution=["x"] * 4,
        **log.given(),
    )
    assert rewards == by_hand(judge, log, range(4), conversation, FOUR)


@pytest.mark.parametrize("name", ["image", "images", "parts", "column", "places", "bytes"])
def test_a_picture_counts_once_wherever_it_stands(name, judge, tmp_path):
    log, column = Log(), {}
    prompts = [asked("Which?", PICTURE) for _ in range(4)]
    file = tmp_path / "a.png"
    PICTURE.save(file)
    if name == "image":
        column = {"image": [prompt[0]["content"][0]["image"] for prompt in prompts]}
    elif name == "images":  # decoded again for each row
        column = {"images": [[PICTURE.copy()] for _ in prompts]}
    elif name == "column":
        prompts, column = ["Which?"] * 4, {"image": [PICTURE] * 4}
    elif name == "places":  # of Online DPO; tables add the fields of other parts
        prompts = [asked("Which?", None) for _ in prompts]
        prompts[0][0]["content"][0]["text"] = None
        column = {"image": [PICTURE] * 4}
    elif name == "bytes":
        column = {"image": [{"bytes": file.read_bytes(), "path": None}] * 4}
        prompts = ["Which?"] * 4
    completions = [said(text) for text in FOUR]
    rewards = GroupReward(judge, 4, settings=EXACT)(prompts, completions, **log.given(**column))
    assert rewards == by_hand(judge, log, range(4), "Which?", FOUR, images=[PICTURE])


def test_two_pictures_stand_where_the_prompt_has_them(judge):
    log = Log()
    content = [
        {"type": "text", "text": "First: "},
        {"type": "image", "image": PICTURE, "text": None},
        {"type": "text", "text": ", second: "},
        {"type": "image", "image": OTHER, "text": None},
    ]
    prompts = [[{"role": "user", "content": copy.copy(content)}] for _ in FOUR]
    rewards = GroupReward(judge, 4, settings=EXACT)(
        prompts, [said(text) for text in FOUR], **log.given(images=[[PICTURE, OTHER]] * 4)
    )
    placed = [{"role": "user", "content": [{k: v for k, v in part.items() if v is not None} for part in content]}]
    assert rewards == by_hand(judge, log, range(4), placed, FOUR)


def test_other_pictures_in_the_column_than_in_the_prompt_are_no_reward(judge):
    with pytest.warns(RuntimeWarning, match="1 of the 1 pictures in the row's column are other ones than the 1 in its"):
        rewards = GroupReward(judge, 2)([asked("Which?", PICTURE)] * 2, FOUR[:2], **Log().given(image=[OTHER] * 2))
    assert rewards == [None, None]


def test_a_column_without_a_picture_is_none(judge):
    log = Log()
    columns = {"images": [[None], [], None, [{"bytes": None, "path": None}]]}
    rewards = GroupReward(judge, 4, settings=EXACT)(["Which?"] * 4, FOUR, **log.given(**columns))
    assert rewards == by_hand(judge, log, range(4), "Which?", FOUR)


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        (None, "prompt is a NoneType"),
        ([], "prompt is an empty list"),
        ([{"role": "user", "content": None}], "is a NoneType; give a text"),
        (said("So?"), "The conversation has the turns assistant; end it with the user's turn"),
        ([{"role": "tool", "content": "x"}], "has the role 'tool'"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], "has the type 'image_url'"),
    ],
)
def test_a_prompt_that_no_judge_reads_is_no_reward(prompt, text):
    with pytest.warns(RuntimeWarning, match=text):
        assert GroupReward(Told(), 2)([prompt] * 2, ["1", "3"], **Log().given()) == [None, None]


def filmed(shade: int) -> list[dict]:
    return [{"role": "user", "content": [{"type": "video", "video": [np.full((32, 32, 3), shade, np.uint8)] * 2}]}]


@pytest.mark.parametrize("prompts", [[filmed(0), filmed(255)], [filmed(0), filmed(0)]], ids=["different", "equal"])
def test_a_video_in_a_prompt_is_no_reward(prompts):
    judge = Told()
    with pytest.warns(RuntimeWarning, match="A part has the type 'video'. Videos are not read from the rows of a trai"):
        assert GroupReward(judge, 2)(prompts, ["1", "3"], **Log().given()) == [None, None]
    assert not judge.requests


@pytest.mark.parametrize("cell", [PICTURE, "scene.png"])
def test_pictures_in_a_column_of_another_name_stop_training_where_the_judge_would_be_shown_none(cell, judge):
    with pytest.raises(RequestError, match=r"No prompt has a picture, and the column 'scene' holds some"):
        GroupReward(Told(), 2)(["a"] * 2, ["1", "3"], **Log().given(scene=[cell] * 2))
    shown = Log().given(scene=[cell] * 2, image=[PICTURE] * 2)
    assert None not in GroupReward(judge, 2)(["Which?"] * 2, FOUR[:2], **shown)


def test_pictures_of_a_column_that_is_read_and_cannot_be_compared_are_the_groups_error():
    with pytest.warns(RuntimeWarning, match="A picture is a BytesIO"):
        rewards = GroupReward(Told(), 2)(["a"] * 2, ["1", "3"], **Log().given(images=[[PICTURE, io.BytesIO()]] * 2))
    assert rewards == [None, None]


@pytest.mark.parametrize("name", ["video", "videos"])
def test_a_column_of_videos_stops_training(name):
    with pytest.raises(RequestError, match=f"There is a column {name}. Videos are not read from the rows of a trainer"):
        GroupReward(Told(), 2)(["a"] * 2, ["1", "3"], **Log().given(**{name: ["a.mp4", "b.mp4"]}))
    for empty in (None, [None, None], [[], []]):
        assert GroupReward(Told(), 2)(["a"] * 2, ["1", "3"], **Log().given(**{name: empty})) == [-1, 1]


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ({"type": "audio", "audio": np.zeros(9)}, "A part has the type 'audio'. Parts are texts, {'type': 'text'"),
        ({"text": "a"}, "A part has the type None. Parts are texts"),
        (Picture(PICTURE), "A part is a Image. Parts are texts"),
        ({"type": "image", "image": io.BytesIO(b"")}, "A picture is a BytesIO, so that rows with others could not be"),
    ],
)
def test_a_part_that_cannot_be_compared_is_no_reward(part, text):
    prompts = [[{"role": "user", "content": [part, "Which?"]}]] * 2
    with pytest.warns(RuntimeWarning, match=re.escape(text)):
        assert GroupReward(Told(), 2)(prompts, ["1", "3"], **Log().given()) == [None, None]
    if "image" not in str(part).lower():
        answer = [{"role": "assistant", "content": [part]}]
        with pytest.warns(RuntimeWarning, match=re.escape(text)):
            GroupReward(Told(), 2)(["a"] * 2, ["1", answer], **Log().given())


def test_pictures_without_a_place_are_no_reward(judge):
    with pytest.warns(RuntimeWarning, match="has places for 1 pictures, and the row's column has 2"):
        GroupReward(judge, 2)([asked("Which?", None)] * 2, FOUR[:2], images=[[PICTURE, OTHER]] * 2)


def test_two_groups_with_one_text_and_other_pictures_are_two(judge):
    log = Log()
    rewards = GroupReward(judge, 2, settings=EXACT)(
        [asked("Which?", PICTURE)] * 2 + [asked("Which?", OTHER)] * 2,
        [said(text) for text in FOUR],
        **log.given(image=[PICTURE, PICTURE, OTHER, OTHER]),
    )
    first = by_hand(judge, log, [0, 1], "Which?", FOUR[:2], images=[PICTURE])
    assert rewards == first + by_hand(judge, log, [2, 3], "Which?", FOUR[2:], images=[OTHER])


def test_two_groups_with_one_prompt_are_two(judge):
    log = Log()
    rewards = GroupReward(judge, 2, settings=EXACT)(["Which?"] * 4, FOUR, **log.given())
    first = by_hand(judge, log, [0, 1], "Which?", FOUR[:2])
    assert rewards == first + by_hand(judge, log, [2, 3], "Which?", FOUR[2:])


@pytest.mark.parametrize(
    ("prompts", "columns", "text"),
    [
        (["a"] * 6, {}, "6 rows over all ranks, which are no whole groups of 4. Give GroupReward the num_generations"),
        (["a", "a", "b", "b"], {}, "Rows 0 and 2 of this call have different prompts, and with num_generations=4"),
        ([*"aaaa", *"bbbc"], {}, "Rows 4 and 7 of this call have different prompts"),
        (["a"] * 4, {"image": [PICTURE] * 3 + [OTHER]}, "Rows 0 and 3 of this call have different pictures"),
        ([asked("a", PICTURE)] * 3 + [asked("a", OTHER)], {}, "Rows 0 and 3 of this call have different pictures"),
        (["a"] * 4, {"image": [PICTURE] * 3}, "The column image has 3 entries; there are 4 rows"),
        (["a"] * 4, {"images": np.zeros((4, 2))}, "The column images has the type ndarray; there are 4 rows"),
    ],
)
def test_rows_that_are_no_groups_stop_training(prompts, columns, text, judge):
    with pytest.raises(RequestError) as error:
        GroupReward(judge, 4)(prompts, ["x"] * len(prompts), **Log().given(**columns))
    assert text in str(error.value)


def test_a_completion_too_few_stops_training(judge):
    with pytest.raises(RequestError, match="4 prompts and 3 completions"):
        GroupReward(judge, 4)(["a"] * 4, FOUR[:3])


def test_the_layout_of_online_dpo_is_recognised():
    judge = Told()
    rewards = GroupReward(judge, 2, settings=EXACT)([*"abc", *"abc"], [*"123456"], trainer_state=None)
    assert rewards == [-1.5] * 3 + [1.5] * 3
    assert [{*request.responses} for request in judge.requests] == [{"1", "4"}, {"2", "5"}, {"3", "6"}]


def test_one_prompt_twice_is_one_layout_or_the_other_for_whoever_says_which():
    with pytest.raises(RequestError) as error:
        GroupReward(Told(), 2)([*"aaaa"], [*"1234"])
    assert "at the places of several layouts, so that their groups are not known" in str(error.value)
    assert GroupReward(Told(), 2)([*"aa"], [*"13"]) == [-1, 1]
    assert GroupReward(Told(), 2)([*"aaaa"], [*"1339"], **Log().given()) == [-1, 1, -3, 3]  # GRPO


class Trainer(Log):
    """The names of a trainer that tell whether it trains."""

    def __init__(self, training: bool, size: int, size_eval: int):
        super().__init__()
        self.model = SimpleNamespace(training=training)
        self.num_generations, self.num_generations_eval = size, size_eval


@pytest.mark.parametrize(("training", "rewards"), [(True, [-3, -1, 1, 3]), (False, [-1, 1, -1, 1])])
def test_evaluation_has_groups_of_its_own_size(training, rewards):
    reward = GroupReward(Told(), 4, 2, EXACT)
    assert reward(["a"] * 4, [*"1357"], **Trainer(training, 4, 2).given()) == rewards


@pytest.mark.parametrize(("prompts", "rewards"), [([*"aabb"], [-1, 1, -1, 1]), ([*"aaaa"], [-3, -1, 1, 3])])
def test_without_a_trainer_the_largest_size_that_fits_is_taken(prompts, rewards):
    assert GroupReward(Told(), 4, 2, EXACT)(prompts, [*"1357"], log_metric=Log().metric) == rewards


def test_another_size_than_the_trainers_stops_training():
    with pytest.raises(RequestError) as error:
        GroupReward(Told(), 4)(["a"] * 8, [*"12345678"], **Trainer(True, 8, 8).given())
    assert str(error.value).startswith(
        "The trainer's num_generations is 8, and GroupReward has 4. Give GroupReward the num_generations and "
        "num_generations_eval of the trainer's settings"
    )


def test_metrics_are_of_each_group():
    log = Log()
    prompts, completions = [*"aaaabbbbcccc"], [*"1357", *"4444", "3", "3", "9", ""]
    with pytest.warns(RuntimeWarning):
        GroupReward(Faulty(), 4)(prompts, completions, **log.given())
    metrics = log.metrics
    assert metrics["yoj/failed_groups"] == [0, 0, 1]
    assert metrics["yoj/flat_groups"] == [0, 1]
    assert metrics["yoj/mean_score"] == [4, 4]
    assert metrics["yoj/spread"] == [np.std([1, 3, 5, 7]), 0]
    assert metrics["yoj/equal_responses"] == [0, 0.75]
    assert metrics["yoj/cut_responses"] == [0, 0]
    assert len(metrics["yoj/milliseconds"]) == 1
    assert "yoj/order_spread" not in metrics
    assert log.extra["yoj_score"] == [1, 3, 5, 7, 4, 4, 4, 4, None, None, None, None]


def test_the_order_spread_is_logged_where_there_are_several_orders(judge):
    log = Log()
    GroupReward(judge, 4, settings=RewardSettings(orders=2))(["a"] * 4, FOUR, **log.given())
    (answer,) = Core(judge, RewardSettings(orders=2)).rewards([Request("a", FOUR, id="3:0:0")])
    assert log.metrics["yoj/order_spread"] == [np.mean(answer.order_spread)]


class Faulty(Told):
    """Judge that fails where a response is empty."""

    def _one(self, request):
        return ScoreError("The engine returned nan.") if "" in request.responses else super()._one(request)


def test_a_failing_group_is_none_for_all_and_training_goes_on():
    with pytest.warns(
        RuntimeWarning, match=r"1 of 2 groups have no reward in call 3:0. The first: The engine returned"
    ):
        rewards = GroupReward(Faulty(), 2, settings=EXACT)([*"aabb"], ["1", "", "1", "3"], **Log().given())
    assert rewards == [None, None, -1, 1]


def test_a_failing_group_stops_training_where_that_is_wanted():
    with pytest.raises(ScoreError, match="The engine returned nan"):
        GroupReward(Faulty(), 2, on_error="raise")([*"aabb"], ["1", "", "1", "3"], **Log().given())


def test_a_failing_group_stops_online_dpo_which_would_take_none_for_0():
    with pytest.raises(ScoreError, match="The engine returned nan"):
        GroupReward(Faulty(), 2)([*"abab"], ["1", "", "1", "3"], trainer_state=None)


def test_two_judges_log_under_their_names():
    log = Log()
    for name in ("helpful", "harmless"):
        reward = GroupReward(Told(), 2)
        reward.__name__ = name
        reward(["a"] * 2, ["1", "3"], **log.given())
    assert log.metrics["helpful/spread"] == log.metrics["harmless/spread"] == [1]
    assert log.extra["helpful_score"] == log.extra["harmless_score"] == [1, 3]


def test_a_judge_that_cannot_be_opened_stops_training(tmp_path):
    with pytest.raises(YojError, match=r"gone\.yoj"):
        GroupReward(tmp_path / "gone.yoj", 2)([*"aa"], FOUR[:2])


CALL = {"role": "assistant", "content": None, "tool_calls": [{"type": "function"}]}
RESULT = {"role": "tool", "name": "look", "content": "It is red."}


def test_of_a_completion_with_tools_the_answer_is_read(judge):
    log = Log()
    completions = [[CALL, RESULT, *said(text)] for text in FOUR]
    rewards = GroupReward(judge, 4, settings=EXACT)(["Which?"] * 4, completions, **log.given())
    assert rewards == by_hand(judge, log, range(4), "Which?", FOUR)


@pytest.mark.parametrize(
    ("completion", "text"),
    [
        ([CALL], "A completion of 1 messages has no final answer: its last message calls a tool"),
        ([CALL, RESULT], "of 2 messages has no final answer: its last message is of the role 'tool'"),
        ([{"role": "assistant"}], "is of the role 'assistant' and has no content"),
        ([], r"A completion is \[\]; give a text, or a list of messages"),
        (None, "A completion is None; give a text"),
        ([{"role": "assistant", "content": 5}], "The content of a completion is a content of the type int"),
    ],
)
def test_a_completion_without_an_answer_is_no_reward(completion, text):
    with pytest.warns(RuntimeWarning, match=text):
        rewards = GroupReward(Told(), 2)(["a"] * 2, [said("1"), completion], **Log().given())
    assert rewards == [None, None]


def test_parts_of_a_completion_are_parts_of_the_response():
    judge = Told()
    content = [{"type": "text", "text": "1"}, {"type": "image", "image": PICTURE}]
    GroupReward(judge, 2)(["a"] * 2, [[{"role": "assistant", "content": content}], said("2")])
    (shown,) = (one for one in judge.requests[0].responses if not isinstance(one, str))
    assert (shown[0], shown[1].source) == ("1", PICTURE)


def test_keys_follow_the_trainers_steps(judge):
    reward, log = GroupReward(judge, 4, settings=EXACT), Log()
    calls = [(3, 2), (4, 1), (7, 1)]
    for step, times in calls:
        for _ in range(times):
            reward(["Which?"] * 8, FOUR * 2, **log.given(step))
    expected = []
    for key in ("3:0", "3:1", "4:0", "7:0"):
        for group in range(2):
            (answer,) = Core(judge, EXACT).rewards([Request("Which?", FOUR, id=f"{key}:{group}")])
            expected += [answer.orders[0].index(k) for k in range(4)]
    assert log.extra["yoj_place"] == expected


def test_a_resumed_training_goes_on_with_its_orders(judge):
    whole, resumed = Log(), Log()
    reward = GroupReward(judge, 4, settings=EXACT)
    for step in range(4):
        reward(["Which?"] * 4, FOUR, **whole.given(step))
    GroupReward(judge, 4, settings=EXACT)(["Which?"] * 4, FOUR, **resumed.given(3))
    assert resumed.extra["yoj_place"] == whole.extra["yoj_place"][12:]
    orders = {tuple(whole.extra["yoj_place"][begin : begin + 4]) for begin in range(0, 16, 4)}
    assert len(orders) > 2


def test_it_travels_and_has_a_name(bundle, judge):
    reward = GroupReward(bundle("qwen3_vl", "assistant"), 4, settings=EXACT)
    reward(["Which?"] * 4, FOUR, **Log().given())
    copied = pickle.loads(pickle.dumps(reward))
    assert copied(["Which?"] * 4, FOUR, **Log().given()) == GroupReward(judge, 4, settings=EXACT)(
        ["Which?"] * 4, FOUR, **Log().given()
    )
    assert copied.__name__ == "yoj"
    copied.__name__ = "helpful"
    assert pickle.loads(pickle.dumps(copied)).__name__ == "helpful"


def test_the_asynchronous_one_gives_the_same(judge):
    log, here = Log(), Log()
    reward = AsyncGroupReward(judge, 4, settings=EXACT)
    found = asyncio.run(reward(["Which?"] * 4, FOUR, **log.given()))
    assert found == GroupReward(judge, 4, settings=EXACT)(["Which?"] * 4, FOUR, **here.given())
    assert log.extra == here.extra
    assert log.metrics["yoj/spread"] == here.metrics["yoj/spread"]


def test_asynchronous_rewards_give_way_to_each_other():
    class Meeting(Told):
        """Judge that answers once two ask."""

        def score_batch(self, requests, *, on_error):
            both.wait(30)
            return super().score_batch(requests, on_error=on_error)

    both = threading.Barrier(2)

    async def ask():
        rewards = [AsyncGroupReward(Meeting(), 2, settings=EXACT) for _ in range(2)]
        return await asyncio.gather(*(reward(["a"] * 2, ["1", "3"]) for reward in rewards))

    assert asyncio.run(ask()) == [[-1, 1], [-1, 1]]


def test_the_call_of_asynchronous_grpo():
    """As `_score_group` of TRL 1.16's async_rollout_worker.py makes it, with what it was pickled for."""
    kwargs = {"completions": [said(text) for text in "1357"], "prompts": [asked("a")] * 4, "solution": ["x"] * 4}
    reward = pickle.loads(pickle.dumps(GroupReward(Told(), 4, settings=EXACT)))
    found = asyncio.run(asyncio.to_thread(reward, completion_ids=[[1]] * 4, **kwargs))
    assert found == [-3, -1, 1, 3]


def test_no_rows_are_no_rewards():
    assert GroupReward(Told(), 4)([], [], **Log().given()) == []


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"num_generations": 1}, "num_generations is 1; give a whole number from 2"),
        ({"num_generations": 4, "num_generations_eval": 0}, "num_generations_eval is 0"),
        ({"num_generations": 4, "on_error": "skip"}, "on_error is 'skip'; give 'none' or 'raise'"),
    ],
)
def test_what_cannot_be_is_refused(wrong, text):
    with pytest.raises(RequestError, match=text):
        GroupReward(Told(), **wrong)


def test_good_groups_warn_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GroupReward(Told(), 2)(["a"] * 2, ["1", "3"], **Log().given())


@pytest.mark.slow
def test_importing_loads_nothing_heavy():
    code = (
        "import sys; import yoj.integrations.trl; "
        "print(*sorted({'torch', 'trl', 'transformers', 'onnxruntime', 'PIL'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == [], done.stderr
