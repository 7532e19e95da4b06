"""How an inverted file learns: cells by k-means, then codes of what is left of each label beside its centre.

Shapes: S sampled labels, C cells, D width.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xmc_index_faiss._import import import_faiss
from xmc_index_faiss.gpu import Gpu

SCALED_BY = 10_000  # labels of the sample, at least where it has them: the scale is a mean over them

Array = np.ndarray[Any, Any]


def trained(index: Any, sample_SD: Array, gpu: Gpu | None) -> Any:
    """This empty faiss IVF index with its cells learned, and its codes where it has any.

    K-means gives every centre the norm 1 (but for that of cuVS on a GPU, which has settings of its own). That finds the
    cells of labels of any norm, but is no place near them to take differences from: for codes the centres are as long
    as the labels. The codes are learned on the CPU.
    Raises: DeviceError for codes that the GPU cannot hold.
    """
    if index.code_size == 4 * index.d:
        return _with_cells(index, sample_SD, gpu)
    if gpu:
        gpu.require(index)
    faiss = import_faiss()
    quantizer = faiss.IndexFlatIP(index.d)
    cells = faiss.IndexIVFFlat(quantizer, index.d, index.nlist, index.metric_type)
    cells.cp = index.cp
    cells = _with_cells(cells, sample_SD, gpu)  # by a name, for its quantizer dies with it
    centres_CD = cells.quantizer.reconstruct_n()
    index.quantizer.add(centres_CD * np.float32(scale_of_centres(centres_CD, sample_SD)))
    index.train(sample_SD)  # of the codes alone, for the centres are there
    return index


def scale_of_centres(centres_CD: Array, sample_SD: Array) -> float:
    """The one factor by which all centres `c` come nearest to their labels `x`: `sum(x.c) / sum(c.c)`.

    A factor for all leaves every label in its cell and the cells in their order. Of labels all zero it is 1.
    """
    faiss = import_faiss()
    part_SD = np.ascontiguousarray(sample_SD[:: max(1, len(sample_SD) // SCALED_BY)])
    quantizer = faiss.IndexFlatIP(centres_CD.shape[1])
    quantizer.add(centres_CD)
    near_SD = centres_CD[quantizer.search(part_SD, 1)[1][:, 0]]
    along, squares = (np.einsum("sd,sd->", near_SD, other_SD, dtype=np.float64) for other_SD in (part_SD, near_SD))
    return float(along / squares) if along > 0 else 1.0


def _with_cells(index: Any, sample_SD: Array, gpu: Gpu | None) -> Any:
    if gpu:
        return gpu.train(index, sample_SD)
    index.train(sample_SD)
    return index
