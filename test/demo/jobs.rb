# frozen_string_literal: true

# Enqueues jobs that leak until Sidekiq was restarted twice, and counts what became of them. The sizes are for gracestat to
# show; here every figure is from the watcher's log and the jobs' own journal.
require_relative "app"
require "time"
$stdout.sync = true
Redis.silence_deprecations = true # Sidekiq 6.4's own, with Debian's redis-rb

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

# Instance is one Sidekiq process; times are seconds since 1970.
Instance = Struct.new(:pid, :first_start, :last_end, :quiet)

class Jobs
  def initialize(log)
    @log, @journal = Tail.new(log), Tail.new(ENV.fetch("JOURNAL"))
    @instances, @enqueued, @ended = {}, [], Hash.new(0)
  end

  def run
    sleep 0.1 until File.socket?(ENV.fetch("REDIS_URL").delete_prefix("unix://"))
    until drained? || Time.now - BEGAN > DEADLINE
      enqueue unless restarts >= RESTARTS
      read_journal
      read_log
      sleep 0.2
    end
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
        one.first_start ||= at.to_f
      else
        @ended[jid] += 1
        one.last_end = at.to_f
      end
    end
  end

  # The lines of gracewatch and graceful-restart, after svlogd's time (UTC).
  def read_log
    @log.lines.each do |line|
      stamp, text = line.split(" ", 2)
      at = Time.strptime("#{stamp} UTC", "%Y-%m-%d_%H:%M:%S.%N %Z")
      puts format("%5.1f s  %s", [at - BEGAN, 0].max, text.sub(/level=\w+ msg=(\S+) target=\S+/, 'gracewatch: \1'))
      instance($1.to_i).quiet = at.to_f if text =~ /(\d+):\d+ .*got TSTP/
    end
  end

  def instance(pid) = @instances[pid] ||= Instance.new(pid)

  def summary
    lost = (@enqueued - @ended.keys).size
    twice = @ended.values.count { |n| n > 1 }
    puts "", "jobs     #{@enqueued.size} enqueued, #{@ended.size} done, #{lost} lost, #{twice} done twice"
    @instances.values.each_cons(2) do |old, new|
      next unless old.quiet && new.first_start

      puts format("restart  pid %d, then pid %d: %.1f s without a worker, jobs running in the first %.1f s",
                  old.pid, new.pid, new.first_start - old.quiet, [old.last_end - old.quiet, 0].max)
    end
    puts "         (without a worker: from the quiet signal to the first job of the new process)"
    exit(lost.zero? && twice.zero? && restarts >= RESTARTS)
  end
end

Jobs.new(ARGV.fetch(0)).run
