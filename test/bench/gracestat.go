package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// gracestat: the wall time of gracestat for 100 services, each with a gracewatch, beside that for 10 of them and that of
// sv status; and the CPU time of gracestat -w in a second.
func gracestat() {
	const services = 100
	var names []string
	for i := range services {
		name := fmt.Sprintf("sv/service-%d", i)
		names = append(names, name)
		check(os.MkdirAll(name, 0o755))
		check(os.WriteFile(name+"/run", []byte("#!/bin/sh\nexec sleep 100000\n"), 0o755))
	}
	// One group: runsv leaves its services in its own.
	all := start("sh", append([]string{"-c", `for service; do
		runsv $service & bin/gracewatch -q -s 1T -i 10 $service true &
	done; wait`, "sh"}, names...)...)
	defer all.kill()
	wait("100 services are watched", func() bool { return exec.Command("bin/gracestat", append([]string{"-q"}, names...)...).Run() == nil })

	var ours, few, sv []time.Duration
	for range 10 {
		ours = append(ours, run("bin/gracestat", names...))
		few = append(few, run("bin/gracestat", names[:10]...))
		sv = append(sv, run("sv", append([]string{"status"}, absolute(names)...)...))
	}
	const limit = 100 * time.Millisecond
	within("gracestat, 100 services : sv status", median(ours), median(sv), limit)
	within("gracestat, 100 services : 10", median(ours), median(few), limit)

	live := startOnTerminal("bin/gracestat", append([]string{"-w"}, names...)...)
	defer live.kill()
	time.Sleep(2 * time.Second)
	spent := cpuPerSecond([]process{live}, 10)
	within("gracestat -w, 100 services, CPU a second : 1 s", spent[0], time.Second, 10*time.Millisecond)
}

// absolute paths: sv takes others for names of services.
func absolute(names []string) (paths []string) {
	dir, err := os.Getwd()
	check(err)
	for _, name := range names {
		paths = append(paths, dir+"/"+name)
	}
	return paths
}

// startOnTerminal starts a command that has a terminal of its own, of which everything is read.
func startOnTerminal(name string, args ...string) process {
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	check(err)
	check(unix.IoctlSetPointerInt(int(keyboard.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(keyboard.Fd()), unix.TIOCGPTN)
	check(err)
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	check(err)
	defer terminal.Close()
	check(unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: 200}))
	cmd := exec.Command(name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	check(cmd.Start())
	go io.Copy(io.Discard, keyboard)
	p := process{cmd, keyboard}
	running[p] = true
	return p
}
