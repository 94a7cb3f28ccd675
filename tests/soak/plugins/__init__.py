"""The plugins of the schedules, as kmetad loads them; what they do is ``tests.soak.model``'s."""
