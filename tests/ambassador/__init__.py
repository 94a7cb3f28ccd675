"""A proxy of kmetad-ambassador's between a client that sends what it is told and an upstream that records every byte.

A Row says what a client sends, what has to reach the upstream of it, byte for byte, and what the client gets.
``check`` tries it.
"""

from tests.ambassador.caller import Caller as Caller
from tests.ambassador.caller import held as held
from tests.ambassador.caller import seen as seen
from tests.ambassador.caller import settled as settled
from tests.ambassador.rows import AUTHORIZATION as AUTHORIZATION
from tests.ambassador.rows import HOST as HOST
from tests.ambassador.rows import PODS as PODS
from tests.ambassador.rows import SENTINEL as SENTINEL
from tests.ambassador.rows import WEB as WEB
from tests.ambassador.rows import Came as Came
from tests.ambassador.rows import Reached as Reached
from tests.ambassador.rows import Row as Row
from tests.ambassador.rows import Seen as Seen
from tests.ambassador.rows import Trickle as Trickle
from tests.ambassador.rows import ask as ask
from tests.ambassador.rows import broken as broken
from tests.ambassador.rows import check as check
from tests.ambassador.rows import passed as passed
from tests.ambassador.rows import refused as refused
from tests.ambassador.rows import sent as sent
from tests.ambassador.rows import written as written
from tests.ambassador.upstream import TOKEN as TOKEN
from tests.ambassador.upstream import Link as Link
from tests.ambassador.upstream import Upstream as Upstream
from tests.ambassador.upstream import answered as answered
from tests.ambassador.upstream import obliging as obliging
from tests.ambassador.upstream import says as says
from tests.ambassador.wire import Answer as Answer
from tests.ambassador.wire import Garbled as Garbled
from tests.ambassador.wire import Request as Request
from tests.ambassador.wire import alike as alike
from tests.ambassador.wire import answers as answers
from tests.ambassador.wire import requests as requests
