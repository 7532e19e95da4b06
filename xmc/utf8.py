"""Whether a text can be written: a file name may hold bytes that are no UTF-8, which Python keeps as surrogates."""

from xmc.errors import ConfigError


def is_utf8(text: str) -> bool:
    """Whether the text has a form in UTF-8.

    >>> is_utf8("Übung"), is_utf8("\\udcff")
    (True, False)
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def require_utf8(path: object) -> None:
    """Refuse a path that libraries which want UTF-8 cannot open. Raises: ConfigError.

    >>> require_utf8("runs/\\udcff")
    Traceback (most recent call last):
    xmc.errors.ConfigError: 'runs/\\udcff': its name is not UTF-8. Rename it.
    """
    if not is_utf8(str(path)):
        raise ConfigError(f"{str(path)!a}: its name is not UTF-8.", hint="Rename it.")
