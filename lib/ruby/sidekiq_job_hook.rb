# frozen_string_literal: true

# gracekit's job hook, a server middleware for Sidekiq 6 to 8. One line in the app loads it:
#   require "/usr/local/share/gracekit/ruby/sidekiq_job_hook"
# A job never fails and never waits for it; see memory-killer(8), legacy mode.
require "etc"
require "sidekiq"

class GracekitJobHook
  LIMIT = ENV["SIDEKIQ_MEMORY_KILLER_MAX_RSS"].to_i # KB; 0: no limit
  CONTROL = ENV["MEMORY_KILLER_CONTROL"].to_s.empty? ? "/run/gracekit/sidekiq.control" : ENV["MEMORY_KILLER_CONTROL"]
  PAGE = Etc.sysconf(Etc::SC_PAGESIZE) / 1024.0 # KB
  SIGN_OF_LIFE = 300 # seconds: gracewatch wonders after 600 without a command
  GC_PAUSE = 60 # seconds from one full GC to the next: each stops all jobs for its time
  SETTLE = 0.5 # seconds; a job that was fetched right before the quiet signal is counted by then
  LOOK = Mutex.new
  TITLE = Mutex.new
  @ended = {} # thread id of Sidekiq's => its last job, as in Sidekiq's own list of running jobs

  class << self
    def job_ended
      silently { TITLE.synchronize { ended } }
      return unless LIMIT > 0 && LOOK.try_lock
      begin
        silently { look }
      ensure
        LOOK.unlock
      end
    end

    def startup
      silently { tell if LIMIT > 0 && rss <= LIMIT }
    end

    # Sidekiq takes no more jobs: from now on the title does not wait for the heartbeat.
    def quiet
      silently do
        Thread.new do
          sleep SETTLE
          silently { TITLE.synchronize { (@quiet = true) && write_title } }
        end
      end
    end

    private

    def silently
      yield
    rescue StandardError
      nil # whatever it is, it is no matter of the job's
    end

    def look
      now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
      if rss <= LIMIT
        @over = false
        tell && @told = now if @told.nil? || now - @told >= SIGN_OF_LIFE
        return
      end
      if @collected.nil? || now - @collected >= GC_PAUSE # else it may be but the garbage of this minute
        GC.start
        @collected = now
        @over = rss > LIMIT
      end
      tell if @over
    end

    def rss # KB
      File.read("/proc/self/statm").split[1].to_i * PAGE
    end

    # No reader, no room, no such FIFO, not ours to write: nothing happens.
    def tell
      File.open(CONTROL, File::WRONLY | File::NONBLOCK | File::NOFOLLOW | File::NOCTTY) do |f|
        f.stat.pipe? && f.write_nonblock("c", exception: false)
      end
    end

    def running
      Sidekiq::Processor.const_get(Sidekiq::Processor.const_defined?(:WORK_STATE) ? :WORK_STATE : :WORKER_STATE).dup
    end

    # The job is still in Sidekiq's list now, until the middleware has returned.
    def ended
      list = running
      @ended.keep_if { |tid, _| list.key?(tid) } # the thread of a job that failed ends with it
      @ended[Thread.current["sidekiq_tid"]] = list[Thread.current["sidekiq_tid"]]
      write_title if @quiet
    end

    def write_title
      busy = running.count { |tid, job| !job.equal?(@ended[tid]) }
      title = $0.sub(/\[\d+ of (\d+) busy\](?: stopping)?\z/) { "[#{busy} of #{$1} busy] stopping" }
      $0 = title unless title == $0
    end
  end

  def call(*)
    yield
  ensure
    self.class.job_ended
  end
end

Sidekiq.configure_server do |config|
  config.server_middleware { |chain| chain.prepend(GracekitJobHook) }
  config.on(:startup) { GracekitJobHook.startup }
  config.on(:quiet) { GracekitJobHook.quiet }
end
