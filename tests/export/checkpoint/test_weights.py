"""Tensors read from safetensors files, block by block."""

from __future__ import annotations

import math
import tracemalloc

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from yoj.export._errors import CheckpointError
from yoj.export.checkpoint import weights as weights_module
from yoj.export.checkpoint.weights import DTYPES, TensorSource, Weights, read_folder, read_header, write_blocks

SHAPES = {"matrix": (7, 5), "vector": (11,), "scalar": (), "cube": (2, 3, 4), "empty": (0, 4), "one": (1, 1)}


def open_weights(tensors, folder) -> Weights:
    save_file(tensors, folder / "model.safetensors")
    return Weights(read_folder(folder))


def joined(weights: Weights, plan: TensorSource, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    blocks = [torch.empty(0, dtype=dtype), *(block.reshape(-1) for block in weights.blocks(plan, dtype))]
    return torch.cat(blocks).reshape(weights.stored_shape(plan))


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.numpy(force=True).tobytes() == b.numpy(force=True).tobytes()


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_tensors_are_those_that_the_safetensors_library_reads(dtype, tmp_path):
    torch.manual_seed(0)
    tensors = {name: (torch.randn(shape) * 100).to(dtype) for name, shape in SHAPES.items()}
    tensors["special"] = torch.tensor([math.nan, math.inf, -math.inf, -0.0, 6e-8, 65504.0], dtype=dtype)
    weights = open_weights(tensors, tmp_path)
    stored, expected = read_header(tmp_path / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert sorted(weights.names()) == sorted(expected)
    for name, tensor in expected.items():
        assert weights.shape(name) == tuple(tensor.shape)
        assert stored[name].rows().dtype == dtype
        assert torch.equal(stored[name].rows().isnan(), tensor.isnan())
        assert same_bits(stored[name].rows().float(), tensor.float())
        assert same_bits(weights.read(name), tensor.float())
        blocks = [block.reshape(-1) for block in weights.blocks(TensorSource((name,)), torch.float16)]
        assert same_bits(
            torch.cat([torch.empty(0, dtype=torch.float16), *blocks]), tensor.to(torch.float16).reshape(-1)
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_bytes_written_are_those_of_the_cast_tensor(dtype, tmp_path):
    table = torch.randn(9, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weights = open_weights({"table": table}, tmp_path)
    written = b"".join(write_blocks(weights, TensorSource(("table",)), dtype))
    assert written == table.to(dtype).view(torch.uint8).numpy().tobytes()


def test_some_rows(tmp_path):
    table = torch.randn(20, 3).to(torch.bfloat16)
    save_file({"before": torch.randn(5), "table": table}, tmp_path / "a.safetensors")
    stored = read_header(tmp_path / "a.safetensors")["table"]
    assert torch.equal(stored.rows(4, 9), table[4:9])
    assert torch.equal(stored.rows(19), table[19:])
    assert stored.rows(20).shape == (0, 3)


@pytest.mark.parametrize("row_bytes", [1, 24, 100, 1000, 10**9])
def test_blocks_of_rows_join_to_the_table(row_bytes, tmp_path, monkeypatch):
    monkeypatch.setattr(weights_module, "ROW_BYTES", row_bytes)
    first, second = torch.randn(23, 6), torch.randn(4, 6)
    weights = open_weights({"first": first, "second": second}, tmp_path)
    plan = TensorSource(("first", "second"))
    blocks = list(weights.blocks(plan, torch.float32))
    assert torch.equal(torch.cat(blocks), torch.cat([first, second]))
    assert weights.stored_shape(plan) == (27, 6)
    assert all(len(block) == 1 or block.numel() * 4 <= row_bytes for block in blocks)
    assert len(blocks) == sum(math.ceil(rows / max(1, row_bytes // 24)) for rows in (23, 4))


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(st.integers(0, 12), min_size=1, max_size=4),
    width=st.integers(1, 9),
    dtype=st.sampled_from(list(DTYPES.values())),
    transpose=st.booleans(),
)
def test_any_plan_is_the_joined_tensor(rows, width, dtype, transpose, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    tensors = {f"t{i}": torch.randn(n, width).to(dtype) for i, n in enumerate(rows)}
    weights = open_weights(tensors, folder)
    plan = TensorSource(tuple(tensors), transpose)
    expected = torch.cat(list(tensors.values())).float()
    expected = expected.t().contiguous() if transpose else expected
    assert weights.stored_shape(plan) == tuple(expected.shape)
    assert torch.equal(joined(weights, plan), expected)


def test_a_transposed_tensor_is_laid_out_anew(tmp_path):
    matrix = torch.arange(6.0).reshape(2, 3)
    weights = open_weights({"matrix": matrix}, tmp_path)
    written = b"".join(write_blocks(weights, TensorSource(("matrix",), transpose=True), torch.float32))
    assert torch.frombuffer(bytearray(written), dtype=torch.float32).tolist() == [0, 3, 1, 4, 2, 5]


def test_a_large_table_is_never_in_memory_as_a_whole(tmp_path, monkeypatch):
    table = torch.zeros(64, 1 << 16)  # 16 MiB
    table[:, 0] = torch.arange(64)
    weights = open_weights({"table": table}, tmp_path)
    monkeypatch.setattr(weights_module, "ROW_BYTES", 1 << 20)
    tracemalloc.start()
    try:
        sizes = [len(block) for block in write_blocks(weights, TensorSource(("table",)), torch.float32)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(sizes) == table.numel() * 4
    assert max(sizes) == 1 << 20
    assert peak < 5 << 20


def test_headers_are_read_without_the_tensors(tmp_path):
    save_file({"table": torch.zeros(4 << 20)}, tmp_path / "model.safetensors")
    tracemalloc.start()
    try:
        assert Weights(read_folder(tmp_path)).shape("table") == (4 << 20,)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_file_cut_after_its_header_was_read(tmp_path):
    file = tmp_path / "model.safetensors"
    weights = open_weights({"table": torch.zeros(100, 10)}, tmp_path)
    file.write_bytes(file.read_bytes()[:-500])
    with pytest.raises(CheckpointError, match=r"model\.safetensors ends before"):
        weights.read("table")


def test_integer_tensors_are_refused_by_name(tmp_path):
    save_file({"table": torch.zeros(3, 3, dtype=torch.int8)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: table is I8; only F64, F32, F16, BF16"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"abc",
        b"<!DOCTYPE html><html>not found</html>",
        (20).to_bytes(8, "little") + b"{" + b" " * 40,
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123456\n",
    ],
    ids=["empty", "short", "web page", "no json", "pointer of git lfs"],
)
def test_what_is_no_safetensors_file_is_refused(content, tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors.*Copy it again"):
        read_folder(tmp_path)


def test_the_value_head_is_no_shard(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    save_file({"weight": torch.zeros(1)}, tmp_path / "value_head.safetensors")
    assert list(read_folder(tmp_path)) == ["a"]
