package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// restart: what a graceful restart of an idle Sidekiq costs: the time until it has exited beside that of a plain TERM, and
// the CPU time of graceful-restart beside that of the shell recipe that it has replaced. restart.rb does them in turns.
func restart() {
	bin, err := filepath.Abs("bin")
	check(err)
	cmd := exec.Command("ruby", os.Getenv("BENCH_SOURCE")+"/test/bench/restart.rb")
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	check(err)
	took, cpu := map[string]time.Duration{}, map[string]time.Duration{}
	for l := range bytes.Lines(out) {
		var way string
		var seconds, cpuSeconds float64
		_, err := fmt.Fscan(strings.NewReader(string(l)), &way, &seconds, &cpuSeconds)
		check(err)
		took[way] = time.Duration(seconds * float64(time.Second))
		cpu[way] = time.Duration(cpuSeconds * float64(time.Second))
	}
	within("graceful restart of an idle Sidekiq : TERM", took["graceful-restart"], took["TERM"], took["TERM"]+200*time.Millisecond)
	compare("graceful-restart, CPU : shell recipe", cpu["graceful-restart"], cpu["recipe"], 0.1)
}
