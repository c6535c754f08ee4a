# A parent as sidekiq-cluster is: it starts Sidekiqs, each in a group of its own, and a metrics server. It forwards TERM
# INT TTIN USR1 USR2 HUP to all of them, but not TSTP, and when one of them ends it ends all.
#
# usage: ruby cluster.rb N COMMAND...
count, *command = ARGV
children = Array.new(count.to_i) { Process.spawn(*command, pgroup: true) }
children << Process.spawn("sleep", "1000", pgroup: true) # the metrics server

forward = ->(signal) { children.each { |pid| Process.kill(signal, pid) rescue nil } }
ending = false
%w[TERM INT].each { |signal| trap(signal) { ending = true; forward.(signal) } }
%w[TTIN USR1 USR2 HUP].each { |signal| trap(signal) { forward.(signal) } }

until ending
  ended = children.any? { |pid| Process.wait(pid, Process::WNOHANG) rescue true }
  break if ended
  sleep 0.1
end
forward.("TERM")
# As GitLab's does, it ends by KILL what takes longer than its own limit.
deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + 5
until children.none? { |pid| Process.kill(0, pid) && !(Process.wait(pid, Process::WNOHANG)) rescue false }
  if Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline
    forward.("KILL")
    break
  end
  sleep 0.1
end
