"""Where a sentence-transformers model cuts texts, set and tried."""

from __future__ import annotations

from typing import Any

from xmc.counted import counted
from xmc.errors import ConfigError

MOST_TRIED = 4  # times its own limit: a model that reads so much has no table of positions that ends


def cut_texts_at(model: Any, tokens: int, *, name: str) -> None:
    """Let a model cut texts at so many tokens. Where that is more than it did itself, it reads such a text once.

    Else a training would end at the first text that is too long for it, in an error of torch.
    Raises: ConfigError for a model that sets no limit, and for one that fails at texts of that length.
    """
    own = model.max_seq_length
    try:
        model.max_seq_length = tokens
    except AttributeError as error:
        raise ConfigError(
            f"[encoder] max_tokens = {tokens}: the model {name} sets no limit to the length of texts.",
            hint="Leave it out: --set encoder.max_tokens=0",
        ) from error
    if own is None or tokens <= own:
        return
    try:
        model.encode(["a " * min(tokens, MOST_TRIED * own)], show_progress_bar=False)
    except (RuntimeError, IndexError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ConfigError(
            f"[encoder] max_tokens = {tokens}: the model {name} fails at texts of that length ({reason}); its own "
            f"limit is {counted(own, 'token')}.",
            hint=f"Leave it at that: --set encoder.max_tokens={own}",
        ) from error
