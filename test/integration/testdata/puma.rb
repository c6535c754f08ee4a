# Puma in cluster mode, as it has to be for no request to fail while workers are restarted.
workers 3
threads 2, 2
# A worker that gets TERM answers what it has read, and leaves the rest to the others; but Puma's default is to accept
# connections before their request is there, and to close these unanswered. So a thread takes one when it is free, and
# keeps it until its request has come.
queue_requests false
preload_app! ENV["PRELOAD"] == "1"
bind "unix://#{ENV.fetch("WEB_SOCKET")}"
