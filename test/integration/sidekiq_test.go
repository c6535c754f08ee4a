package integration

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

// A sidekiq is a real Sidekiq with testdata/app.rb, under a real runsv, from a copy of runit/sidekiq.
type sidekiq struct {
	*runsv
	redis *redis
	ledger
}

// sidekiq starts Sidekiq as a service; conf is what the user would put into its conf/.
func (s *sandbox) sidekiq(conf map[string]string) *sidekiq {
	s.Helper()
	s.need("sidekiq")
	redis := s.redis()
	dir := s.serviceDir("runit/sidekiq", "sidekiq")
	ledger := ledger{s, s.path("ledger")}
	s.conf(dir, sidekiqConf(s, redis, ledger))
	s.conf(dir, conf)
	return &sidekiq{s.runsv(dir), redis, ledger}
}

func sidekiqConf(s *sandbox, redis *redis, ledger ledger) map[string]string {
	return map[string]string{
		"SIDEKIQ_APP":     s.dir,
		"SIDEKIQ_USER":    "root", // counts only where root runs the tests
		"SIDEKIQ_COMMAND": "sidekiq -c 2 -r " + s.app(),
		"SIDEKIQ_TIMEOUT": "3", // not 2: that long an idle thread waits for its last job, and would swallow one that is pushed back
		"REDIS_URL":       redis.url(),
		"LEDGER":          ledger.file,
	}
}

// app is the absolute path of testdata/app.rb.
func (s *sandbox) app() string {
	app, err := filepath.Abs("testdata/app.rb")
	if err != nil {
		s.Fatal(err)
	}
	return app
}

// watched starts runit/sidekiq-memory-killer beside Sidekiq, configured as a user does, and follows its log.
func (k *sidekiq) watched(conf map[string]string) (killer *runsv, events *gracewatch) {
	s := k.runsv.s
	s.Helper()
	dir := s.serviceDir("runit/sidekiq-memory-killer", "sidekiq-memory-killer")
	s.conf(dir, map[string]string{"MEMORY_KILLER_TARGET": k.dir})
	s.conf(dir, conf)
	killer = s.runsv(dir)
	return killer, s.eventsIn(dir + "/log/main/current")
}

// working waits for a Sidekiq that has booted, other than the given ones, and returns its process.
func (k *sidekiq) working(not ...process) process {
	k.runsv.s.Helper()
	var p process
	k.runsv.s.waitFor("Sidekiq has booted", func() bool {
		p = k.running(not...)
		return booted(p)
	})
	return p
}

// booted: from its first heartbeat on Sidekiq has its title, and handlers for all signals.
func booted(p process) bool { return bootedTitle.MatchString(title(p)) }

var bootedTitle = regexp.MustCompile(`^sidekiq [0-9]`)

func title(p process) string {
	cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid))
	return string(bytes.TrimRight(cmdline, "\x00"))
}
