// Command bench measures what gracekit costs beside what others cost, in one
// run: what is compared is measured in turns or at the same time, so that a
// busy machine is busy for both. test/bench/run builds all it needs.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// measurements print rows. Their names are arguments of test/bench/run.
var measurements = []struct {
	name    string
	measure func()
}{
	{"starts", starts}, {"probe", probe}, {"crowd", crowd}, {"watch", watch}, {"memory", residentSizes}, {"crossing", crossing}, {"family", family},
	{"sidekiq", sidekiq}, {"fleet", fleet}, {"gracestat", gracestat}, {"restart", restart}, {"sizes", sizes},
}

func main() {
	var known []string
	for _, m := range measurements {
		known = append(known, m.name)
	}
	wanted := os.Args[1:]
	if len(wanted) == 0 {
		wanted = known
	}
	for _, name := range wanted {
		if !slices.Contains(known, name) {
			check(fmt.Errorf("invalid measurement %q (want %s)", name, strings.Join(known, ", ")))
		}
	}
	fmt.Printf("%s, %s, %d cores, load %s, Linux %s, %s\n\n", time.Now().Format("2006-01-02 15:04"), cpuModel(), runtime.NumCPU(),
		strings.Fields(line("/proc/loadavg"))[0], line("/proc/sys/kernel/osrelease"), runtime.Version())
	fmt.Printf(row, "gracekit : what it is measured by", "gracekit", "other", "ratio", "limit", "")

	go killOnSignal()
	began := time.Now()
	for _, m := range measurements {
		if slices.Contains(wanted, m.name) {
			m.measure()
		}
	}
	fmt.Printf("\nmeasured in %s\n", time.Since(began).Round(time.Second))
}

// startTarget starts a process of 50 MB with three children of that size.
func startTarget() process {
	const leaky = "./leaky -max 50000"
	p := start("sh", "-c", strings.Repeat(leaky+" & ", 3)+"exec "+leaky)
	for range 4 {
		p.waitReady()
	}
	return p
}

// starts: the wall time of the start of the program that takes longest, and that of a shell which checks one number, as
// the recipes did that the programs have replaced, in turns.
func starts() {
	const numberCheck = `printf 30 | tr '\n' _ | grep -Eqx 'inf|[0-9]{1,9}(\.[0-9]+)?'`
	binaries, err := filepath.Glob("bin/*")
	check(err)
	var slowest, shell time.Duration
	var name string
	for _, b := range binaries {
		var ours, recipe []time.Duration
		for range 20 {
			ours = append(ours, run(b, "--version"))
			recipe = append(recipe, run("sh", "-c", numberCheck))
		}
		if median(ours) > slowest {
			slowest, shell, name = median(ours), median(recipe), filepath.Base(b)
		}
	}
	compare("start of "+name+" : a number checked in sh", slowest, shell, 1)
}

// probe: the wall time of `rssprobe PID` and `ps`, in turns.
func probe() {
	target := startTarget()
	defer target.kill()
	var ours, ps []time.Duration
	for range 200 {
		ours = append(ours, run("bin/rssprobe", target.pid()))
		ps = append(ps, run("ps", "-o", "rss=", "-p", target.pid()))
	}
	compare("rssprobe PID : ps -o rss= -p PID", median(ours), median(ps), 0.6)
}

// crowd: the wall time of `rssprobe -S tree` among many processes and few, in turns.
func crowd() {
	target := startTarget()
	defer target.kill()
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
	for range 5 {
		few = append(few, timed("30")...)
		many = append(many, timed("3000")...)
	}
	compare("rssprobe -S tree, 3000 others : 30", median(many), median(few), 1.2)
}

// watch: the CPU time of a check, all watchers running beside each other on the same process.
func watch() {
	target := startTarget()
	defer target.kill()
	watchers := []process{
		start("bin/gracewatch", "-q", "-s", "1T", "-i", "10ms", target.pid()),
		start("./memloop", target.pid(), "10"),
		start("bin/gracewatch", "-q", "-s", "1T", "-i", "1", target.pid()),
		start("./memloop", target.pid(), "1000"),
		startMonit(target, "if total memory > 100 GB then alert"),
	}
	time.Sleep(2 * time.Second) // what they do at their start is not a check
	spent := cpuPerSecond(watchers, 20)

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

// residentSizes: the RSS of gracewatch after 20,000 checks and after the first hundred; and with all its files, before and
// after restarts. That of the program that it keeps in memory is not in it: its pages are those of the program itself when
// it runs.
func residentSizes() {
	target := startTarget()
	defer target.kill()
	prog, err := filepath.EvalSymlinks("/bin/sh")
	check(err)
	info, err := os.Stat(prog)
	check(err)
	withFiles := func(name string, limits ...string) process {
		return start("bin/gracewatch", append(limits, "-q", "-f", name, "--history", name+".history", "--notify", prog, "-i", "2ms",
			target.pid(), prog, "-c", "exit 75")...)
	}
	calm, restarting := withFiles("calm", "-s", "1T"), withFiles("restarting", "-s", "1", "-g", "0", "-r", "1")
	checking := start("bin/gracewatch", "-q", "-s", "1T", "-i", "1ms", target.pid())
	for _, p := range []process{calm, restarting, checking} {
		defer p.kill()
	}
	began := time.Now()
	waitReads := func(n int) {
		for checking.reads() < n {
			time.Sleep(10 * time.Millisecond)
		}
	}
	waitReads(100)
	few := checking.status("VmRSS")
	waitReads(20_000)
	memory("gracewatch RSS, after 20000 checks : 100", checking.status("VmRSS"), few, 4.5*mb)
	time.Sleep(22*time.Second - time.Since(began)) // a restart a second
	rss := func(p process) int { return p.status("VmRSS") - int(info.Size()/1024) }
	memory("gracewatch RSS, all its files, 20 restarts : 0", rss(restarting), rss(calm), 4.5*mb)
}

// crossing: the time from the moment at which a process is over the hard limit to its end by TERM, of gracewatch, which
// runs graceful-restart, and of monit, each with a process of its own and a check a second.
func crossing() {
	var ours, monits []time.Duration
	type watched struct{ target, watcher process }
	for range 3 {
		var all []watched
		for range 4 { // at other moments of the second
			mine, its := startGrowing(), startGrowing()
			all = append(all,
				watched{mine, start("bin/gracewatch", "-q", "-H", "45M", "-i", "1", mine.pid(), "bin/graceful-restart", "-q", "{}")},
				watched{its, startMonit(its, "if total memory > 45 MB then exec \"/bin/kill -TERM "+its.pid()+"\"")})
			time.Sleep(250 * time.Millisecond)
		}
		took := make([]chan time.Duration, len(all))
		for i, w := range all {
			took[i] = make(chan time.Duration, 1)
			go func() { took[i] <- w.target.lifeAfterReady() }()
		}
		for i, w := range all {
			if i%2 == 0 {
				ours = append(ours, <-took[i])
			} else {
				monits = append(monits, <-took[i])
			}
			w.watcher.kill()
			w.target.kill()
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
	time.Sleep(2 * time.Second) // finding the children is not a check
	spent := cpuPerSecond(watchers, 10)
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
	spent := cpuPerSecond(watchers, 10)
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
