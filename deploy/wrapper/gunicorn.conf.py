bind = ":8000"
workers = 2
graceful_timeout = 20
