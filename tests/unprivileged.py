"""Doing something as a user who may not do everything, although the tests run as root."""

from __future__ import annotations

import os
import pickle
import traceback
import warnings
from collections.abc import Callable
from typing import TypeVar

NOBODY = 65534

T = TypeVar("T")


def as_nobody(do: Callable[[], T]) -> T:
    """What ``do`` answers in a child process of user and group 65534; where we aren't root, as who we are.

    The answer has to be picklable, and all that ``do`` needs already imported: the
    child may not be able to read Python's own files. What it raises fails the test.
    """
    if os.geteuid() != 0:
        return do()
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of other tests, which the child hasn't
        child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            try:
                answer = (True, do())
            except BaseException:
                answer = (False, traceback.format_exc())
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(answer, pipe)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    os.waitpid(child, 0)
    done, answer = pickle.loads(data)
    assert done, answer
    return answer
