"""Tells an app about its own Pod, and reacts when it changes."""
