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

	go killOnSignal()
	target := start("./leaky", "-max", "50000", "-children", "3")
	defer target.kill()
	target.waitReady()

	probe(target)
	crowd(target)
	watch(target)
	flat(target)
	resident(target)
	crossing()
	family()
	sidekiq()
	fleet()
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
		for range 25 {
			d = append(d, run("bin/rssprobe", "-S", "tree", target.pid()))
		}
		return d
	}
	var many, few []time.Duration
	for range 12 {
		few = append(few, timed("30")...)
		many = append(many, timed("3000")...)
	}
	compare("rssprobe -S tree, 3000 others : 30", median(many), median(few), 1.2)
}

// watch: the CPU time of a check, all watchers running beside each other on the same process.
func watch(target process) {
	watchers := []process{
		start("bin/gracewatch", "-q", "-s", "1T", "-i", "10ms", target.pid()),
		start("./memloop", target.pid(), "10"),
		start("bin/gracewatch", "-q", "-s", "1T", "-i", "1", target.pid()),
		start("./memloop", target.pid(), "1000"),
		startMonit(target, "if total memory > 100 GB then alert"),
	}
	time.Sleep(2 * time.Second) // what they do at their start is not a check
	spent := cpuPerSecond(watchers, 40)

	compare("gracewatch check : pread + poll in C, 10 ms", spent[0]/100, spent[1]/100, 4)
	compare("gracewatch check : pread + poll in C, 1 s", spent[2], spent[3], 4)
	compare("gracewatch check : monit cycle, 1 s", spent[2], spent[4], 0.1)
	ours, monit := watchers[2], watchers[4]
	memory("gracewatch RSS : monit", ours.status("VmRSS"), monit.status("VmRSS"), 4.5*mb)
	memory("gracewatch RssAnon : monit", ours.status("RssAnon"), monit.status("RssAnon"), 1.3*mb)
	for _, w := range watchers {
		w.kill()
	}
}

// cpuPerSecond is the median CPU time of each process in so many windows of a second.
func cpuPerSecond(processes []process, windows int) []time.Duration {
	spent := make([][]time.Duration, len(processes))
	before := make([]time.Duration, len(processes))
	for w := range windows + 1 {
		for i, p := range processes {
			now := p.cpu()
			if w > 0 {
				spent[i] = append(spent[i], now-before[i])
			}
			before[i] = now
		}
		time.Sleep(time.Second)
	}
	medians := make([]time.Duration, len(processes))
	for i := range spent {
		medians[i] = median(spent[i])
	}
	return medians
}

// flat: the RSS of gracewatch after 100,000 checks and after the first few.
func flat(target process) {
	p := start("bin/gracewatch", "-q", "-s", "1T", "-i", "1ms", target.pid())
	defer p.kill()
	sizeAfter := func(checks int) int {
		for {
			kb := p.status("VmRSS")
			if p.reads() >= checks {
				return kb
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	first := sizeAfter(100)
	memory("gracewatch RSS, after 100000 checks : 100", sizeAfter(100_000), first, 4.5*mb)
}

// resident: the RSS of gracewatch with all its files, before and after restarts. That of the program that it keeps in
// memory is not in it: its pages are those of the program itself when it runs.
func resident(target process) {
	prog, err := filepath.EvalSymlinks("/bin/sh")
	check(err)
	info, err := os.Stat(prog)
	check(err)
	rss := func(limits ...string) int {
		args := append(limits, "-q", "-f", "state", "--history", "history", "--notify", prog, "-i", "2ms", target.pid(), prog, "-c", "exit 75")
		p := start("bin/gracewatch", args...)
		defer p.kill()
		time.Sleep(20 * time.Second)
		return p.status("VmRSS") - int(info.Size()/1024)
	}
	first := rss("-s", "1T")
	memory("gracewatch RSS, with all its files : once more", first, rss("-s", "1T"), 4.5*mb)
	memory("gracewatch RSS, after 20 restarts : before", rss("-s", "1", "-g", "0", "-r", "1"), first, 4.5*mb)
}

// crossing: the time from the moment at which a process is over the hard limit to its end by TERM, of gracewatch, which
// runs graceful-restart, and of monit, each with a process of its own and a check a second.
func crossing() {
	var ours, monits []time.Duration
	for range 12 {
		mine, its := startGrowing(), startGrowing()
		watchers := []process{
			start("bin/gracewatch", "-q", "-H", "45M", "-i", "1", mine.pid(), "bin/graceful-restart", "-q", "{}"),
			startMonit(its, "if total memory > 45 MB then exec \"/bin/kill -TERM "+its.pid()+"\""),
		}
		took := make(chan time.Duration)
		go func() { took <- mine.lifeAfterReady() }()
		monits = append(monits, its.lifeAfterReady())
		ours = append(ours, <-took)
		for _, w := range append(watchers, mine, its) {
			w.kill()
		}
	}
	within("hard limit to TERM, check a second : monit", median(ours), median(monits), time.Second)
}

// startGrowing starts a process of 30 MB that has 60 two seconds later.
func startGrowing() process {
	return start("./leaky", "-max", "60000", "-grow", "30000", "-every", "2s")
}

// family: the CPU time that a check takes a child, in families of several sizes
// that are watched beside each other, and the RSS of the watcher of 500.
func family() {
	const checks = 10 // a second
	sizes := []int{50, 100, 500}
	var parents, watchers []process
	for _, children := range sizes {
		parent := start("./crowd", fmt.Sprint(children))
		parent.waitReady()
		parents = append(parents, parent)
		watchers = append(watchers, start("bin/gracewatch", "-q", "-S", "children", "-s", "1T", "-i", "100ms", parent.pid()))
	}
	time.Sleep(2 * time.Second) // they meet the children
	spent := cpuPerSecond(watchers, 20)
	for i, children := range sizes {
		spent[i] /= time.Duration(checks * children)
	}
	few := spent[0]
	for i, children := range sizes[1:] {
		compare(fmt.Sprintf("gracewatch check a child, of %d : %d", children, sizes[0]), spent[i+1], few, 1.2)
	}
	memory("gracewatch RSS, 500 children : 50", watchers[2].status("VmRSS"), watchers[0].status("VmRSS"), 6*mb)
	for _, p := range append(watchers, parents...) {
		p.kill()
	}
}

// sidekiq: the CPU time of a check of scope sidekiq beside one of scope process,
// where the process is the Sidekiq; and what it takes a process, where the Sidekiq
// is one of many below.
func sidekiq() {
	worker := start("./crowd", "0", "self")
	worker.waitReady()
	watchers := []process{
		start("bin/gracewatch", "-q", "-S", "sidekiq", "-s", "1T", "-i", "10ms", worker.pid()),
		start("bin/gracewatch", "-q", "-S", "process", "-s", "1T", "-i", "10ms", worker.pid()),
	}
	processes := append(watchers, worker)
	sizes := []int{50, 500}
	for _, below := range sizes {
		parent := start("./crowd", fmt.Sprint(below), "child")
		parent.waitReady()
		watcher := start("bin/gracewatch", "-q", "-S", "sidekiq", "-s", "1T", "-i", "100ms", parent.pid())
		watchers, processes = append(watchers, watcher), append(processes, watcher, parent)
	}
	time.Sleep(2 * time.Second) // what they do at their start is not a check
	spent := cpuPerSecond(watchers, 20)
	compare("gracewatch check, -S sidekiq : process", spent[0]/100, spent[1]/100, 1.2)
	compare("gracewatch -S sidekiq a process, of 500 : 50", spent[3]/10/500, spent[2]/10/50, 1.2)
	for _, p := range processes {
		p.kill()
	}
}

// sizes: of the binaries, built as install.sh builds them.
func sizes() {
	binaries, err := filepath.Glob("bin/*")
	check(err)
	for _, b := range binaries {
		info, err := os.Stat(b)
		check(err)
		limit := 4 * mb
		switch filepath.Base(b) {
		case "sidekiq-fleet": // the client of Redis
			limit = 9 * mb
		case "gracestat": // plots
			limit = 12 * mb
		}
		kb := int(info.Size() / 1024)
		fmt.Printf(row, filepath.Base(b)+", size of the binary", inKB(kb), "", "", inKB(int(limit)), mark(kb > int(limit)))
	}
}

const mb = 1024.0 // KB

const row = "%-46s %10s %10s %7s %8s %s\n"

// compare prints a row whose limit is that of the ratio.
func compare(what string, ours, other time.Duration, limit float64) {
	ratio := float64(ours) / float64(other)
	fmt.Printf(row, what, short(ours), short(other), fmt.Sprintf("%.2f", ratio), fmt.Sprint(limit), mark(ratio > limit))
}

// within prints a row whose limit is that of our own time.
func within(what string, ours, other, limit time.Duration) {
	fmt.Printf(row, what, short(ours), short(other), fmt.Sprintf("%.2f", float64(ours)/float64(other)), short(limit), mark(ours > limit))
}

// memory prints a row whose limit is that of our own size. All in KB.
func memory(what string, ours, other int, limit float64) {
	fmt.Printf(row, what, inKB(ours), inKB(other), fmt.Sprintf("%.2f", float64(ours)/float64(other)), inKB(int(limit)), mark(ours > int(limit)))
}

func inKB(n int) string { return fmt.Sprint(n, " KB") }

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
