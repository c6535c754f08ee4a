# A parent whose children share its memory. It does what it is told on standard input, a line each: fork (a child),
# thread (a child that another thread forks), share MB (hold so much, for children to come).
# A child says that it is there, grows by 64 MB of its own when it gets USR1, and ends with its parent.
$stdout.sync = true
held = []
ended, lives = IO.pipe

child = lambda do
  pid = fork do
    $stdin.close
    lives.close
    trap("TERM", "SYSTEM_DEFAULT")
    trap("USR1") { held << "x" * (64 << 20) }
    puts "child #{$$}"
    ended.read
    exit!
  end
  Process.detach(pid)
end

while (line = $stdin.gets)
  command, megabytes = line.split
  case command
  when "fork" then child.call
  when "thread" then Thread.new(&child).join
  when "share"
    held << "x" * (megabytes.to_i << 20)
    puts "shared"
  end
end
