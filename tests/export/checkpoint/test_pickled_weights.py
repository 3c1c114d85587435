"""Files of torch.save: tensors at their places, or refused."""

from __future__ import annotations

import io
import pathlib
import zipfile
from pathlib import Path

import pytest
import torch

from yoj.export._errors import CheckpointError
from yoj.export.checkpoint._pickled_weights import read_pickled

TENSORS = {
    "a": torch.randn(5, 7),
    "half": torch.randn(3, 2, 2).half(),
    "brain": torch.randn(9).bfloat16(),
    "one": torch.tensor(2.5),
}


def refusal(file: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        read_pickled(file)
    assert str(file) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("wrapped", [False, True])
def test_every_tensor_is_read_from_its_place(wrapped, tmp_path):
    tied = TENSORS | {"tied": TENSORS["a"], "part": torch.arange(20.0)[4:16].view(3, 4)}
    file = tmp_path / "model.pth"
    torch.save({"model": tied} if wrapped else tied, file)
    found = read_pickled(file)
    assert found.keys() == tied.keys()
    for name, value in tied.items():
        assert found[name].shape == tuple(value.shape)
        assert torch.equal(found[name].rows(), value)
    assert torch.equal(found["a"].rows(2, 4), TENSORS["a"][2:4])


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self):
        return pathlib.Path.touch, (self.file,)


def test_a_pickle_that_runs_code_is_refused_without_running_it(tmp_path):
    torch.save({**TENSORS, "more": Trap(tmp_path / "ran")}, tmp_path / "model.pth")
    assert "a file that needs more than tensors is not loaded" in refusal(tmp_path / "model.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([torch.zeros(2)], "does not hold tensors by name"),
        ({"a": 3}, "a is a int"),
        ({"a": torch.zeros(2, dtype=torch.int64)}, "a is of int64 numbers, where F64, F32, F16, BF16 are read"),
        ({"a": torch.randn(3, 4).t()}, "a is a view of another order"),
        ({"a": torch.zeros(1).expand(1000)}, "a is a view of another order"),
        ({"a": torch.randn(3, 4).to_sparse()}, "a is no dense tensor (torch.sparse_coo)"),
        ({"a": torch.zeros(0)}, "1 of 1 tensors are empty"),
    ],
)
def test_something_else_is_refused(content, told, tmp_path):
    torch.save(content, tmp_path / "model.pth")
    assert told in refusal(tmp_path / "model.pth")


def test_a_file_whose_tensors_are_compressed_is_refused(tmp_path):
    torch.save(TENSORS, tmp_path / "whole.pth")
    with (
        zipfile.ZipFile(tmp_path / "whole.pth") as source,
        zipfile.ZipFile(tmp_path / "model.pth", "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    assert "is compressed" in refusal(tmp_path / "model.pth")


@pytest.mark.parametrize("content", ["old", "cut", "text"])
def test_a_file_of_another_form_is_refused(content, tmp_path):
    buffer = io.BytesIO()
    torch.save(TENSORS, buffer, _use_new_zipfile_serialization=content != "old")
    text = {"old": buffer.getvalue(), "cut": buffer.getvalue()[:-200], "text": b"nothing"}[content]
    (tmp_path / "model.pth").write_bytes(text)
    assert "is no file of torch.save from PyTorch 1.6 on, or is damaged" in refusal(tmp_path / "model.pth")
