"""Value heads: read as trained, or refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from yoj.export._errors import CheckpointError
from yoj.export.checkpoint.head import ACTIVATIONS, SETTINGS, HeadShape, divisor, read_head
from yoj.export.graph.modules import Readout, gather_rows, head_constants, traced_head

D, HIDDEN = 12, 20
FUNCTIONS = {"selu": F.selu, "gelu": F.gelu, "relu": F.relu, "tanh": torch.tanh, "silu": F.silu}


def tensors_of(kind: str, width: int = D, hidden: int = HIDDEN, outputs: int = 1) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    if kind == "linear":
        return {"weight": torch.randn(outputs, width), "bias": torch.randn(outputs)}
    return {
        "0.weight": torch.randn(hidden, width),
        "0.bias": torch.randn(hidden),
        "2.weight": torch.randn(outputs, hidden),
        "2.bias": torch.randn(outputs),
    }


def write(folder: Path, tensors=None, **settings) -> Path:
    """A folder with a good mlp head, unless told otherwise."""
    values = {
        "value_head_type": "mlp",
        "value_head_hidden_dim": HIDDEN,
        "value_head_activation": "silu",
        "value_head_input_dim": D,
        "resp_repr_mode": "last",
    }
    (folder / "reward_model_config.json").write_text(json.dumps(values | settings))
    torch.save(tensors_of("mlp") if tensors is None else tensors, folder / "value_head.pt")
    return folder


def refusal(folder: Path, size: int = D) -> str:
    with pytest.raises(CheckpointError) as error:
        read_head(folder, size)
    return str(error.value)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_mlp(activation, tmp_path):
    tensors = tensors_of("mlp")
    head = read_head(write(tmp_path, tensors, value_head_activation=activation), D)
    x = torch.randn(50, D) * 3
    middle = FUNCTIONS[activation](x @ tensors["0.weight"].T + tensors["0.bias"])
    expected = middle @ tensors["2.weight"].T + tensors["2.bias"]
    assert (head.type, head.activation, head.readout) == ("mlp", activation, "last")
    torch.testing.assert_close(head.module()(x), expected, rtol=1e-5, atol=1e-5)


def test_linear(tmp_path):
    tensors = tensors_of("linear")
    settings = {"value_head_type": "linear", "value_head_activation": "whatever", "value_head_hidden_dim": None}
    head = read_head(write(tmp_path, tensors, **settings), D)
    x = torch.randn(50, D)
    assert head.activation is None
    torch.testing.assert_close(head.module()(x), F.linear(x, tensors["weight"], tensors["bias"]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("activation", [*ACTIVATIONS, None])
def test_the_traced_head_equals_the_trained_one(activation, tmp_path):
    kind = "mlp" if activation else "linear"
    folder = write(tmp_path, tensors_of(kind), value_head_type=kind, value_head_activation=activation)
    head = read_head(folder, D)
    module = traced_head(head)
    module.load_state_dict(head_constants(head, ""))
    x = torch.randn(2, 5, D)
    torch.testing.assert_close(module(x), head.module()(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_become_float32(dtype, tmp_path):
    tensors = {key: value.to(dtype) for key, value in tensors_of("mlp").items()}
    head = read_head(write(tmp_path, tensors), D)
    assert {value.dtype for value in head.tensors.values()} == {torch.float32}
    assert all(torch.equal(head.tensors[key], tensors[key].float()) for key in tensors)


def test_a_checkpoint_without_a_read_out_reads_the_last_token(tmp_path):
    write(tmp_path)
    (tmp_path / "reward_model_config.json").write_text(
        json.dumps({"value_head_type": "mlp", "value_head_hidden_dim": HIDDEN, "value_head_activation": "silu"})
    )
    assert read_head(tmp_path, D).readout == "last"


@pytest.mark.parametrize("name", ["value_head.safetensors", "value_head.bin"])
def test_two_files_of_the_same_head_are_one(name, tmp_path):
    write(tmp_path)
    tensors = tensors_of("mlp")
    (save_file if name.endswith("safetensors") else torch.save)(tensors, tmp_path / name)
    assert torch.equal(read_head(tmp_path, D).tensors["0.weight"], tensors["0.weight"])
    (tmp_path / "value_head.pt").unlink()
    assert torch.equal(read_head(tmp_path, D).tensors["2.bias"], tensors["2.bias"])


@pytest.mark.parametrize("key", ["0.weight", "2.bias"])
def test_two_files_of_unlike_heads_are_refused(key, tmp_path):
    write(tmp_path)
    save_file(tensors_of("mlp") | {key: tensors_of("mlp")[key] + 0.5}, tmp_path / "value_head.safetensors")
    told = refusal(tmp_path)
    assert all(part in told for part in ("value_head.safetensors", "value_head.pt", f"{key} differs by up to 0.5"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t | {"0.weight": t["0.weight"].to_sparse()}, "0.weight is stored as sparse_coo"),
        (lambda t: t | {"0.weight": t["0.weight"].to_sparse_csr()}, "0.weight is stored as sparse_csr"),
        (lambda t: t | {"2.bias": t["2.bias"].to("meta")}, "2.bias is on the meta device"),
        (lambda t: t | {"2.bias": t["2.bias"].to(torch.complex64)}, "2.bias is of complex64 numbers"),
        (lambda t: t | {"2.bias": t["2.bias"].to(torch.int64)}, "2.bias is of int64 numbers"),
        (lambda t: t | {"2.bias": torch.zeros(1).expand(10**12)}, "(1000000000000,), more values than are stored"),
        (lambda t: t | {"2.weight": torch.quantize_per_tensor(t["2.weight"], 0.1, 0, torch.qint8)}, "of qint8"),
        (lambda t: dict(enumerate(t.values())), "has 0 where the name of a tensor belongs"),
        (lambda t: {b"0.weight": t["0.weight"]}, "has b'0.weight' where the name"),
        (lambda t: t | {"2.bias": [1.0]}, "does not hold tensors by name"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_that_are_no_plain_numbers_are_refused_by_name(change, told, tmp_path):
    said = refusal(write(tmp_path, change(tensors_of("mlp"))))
    assert told in said
    assert str(tmp_path / "value_head.pt") in said


@pytest.mark.parametrize("field", ["value_head_type", "value_head_activation", "resp_repr_mode"])
@pytest.mark.parametrize("value", [["mlp"], {"a": 1}, 3, None])
def test_something_else_than_a_name_is_refused_with_its_field(field, value, tmp_path):
    if (field, value) == ("resp_repr_mode", None):
        value = ["last"]
    told = refusal(write(tmp_path, **{field: value}))
    assert f"reward_model_config.json: {field} is {value!r}" in told


@pytest.mark.slow
@pytest.mark.parametrize("field", ["value_head_hidden_dim", "value_head_input_dim", "value_head_outputs"])
@pytest.mark.parametrize("value", [[D], {"a": D}, str(D), 0.5, True])
def test_something_else_than_a_size_is_refused_with_its_field(field, value, tmp_path):
    told = refusal(write(tmp_path, **{field: value}))
    assert f"reward_model_config.json: {field} is {value!r}" in told


def test_no_hidden_width_means_that_of_the_input(tmp_path):
    folder = write(tmp_path, tensors_of("mlp", hidden=D), value_head_hidden_dim=None)
    assert read_head(folder, D).tensors["0.weight"].shape == (D, D)
    write(tmp_path, tensors_of("mlp", hidden=D + 1), value_head_hidden_dim=None)
    assert "0.weight is (13, 12), expected (12, 12)" in refusal(tmp_path)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_first_and_last_make_the_input_twice_as_wide(kind, tmp_path):
    settings = {"resp_repr_mode": "first_last_concat", "value_head_input_dim": 2 * D, "value_head_hidden_dim": None}
    folder = write(tmp_path, tensors_of(kind, 2 * D, 2 * D), value_head_type=kind, **settings)
    head = read_head(folder, D)
    assert head.module()(torch.zeros(3, 2 * D)).shape == (3, 1)
    write(tmp_path, tensors_of(kind), value_head_type=kind, **settings)
    assert "(1, 24)" in refusal(tmp_path) if kind == "linear" else "(24, 24)" in refusal(tmp_path)


def test_scores_are_divided_by_the_root_of_the_hidden_size():
    assert divisor(2560) == math.sqrt(2560)


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


@pytest.mark.parametrize("hidden_in", ["tensors", "beside"])
def test_a_pickle_that_runs_code_is_refused_without_running_it(hidden_in, tmp_path):
    trap = Trap(tmp_path / "ran")
    write(tmp_path, {**tensors_of("mlp"), "more": trap} if hidden_in == "beside" else trap)
    text = refusal(tmp_path)
    assert f"{tmp_path / 'value_head.pt'} cannot be read as tensors" in text
    assert "Copy it again" in text
    assert not (tmp_path / "ran").exists()


def test_a_pickled_module_is_refused(tmp_path):
    write(tmp_path, nn.Linear(D, 1))
    assert f"{tmp_path / 'value_head.pt'} cannot be read as tensors" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["value_head.pt", "value_head.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not a head", None], ids=["empty", "text", "cut off"])
def test_a_damaged_file_is_refused_by_name(name, content, tmp_path):
    write(tmp_path)
    save_file(tensors_of("mlp"), tmp_path / "whole.safetensors")
    source = tmp_path / ("value_head.pt" if name.endswith("pt") else "whole.safetensors")
    (tmp_path / name).write_bytes(source.read_bytes()[:-300] if content is None else content)
    assert f"{tmp_path / name} cannot be read as tensors" in refusal(tmp_path)


@pytest.mark.parametrize(
    "content",
    [torch.zeros(1, D), {"weight": 3.0, "bias": 1}, {}],
    ids=["a tensor", "numbers", "nothing"],
)
def test_a_file_of_something_else_is_refused_by_name(content, tmp_path):
    folder = write(tmp_path, content, value_head_type="linear")
    assert str(folder / "value_head.pt") in refusal(folder)


def test_no_file(tmp_path):
    write(tmp_path)
    (tmp_path / "value_head.pt").unlink()
    text = refusal(tmp_path)
    assert str(tmp_path) in text
    assert "value_head.safetensors or value_head.pt" in text
    assert "Copy the file from the training checkpoint" in text


def test_no_settings(tmp_path):
    write(tmp_path)
    (tmp_path / "reward_model_config.json").unlink()
    text = refusal(tmp_path)
    assert f"{tmp_path / 'reward_model_config.json'} is missing" in text
    assert "value_head_type" in text


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_settings_that_are_no_settings(content, tmp_path):
    write(tmp_path)
    (tmp_path / "reward_model_config.json").write_text(content)
    assert str(tmp_path / "reward_model_config.json") in refusal(tmp_path)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"value_head_type": "gaussian"}, "value_head_type is 'gaussian'; known are linear, mlp"),
        ({"value_head_type": None}, "value_head_type is None"),
        ({"value_head_activation": "elu"}, "value_head_activation is 'elu'; known are selu, gelu, relu, tanh, silu"),
        ({"value_head_activation": None}, "value_head_activation is None"),
        *(
            ({"value_head_outputs": outputs}, f"value_head_outputs is {outputs!r}; known are 1, the score, and 2")
            for outputs in (0, 3, -1, 2.0, True, "2", None, [2])
        ),
        ({"resp_repr_mode": "median"}, "resp_repr_mode is 'median'; known are last, token, first"),
    ],
)
def test_an_unknown_setting_is_refused_with_those_that_are_known(settings, told, tmp_path):
    text = refusal(write(tmp_path, **settings))
    assert told in text
    assert str(tmp_path / "reward_model_config.json") in text


def test_all_unknown_settings_are_told_at_once(tmp_path):
    text = refusal(write(tmp_path, value_head_activation="elu", resp_repr_mode="median"))
    assert "elu" in text
    assert "median" in text


def test_a_head_of_the_other_type_is_told_by_its_keys(tmp_path):
    text = refusal(write(tmp_path, tensors_of("linear")))
    assert f"{tmp_path / 'value_head.pt'} holds bias, weight; a mlp head has 0.weight" in text
    assert "Set value_head_type" in text


def test_all_wrong_shapes_are_told_at_once(tmp_path):
    text = refusal(write(tmp_path, tensors_of("mlp", width=D + 2, hidden=HIDDEN - 1)))
    assert str(tmp_path / "value_head.pt") in text
    assert "0.weight is (19, 14), expected (20, 12)" in text
    assert "0.bias is (19,), expected (20,)" in text
    assert "2.weight is (1, 19), expected (1, 20)" in text


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_a_gaussian_head(kind, tmp_path):
    tensors = tensors_of(kind, outputs=2)
    head = read_head(write(tmp_path, tensors, value_head_type=kind, value_head_outputs=2), D)
    assert head.outputs == 2
    traced = traced_head(head)
    traced.load_state_dict(head_constants(head, ""))
    x = torch.randn(3, 5, D)
    middle = x if kind == "linear" else F.silu(x @ tensors["0.weight"].T + tensors["0.bias"])
    last = "" if kind == "linear" else "2."
    expected = middle @ tensors[f"{last}weight"].T + tensors[f"{last}bias"]
    for module in (head.module(), traced):
        torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("outputs", [1, 2])
def test_the_read_out_gives_what_training_needs(outputs, tmp_path):
    head = read_head(write(tmp_path, tensors_of("mlp", outputs=outputs), value_head_outputs=outputs), D)
    readout = Readout(nn.Identity(), head, divisor(D))
    readout.load_state_dict(head_constants(head, "value_head."))
    hidden_BLD, end_BN = torch.randn(2, 7, D, requires_grad=True), torch.tensor([[2, 5, -1], [0, 3, 6]])
    read_BND = gather_rows(hidden_BLD, readout.rows(end_BN))
    out = readout.outputs(read_BND, end_BN, None)
    rows = torch.stack([hidden_BLD[b, end_BN[b]] for b in range(2)])
    there = end_BN >= 0
    torch.testing.assert_close(out[there], (head.module()(rows) / math.sqrt(D))[there], rtol=0, atol=1e-5)
    for row in range(outputs):
        gradients = torch.autograd.grad(
            out[there][:, row].sum(), [hidden_BLD, *readout.parameters()], retain_graph=True
        )
        assert all(gradient.isfinite().all() and gradient.abs().sum() > 0 for gradient in gradients)
    returned = readout(read_BND, end_BN)
    scores_BN, *spread = returned if outputs == 2 else (returned,)
    assert torch.equal(scores_BN, out[..., 0].masked_fill(~there, -math.inf))
    assert all(torch.equal(spread_BN, out[..., 1].exp().masked_fill(~there, 0)) for spread_BN in spread)
    assert list(readout.graph_outputs) == ["scores", "spread"][:outputs]


@pytest.mark.parametrize("kind", ["linear", "mlp"])
@pytest.mark.parametrize(
    ("settings", "rows", "told"),
    [
        ({}, 2, "without value_head_outputs it is 1, but the last layer is (2, "),
        ({"value_head_outputs": 1}, 2, "value_head_outputs is 1, but the last layer is (2, "),
        ({"value_head_outputs": 2}, 1, "value_head_outputs is 2, but the last layer is (1, "),
        ({"value_head_outputs": 2}, 3, "value_head_outputs is 2, but the last layer is (3, "),
    ],
)
def test_outputs_that_do_not_fit_the_setting_are_refused(kind, settings, rows, told, tmp_path):
    text = refusal(write(tmp_path, tensors_of(kind, outputs=rows), value_head_type=kind, **settings))
    assert told in text
    assert f"bias is ({rows},), expected ({settings.get('value_head_outputs', 1)},)" in text
    assert "set value_head_outputs to 2 for a head with mean and log sigma" in text


@pytest.mark.parametrize("rows", [(), (2,), (1, 2, D)])
def test_a_last_layer_of_other_axes_is_refused(rows, tmp_path):
    tensors = tensors_of("linear", outputs=2) | {"weight": torch.zeros(rows)}
    text = refusal(write(tmp_path, tensors, value_head_type="linear", value_head_outputs=2))
    assert f"weight is {rows}, expected (2, {D})" in text


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_numbers_are_refused(value, tmp_path):
    tensors = tensors_of("mlp")
    tensors["0.bias"][3] = value
    assert "0.bias holds NaN or infinity" in refusal(write(tmp_path, tensors))


def test_a_head_for_another_width_than_stated_is_refused(tmp_path):
    assert "value_head_input_dim 99, the backbone and read-out give 12" in refusal(
        write(tmp_path, value_head_input_dim=99)
    )


def test_a_head_of_another_backbone_is_refused(tmp_path):
    assert "0.weight is (20, 12), expected (20, 16)" in refusal(write(tmp_path), 16)


def named(kind: str, hidden: tuple[int, ...] = (HIDDEN,), outputs: int = 1) -> dict[str, torch.Tensor]:
    return HeadShape(kind, D, hidden, outputs, ("instruction", "quality")).fresh(0.3, 5)


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize(("kind", "hidden"), [("linear", None), ("mlp", HIDDEN), ("mlp", [HIDDEN, 6])])
def test_each_named_dimension_has_a_head_of_its_own(kind, hidden, outputs, tmp_path):
    tensors = named(kind, tuple(hidden) if isinstance(hidden, list) else (HIDDEN,), outputs)
    settings = {"value_head_type": kind, "value_head_hidden_dim": hidden, "value_head_outputs": outputs}
    settings |= {"value_head_dimensions": ["instruction", "quality"], "value_head_pooling": "min"}
    head = read_head(write(tmp_path, tensors, **settings), D)
    assert (head.dimensions, head.pooling, head.outputs) == (("instruction", "quality"), "min", outputs)
    readout = Readout(nn.Identity(), head, 2.0)
    readout.load_state_dict(head_constants(head, "value_head."))
    x_BND, end_BN = torch.randn(2, 3, D), torch.tensor([[4, 6, 9], [3, 5, -1]])
    columns = []
    for name in head.dimensions:
        own = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
        out = x_BND
        for layer, key in enumerate(sorted(key for key in own if key.endswith("weight"))):
            out = F.linear(F.silu(out) if layer else out, own[key], own[key.replace("weight", "bias")])
        columns.append(out / 2)
    expected = torch.stack(columns, dim=2)
    torch.testing.assert_close(head.module()(x_BND) / 2, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(readout.outputs(x_BND, end_BN), expected, rtol=0, atol=1e-6)
    returned = readout(x_BND, end_BN)
    scores, *spread = returned if outputs == 2 else (returned,)
    assert readout.graph_outputs["scores"] == ("B", "N", 2)
    assert scores.shape == (2, 3, 2)
    assert scores[1, 2].tolist() == [-math.inf, -math.inf]
    torch.testing.assert_close(scores[0], expected[0, ..., 0], rtol=0, atol=1e-6)
    for sigma in spread:
        torch.testing.assert_close(sigma[0], expected[0, ..., 1].exp(), rtol=0, atol=1e-6)
        assert sigma[1, 2].tolist() == [0, 0]


@pytest.mark.parametrize("hidden", [(HIDDEN,), (HIDDEN, 6)])
@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_a_head_with_dimensions_is_read_as_its_settings_say(kind, hidden, tmp_path):
    stated = {"value_head_dimensions": ["instruction", "quality"], "value_head_pooling": "sum"}
    stated["value_head_hidden_dim"] = list(hidden) if len(hidden) > 1 else hidden[0]
    head = read_head(write(tmp_path, named(kind, hidden), value_head_type=kind, **stated), D)
    (tmp_path / SETTINGS).write_text(json.dumps(head.settings()))
    again = read_head(tmp_path, D)
    assert again.settings() == head.settings()
    assert again.tensors.keys() == head.tensors.keys()


@pytest.mark.parametrize(
    ("stated", "told"),
    [
        ("quality", "value_head_dimensions is 'quality', expected a list of names"),
        ([], "value_head_dimensions is [], expected a list of names"),
        (["a", 3], "value_head_dimensions is ['a', 3], expected a list of names"),
        (["a", "b.c"], "value_head_dimensions has 'b.c'; a name begins with a letter"),
        (["a", "forward"], "value_head_dimensions has 'forward'"),
        (["a", "a"], "value_head_dimensions is ['a', 'a'], which names one twice"),
    ],
)
def test_names_that_no_dimension_can_have_are_refused(stated, told, tmp_path):
    assert told in refusal(write(tmp_path, value_head_dimensions=stated))


def test_an_unknown_pooling_is_refused_with_those_that_are_known(tmp_path):
    told = refusal(write(tmp_path, value_head_pooling="max"))
    assert "value_head_pooling is 'max'; known are mean, min, sum" in told


def test_a_head_without_the_layers_of_a_dimension_is_refused_with_those_it_has(tmp_path):
    told = refusal(write(tmp_path, tensors_of("mlp"), value_head_dimensions=["instruction", "quality"]))
    assert "holds 0.bias, 0.weight, 2.bias, 2.weight; a mlp head with the dimensions instruction, quality has" in told
    assert "instruction.0.weight" in told


READ_OUT = {"resp_repr_mode": "token", "value_head_token": "<|end|>", "value_head_dimensions": ["a", "b"]}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"value_head_token": None}, "resp_repr_mode is 'token' and value_head_token None"),
        ({"value_head_token": 7}, "value_head_token 7"),
        ({"resp_repr_mode": "last"}, "resp_repr_mode is 'last' and value_head_token '<|end|>'"),
        ({"value_head_dimensions": None}, "resp_repr_mode token needs value_head_dimensions"),
    ],
)
def test_the_read_out_token_needs_to_know_which_token(change, told, tmp_path):
    assert told in refusal(write(tmp_path, **READ_OUT | change))


@pytest.mark.parametrize("ask", ["", "How good is it?"])
def test_the_token_stands_behind_the_text_that_asks_in_every_dimension(ask, tmp_path):
    tensors = {f"{name}.{key}": value for name in "ab" for key, value in tensors_of("mlp").items()}
    head = read_head(write(tmp_path, tensors, value_head_ask=ask, **READ_OUT), D)
    shown = [("text", ask), ("token", "<|end|>")] if ask else [("token", "<|end|>")]
    assert [[(piece.kind, piece.value) for piece in asked] for asked in head.asks] == [shown] * 2
    again = write(tmp_path, tensors, **head.settings())
    assert read_head(again, D).asks == head.asks
