# unicorn with three workers.
worker_processes 3
listen ENV.fetch("WEB_SOCKET")
