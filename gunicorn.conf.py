"""How gunicorn runs the web process. `WEB_CONCURRENCY` adds processes; each has its own threads."""

# A bad setting stops the server at once, instead of every worker for ever.
preload_app = True
threads = 8
# Downloads of large blobs may take longer than the default 30 s.
timeout = 120
# Its control interface would put a socket into the user's home.
control_socket_disable = True
