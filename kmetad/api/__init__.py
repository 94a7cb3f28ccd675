"""The API server: a small client that lives through what rotates.

For plugins (``context.api()``), for apps, and for ``kmetad api``. What it needs of HTTP
and TLS is imported with the first call.
"""

from __future__ import annotations

from kmetad.api.client import Client as Client
from kmetad.api.credentials import Credentials as Credentials
from kmetad.api.credentials import Mounted as Mounted
from kmetad.api.credentials import Trust as Trust
from kmetad.api.errors import ApiError as ApiError
from kmetad.api.errors import BadAnswer as BadAnswer
from kmetad.api.errors import BadRequest as BadRequest
from kmetad.api.errors import Conflict as Conflict
from kmetad.api.errors import CredentialsError as CredentialsError
from kmetad.api.errors import Forbidden as Forbidden
from kmetad.api.errors import Gone as Gone
from kmetad.api.errors import Invalid as Invalid
from kmetad.api.errors import NoServer as NoServer
from kmetad.api.errors import NotFound as NotFound
from kmetad.api.errors import ServerError as ServerError
from kmetad.api.errors import StatusError as StatusError
from kmetad.api.errors import TimedOut as TimedOut
from kmetad.api.errors import TooManyRequests as TooManyRequests
from kmetad.api.errors import Unauthorized as Unauthorized
from kmetad.api.errors import Unreachable as Unreachable
from kmetad.api.errors import Untrusted as Untrusted
from kmetad.api.exchange import Answer as Answer
from kmetad.api.find import find_server as find_server
from kmetad.api.objects import Object as Object
from kmetad.api.paths import path_of as path_of
from kmetad.api.server import Server as Server
from kmetad.api.watch import Watch as Watch
from kmetad.api.watch import WatchEvent as WatchEvent
