# The application of test/bench/killer, and what drives it: `ruby killer.rb drive SERVICE_DIRECTORY` enqueues the jobs,
# follows the size of the service's process, and reads from $LEDGER how often each job ran.
require "etc"
require "sidekiq"

Redis.silence_deprecations = true if Redis.respond_to?(:silence_deprecations=) # of the Redis client, about Sidekiq 6

JOBS = 600
EVERY = 0.1 # seconds
LEAK = 2 << 20 # bytes a job
MOST = 330.0 # MB
PATIENCE = 60 # seconds, for the last jobs

class LeakJob
  include Sidekiq::Worker
  sidekiq_options retry: false
  KEPT = []

  def perform
    note("start")
    KEPT << "x" * LEAK
    note("done")
  end

  def note(what)
    File.write(ENV.fetch("LEDGER"), "#{what} #{jid}\n", mode: "a") # one write, so that no line is torn
  end
end

# Size follows the process of a service, whichever it is at the moment.
class Size
  attr_reader :peaks # of each process, MB

  def initialize(service)
    @pidfile = "#{service}/supervise/pid"
    @page = Etc.sysconf(Etc::SC_PAGESIZE)
    @peaks = Hash.new(0.0)
  end

  def follow
    loop do
      measure
      sleep 0.02
    end
  end

  def measure
    pid = File.read(@pidfile).to_i
    return unless File.read("/proc/#{pid}/comm").start_with?("sidekiq", "ruby") # not ./finish, nor what becomes Sidekiq
    mb = File.read("/proc/#{pid}/statm").split[1].to_i * @page / 1048576.0
    @peaks[pid] = [@peaks[pid], mb].max
  rescue Errno::ENOENT, Errno::ESRCH
    nil
  end
end

def count(what, jids)
  counts = Hash.new(0)
  File.foreach(ENV.fetch("LEDGER")) { |l| w, jid = l.split; counts[jid] += 1 if w == what }
  jids.map { |jid| counts[jid] }
rescue Errno::ENOENT
  jids.map { 0 }
end

def drive(service)
  size = Size.new(service)
  Thread.new { size.follow }.abort_on_exception = true
  began = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  jids = JOBS.times.map do |n|
    wait = began + n * EVERY - Process.clock_gettime(Process::CLOCK_MONOTONIC)
    sleep(wait) if wait > 0
    LeakJob.perform_async
  end
  deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + PATIENCE
  sleep 0.2 until count("done", jids).all?(&:positive?) || Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline
  starts = count("start", jids)
  lost = count("done", jids).count(0)
  twice = starts.count { |n| n > 1 }
  peak = size.peaks.values.max
  puts "peak #{peak.round} MB, #{size.peaks.size - 1} restarts; of #{JOBS} jobs #{lost} lost, #{twice} run twice"
  puts "peak of each process: #{size.peaks.values.map(&:round).join(", ")} MB"
  peak <= MOST && lost.zero? && twice.zero?
end

exit drive(ARGV[1]) if ARGV[0] == "drive"
