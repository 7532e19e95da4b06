"""xmc: extreme-classification retrieval with losses, indexes and encoders as plugins.

>>> import xmc
>>> sorted(name for name in dir(xmc) if not name.startswith("_"))
['Hit', 'Retriever', 'XmcError', 'check_run', 'evaluate_run', 'index_run', 'predict_run', 'rerank_run', 'train_run']
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xmc.engine.verbs import check_run, evaluate_run, index_run, rerank_run, train_run
    from xmc.errors import XmcError
    from xmc.predict.predict import predict_run
    from xmc.retrieve.retriever import Retriever
    from xmc.values import Hit

__version__ = "0.1.0"
__all__ = [
    "Hit",
    "Retriever",
    "XmcError",
    "check_run",
    "evaluate_run",
    "index_run",
    "predict_run",
    "rerank_run",
    "train_run",
]

_HOMES = {
    "Hit": "xmc.values",
    "Retriever": "xmc.retrieve.retriever",
    "XmcError": "xmc.errors",
    "check_run": "xmc.engine.verbs",
    "evaluate_run": "xmc.engine.verbs",
    "index_run": "xmc.engine.verbs",
    "predict_run": "xmc.predict.predict",
    "rerank_run": "xmc.engine.verbs",
    "train_run": "xmc.engine.verbs",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'xmc' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
