"""A dataset of Ray, scored by actors on a local cluster, some of which die; it runs in Ray's environment.

Reads what is asked from the standard input, and prints what became of it.
"""

import json
import logging.handlers
import os
import sys
from pathlib import Path

import ray
import ray.data

from yoj.integrations import RowScoring, _ray_data
from yoj.integrations._ray_bundle import local_bundle
from yoj.integrations.ray import Actors, ScoreActor, score_dataset, ship_bundle
from yoj.runtime import YojError

asked = json.load(sys.stdin)
TMP = asked["tmp"]
os.chdir(TMP)  # before workers start, whose folder it is, too
ray.init(
    num_cpus=2,
    include_dashboard=False,
    object_store_memory=200_000_000,
    runtime_env={"env_vars": {"PYTHONPATH": os.environ["PYTHONPATH"], "OMP_NUM_THREADS": "1", "TMPDIR": TMP}},
)
shipped = ship_bundle(asked["bundle"])


class Dying(ScoreActor):
    """Actor whose process ends where some rows are scored: of one the first time, of another each time."""

    def _judged(self, requests):
        ids = {request.id for request in requests}
        once = Path(TMP) / "died once"
        if asked["once"] in ids and not once.exists():
            once.touch()
            os._exit(17)
        if asked["deadly"] in ids:
            with (Path(TMP) / "deaths").open("a") as deaths:
                deaths.write("died\n")
            os._exit(18)
        return super()._judged(requests)


@ray.remote(num_cpus=1)
def copied(bundle):
    manifest = os.stat(local_bundle(bundle) / "manifest.json")
    return manifest.st_mtime_ns, manifest.st_size


@ray.remote(num_cpus=2)
class Assigned:
    def found(self):
        return _ray_data.assigned()


def text_of(job):
    try:
        job()
    except (YojError, ray.exceptions.RayError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def warned(job):
    told = logging.handlers.BufferingHandler(100)
    logging.getLogger("yoj.integrations").addHandler(told)
    job()
    logging.getLogger("yoj.integrations").removeHandler(told)
    return [record.getMessage() for record in told.buffer]


copies = ray.get([copied.remote(shipped) for _ in range(4)])
bundle_folder = Path(TMP) / f"yoj-{os.getuid()}" / f"{shipped.digest}.yoj"
(bundle_folder / "manifest.json").write_bytes(b"")  # as who cleans temporary folders may leave it
again = ray.get(copied.remote(shipped))
holder = Assigned.remote()
threads = ray.get(holder.found.remote())
ray.kill(holder)

map_batches = ray.data.Dataset.map_batches
ray.data.Dataset.map_batches = lambda self, _, **more: map_batches(self, Dying, **more)
exec(asked["page"], page := {})  # as the page has it: from rows/ to scored/
ray.data.Dataset.map_batches = map_batches

mixed = ray.data.from_items(asked["mixed"])
answer = {
    "copies": [*copies, again],
    "threads": threads,
    "folder": sorted(path.name for path in bundle_folder.parent.iterdir()),
    "remembered": [len([*row.iterdir()]) for row in bundle_folder.parent.glob("run-*/*")],
    "mixed": score_dataset(mixed, asked["bundle"]).take_all(),
    "no bundle": text_of(lambda: score_dataset(mixed, f"{TMP}/missing.yoj").take_all()),
    "no column": text_of(lambda: score_dataset(page["rows"], shipped, RowScoring(keep=["nothing"]))),
    "no room": warned(lambda: score_dataset(mixed, asked["bundle"], actors=Actors(2))),
    "room": warned(lambda: score_dataset(mixed, asked["bundle"], actors=Actors((1, 2)))),
    "another form": text_of(lambda: mixed.map_batches(ScoreActor, fn_constructor_args=(asked["bundle"],)).take_all()),
}
ray.shutdown()
print(json.dumps(answer))
