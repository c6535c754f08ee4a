# A Rack application that leaks: with /leak/PID that worker keeps 64 MB for good. It answers with the pid of its worker.
kept = []
run lambda { |env|
  kept << "x" * (64 << 20) if env["PATH_INFO"] == "/leak/#{$$}"
  sleep 0.03 # a request is always under way
  [200, { "Content-Type" => "text/plain" }, [$$.to_s]]
}
