# frozen_string_literal: true

# Enqueues jobs, shows what becomes of the Sidekiq that does them, and counts at the end.
# All figures are read from what happened: rssprobe, the watcher's log, the jobs' own journal.
require_relative "app"
require "json"
require "open3"
require "time"
$stdout.sync = true
Redis.silence_deprecations = true # Sidekiq 6.4's own, with Debian's redis-rb

SOFT_KB, GRACE_S = 90_000, 5
RESTARTS = 2      # then no more jobs are enqueued
JOBS_A_SECOND = 3
LEAK_KB = 2048    # a job
DEADLINE = 90     # s
BEGAN = Time.now

# Tail gives the lines that were added to a file.
class Tail
  def initialize(path)
    @path = path
  end

  def lines
    @file ||= File.open(@path)
    *whole, @rest = "#{@rest}#{@file.read}".split("\n", -1)
    whole
  rescue Errno::ENOENT
    []
  end
end

# Instance is one Sidekiq process; times are seconds since 1970, from the log and the journal.
Instance = Struct.new(:pid, :peak_kb, :running, :first_start, :last_end, :quiet)

class Show
  def initialize(services)
    @service = "#{services}/sidekiq"
    @watcher = Tail.new("#{services}/sidekiq-memory-killer/log/main/current")
    @journal = Tail.new(ENV.fetch("JOURNAL"))
    @instances, @enqueued, @ended = {}, [], Hash.new(0)
  end

  def run
    sleep 0.1 until File.socket?(ENV.fetch("REDIS_URL").delete_prefix("unix://"))
    until drained? || Time.now - BEGAN > DEADLINE
      enqueue unless restarts >= RESTARTS
      read_journal
      read_watcher
      measure
      status
      sleep 0.2
    end
    say(drained? ? "all jobs are done" : "time is up")
    summary
  end

  private

  def restarts = @instances.values.each_cons(2).count { |old, new| old.quiet && new.first_start }

  def drained? = restarts >= RESTARTS && (@enqueued - @ended.keys).empty?

  def enqueue
    while @enqueued.size < (Time.now - BEGAN) * JOBS_A_SECOND
      @enqueued << LeakJob.perform_async(rand(0.2..1.6), LEAK_KB)
    end
  end

  def read_journal
    @journal.lines.each do |line|
      at, what, jid, pid = line.split
      one = instance(pid.to_i)
      if what == "start"
        one.running += 1
        say "pid #{pid} takes its first job" unless one.first_start
        one.first_start ||= at.to_f
      else
        @ended[jid] += 1
        one.running -= 1
        one.last_end = at.to_f
        say "pid #{pid} has ended its last job" if one.quiet && one.running.zero?
      end
    end
  end

  # The lines of gracewatch and graceful-restart, with svlogd's time (UTC) in front.
  def read_watcher
    @watcher.lines.each do |line|
      stamp, text = line.split(" ", 2)
      at = Time.strptime("#{stamp} UTC", "%Y-%m-%d_%H:%M:%S.%N %Z")
      say text.sub(/level=\w+ msg=(\S+) target=\S+/, 'gracewatch: \1'), at
      case text
      when /msg=over-soft/ then @over = at
      when /msg=(under-soft|target-gone)/ then @over = nil
      when /graceful-restart: info: (\d+):\d+ got TSTP/ then instance($1.to_i).quiet = at.to_f
      end
    end
  end

  def measure
    out, = Open3.capture2("rssprobe", "-j", @service, err: File::NULL)
    @now = nil
    return if out.empty?

    kb, pid = JSON.parse(out).values_at("rss_kb", "id").then { |kb, id| [kb, id.to_i] }
    say "pid #{pid} is the new process" if @instances.any? && !@instances.key?(pid)
    @now = instance(pid)
    @now.peak_kb = [@now.peak_kb, kb].max
    @kb = kb
  end

  def instance(pid) = @instances[pid] ||= Instance.new(pid, 0, 0)

  def status
    return unless $stdout.tty? || Time.now - (@said || BEGAN) >= 1

    @said = Time.now
    text = @now ? format("pid %d  %3d MB %s %d MB  %s  %d running", @now.pid, @kb / 1000, bar, SOFT_KB / 1000, phase, @now.running) : "no process"
    $stdout.tty? ? print("\r#{text}\e[K") : say(text)
  end

  def bar
    cells = Array.new(24) { |i| i < @kb * 16 / SOFT_KB ? "#" : " " }
    "[#{cells.insert(16, "|").join}]"
  end

  def phase
    return "quiet" if @now.quiet
    return format("grace %.1f of %d s", [Time.now - @over, GRACE_S].min, GRACE_S) if @over

    "under the limit"
  end

  def say(text, at = Time.now)
    puts format("%s%5.1f s  %s", $stdout.tty? ? "\r\e[K" : "", [at - BEGAN, 0].max, text)
  end

  def summary
    lost = (@enqueued - @ended.keys).size
    twice = @ended.values.count { |n| n > 1 }
    puts "", "jobs     #{@enqueued.size} enqueued, #{@ended.size} done, #{lost} lost, #{twice} done twice"
    @instances.values.each_cons(2) do |old, new|
      next unless old.quiet && new.first_start

      puts format("restart  pid %d, %d MB at most, then pid %d: %.1f s without a worker, jobs running in the first %.1f s",
                  old.pid, old.peak_kb / 1000, new.pid, new.first_start - old.quiet, [old.last_end - old.quiet, 0].max)
    end
    puts "         (without a worker: from the quiet signal to the first job that the next process takes)"
    exit(lost.zero? && twice.zero? && restarts >= RESTARTS)
  end
end

Show.new(ARGV.fetch(0)).run
