"""What the app reads at its start, and again at a HUP."""

bind = ":8000"
workers = 2
graceful_timeout = 20
