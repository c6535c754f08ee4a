package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"gracekit/lib/cli"
	"gracekit/lib/proc"
	"gracekit/lib/service"
)

// backgroundState is the option of gracewatch for its state: in the service
// directory if a supervisor is above, so that the next watcher of the next
// process goes on with back-off and restart; else where the settings or systemd
// say.
func (k *killer) backgroundState() []string {
	if dir := serviceDirectory(); dir != "" {
		return []string{"--state", filepath.Join(dir, "supervise/gracewatch")}
	}
	if k.values.State != "" {
		return []string{"--state", k.values.State}
	}
	if dir := os.Getenv("STATE_DIRECTORY"); dir != "" { // systemd.exec(5)
		return []string{"--state", filepath.Join(dir, "gracewatch")}
	}
	if k.limited() && !k.dryRun {
		k.cmd.Warn("no state is kept between two processes, and so no back-off: no runsv or s6-supervise is above, and neither MEMORY_KILLER_STATE nor STATE_DIRECTORY is set")
	}
	return nil
}

// serviceDirectory is that of the runsv or s6-supervise above this process, if
// supervise/ in it can be written; "" if there is none. Both work in it.
func serviceDirectory() string {
	for _, pid := range proc.Self().Above {
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		name := string(comm)
		if err != nil || name != "runsv\n" && name != "s6-supervise\n" {
			continue
		}
		dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
		if err != nil {
			return ""
		}
		target, err := service.Parse(dir)
		if err != nil {
			return ""
		}
		supervise, err := target.OpenSupervise()
		if err != nil {
			return ""
		}
		supervise.Close()
		if unix.Access(filepath.Join(dir, "supervise"), unix.W_OK) != nil {
			return ""
		}
		return dir
	}
	return ""
}

// detachedName is the name under which this program starts itself to leave a
// watcher behind.
const detachedName = "memory-killer: detach"

// detach starts a command line that is nobody's child: what the process before
// exec is shows up as the worker's tree, and a child of the worker would belong
// to that, and be a zombie in the end. So this program is started once more, and
// exits as soon as it has started the watcher.
func detach(argv []string) error {
	file, _, err := cli.Find(argv[0])
	if err != nil {
		return err
	}
	c := exec.Command("/proc/self/exe", append([]string{file}, argv...)...)
	c.Args[0] = detachedName
	c.Dir, c.Stderr = "/", os.Stderr
	c.Env = proc.WithoutMark(os.Environ())
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := c.Run(); err != nil {
		return fmt.Errorf("cannot start %s: %w", file, err)
	}
	return nil
}

// init runs the half way of detach: FILE ARGV...
func init() {
	if os.Args[0] != detachedName || len(os.Args) < 3 {
		return
	}
	closeOnExec()
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err == nil {
		_, err = os.StartProcess(os.Args[1], os.Args[2:], &os.ProcAttr{
			Dir: "/", Env: os.Environ(), Files: []*os.File{null, null, os.Stderr}, Sys: &syscall.SysProcAttr{Setsid: true}})
	}
	if err != nil {
		fmt.Fprintf(cli.Stderr, "memory-killer: error: cannot start %s: %v\n", os.Args[1], err)
		os.Exit(cli.Refused)
	}
	os.Exit(cli.Yes)
}

// closeOnExec has everything above stderr closed by exec: the watcher holds no
// lock, pipe or notification-fd of those who started the worker.
func closeOnExec() {
	names, _ := os.ReadDir("/proc/self/fd")
	for _, name := range names {
		if fd, err := strconv.Atoi(name.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}
