"""JSON -> requests: what is read, what is refused with which words, and that no text does anything else."""

from __future__ import annotations

import base64
import io
import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pictures

from yoj.runtime import RequestError
from yoj.runtime._fields import CALLED, TOLD, nearest
from yoj.runtime._judgement import Judgement, TokenCounts
from yoj.runtime._ranks import check_rankings
from yoj.runtime.codec import (
    GIVE,
    Ignore,
    Line,
    Reading,
    decode_judgement,
    decode_request,
    decode_tensors,
    encode_judgement,
    to_line,
)
from yoj.runtime.packing import Truncation
from yoj.runtime.request import Image, Message, Request, Video
from yoj.runtime.sources import Policy
from yoj.runtime.strict_json import MAX_DEPTH, MAX_VALUES, parse_object

LINE = {"prompt": "What?", "responses": ["a", "b"]}


def png() -> bytes:
    stream = io.BytesIO()
    Pictures.new("RGB", (8, 8), "red").save(stream, "png")
    return stream.getvalue()


PNG = png()
BASE64 = base64.b64encode(PNG).decode()
URL = f"data:image/png;base64,{BASE64}"


def decode(fields: object, **reading) -> Request:
    return decode_request(fields if isinstance(fields, bytes) else json.dumps(fields).encode(), Reading(**reading))


def refused(fields: object, **reading) -> str:
    with pytest.raises(RequestError) as caught:
        decode(fields, **reading)
    return str(caught.value)


def test_the_native_fields(tmp_path):
    everything = LINE | {
        "image": ["a.png", URL],
        "video": ["0.png", "1.png"],
        "seconds_between_frames": 0.5,
        "rankings": [1, 2],
        "mode": "isolated",
        "orders": "all",
        "overflow": "truncate",
        "duplicates": "score",
        "placeholders": "text",
        "method": "groups",
        "passes": 9,
        "dimension": "quality",
        "id": 7,
        "metadata": {"a": [1, None, True]},
    }
    expected = Request(
        "What?",
        ["a", "b"],
        [tmp_path / "a.png", PNG],
        [tmp_path / "0.png", tmp_path / "1.png"],
        fps=2.0,
        overflow="truncate",
        mode="isolated",
        orders="all",
        duplicates="score",
        placeholders="text",
        method="groups",
        passes=9,
        dimension="quality",
        id=7,
        metadata={"a": [1, None, True]},
    )
    assert decode(everything, policy=Policy(tmp_path)) == expected
    assert set(everything) | {"timestamps"} == set(Line.__struct_fields__)


def test_tensors_hold_texts_and_files_or_their_base64():
    picture = png()
    told = base64.b64encode(picture)
    found = decode_tensors("Wächst es?".encode(), [b"a", b""], [picture, told, b"data:image/png;base64," + told])
    assert found == Request("Wächst es?", ["a", ""], [picture] * 3)
    with pytest.raises(RequestError, match=r"RESPONSES\[1\] is not UTF-8: byte 1 is 0xFF"):
        decode_tensors(b"a", [b"a", b"b\xff"], [])
    with pytest.raises(RequestError, match=r"IMAGES\[0\] is a path, .*files are not read here"):
        decode_tensors(b"a", [b"a"], [b"/etc/passwd"])


def test_null_is_as_good_as_left_out():
    nothing = {name: None for name in Line.__struct_fields__ if name not in LINE} | {"messages": None}
    assert decode(LINE | nothing) == decode(LINE) == Request("What?", ["a", "b"], [])


def test_what_the_run_says_holds_where_the_request_says_nothing():
    assert decode(LINE, overflow="truncate", placeholders="media").overflow == "truncate"
    assert decode(LINE, placeholders="media").placeholders == "media"
    assert decode(LINE | {"overflow": "error"}, overflow="truncate").overflow == "error"


def test_times_of_frames(tmp_path):
    policy = Policy(tmp_path)
    video = LINE | {"video": "frames"}
    assert decode(video | {"timestamps": [0, 1.5]}, policy=policy).timestamps == [0.0, 1.5]
    assert decode(video | {"seconds_between_frames": 4}, policy=policy).fps == 0.25
    both = refused(video | {"timestamps": [0], "seconds_between_frames": 4}, policy=policy)
    assert "seconds_between_frames and timestamps, which say the same" in both
    assert "timestamps is given without a video" in refused(LINE | {"timestamps": [0]})
    assert "seconds_between_frames is given without a video" in refused(LINE | {"seconds_between_frames": 1})
    for wrong in (0, -1, 1e-320):
        assert "give a number above 0" in refused(video | {"seconds_between_frames": wrong}, policy=policy)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("text", "text"),
        ({"type": "text", "text": "text"}, "text"),
        ({"type": "text", "text": "text", "image": None, "url": None}, "text"),
        ({"type": "input_text", "text": "text"}, "text"),
        ({"type": "image", "image": URL}, Image(PNG)),
        ({"type": "image", "image": BASE64}, Image(PNG)),
        ({"type": "image", "image": {"bytes": BASE64, "path": "a.png"}}, Image(PNG)),
        ({"type": "image", "image": "a.png"}, Image(Path("/media/a.png"))),
        ({"type": "image", "path": "a.png"}, Image(Path("/media/a.png"))),
        ({"type": "image", "url": "file:///media/b%20c.png"}, Image(Path("/media/b c.png"))),
        ({"type": "image", "base64": BASE64}, Image(PNG)),
        ({"type": "image_url", "image_url": URL}, Image(PNG)),
        ({"type": "image_url", "image_url": {"url": URL}}, Image(PNG)),
        ({"type": "image_url", "image_url": {"url": URL, "detail": "auto"}}, Image(PNG)),
        ({"type": "input_image", "image_url": URL, "detail": "auto"}, Image(PNG)),
        ({"type": "video", "video": "a.mp4"}, Video(Path("/media/a.mp4"))),
        ({"type": "video", "video": ["a.png", URL], "fps": 2}, Video([Path("/media/a.png"), PNG], 2.0)),
        ({"type": "video", "video": "f", "seconds_between_frames": 2}, Video(Path("/media/f"), 0.5)),
        ({"type": "video", "video": "f", "timestamps": [0, 3]}, Video(Path("/media/f"), None, [0.0, 3.0])),
        ({"type": "video_url", "video_url": {"url": "a.mp4"}}, Video(Path("/media/a.mp4"))),
    ],
)
def test_parts_as_they_are_written_elsewhere(part, expected):
    found = decode({"prompt": [part, "?"], "responses": [[part], "b"]}, policy=Policy(Path("/media")))
    assert found.prompt == [expected, "?"]
    assert found.responses == [[expected], "b"]


def test_a_part_without_a_medium_is_the_place_of_one(tmp_path):
    line = LINE | {"prompt": [{"type": "image"}, "?", {"type": "video", "fps": 2}], "image": "a.png"}
    found = decode(line, policy=Policy(tmp_path))
    assert found.prompt == [Image(), "?", Video(None, 2.0)]
    assert found.images == [tmp_path / "a.png"]


def test_a_conversation_is_a_prompt_and_may_be_called_messages():
    turns = [
        {"role": "system", "content": "Be strict."},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": URL}}, {"type": "text", "text": "Hm"}]},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "Why?", "name": None},
    ]
    expected = [
        Message("system", "Be strict."),
        Message("user", [Image(PNG), "Hm"]),
        Message("assistant", "Yes?"),
        Message("user", "Why?"),
    ]
    assert decode({"prompt": turns, "responses": ["a"]}).prompt == expected
    assert decode({"messages": turns, "responses": ["a"]}).prompt == expected


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (LINE | {"messages": [{"role": "user", "content": "a"}]}, "two names of one field"),
        ({"messages": "hi", "responses": ["a"]}, "messages is 'hi'; give a list"),
        (LINE | {"prompt": []}, "prompt is an empty list"),
        (LINE | {"prompt": [{"role": "human", "content": "a"}]}, "prompt[0].role is 'human'; give 'user'"),
        (LINE | {"prompt": [{"role": "tool", "content": "a"}]}, "give system, user or assistant"),
        (
            LINE | {"prompt": [{"role": "user", "content": "a", "weight": 1}]},
            "has 'weight'; a turn has role and content",
        ),
        (LINE | {"prompt": [{"role": "user", "content": None}]}, "prompt[0] has no content"),
        (LINE | {"prompt": [{"role": "user", "content": "a"}, "b"]}, "prompt[1] is 'b', but others are turns"),
        (LINE | {"prompt": [{"text": "a"}]}, "prompt[0].type is None; a part is a text, or an object whose type"),
        (
            LINE | {"prompt": [{"from": "human", "value": "a"}]},
            "prompt[0] is a turn with from and value; write it as role",
        ),
        (LINE | {"responses": [{"role": "assistant", "content": "a"}]}, "responses[0] is a turn of a conversation"),
        (LINE | {"prompt": [{"type": "audio", "audio": "a"}]}, "prompt[0].type is 'audio'"),
        (LINE | {"prompt": [{"type": "image_url"}]}, "prompt[0] has nothing to show"),
        (LINE | {"prompt": [{"type": "image", "img": URL}]}, "has 'img', which a part of the type 'image' has not"),
        (LINE | {"prompt": [{"type": "image", "image": URL, "max_pixels": 9}]}, "has 'max_pixels'"),
        (LINE | {"prompt": [{"type": "image_url", "image_url": {"url": URL, "detail": "low"}}]}, "'detail', 'url'"),
        (LINE | {"prompt": [{"type": "text", "text": 3}]}, "prompt[0].text is 3; give a text"),
        (LINE | {"prompt": [{"type": "video", "video": [], "fps": 0}]}, "prompt[0].fps is 0; give a number above 0"),
        (LINE | {"responses": ["a", 3]}, "responses[1] is 3; give a text, or a list of parts"),
        (LINE | {"responses": [["a", 3]]}, "responses[0][1] is 3"),
        (LINE | {"responses": "a"}, "responses is 'a'; give a list of texts"),
        (LINE | {"image": 3}, "image is 3; give a path"),
        (LINE | {"image": ["a.png", 3]}, "image[1] is 3"),
        (LINE | {"image": ""}, "image is an empty text; leave it out"),
        (LINE | {"image": {"url": "a"}}, "image holds 'url'; give a path"),
        (LINE | {"video": {"bytes": 3}}, "video.bytes is no text"),
    ],
)
def test_what_is_no_content_is_named_with_its_place(fields, said):
    assert said in refused(fields, policy=Policy(Path("/media")))


WRONG = {"mode": "both", "orders": True, "overflow": 1, "duplicates": "", "placeholders": [], "id": 1.5, "rankings": 1,
         "seconds_between_frames": "2", "timestamps": [None], "prompt": 3, "responses": {}}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_value_of_a_wrong_type_is_named_with_what_to_give(name):
    message = refused(LINE | {name: WRONG[name]})
    assert f"{name} is {WRONG[name]!r}; give {GIVE[name]}." in message


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Image", "image"), ("images", "image"), ("image_2", "image"), ("my_picture", "image"),
        ("pixel_values", "image"), ("imgs_path", "image"), ("video_file", "video"), ("frame_list", "video"),
        ("Videos", "video"), ("question", "prompt"), ("Prompt", "prompt"), ("promt", "prompt"), ("query", "prompt"),
        ("answers", "responses"), ("candidates", "responses"), ("response", "responses"), ("ranking", "rankings"),
        ("completion_list", "responses"),
        ("human_ranks", "rankings"), ("uid", "id"), ("meta", "metadata"), ("order", "orders"),
        ("place_holders", "placeholders"), ("timestamp", "timestamps"), ("frame_rate", "seconds_between_frames"),
    ],
)  # fmt: skip
def test_a_name_that_is_not_known_is_told_the_nearest(name, meant):
    assert f"The field '{name}' is not read; it is called '{meant}' here." in refused(LINE | {name: "x"})


@pytest.mark.parametrize("name", TOLD)
def test_fields_that_mean_something_else_are_told_what_to_do(name):
    message = refused(LINE | {name: 1})
    assert f"The field '{name}' is not read: {TOLD[name]}" in message
    assert f"--ignore-field {name}" in message


def test_every_name_in_the_table_leads_to_a_field_that_there_is():
    for meant, names in CALLED.items():
        assert set(meant.split("' or '")) <= set(Line.__struct_fields__)
        assert all(nearest(name, Line.__struct_fields__) == meant for name in names.split())


def test_a_name_like_no_other_is_told_all_that_are_known():
    assert "The field 'zzz' is not read. Known are prompt, responses, image" in refused(LINE | {"zzz": 1})


def test_all_unknown_fields_are_named_at_once():
    message = refused(LINE | {f"zz{k}": 1 for k in range(10)} | {"img": 2})
    assert message.count("is not read") == 8
    assert "Nor are 3 more" in message


def test_a_line_of_training_is_a_request():
    more = {"language": {"prompt": "p", "target": "t"}, "kind": "count", "grades": ["a", "b"], "scene": 3}
    assert decode(LINE | more) == decode(LINE)
    with pytest.raises(RequestError, match="'grade' is not read"):
        decode(LINE | {"grade": 1})


def test_ignored_fields_do_not_count_whatever_is_in_them():
    odd = LINE | {"zzz": math.nan, "img": "a.png", "rankings": [5, 9]}
    named = Ignore(frozenset({"zzz", "img", "rankings"}))
    assert decode(odd, ignore=named) == decode(LINE)
    assert "'img'" in refused(LINE | {"img": 1}, ignore=Ignore(frozenset({"zzz"})))
    assert decode(LINE | {"zzz": math.nan, "img": 1, "fps": 3}, ignore=Ignore(unknown=True)) == decode(LINE)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"prompt": "p", "chosen": "a", "rejected": "b"}, "responses: [.chosen, .rejected], rankings: [1, 2]"),
        ({"question": "p", "chosen": "a", "rejected": "b"}, "prompt: .question"),
        ({"chosen": [{"role": "user", "content": "p"}], "rejected": []}, "prompt: .chosen[:-1]"),
        ({"conversations": [{"from": "human", "value": "p"}, {"from": "gpt", "value": "a"}]}, "human and gpt"),
        (
            {"messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "a"}]},
            "ends with the assistant's turn, which is a response: jq -c '{prompt: .messages[:-1]",
        ),
        ({"instruction": "p", "output": "a"}, "jq -c '{prompt: .instruction, responses: [.output]}'"),
        ({"prompt": "p", "response": "a"}, "response is one response; scores compare several"),
        ({"question": "p", "answers": ["a"]}, "'question' is called 'prompt', 'answers' is called 'responses'"),
        ({"prompt": "p"}, "The request has no responses. Give"),
        ({}, "The request has no prompt and no responses."),
    ],
)
def test_data_of_another_form_are_told_how_they_become_requests(fields, said):
    assert said in refused(fields)


def test_an_answer_in_the_conversation_is_refused_beside_responses_too():
    turns = [{"role": "user", "content": "p"}, {"role": "assistant", "content": "a"}]
    assert "ends with the assistant's turn" in refused({"messages": turns, "responses": ["b"]})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"{", "is not JSON"),
        (b"{'prompt': 'p'}", "is not JSON: Expecting property name enclosed in double quotes"),
        (b"[]", "is a list. A request is an object"),
        (b"3", "is a number"),
        (b"null", "is null"),
        (b"{} {}", "is not JSON: Extra data"),
        (b"\xff{}", "is not UTF-8: byte 0 is 0xFF"),
        (b'{"prompt": "\xed\xa0\x80"}', "is not UTF-8"),
        (b'{"prompt": "a", "prompt": "b"}', "has the field 'prompt' twice"),
        (b'{"metadata": {"k": {"a": 1, "a": 1}}}', "has the field 'a' twice"),
        (b'{"prompt": "p", "responses": ["a"], "id": 1' + b"0" * 5000 + b"}", "a number that is too long"),
        (
            b'{"prompt": "p", "responses": ["a"], "metadata": {"x": [1' + b"0" * 30 + b"]}}",
            "metadata.x[0] is the number",
        ),
        (b'{"prompt": "p", "responses": ["a"], "metadata": [NaN]}', "metadata[0] is nan"),
        (b'{"prompt": "p", "responses": ["a"], "zzz": -Infinity}', "zzz is -inf"),
        (b'{"prompt": "p", "responses": ["a"], "metadata": {"y": 1e999}}', "metadata.y is inf"),
        (b'{"prompt": "\\ud800", "responses": ["a"]}', "prompt holds a lone surrogate U+D800 at character 0"),
        (b'{"prompt": "p", "responses": ["a", "b\\udfff"]}', "responses[1] holds a lone surrogate U+DFFF"),
        (b'{"prompt": "p", "responses": ["a"], "\\ud800": 1}', "The name of a field holds a lone surrogate"),
        (b"[" * 100_000, "nested more than 64 deep"),
        (b'{"a":' * 100_000, "nested more than 64 deep"),
        (b'{"a": [' + b"0," * MAX_VALUES + b"0]}", "1,000,000 values are the limit"),
    ],
)
def test_a_text_that_is_no_request_is_an_error_that_says_why(text, said):
    assert said in refused(text)


def test_a_text_over_the_limit_of_bytes_is_refused_before_it_is_read(monkeypatch):
    monkeypatch.setattr("yoj.runtime.strict_json.MAX_BYTES", 1000)
    assert "has more than 1,000 bytes" in refused(b"{" + b" " * 1000)


def test_what_is_nested_at_the_limit_passes_and_one_level_more_is_named():
    def nested(levels: int) -> list:
        return [] if levels == 1 else [nested(levels - 1)]

    assert decode(LINE | {"metadata": nested(MAX_DEPTH - 1)}).metadata == nested(MAX_DEPTH - 1)
    assert refused(LINE | {"metadata": nested(MAX_DEPTH)}).startswith("metadata[0][0]")


def test_a_byte_order_mark_before_a_request_is_read_over():
    assert decode(b"\xef\xbb\xbf" + json.dumps(LINE).encode()) == decode(LINE)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["text", "image", URL, "user"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["type", "text", "image", "image_url", "url", "role", "content", "bytes", "fps"])
            | st.text(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.slow
@PATIENT
@given(st.dictionaries(st.sampled_from([*Line.__struct_fields__, "messages", "chosen"]) | st.text(), values))
def test_any_object_is_a_request_or_an_error(fields):
    try:
        assert isinstance(decode(fields, policy=Policy(Path("/media"))), Request)
    except RequestError as error:
        str(error).encode()


@pytest.mark.slow
@PATIENT
@given(st.binary() | st.text(alphabet='{}[]":,\\u0123456789.eE-+ntfalsrp\x00 ').map(str.encode))
def test_any_bytes_are_a_request_or_an_error(text):
    try:
        assert isinstance(decode(text), Request)
    except RequestError as error:
        str(error).encode()


def ranks_of(values: list[int], kind: str) -> list[float]:
    """Textbook ways to rank, each by its own definition."""
    places = {v: [k + 1 for k, one in enumerate(sorted(values)) if one == v] for v in values}
    dense = {v: k + 1 for k, v in enumerate(sorted(set(values)))}
    ways = {"min": lambda v: places[v][0], "max": lambda v: places[v][-1], "dense": lambda v: dense[v],
            "average": lambda v: sum(places[v]) / len(places[v])}  # fmt: skip
    return [float(ways[kind](v)) for v in values]


@pytest.mark.slow
@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.sampled_from(["min", "dense", "average"]))
def test_every_usual_way_to_rank_passes(values, kind):
    check_rankings(ranks_of(values, kind), len(values))


@pytest.mark.parametrize(
    "rankings", [[1, 3, 3], [1, 2, 2, 4], [1, 1, 1], [1.5, 1.5, 3], [2, 2, 2], [1, 1, 2, 3], [1], [2, 1], [1, 1, 3, 3]]
)
def test_these_are_ranks(rankings):
    check_rankings(rankings, len(rankings))


@pytest.mark.parametrize(
    ("rankings", "said"),
    [
        ([1, 0, 0, 0], "If 1 marks the right ones, give [1, 2, 2, 2]"),
        ([0, 1, 2], "If they count from 0, add 1 to each"),
        ([0, 0], "the smallest is 0"),
        ([-1, -2], "the smallest is -2"),
        ([0.9, 0.2], "the smallest is 0.2"),
        ([2, 3, 4], "no ranks of 3 responses"),
        ([2, 2, 3], "no ranks of 3 responses"),
        ([1, 5, 3], "Scores are no ranks"),
        ([1, 2.5, 3], "no ranks of 3 responses"),
        ([1, 1.2, 1.4], "no ranks of 3 responses"),
        ([10, 20, 30], "no ranks of 3 responses"),
        ([1, 2], "2 rankings for 3 responses; give one for each"),
        ([], "0 rankings for 3 responses"),
    ],
)
def test_these_are_none(rankings, said):
    n = 3 if "for 3" in said else len(rankings)
    with pytest.raises(RequestError) as caught:
        check_rankings(rankings, n)
    assert said in str(caught.value)
    with pytest.raises(RequestError) as caught:
        to_line(LINE | {"responses": ["a"] * n, "rankings": rankings}, Line, Ignore())
    assert said in str(caught.value)


def test_of_all_whole_numbers_only_orders_with_the_best_at_1_pass():
    """The rule by its definition: as many responses at least as good as the rank says, or more; and a first."""
    for rankings in itertools.product(range(-1, 5), repeat=3):
        better = [len({other for other in rankings if other < rank}) for rank in rankings]
        as_good = [sum(other <= rank for other in rankings) for rank in rankings]
        within = all(b + 1 <= r <= g for b, r, g in zip(better, rankings, as_good, strict=True))
        expected = (min(rankings) == 1 and within) or rankings == (2, 2, 2)
        try:
            check_rankings(rankings, 3)
            passed = True
        except RequestError:
            passed = False
        assert passed == expected, rankings


def test_a_judgement_without_id_has_none_in_json():
    judgement = Judgement((1.0,), (1.0,), (1,), 0, None, 0.0, False)
    fields = encode_judgement(judgement)
    assert "id" not in fields
    assert "metadata" not in fields
    assert fields["scores"] == (1.0,)


def test_fields_pass_as_they_are_read():
    assert parse_object(b'{"a": {"b": [1, 2.5, "x", null, true]}}') == {"a": {"b": [1, 2.5, "x", None, True]}}


def test_a_judgement_survives_json():
    """With every kind of value that one holds, and without what it leaves out."""
    plain = Judgement((1.5, -0.1), (0.8, 0.2), (1, 2), 0, 1.6, 0.5, False)
    full = replace(
        plain,
        order_spread=(0.1, 0.3),
        cuts=(Truncation(1, 30, 8),),
        duplicates=(0, 1),
        notices=("a notice",),
        tokens=TokenCounts(30, 12, (4, 5), 3),
        timings_ms={"pack": 1.25},
        provenance={"engine": "onnxruntime"},
        id="7",
    )
    for judgement in (plain, full):
        fields = json.loads(json.dumps(encode_judgement(judgement)))
        decoded = decode_judgement(fields | {"of a later version": 1})
        assert decoded == judgement
        assert vars(decoded) == vars(judgement)
