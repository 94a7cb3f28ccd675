"""How soon, how quietly and how cheaply kmetad notices a swap, beside other watchers.

Run by ``python -m bench`` (``make bench``); README.md tells how to read the result.
Nothing here is part of the distribution.
"""
