"""A text graph as files, `model.onnx` and `tokenizer.json`, and those files run as anybody would run them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xmc.encode.text_graph import ENCODING_ATTRIBUTES, TextGraph
from xmc.errors import ConfigError

MODEL_NAME = "model.onnx"
TOKENIZER_NAME = "tokenizer.json"
OUTPUT_NAME = "embeddings"
OPSET = 17  # of 2022: runtimes older than that are rare, and nothing here needs a newer one
EXAMPLES = ("a text", "another one, longer than the first")  # two lengths: no axis is taken for a constant


def require_onnx() -> Any:
    """The module onnxruntime.

    Raises: ConfigError when it or onnx is not installed.
    """
    try:
        import onnx
        import onnxruntime
    except ImportError:
        raise ConfigError(
            "an export to ONNX needs the libraries onnx and onnxruntime.", hint="pip install 'xmc-engine[onnx]'"
        ) from None
    del onnx  # torch's exporter imports it
    return onnxruntime


def write_graph(graph: TextGraph, folder: Path) -> None:
    """Write model and tokenizer into a folder that is there.

    Raises: ConfigError when the encoder does something that ONNX does not know.
    """
    import torch

    axes: dict[str, dict[int, str]] = {name: {0: "texts", 1: "tokens"} for name in graph.inputs}
    arrays = token_arrays(graph.tokenizer, EXAMPLES, graph.inputs)
    examples = tuple(torch.from_numpy(arrays[name]) for name in graph.inputs)
    try:
        # tracing warns of what it might take for a constant; the comparison of embeddings would show it
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                graph.module.eval(),
                examples,
                str(folder / MODEL_NAME),
                input_names=list(graph.inputs),
                output_names=[OUTPUT_NAME],
                dynamic_axes={**axes, OUTPUT_NAME: {0: "texts"}},
                opset_version=OPSET,
                dynamo=False,
            )
    except (OSError, MemoryError):
        raise
    except Exception as error:  # any layer of any model is run in there
        reason = (str(error).strip().splitlines() or [""])[0]
        raise ConfigError(f"the encoder cannot be written as ONNX: {type(error).__name__}: {reason}") from error
    graph.tokenizer.save(str(folder / TOKENIZER_NAME))


def token_arrays(tokenizer: Any, texts: Sequence[str], inputs: Sequence[str]) -> dict[str, np.ndarray[Any, Any]]:
    """The inputs of a graph for these texts, each (N, T) int64."""
    encodings = tokenizer.encode_batch(list(texts))
    return {
        name: np.array([getattr(encoding, ENCODING_ATTRIBUTES[name]) for encoding in encodings], dtype=np.int64)
        for name in inputs
    }


class OnnxFiles:
    """The two files of a folder, opened in onnxruntime on the processor, with as many threads as torch has."""

    def __init__(self, folder: Path) -> None:
        import torch
        from tokenizers import Tokenizer

        runtime = require_onnx()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_NAME))
        self.session = runtime.InferenceSession(str(folder / MODEL_NAME), options, providers=["CPUExecutionProvider"])

    def embed(self, texts: Sequence[str]) -> np.ndarray[Any, Any]:
        """Embeddings (N, D) of texts in one batch."""
        names = [value.name for value in self.session.get_inputs()]
        return np.asarray(self.session.run([OUTPUT_NAME], token_arrays(self.tokenizer, texts, names))[0])
