# A Rack application that leaks: /leak keeps 8 MB for good. It answers with the pid of its worker.
kept = []
run lambda { |env|
  kept << "x" * (8 << 20) if env["PATH_INFO"] == "/leak"
  sleep 0.03 # a request is always under way
  [200, { "Content-Type" => "text/plain" }, [$$.to_s]]
}
