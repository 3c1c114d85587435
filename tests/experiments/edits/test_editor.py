"""Editor: choices and drawings are one another's inverse, and likelihoods are those of the samples."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from experiments.edits.base import SHAPES
from experiments.edits.dataset import make_item
from experiments.edits.editor import CONTENTS, Choices, Editor, choices_of, draw_choices
from experiments.edits.grades import BANDS, changes, grade
from experiments.edits.imitation import corrections, edits_of_all_kinds, imitate, right_of
from experiments.edits.loop import LoopConfig, run, truth

TOKENIZER: Path = SHAPES / "tokenizer.json"
ITEMS = [make_item("test", 3, index) for index in range(24)]


def test_choices_of_a_result_draw_that_result() -> None:
    sources, results = [item.source for item in ITEMS], [item.results[0] for item in ITEMS]
    drawn = draw_choices(sources, choices_of(sources, results), random.Random(0))
    for result, again in zip(results, drawn, strict=True):
        assert not changes(result, again)
        assert (result.flaw is None) == (again.flaw is None)


def test_likelihoods_sum_to_one_over_one_place() -> None:
    editor = Editor(TOKENIZER, 0).eval()
    asked = editor.read(ITEMS[:1])
    total = 0.0
    for content in range(len(CONTENTS) + 1):
        choices = Choices(torch.tensor([[content, 0, 0, 0]]), torch.tensor([0]))
        total += float(editor(asked).log_likelihood(choices).exp())
    chances = editor(asked)
    rest = chances.contents_BPC[0, 1:, 0].sum() + chances.flaw_BS[0, 0]
    assert total == pytest.approx(float(rest.exp()), rel=1e-5)


def test_padding_and_other_requests_change_no_likelihood() -> None:
    editor = Editor(TOKENIZER, 0).eval()
    choices = choices_of([item.source for item in ITEMS], [item.results[0] for item in ITEMS])
    together = editor(editor.read(ITEMS)).log_likelihood(choices)
    one = Choices(choices.contents_BP[5:6], choices.flaw_B[5:6])
    alone = editor(editor.read(ITEMS[5:6])).log_likelihood(one)
    assert torch.allclose(together[5:6], alone, atol=1e-4)


@pytest.mark.thorough
def test_imitation_lowers_the_loss_and_corrections_tell_of_half() -> None:
    editor, said = Editor(TOKENIZER, 0), list[str]()
    lessons = edits_of_all_kinds("test", 0)
    imitate(editor, lessons, 100, said.append)
    first = float(said[0].split(": ")[1].split()[0])
    assert first < 12  # nats an edit; an untrained editor is at 4 x ln 50 + ln 3
    source = corrections("test", 0, editor)
    told = [next(source) for _ in range(64)]
    assert 0.3 < sum(bool(lesson.feedback) for lesson in told) / 64 < 0.7
    assert all(lesson.result == right_of(lesson.item) for lesson in told)


def test_the_true_reward_is_the_grade_and_a_loop_runs() -> None:
    items = ITEMS[:3]
    rewards = truth(items, [item.results for item in items])
    assert rewards.shape == (3, 4)
    assert rewards[1, 2] == grade(items[1].source, items[1].parts, items[1].results[2]).overall
    assert (rewards.max(axis=1) == 2 * BANDS).all()
    first = Editor(TOKENIZER, 0)
    before = {name: value.clone() for name, value in first.state_dict().items()}
    found = run(first, truth, LoopConfig(0, 0, 2, 0.2), lambda _: None)
    assert [one["step"] for one in found["measurements"]] == [0, 2]
    assert all(torch.equal(value, before[name]) for name, value in first.state_dict().items())


def test_the_divergence_is_the_mean_log_ratio_of_samples() -> None:
    editor, other = Editor(TOKENIZER, 0).eval(), Editor(TOKENIZER, 1).eval()
    asked = editor.read(ITEMS[:1] * 4000)
    with torch.no_grad():
        chances, before = editor(asked), other(asked)
    choices = editor.sample(asked, torch.Generator().manual_seed(0))
    ratios = chances.log_likelihood(choices) - before.log_likelihood(choices)
    deviation = float(ratios.std()) / len(ratios) ** 0.5
    assert float(ratios.mean()) == pytest.approx(float(chances.divergence(before)[0]), abs=4 * deviation)
    assert float(chances.divergence(chances).abs().max()) == pytest.approx(0, abs=1e-5)
