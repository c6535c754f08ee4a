# frozen_string_literal: true

# Restarts an idle Sidekiq with the job hook in several ways, in turns, and prints a line for each way: its name, the
# seconds until Sidekiq has exited, and those of CPU of the command; means. Started by test/bench/run.
require "tmpdir"

ROUNDS = 4

RECIPE = <<~'SH'
  id=$(svpid "$1")
  printf '%s' "${SHUTDOWN_WAIT:-30}" | tr '\n' _ | grep -Eqx 'inf|[0-9]{1,9}(\.[0-9]+)?|([0-9]{1,6}(ms|s|m|h))+'
  pgsignal -p -c "$id" TSTP
  sidekiq-idle -w 30 "$id" >/dev/null || :
  pgsignal -p "$id" TERM/16/KILL@group/5 || :
  pgsignal "$id" TERM/5/KILL/5
SH
WAYS = { "TERM" => nil, "graceful-restart" => %w[graceful-restart -q], "recipe" => ["sh", "-euc", RECIPE, "sh"] }.freeze

def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

def children_cpu = Process.times.then { |t| t.cutime + t.cstime }

# boot returns the pid of a Sidekiq that shows its title.
def boot(app)
  pid = spawn("sidekiq", "-c", "5", "-t", "8", "-r", app, "-e", "production", out: File::NULL, err: File::NULL, pgroup: true)
  sleep 0.02 until File.read("/proc/#{pid}/cmdline").include?("busy]")
  pid
end

# restart returns the seconds until Sidekiq has exited, and those of CPU of the command.
def restart(pid, command)
  began = now
  command ? program = spawn(*command, pid.to_s, err: File::NULL) : Process.kill(:TERM, pid)
  Process.wait(pid)
  took = now - began
  before = children_cpu # without Sidekiq's
  Process.wait(program) if program
  [took, children_cpu - before]
end

def mean(list) = list.sum / list.size

Dir.mktmpdir do |dir|
  socket = "#{dir}/redis.sock"
  ENV["REDIS_URL"] = "unix://#{socket}"
  ENV["SIDEKIQ_TIMEOUT"] = "8"
  redis = spawn("redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--dir", dir, out: File::NULL)
  begin
    File.write("#{dir}/app.rb", "require #{File.expand_path("../../lib/ruby/sidekiq_job_hook", __dir__).dump}\n")
    sleep 0.05 until File.socket?(socket)
    seen = WAYS.transform_values { [] }
    ROUNDS.times do
      idle = 2 + rand * 2 # where it is in its wait for a job decides how long a TERM takes
      WAYS.each do |way, command|
        pid = boot("#{dir}/app.rb")
        sleep idle
        seen[way] << restart(pid, command)
      end
    end
    seen.each { |way, all| puts "#{way} #{mean(all.map(&:first))} #{mean(all.map(&:last))}" }
  ensure
    Process.kill(:TERM, redis)
    Process.wait(redis)
  end
end
