package integration

import (
	"strings"
	"testing"

	"gracekit/test/harness"
)

// The shipped services that write metrics, under their supervisors: the file is there with what SVDIR has, and the log says
// what is missing.
func TestMetricsServices(t *testing.T) {
	for supervisor, start := range map[string]func(s *sandbox, dir string, env ...string){
		"runit": func(s *sandbox, dir string, env ...string) { s.Runsv(dir, env...) },
		"s6": func(s *sandbox, dir string, env ...string) {
			s.Svscan(append([]string{"env"}, append(env, "s6-svscan")...), dir)
		},
	} {
		t.Run(supervisor, func(t *testing.T) {
			s := newSandbox(t)
			metrics := s.ServiceDir(supervisor+"/gracestat-metrics", "gracestat-metrics")
			s.Conf(metrics, map[string]string{"METRICS_FILE": s.Path("gracekit.prom"), "METRICS_INTERVAL": "1s"})
			s.Mkdir("sv")
			start(s, metrics, "SVDIR="+s.Path("sv"))
			s.Eventually("the log", func() bool {
				return strings.Contains(harness.FirstLine(metrics+"/log/main/current"), "gracestat: error: cannot find a service: none in "+s.Path("sv"))
			})
			s.Script("sv/app/run", "exec sleep 1000\n")
			s.Runsv(s.Path("sv/app"))
			s.Eventually("the metrics", func() bool {
				return strings.Contains(s.Read("gracekit.prom"), `gracekit_watcher_up{service="app",instance=""} 0`)
			})
		})
	}
}
