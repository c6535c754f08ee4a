# frozen_string_literal: true

# One job that leaks: a constant that only grows. It notes its start and its end in the journal.
require "sidekiq"

def journal(*words)
  line = [Process.clock_gettime(Process::CLOCK_REALTIME), *words].join(" ") << "\n"
  File.open(ENV.fetch("JOURNAL"), "a") { |f| f.syswrite(line) }
end

class LeakJob
  include Sidekiq::Worker
  HOARD = []

  def perform(seconds, kb)
    journal "start", jid, Process.pid
    HOARD << "x" * (kb * 1024)
    sleep seconds
    journal "end", jid, Process.pid
  end
end
