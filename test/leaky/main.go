// Command leaky is a process that grows, for the tests and the benchmark.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const usage = `usage: leaky [-max KB] [-grow KB] [-every DURATION] [-children N] [-ignore SIGNALS] [-catch SIGNALS]

Grow to -max KB of RSS, in steps of -grow KB each -every (default: at once),
print "ready" and stay until a signal ends it.

  -children N      start N copies of itself first; "ready" then means all of them
  -ignore SIGNALS  ignore these (TERM,TSTP)
  -catch SIGNALS   catch these, print "got NAME", go on

SIGUSR1 gives the memory back and prints "small"; SIGUSR2 grows again.
`

// toParent is where a copy tells, by closing it, that it is ready.
var toParent *os.File

func main() {
	flag.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	limit := flag.Int("max", 0, "")
	step := flag.Int("grow", 0, "")
	every := flag.Duration("every", 100*time.Millisecond, "")
	children := flag.Int("children", 0, "")
	ignore := flag.String("ignore", "", "")
	catch := flag.String("catch", "", "")
	flag.Parse()

	events := make(chan os.Signal, 16)
	signal.Notify(events, append(signals(*catch), unix.SIGUSR1, unix.SIGUSR2)...)
	if *ignore != "" { // Ignore of no signals ignores them all
		signal.Ignore(signals(*ignore)...)
	}

	if *children > 0 {
		startChildren(*children)
	} else if *children < 0 {
		toParent = os.NewFile(3, "ready")
	}

	var held [][]byte
	growing := true
	for {
		var tick <-chan time.Time
		if growing {
			missing := *limit - rss()
			if *step > 0 && missing > *step {
				missing, tick = *step, time.After(*every)
			}
			if missing > 0 {
				held = append(held, grow(missing))
			}
			if tick == nil {
				growing = false
				ready()
			}
		}
		select {
		case <-tick:
		case sig := <-events:
			switch sig {
			case unix.SIGUSR1:
				for _, m := range held {
					check(unix.Munmap(m))
				}
				held, growing = nil, false
				fmt.Println("small")
			case unix.SIGUSR2:
				growing = true
			default:
				fmt.Println("got", strings.TrimPrefix(unix.SignalName(sig.(unix.Signal)), "SIG"))
			}
		}
	}
}

// grow maps kb KB and touches each page: mapped alone, it is not resident.
func grow(kb int) []byte {
	m, err := unix.Mmap(-1, 0, kb<<10, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	check(err)
	for i := 0; i < len(m); i += os.Getpagesize() {
		m[i] = 1
	}
	return m
}

// rss is this process's own, in KB, from /proc/self/statm field 2.
func rss() int {
	var size, resident int
	text, err := os.ReadFile("/proc/self/statm")
	check(err)
	_, err = fmt.Sscan(string(text), &size, &resident)
	check(err)
	return resident * os.Getpagesize() >> 10
}

// startChildren starts n copies with the same arguments and returns when all are ready.
func startChildren(n int) {
	self, err := os.Executable()
	check(err)
	r, w, err := os.Pipe()
	check(err)
	for range n {
		cmd := exec.Command(self, append(os.Args[1:], "-children", "-1")...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.ExtraFiles = []*os.File{w}
		check(cmd.Start())
		go cmd.Wait()
	}
	w.Close()
	io.Copy(io.Discard, r) // ends when the last copy has closed its end
}

func ready() {
	if toParent == nil {
		fmt.Println("ready")
	} else {
		toParent.Close()
	}
}

// signals parses names such as "TERM,TSTP".
func signals(names string) []os.Signal {
	var list []os.Signal
	for _, name := range strings.FieldsFunc(names, func(r rune) bool { return r == ',' }) {
		sig := unix.SignalNum("SIG" + name)
		if sig == 0 {
			check(fmt.Errorf("invalid signal %q", name))
		}
		list = append(list, sig)
	}
	return list
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "leaky: fatal:", err)
		os.Exit(111)
	}
}
