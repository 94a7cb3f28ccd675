"""What is fuzzed: for each reader of bytes that others may write, a function that fails if it does what it mustn't.

A target takes any bytes at all. It passes if the reader answers, or raises one of the
errors that its docstring names; and if what it answers is right, as far as a second,
simpler way to it can tell.
"""

from tests.soak.targets.account import ACCOUNT
from tests.soak.targets.link import LINK
from tests.soak.targets.state import STATE
from tests.soak.targets.textmap import TEXTMAP
from tests.soak.targets.texts import ENVIRONMENT, FIELDPATH, QUANTITY
from tests.soak.targets.volume import VOLUME

TARGETS = (TEXTMAP, VOLUME, ACCOUNT, STATE, LINK, QUANTITY, FIELDPATH, ENVIRONMENT)
"""All of them, those that take longest first."""
