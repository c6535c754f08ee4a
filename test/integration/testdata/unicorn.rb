# unicorn with two workers.
worker_processes 2
listen ENV.fetch("PUMA_SOCKET")
