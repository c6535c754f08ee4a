# The application of the tests: jobs that leak, last, fail, or refuse to end and leave a process behind.
# Each notes its start and its end in $LEDGER, one appended line, so that "exactly once" is counted from a file.
require "sidekiq"

# One heartbeat at boot, and no other.
if ENV["NO_BEATS"]
  Sidekiq::Launcher.send(:remove_const, :BEAT_PAUSE)
  Sidekiq::Launcher::BEAT_PAUSE = 3600
end

def note(what, jid)
  File.open(ENV.fetch("LEDGER"), File::WRONLY | File::APPEND | File::CREAT) do |f|
    f.syswrite("#{what} #{jid} #{$$}\n")
  end
end

class LeakJob
  include Sidekiq::Worker
  KEPT = []

  def perform(megabytes, seconds)
    note("start", jid)
    KEPT << "x" * (megabytes << 20)
    sleep(seconds)
    note("done", jid)
  end
end

# Lasts until a file is there.
class WaitJob
  include Sidekiq::Worker

  def perform(file)
    note("start", jid)
    sleep(0.02) until File.exist?(file)
    note("done", jid)
  end
end

# Leaves a process that ignores TERM. Lets nothing through, neither Sidekiq's Shutdown nor the kill at Ruby's own exit:
# Sidekiq hangs beyond its timeout.
class StubbornJob
  include Sidekiq::Worker

  def perform(pids)
    note("start", jid)
    return if File.exist?(pids) # pushed back: the next Sidekiq must be able to end
    system("trap '' HUP TERM; sleep 1000 & echo $! >>'#{pids}'")
    Thread.handle_interrupt(Object => :never) { sleep }
  end
end

# Fails when a file is there.
class FailJob
  include Sidekiq::Worker

  def perform(file)
    note("start", jid)
    sleep(0.02) until File.exist?(file)
    raise "this job fails"
  end
end
