"""Encode texts with the C interface of ONNX Runtime GenAI's tokenizer: a JSON list on standard input, ids on output.

python genai_tokenizer.py LIBRARY FOLDER

A process of its own, since the library ends it where it finds no ONNX Runtime.
"""

from __future__ import annotations

import ctypes
import json
import sys

POINTER, SIZE = ctypes.c_void_p, ctypes.c_size_t
SIGNATURES = {
    "OgaCreateTokenizerFromPath": ([ctypes.c_char_p, POINTER], POINTER),
    "OgaCreateSequences": ([POINTER], POINTER),
    "OgaTokenizerEncode": ([POINTER, ctypes.c_char_p, POINTER], POINTER),
    "OgaSequencesGetSequenceCount": ([POINTER, SIZE], SIZE),
    "OgaSequencesGetSequenceData": ([POINTER, SIZE], ctypes.POINTER(ctypes.c_int32)),
    "OgaDestroySequences": ([POINTER], None),
    "OgaResultGetError": ([POINTER], ctypes.c_char_p),
}


def main(library: str, folder: str) -> None:
    """Encode each text alone."""
    of = ctypes.CDLL(library)
    for name, (arguments, result) in SIGNATURES.items():
        function = getattr(of, name)
        function.argtypes, function.restype = arguments, result

    def check(error: int | None) -> None:
        if error:
            sys.exit(of.OgaResultGetError(error).decode())

    tokenizer = POINTER()
    check(of.OgaCreateTokenizerFromPath(folder.encode(), ctypes.byref(tokenizer)))
    encoded: list[list[int]] = []
    for text in json.load(sys.stdin):
        sequences = POINTER()
        check(of.OgaCreateSequences(ctypes.byref(sequences)))
        check(of.OgaTokenizerEncode(tokenizer, text.encode(), sequences))
        ids = of.OgaSequencesGetSequenceData(sequences, 0)
        encoded.append([ids[place] for place in range(of.OgaSequencesGetSequenceCount(sequences, 0))])
        of.OgaDestroySequences(sequences)
    print(json.dumps(encoded))


if __name__ == "__main__":
    main(*sys.argv[1:])
