"""Where an exception comes from, in a few words."""

from __future__ import annotations


def where(error: BaseException) -> str:
    """`` (FILE:LINE)`` of the innermost frame; empty if there is none."""
    trace = error.__traceback__
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}:{error.lineno})"
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f" ({trace.tb_frame.f_code.co_filename}:{trace.tb_lineno})"
