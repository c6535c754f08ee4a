# frozen_string_literal: true

# gracekit's job hook, a server middleware for Sidekiq 6 to 8. One line in the application loads it:
#   require "/usr/local/share/gracekit/ruby/sidekiq_job_hook"
# It asks the watcher for a check when Sidekiq is over its soft limit, keeps the title true from the quiet signal on, and
# notes which jobs are running. A job never fails and never waits because of it; see memory-killer(8), legacy mode.
require "etc"
require "fileutils"
require "json"
require "sidekiq"

class GracekitJobHook
  # The soft limit, in the forms that memory-killer(8) reads. lib/units/testdata/sizes.txt has examples of all of them,
  # and the tests of both read it.
  module Limit
    NAMES = %w[SIDEKIQ_MEMORY_KILLER_MAX_RSS MEMORY_KILLER_MAX_RSS].freeze
    FORM = /\A(?=\.?\d)(?<whole>\d*)(?:\.(?<part>\d*))?(?:(?<percent>%)|(?<unit>B|[KMGT](?:i?B)?))?\z/i
    BYTES = { "" => 1 << 10, "B" => 1, "K" => 1 << 10, "M" => 1 << 20, "G" => 1 << 30, "T" => 1 << 40 }.freeze
    MOST = (1 << 63) - 1 # KB

    # KB; 0: none; :share of the memory there is, which only the watcher knows.
    def self.read(env)
      set = NAMES.select { |name| !env[name].to_s.empty? }
      return 0 if set.empty?
      if set.map { |name| env[name] }.uniq.size > 1
        raise ArgumentError, "#{set.join(" and ")} have different values (want one of them)"
      end
      parse(env[set[0]]) or
        raise ArgumentError, "#{set[0]}: invalid size #{env[set[0]].inspect} (want 2000000, 1500M or 80%)"
    end

    # nil: not a size
    def self.parse(text)
      form = FORM.match(text) or return nil
      number = form[:whole].to_i + "0.#{form[:part]}".to_r
      if form[:percent]
        return number > 100 ? nil : number.zero? ? 0 : :share
      end
      kb = (number * BYTES.fetch(form[:unit].to_s[0, 1].upcase) / 1024).ceil
      kb > MOST ? nil : kb
    end
  end

  CONTROL = ENV["MEMORY_KILLER_CONTROL"].to_s.empty? ? "/run/gracekit/sidekiq.control" : ENV["MEMORY_KILLER_CONTROL"]
  NOTES = "/run/gracekit" # in it a folder for each user, which root makes
  PAGE = Etc.sysconf(Etc::SC_PAGESIZE) / 1024.0 # KB
  SIGN_OF_LIFE = 300 # seconds: gracewatch checks by the clock after 600 without a command
  GC_PAUSE = 60 # seconds from one full GC to the next: each stops all jobs while it lasts
  SETTLE = 0.2 # seconds; a job that was fetched right before the quiet signal is counted by then
  CHECK = Mutex.new
  JOBS = Mutex.new
  @jobs = {} # thread id of Sidekiq's => the job that it runs, for the note
  @ended = {} # thread id of Sidekiq's => its last job, as in Sidekiq's own list of running jobs

  class << self
    def job_started(job, queue)
      silently do
        JOBS.synchronize do
          @jobs[Thread.current] = { jid: job["jid"], class: job["wrapped"] || job["class"], queue: queue || job["queue"],
                                    tid: Thread.current["sidekiq_tid"], since: Time.now.to_i }
          write_note
          write_title if @quiet
        end
      end
    end

    def job_ended
      silently do
        JOBS.synchronize do
          @jobs.delete(Thread.current)
          write_note
          count_as_ended
        end
      end
      return if limit == 0 || !CHECK.try_lock
      begin
        silently { check }
      ensure
        CHECK.unlock
      end
    end

    def startup
      silently { ask if limit == :share || limit > 0 && rss <= limit }
      silently { JOBS.synchronize { open_note } }
    end

    # Sidekiq takes no more jobs: from now on the title does not wait for the heartbeat.
    def quiet
      silently do
        Thread.new do
          sleep SETTLE
          silently { JOBS.synchronize { (@quiet = true) && write_title } }
        end
      end
    end

    private

    # Nothing that goes wrong in the hook may harm a job.
    def silently
      yield
    rescue StandardError
      nil
    end

    # KB, :share, or 0: none, or not valid, which is logged once.
    def limit
      @limit ||= Limit.read(ENV)
    rescue ArgumentError => e
      @limit = 0
      silently { Sidekiq.logger.error("gracekit job hook: #{e.message}: no checks are asked for") }
      @limit
    end

    def check
      return ask if limit == :share
      now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
      if rss <= limit
        @over = false
        ask && @asked = now if @asked.nil? || now - @asked >= SIGN_OF_LIFE
        return
      end
      if @collected.nil? || now - @collected >= GC_PAUSE # otherwise it may be only the garbage of this minute
        GC.start
        @collected = now
        @over = rss > limit
      end
      ask if @over
    end

    def rss # KB
      File.read("/proc/self/statm").split[1].to_i * PAGE
    end

    # Where there is no FIFO, no reader, no room or no permission, nothing happens.
    def ask
      File.open(CONTROL, File::WRONLY | File::NONBLOCK | File::NOFOLLOW | File::NOCTTY) do |f|
        f.stat.pipe? && f.write_nonblock("c", exception: false)
      end
    end

    # The note is for sidekiq-fleet, which must know what ran when Sidekiq was killed: Redis knows a job only from the
    # next heartbeat on. Without a folder to write it in there is none.
    def open_note
      folder = "#{NOTES}/#{Process.euid}"
      FileUtils.mkdir_p(folder, mode: 0o755) unless File.directory?(folder)
      (Dir.children(folder).map(&:to_i) - [$$]).each { |pid| File.delete("#{folder}/#{pid}.hook") unless File.exist?("/proc/#{pid}") }
      @identity = identity
      @note = "#{folder}/#{$$}.hook"
      @pid = $$
      write_note
      at_exit { silently { File.delete(@note) if @pid == $$ } }
    end

    def write_note
      return unless @note && @pid == $$ # a job may fork
      File.open("#{@note}.new", File::WRONLY | File::CREAT | File::TRUNC | File::NOFOLLOW, 0o600) do |f|
        f.write(JSON.generate(identity: @identity, jobs: @jobs.values))
      end
      File.rename("#{@note}.new", @note)
    end

    # What Sidekiq calls this instance in Redis.
    def identity
      component = Sidekiq.const_defined?(:Component) ? Sidekiq::Component : Sidekiq::Util
      Class.new { include component }.new.identity
    end

    def running
      Sidekiq::Processor.const_get(Sidekiq::Processor.const_defined?(:WORK_STATE) ? :WORK_STATE : :WORKER_STATE).dup
    end

    # The job stays in Sidekiq's list until the middleware has returned.
    def count_as_ended
      list = running
      @ended.keep_if { |tid, _| list.key?(tid) } # the thread of a job that failed ends with it
      @ended[Thread.current["sidekiq_tid"]] = list[Thread.current["sidekiq_tid"]]
      write_title if @quiet
    end

    def write_title
      busy = running.count { |tid, job| !job.equal?(@ended[tid]) }
      last = /\[\d+ of (\d+) busy\](?: stopping)?(?!.* busy\](?: |\z))/m # a tag may look like it
      title = $0.sub(last) { "[#{busy} of #{$1} busy] stopping" }
      $0 = title unless title == $0
    end
  end

  def call(_worker = nil, job = {}, queue = nil)
    self.class.job_started(job, queue)
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
