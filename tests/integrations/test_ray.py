"""What is refused before Ray is asked for anything."""

from __future__ import annotations

import pytest

from yoj.integrations.ray import Actors, ShippedBundle, serve_app
from yoj.runtime import RequestError


@pytest.mark.parametrize("count", [0, -1, (0, 2), (3, 2)])
def test_a_pool_without_actors(count):
    with pytest.raises(RequestError, match="give a number from 1, or the least and the most"):
        Actors(count)


@pytest.mark.parametrize("of", [{"cpus": 0}, {"gpus": -1}, {"batch_size": 0}])
def test_numbers_of_an_actor(of):
    with pytest.raises(RequestError, match="give more than 0, gpus from 0"):
        Actors(**of)


def test_a_shipped_bundle_for_replicas():
    with pytest.raises(RequestError, match="The bundle is a ShippedBundle; replicas outlive the process"):
        serve_app(ShippedBundle("0", {}))
