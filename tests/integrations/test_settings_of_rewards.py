"""Settings of a reward that there are not."""

from __future__ import annotations

import pytest

from yoj.integrations import RewardSettings
from yoj.runtime import RequestError


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"reward": "best"}, "reward is 'best'; give 'centred' or"),
        ({"orders": 0}, "orders is 0; give a whole number from 1"),
        ({"orders": True}, "orders is True"),
        ({"orders": None}, "orders is None; give a whole number from 1."),
        ({"max_responses": 2.0}, "max_responses is 2.0; give a whole number from 2, or None."),
        ({"spread_floor": "a"}, "spread_floor is 'a'; give a number from 0"),
        ({"spread_floor": None}, "spread_floor is None; give a number from 0"),
        ({"spread_floor": True}, "spread_floor is True; give a number from 0"),
        ({"max_responses": 1}, "max_responses is 1; give a whole number from 2"),
        ({"seed": "x"}, "seed is 'x'"),
        ({"spread_floor": -0.1}, "spread_floor is -0.1; give a number from 0"),
        ({"spread_floor": float("nan")}, "spread_floor is nan"),
        ({"overflow": "cut"}, "overflow is 'cut'; give 'error' or 'truncate'"),
        ({"placeholders": "picture"}, "placeholders is 'picture'; give 'error' or 'media' or 'text'"),
        ({"max_response_characters": 0}, "max_response_characters is 0"),
    ],
)
def test_settings_that_there_are_not(wrong, text):
    with pytest.raises(RequestError) as error:
        RewardSettings(**wrong)
    assert text in str(error.value)
