"""Whether a text can be written: a file name may hold bytes that are no UTF-8, which Python keeps as surrogates."""


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
