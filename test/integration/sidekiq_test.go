package integration

import (
	"gracekit/test/harness"
	"path/filepath"
	"regexp"
)

// A sidekiq is a real Sidekiq with testdata/app.rb, under a real runsv, from a copy of runit/sidekiq.
type sidekiq struct {
	*harness.Runsv
	redis *harness.Redis
	ledger
}

// sidekiq starts Sidekiq as a service; conf is what the user would put into its conf/.
func (s *sandbox) sidekiq(conf map[string]string) *sidekiq {
	s.Helper()
	s.Need("sidekiq")
	redis := s.Redis()
	dir := s.ServiceDir("runit/sidekiq", "sidekiq")
	ledger := ledger{s, s.Path("ledger")}
	s.Conf(dir, sidekiqConf(s, redis, ledger))
	s.Conf(dir, conf)
	return &sidekiq{s.Runsv(dir), redis, ledger}
}

func sidekiqConf(s *sandbox, redis *harness.Redis, ledger ledger) map[string]string {
	return map[string]string{
		"SIDEKIQ_APP":     s.Dir,
		"SIDEKIQ_USER":    "root", // counts only where root runs the tests
		"SIDEKIQ_COMMAND": "sidekiq -c 2 -r " + s.app(),
		"SIDEKIQ_TIMEOUT": "3", // not 2: that long an idle thread waits for its last job, and would swallow one that is pushed back
		"REDIS_URL":       redis.URL(),
		"LEDGER":          ledger.file,
	}
}

// app is the absolute path of testdata/app.rb.
func (s *sandbox) app() string {
	app, err := filepath.Abs("testdata/app.rb")
	s.Check(err)
	return app
}

// watched starts runit/sidekiq-memory-killer beside Sidekiq, with quickWatch and conf in its conf/, and follows its log.
func (k *sidekiq) watched(conf map[string]string) (events *harness.Log) {
	s := k.ledger.s
	s.Helper()
	dir := s.ServiceDir("runit/sidekiq-memory-killer", "sidekiq-memory-killer")
	s.Conf(dir, map[string]string{"MEMORY_KILLER_TARGET": k.Dir})
	s.Conf(dir, quickWatch)
	s.Conf(dir, conf)
	s.Runsv(dir)
	return s.Follow(dir + "/log/main/current")
}

// working waits for a Sidekiq that has booted, other than the given ones, and returns its process.
func (k *sidekiq) working(not ...harness.Process) harness.Process {
	k.ledger.s.Helper()
	var p harness.Process
	k.ledger.s.Eventually("Sidekiq has booted", func() bool {
		p = k.Running(not...)
		return booted(p)
	})
	return p
}

// booted: from its first heartbeat on Sidekiq has its title, and handlers for all signals.
func booted(p harness.Process) bool { return bootedTitle.MatchString(p.Title()) }

var bootedTitle = regexp.MustCompile(`^sidekiq [0-9]`)
