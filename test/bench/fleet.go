package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// fleet: the wall time of sidekiq-fleet with 1,000 instances in a Redis beside it, and that of redis-cli, which reads
// the same keys one by one in one process, as a script would at best, in turns.
func fleet() {
	server := start("redis-server", "--port", "0", "--unixsocket", "redis.sock", "--save", "", "--logfile", "redis.log")
	defer server.kill()
	dir, err := os.Getwd()
	check(err)
	check(os.Setenv("REDIS_URL", "unix://"+dir+"/redis.sock"))
	wait("redis-server answers", func() bool { return exec.Command("redis-cli", "-s", "redis.sock", "PING").Run() == nil })
	ids := heartbeats("", 1000)
	var questions strings.Builder
	for _, id := range ids {
		fmt.Fprintf(&questions, "HMGET %s info busy beat quiet rss\n", id)
	}
	check(os.WriteFile("questions", []byte(questions.String()), 0o600))

	cli := []string{"-c", "redis-cli -s redis.sock <questions"}
	var ps, byOne, claim, claimFew []time.Duration
	for i := range 20 {
		if i%10 == 0 { // none of them is silent for long
			heartbeats("", 1000)
			heartbeats("few:", 10)
		}
		ps = append(ps, run("bin/sidekiq-fleet", "ps"))
		byOne = append(byOne, run("sh", cli...))
		claim = append(claim, run("bin/sidekiq-fleet", "claim", "--min", "9", ids[0]))
		claimFew = append(claimFew, run("bin/sidekiq-fleet", "claim", "--namespace", "few", "--min", "9", ids[0]))
	}
	const limit = 50 * time.Millisecond
	within("sidekiq-fleet ps, 1000 : redis-cli", median(ps), median(byOne), limit)
	within("sidekiq-fleet claim, 1000 : redis-cli", median(claim), median(byOne), limit)
	within("sidekiq-fleet claim, 1000 : 10", median(claim), median(claimFew), limit)
}

// heartbeats writes those of so many instances, as Sidekiq 7 does, and returns their identities.
func heartbeats(prefix string, instances int) (ids []string) {
	var commands strings.Builder
	now := float64(time.Now().UnixMicro()) / 1e6
	for i := range instances {
		id := fmt.Sprintf("worker-%d.example:%d:%012x", i, 1000+i, i)
		info := fmt.Sprintf(`{"hostname":"worker-%d.example","started_at":%.6f,"pid":%d,"tag":"app","concurrency":10,`+
			`"queues":["default","mailers","low"],"weights":[{"default":3,"mailers":2,"low":1}],"labels":[],"identity":"%s",`+
			`"version":"7.3.2","embedded":false}`, i, now-3600, 1000+i, id)
		fmt.Fprintf(&commands, "SADD %sprocesses %s\n", prefix, id)
		fmt.Fprintf(&commands, "HSET %s%s info '%s' busy 3 beat %.6f rtt_us 312 quiet false rss %d\n", prefix, id, info, now, 400_000+i)
		fmt.Fprintf(&commands, "EXPIRE %s%s 60\n", prefix, id)
		ids = append(ids, id)
	}
	cmd := exec.Command("redis-cli", "-s", "redis.sock")
	cmd.Stdin = strings.NewReader(commands.String())
	out, err := cmd.Output()
	check(err)
	if strings.Contains(string(out), "ERR") {
		check(fmt.Errorf("redis-cli: %.200s", out))
	}
	return ids
}
