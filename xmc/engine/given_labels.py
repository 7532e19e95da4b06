"""Labels and vectors that a user gives, checked before anything is written.

Shapes: N labels, D width of an embedding, E width of an index vector.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from xmc.counted import counted
from xmc.data.tables import MAX_TEXT_BYTES, LabelTable
from xmc.errors import DataError
from xmc.vectors import validate_vectors

if TYPE_CHECKING:
    from torch import Tensor

    from xmc.retrieve.trained_model import TrainedModel


def check_labels(labels: Mapping[str, str]) -> LabelTable:
    """The labels, id to text, as a table in their order.

    Raises: DataError for no labels at all, an id or text that is empty, no string, not valid Unicode or too long.

    >>> check_labels({"a": "apple"}).texts
    ['apple']
    """
    if not isinstance(labels, Mapping):
        raise DataError(
            f"labels must be a mapping of label ids to texts, got {type(labels).__name__}.",
            hint='Write {"label id": "its text"}.',
        )
    ids = check_ids(labels)
    for label_id, text in labels.items():
        if not isinstance(text, str) or not text.strip():
            shown = "an empty text" if isinstance(text, str) else repr(text)[:60]
            raise DataError(f"label '{label_id}' has {shown}; every label needs a text of at least one character.")
        if _size(text, f"the text of label '{label_id}'") > MAX_TEXT_BYTES:
            raise DataError(
                f"the text of label '{label_id}' is longer than {MAX_TEXT_BYTES:,} bytes.",
                hint="Cut it, or split it into several labels.",
            )
    return LabelTable(ids, list(labels.values()))


def check_ids(label_ids: Iterable[str]) -> list[str]:
    """The ids as a list. Raises: DataError for none at all, one that is empty or no string, and one named twice."""
    if isinstance(label_ids, (str, bytes)):
        raise DataError("label ids must be a list of strings, got one string.", hint="Write [label_id].")
    if not isinstance(label_ids, Iterable):
        raise DataError(f"label ids must be a list of strings, got {type(label_ids).__name__}.")
    ids = list(label_ids)
    if not ids:
        raise DataError("there are no labels in what was given.")
    for label_id in ids:
        if not isinstance(label_id, str) or not label_id:
            raise DataError(f"a label id must be a string of at least one character, got {label_id!r:.60}.")
        _size(label_id, f"label id {label_id!r:.60}")
    if len(set(ids)) < len(ids):
        twice = next(label_id for label_id, count in Counter(ids).items() if count > 1)
        raise DataError(
            f"{counted(len(ids) - len(set(ids)), 'label id is', 'label ids are')} given twice, such as '{twice}'."
        )
    return ids


def check_metadata(label_ids: Iterable[str], metadata: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse metadata that are not of these labels. Raises: DataError for no mapping, and naming a label."""
    if not isinstance(metadata, Mapping):
        raise DataError(
            f"metadata must be a mapping of label ids to dictionaries, got {type(metadata).__name__}.",
            hint='Write {"label id": {"page": 3}}.',
        )
    if others := metadata.keys() - set(label_ids):
        raise DataError(
            f"there are metadata of {next(iter(others))!r:.60}, which is not among the labels that are given.",
            hint="Give its text, too; one that is equal is left alone.",
        )


def given_vectors(vectors: Any, table: LabelTable, model: TrainedModel) -> Tensor:
    """Vectors of a user as the index holds them: a copy, (N, E), dense or CSR as those of the model.

    Raises: DataError for what is no matrix of numbers, another number or width of vectors, and a head that maps queries
    before the search; NonFiniteError naming rows.
    """
    import torch

    try:
        tensor_ND = torch.as_tensor(vectors)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"the vectors are no matrix of numbers: {error}.",
            hint=f"Give {counted(len(table), 'row')} of {counted(model.encoder.dimension, 'number')}, such "
            "as a NumPy array.",
        ) from error
    given_ND = validate_vectors(tensor_ND, what="label", dimension=model.encoder.dimension).cpu().clone()
    if len(given_ND) != len(table):
        raise DataError(
            f"got {counted(len(given_ND), 'vector')} for {counted(len(table), 'label')}; give one for each, in order."
        )
    chunks, query_map = model.known_vectors(1)
    if query_map is not None:
        raise DataError(
            "this run's head turns queries into others before the search, so a vector of the encoder's space cannot "
            "stand in its index.",
            hint="Train with the head 'dual-encoder' or 'classifier' to add vectors.",
        )
    return given_ND.to_sparse_csr() if next(chunks).layout == torch.sparse_csr else given_ND


def _size(text: str, what: str) -> int:
    """Bytes of a text. Raises: DataError when it is not valid Unicode."""
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise DataError(f"{what} is not valid Unicode: {error.reason}.") from None
