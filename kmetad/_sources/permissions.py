"""Why the kernel doesn't let us read something, in words that name the remedy."""

from __future__ import annotations

import errno
import os
import stat


def explain(error: OSError, path: str) -> str:
    """A sentence about a path that can't be read: which permission of what is missing, and what to do.

    Looks the permissions up, so it may be slow; it is for the way out. Says nothing
    of any content.
    """
    if error.errno not in (errno.EACCES, errno.EPERM):
        return f"{printable(path)}: {error.strerror}"
    place, need = _culprit(path)
    sentence = f"{printable(path)}: permission denied: "
    try:
        status = os.stat(place)
    except OSError:
        return f"{sentence}{printable(place)} can't be looked at by user {os.geteuid()}, group {os.getegid()}"
    kind = "directory" if stat.S_ISDIR(status.st_mode) else "file"
    of = "it" if place == path else printable(place)
    return (
        f"{sentence}{of} is a {kind} of user {status.st_uid}, group {status.st_gid}, "
        f"mode {stat.S_IMODE(status.st_mode):04o}, so {need} is missing for this process, which is user "
        f"{os.geteuid()}, group {os.getegid()}{_supplementary()}; set fsGroup in the Pod's securityContext, "
        f"or runAsUser to the owner, or widen the volume's defaultMode"
    )


def may(path: str, mode: int) -> bool:
    """``os.access`` by the effective user, as the kernel will judge."""
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def printable(path: str) -> str:
    """A path for a message: what a terminal would obey, or what is no UTF-8, is escaped."""
    return path if path.isprintable() else path.encode("unicode_escape").decode("ascii")


def _culprit(path: str) -> tuple[str, str]:
    """What keeps us from the path, itself or a directory above it, and the permission that it lacks."""
    above = os.path.dirname(path)
    if above and above != path:
        try:
            os.stat(path)
        except PermissionError:
            try:
                os.stat(above)
            except PermissionError:
                return _culprit(above)
            except OSError:
                pass
            return above, "the permission to search (x)"
        except OSError:
            pass
    if os.path.isdir(path) and may(path, os.R_OK):
        return path, "the permission to search (x)"
    return path, "the permission to read (r)"


def _supplementary() -> str:
    groups = [str(group) for group in os.getgroups() if group != os.getegid()]
    return f" (also of {', '.join(groups)})" if groups else ""
