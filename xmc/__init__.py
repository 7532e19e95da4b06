"""xmc: extreme-classification retrieval with losses, indexes and encoders as plugins.

>>> import xmc
>>> sorted(name for name in dir(xmc) if name.endswith("_run"))  # doctest: +NORMALIZE_WHITESPACE
['check_run', 'choose_run', 'diagnose_run', 'evaluate_run', 'export_run', 'index_run', 'predict_run', 'rerank_run',
 'scale_run', 'train_run']
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xmc.client import Client
    from xmc.engine.label_editing import LabelEditor
    from xmc.engine.label_verbs import (
        add_labels,
        compact_labels,
        list_label_versions,
        list_labels,
        put_labels,
        remove_labels,
        replace_labels,
        rollback_labels,
        sync_labels,
    )
    from xmc.engine.verbs import (
        check_run,
        choose_run,
        diagnose_run,
        evaluate_run,
        export_run,
        index_run,
        rerank_run,
        scale_run,
        teach,
        train_run,
    )
    from xmc.errors import XmcError
    from xmc.predict.predict import predict_run
    from xmc.retrieve.retriever import Retriever
    from xmc.values import Hit, Passage

__version__ = "0.1.0"
__all__ = [
    "Client",
    "Hit",
    "LabelEditor",
    "Passage",
    "Retriever",
    "XmcError",
    "add_labels",
    "check_run",
    "choose_run",
    "compact_labels",
    "diagnose_run",
    "evaluate_run",
    "export_run",
    "index_run",
    "list_label_versions",
    "list_labels",
    "predict_run",
    "put_labels",
    "remove_labels",
    "replace_labels",
    "rerank_run",
    "rollback_labels",
    "scale_run",
    "sync_labels",
    "teach",
    "train_run",
]

_NAMES = {
    "xmc.client": ("Client",),
    "xmc.engine.label_editing": ("LabelEditor",),
    "xmc.engine.label_verbs": (
        *("add_labels", "compact_labels", "list_label_versions", "list_labels", "put_labels", "remove_labels"),
        *("replace_labels", "rollback_labels", "sync_labels"),
    ),
    "xmc.engine.verbs": (
        *("check_run", "choose_run", "diagnose_run", "evaluate_run", "export_run", "index_run", "rerank_run"),
        *("scale_run", "teach", "train_run"),
    ),
    "xmc.errors": ("XmcError",),
    "xmc.predict.predict": ("predict_run",),
    "xmc.retrieve.retriever": ("Retriever",),
    "xmc.values": ("Hit", "Passage"),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}  # imported when first asked for


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'xmc' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
