// Command bench measures what gracekit costs beside what others cost, in one
// run: what is compared is measured in turns or at the same time, so that a
// busy machine is busy for both. test/bench/run builds all it needs.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

func main() {
	fmt.Printf("%s, %s, %d cores, Linux %s, %s\n\n", time.Now().Format("2006-01-02 15:04"),
		cpuModel(), runtime.NumCPU(), line("/proc/sys/kernel/osrelease"), runtime.Version())
	fmt.Printf(row, "gracekit : what it is measured by", "gracekit", "other", "ratio", "limit", "")

	target := start("./leaky", "-max", "50000", "-children", "3")
	defer target.kill()
	target.waitReady()

	probe(target)
	crowd(target)
	watch(target)
	flat(target)
	sizes()
}

// probe: the wall time of `rssprobe PID` and `ps`, in turns.
func probe(target process) {
	var ours, ps []time.Duration
	for range 300 {
		ours = append(ours, run("bin/rssprobe", target.pid()))
		ps = append(ps, run("ps", "-o", "rss=", "-p", target.pid()))
	}
	compare("rssprobe PID : ps -o rss= -p PID", median(ours), median(ps), 0.6)
}

// crowd: the wall time of `rssprobe -S tree` among many processes and few, in turns.
func crowd(target process) {
	timed := func(others string) (d []time.Duration) {
		crowd := start("./crowd", others)
		defer crowd.kill()
		crowd.waitReady()
		for range 50 {
			d = append(d, run("bin/rssprobe", "-S", "tree", target.pid()))
		}
		return d
	}
	var many, few []time.Duration
	for range 6 {
		few = append(few, timed("30")...)
		many = append(many, timed("3000")...)
	}
	compare("rssprobe -S tree, 3000 others : 30", median(many), median(few), 1.2)
}

// watch: the CPU time of a check, all watchers running beside each other on the same process.
func watch(target process) {
	const windows = 30
	fast := start("bin/gracewatch", "-s", "1T", "-i", "10ms", target.pid())
	defer fast.kill()
	slow := start("bin/gracewatch", "-s", "1T", "-i", "1", target.pid())
	defer slow.kill()
	fastC := start("./memloop", target.pid(), "10")
	defer fastC.kill()
	slowC := start("./memloop", target.pid(), "1000")
	defer slowC.kill()
	monit := startMonit(target)
	defer monit.kill()

	time.Sleep(2 * time.Second) // what they do at their start is not a check
	var ours, c []time.Duration
	slow0, slowC0, monit0 := slow.cpu(), slowC.cpu(), monit.cpu()
	for range windows {
		fast0, fastC0 := fast.cpu(), fastC.cpu()
		time.Sleep(time.Second)
		ours = append(ours, (fast.cpu()-fast0)/100)
		c = append(c, (fastC.cpu()-fastC0)/100)
	}
	slow1, slowC1, monit1 := (slow.cpu()-slow0)/windows, (slowC.cpu()-slowC0)/windows, (monit.cpu()-monit0)/windows

	compare("gracewatch check : pread + poll in C, 10 ms", median(ours), median(c), 4)
	compare("gracewatch check : pread + poll in C, 1 s", slow1, slowC1, 4)
	compare("gracewatch check : monit cycle, 1 s", slow1, monit1, 0.1)
	memory("gracewatch RSS : monit", slow.status("VmRSS"), monit.status("VmRSS"), 3500)
	memory("gracewatch RssAnon : monit", slow.status("RssAnon"), monit.status("RssAnon"), 1100)
}

// flat: the RSS of gracewatch after 100,000 checks and after the first few.
func flat(target process) {
	p := start("bin/gracewatch", "-s", "1T", "-i", "0.0001", target.pid())
	defer p.kill()
	first := p.reads() + 100
	for p.reads() < first {
		time.Sleep(time.Millisecond)
	}
	rss := p.status("VmRSS")
	for p.reads() < first+100_000 {
		time.Sleep(10 * time.Millisecond)
	}
	memory("gracewatch RSS, after 100000 checks : 100", p.status("VmRSS"), rss, 3500)
}

// sizes: of the binaries, built as install.sh builds them.
func sizes() {
	binaries, err := filepath.Glob("bin/*")
	check(err)
	for _, b := range binaries {
		info, err := os.Stat(b)
		check(err)
		limit := 2.8
		if b == "bin/sidekiq-fleet" {
			limit = 9
		}
		mb := float64(info.Size()) / 1e6
		fmt.Printf(row, filepath.Base(b)+", size of the binary", fmt.Sprintf("%.2f MB", mb), "", "",
			fmt.Sprintf("%.1f MB", limit), mark(mb > limit))
	}
}

const row = "%-44s %10s %10s %7s %8s %s\n"

// compare prints a row whose limit is that of the ratio.
func compare(what string, ours, other time.Duration, limit float64) {
	ratio := float64(ours) / float64(other)
	fmt.Printf(row, what, short(ours), short(other), fmt.Sprintf("%.2f", ratio), fmt.Sprint(limit), mark(ratio > limit))
}

// memory prints a row whose limit is that of our own size. All in KB.
func memory(what string, ours, other, limit int) {
	kb := func(n int) string { return fmt.Sprint(n, " KB") }
	fmt.Printf(row, what, kb(ours), kb(other), fmt.Sprintf("%.2f", float64(ours)/float64(other)), kb(limit), mark(ours > limit))
}

func mark(over bool) string {
	if over {
		return "OVER"
	}
	return ""
}

// short is d in milliseconds or microseconds, with two digits or more.
func short(d time.Duration) string {
	if d >= time.Millisecond {
		return fmt.Sprintf("%.2f ms", d.Seconds()*1e3)
	}
	return fmt.Sprintf("%.1f us", d.Seconds()*1e6)
}

func cpuModel() string {
	for _, l := range strings.Split(line("/proc/cpuinfo"), "\n") {
		if name, value, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}
