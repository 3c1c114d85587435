"""Attention of graphs for CPUs: queries in blocks, each over the keys up to the last that one of its queries sees.

ONNX Runtime's CPU kernel multiplies all queries by all keys and applies the mask to the products. In blocks most of
what a causal mask hides, nearly half of the whole, is left out, and the products of one block are held at a time.

The blocks are model-local functions of standard operators, so that no engine needs to know them. Their bounds depend on
data, which TensorRT cannot have; for it `join_queries` puts the operator back.

Shapes: B requests, L tokens, H heads (of queries or keys), E values of a head.
"""

from __future__ import annotations

import onnx
import onnx.helper
import onnx.parser
import onnx_ir as ir
import torch

from yoj.runtime.batch import SHORTEST_ROW

DOMAIN = "yoj"
BLOCKS = SHORTEST_ROW
"""Number of blocks of queries, each of at least one query."""


def query_blocks(dtype: torch.dtype) -> int:
    """Number of blocks of the queries in graphs of this arithmetic: one in half precision, which is for GPUs."""
    return BLOCKS if dtype == torch.float32 else 1


def split_queries(model: ir.Model) -> None:
    """Cut the queries of each causal or masked Attention into blocks; one whose queries are some rows stays whole.

    Scores stay the same but for rounding: what a mask hides adds 0 to each sum.
    """
    blocks: dict[ir.Value | None, list[ir.Value]] = {}
    for node in [node for node in model.graph if node.op_type == "Attention"]:
        q, k, v, mask = (*node.inputs, None)[:4]
        causal = node.attributes["is_causal"].as_int()
        if not _hides_keys(mask, bool(causal)):
            continue
        if mask not in blocks:
            blocks[mask] = _make_blocks(model.graph, node, mask)
        out = node.outputs[0]
        call = _call(model.graph, node, "BlockedAttention", [q, k, v, *blocks[mask]], {"is_causal": causal})
        made = call.outputs[0]
        call.name, made.name, made.shape, made.type = node.name, out.name, out.shape, out.type
        out.replace_all_uses_with(made)
        model.graph.remove(node, safe=True)
    called = {node.op_type for node in model.graph if node.domain == DOMAIN}
    for name in sorted(called):
        header = f'<domain: "{DOMAIN}", opset_import: ["": {model.opset_imports[""]}]>'
        function = ir.serde.deserialize_function(onnx.parser.parse_function(header + FUNCTIONS[name]))
        model.functions[function.identifier()] = function
        model.opset_imports[DOMAIN] = 1


def join_queries(model: onnx.ModelProto) -> bool:
    """Undo `split_queries`; returns whether there was anything to undo."""
    if not model.functions:
        return False
    for node in [node for node in model.graph.node if node.domain == DOMAIN]:
        if node.op_type == "BlockedAttention":
            causal = onnx.helper.get_node_attr_value(node, "is_causal")
            inputs = node.input[: 3 if causal else 4]
            whole = onnx.helper.make_node("Attention", inputs, node.output, node.name, is_causal=causal)
            node.CopyFrom(whole)
        else:
            model.graph.node.remove(node)
    del model.functions[:]
    for imported in [imported for imported in model.opset_import if imported.domain == DOMAIN]:
        model.opset_import.remove(imported)
    return True


def _hides_keys(mask: ir.Value | None, causal: bool) -> bool:
    """Whether all tokens are queries, and do not see all keys."""
    if mask is None:
        return causal
    assert mask.shape is not None
    return mask.shape[-2] == mask.shape[-1]


def _make_blocks(graph: ir.Graph, node: ir.Node, mask: ir.Value | None) -> list[ir.Value]:
    """Mask, sizes and ends of the blocks, once for all layers that share the mask."""
    mask = mask or _call(graph, node, "CausalMask", [node.inputs[0]]).outputs[0]
    return [mask, *_call(graph, node, "QueryBlocks", [mask], outputs=2).outputs]


def _call(
    graph: ir.Graph,
    before: ir.Node,
    function: str,
    inputs: list[ir.Value | None],
    attributes: dict[str, int] | None = None,
    outputs: int = 1,
) -> ir.Node:
    node = ir.node(function, inputs, attributes, domain=DOMAIN, num_outputs=outputs)
    graph.insert_before(before, node)
    return node


def _each(text: str, separator: str = ", ") -> str:
    """Text for each block, with its number in place of #."""
    return separator.join(text.replace("#", str(number)) for number in range(BLOCKS))


CAUSAL_MASK = """
CausalMask (q_BHLE) => (mask_11LL)
{
    length = Shape <start = 2, end = 3> (q_BHLE)
    end = Squeeze (length)
    zero = Constant <value_int = 0> ()
    one = Constant <value_int = 1> ()
    position_L = Range (zero, end, one)
    key_axes = Constant <value_ints = [0, 1, 2]> ()
    query_axes = Constant <value_ints = [0, 1, 3]> ()
    key_111L = Unsqueeze (position_L, key_axes)
    query_11L1 = Unsqueeze (position_L, query_axes)
    mask_11LL = LessOrEqual (key_111L, query_11L1)
}"""
BLOCK_ENDS = """
    byte_# = Cast <to = 2> (mask_#)
    byte_L_# = ReduceMax <keepdims = 0> (byte_#, query_axes)
    seen_L_# = Cast <to = 7> (byte_L_#)
    seen_end_L_# = Mul (seen_L_#, key_end_L)
    end_# = ReduceMax (seen_end_L_#)"""
QUERY_BLOCKS = f"""
QueryBlocks (mask_B1LL) => (sizes, ends)
{{
    length = Shape <start = 2, end = 3> (mask_B1LL)
    numbers = Constant <value_ints = [{_each("#")}, {BLOCKS}]> ()
    blocks = Constant <value_int = {BLOCKS}> ()
    products = Mul (numbers, length)
    bounds = Div (products, blocks)
    first = Constant <value_ints = [0]> ()
    second = Constant <value_ints = [1]> ()
    last = Constant <value_ints = [{BLOCKS}]> ()
    after = Constant <value_ints = [{BLOCKS + 1}]> ()
    begins = Slice (bounds, first, last)
    block_ends = Slice (bounds, second, after)
    sizes = Sub (block_ends, begins)
    one = Constant <value_int = 1> ()
    end = Squeeze (length)
    beyond = Add (end, one)
    key_end_L = Range (one, beyond, one)
    query_axes = Constant <value_ints = [0, 1, 2]> ()
    {_each("mask_#")} = Split <axis = 2> (mask_B1LL, sizes)
{_each(BLOCK_ENDS, "")}
    ends = Concat <axis = 0> ({_each("end_#")})
}}"""
"""Number of queries of each block, and number of keys that it reads, int64 [blocks]."""
BLOCK_OUTS = """
    k_# = Slice (k_BHLE, begin, end_#, token_axis)
    v_# = Slice (v_BHLE, begin, end_#, token_axis)
    seen_# = Slice (mask_#, begin, end_#, key_axis)
    out_# = Attention (q_#, k_#, v_#, seen_#)"""
BLOCKED_ATTENTION = f"""
BlockedAttention <is_causal> (q_BHLE, k_BHLE, v_BHLE, mask_B1LL, sizes, ends) => (out_BHLE)
{{
    begin = Constant <value_ints = [0]> ()
    token_axis = Constant <value_ints = [2]> ()
    key_axis = Constant <value_ints = [3]> ()
    {_each("q_#")} = Split <axis = 2> (q_BHLE, sizes)
    {_each("mask_#")} = Split <axis = 2> (mask_B1LL, sizes)
    {_each("end_#")} = Split <num_outputs = {BLOCKS}> (ends)
{_each(BLOCK_OUTS, "")}
    out_BHLE = Concat <axis = 2> ({_each("out_#")})
}}"""
"""Attribute ``is_causal`` that marks the mask as the causal one, which `join_queries` has to know."""
FUNCTIONS = {"CausalMask": CAUSAL_MASK, "QueryBlocks": QUERY_BLOCKS, "BlockedAttention": BLOCKED_ATTENTION}
