# What the Ruby programs of lister_test.go are made of. A program prints
# "want PID" for each process that must be listed.
$stdout.sync = true

def want(pid = $$) = puts("want #{pid}")

# heart starts a thread with the name of Sidekiq's heartbeat.
def heart(name = "heartbeat")
  named = Queue.new
  Thread.new { Thread.current.name = name; named << true; sleep }
  named.pop
end

# child runs a block in a fork, which then sleeps. It returns when the block has run.
def child
  reader, writer = IO.pipe
  pid = fork { yield; writer.write "1"; sleep }
  writer.close
  reader.read(1) or abort "the child has failed"
  pid
end

# program runs another Ruby with this text, which then sleeps, behind other words.
def program(text, *front)
  reader, writer = IO.pipe
  text += "; IO.for_fd(#{writer.fileno}).syswrite 1; sleep"
  spawn(*front, "ruby", "--disable-gems", "-r", __FILE__, "-e", text, writer => writer)
  writer.close
  reader.read(1) or abort "the program has failed"
end
