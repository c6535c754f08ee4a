package proc

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// again runs the calling test again, by a shell script that has the program to
// run in $1 and its arguments behind that; run tells whether this is that run.
func again(t *testing.T, script string) (run bool) {
	t.Helper()
	const variable = "PROC_TEST_AGAIN"
	if os.Getenv(variable) == t.Name() {
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("for root alone")
	}
	dir := t.TempDir()
	copied := filepath.Join(dir, "test") // where every user can run it
	check(t, exec.Command("cp", os.Args[0], copied).Run(), os.Chmod(copied, 0o755), os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755))
	cmd := exec.Command("sh", "-c", script, "sh", copied, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), variable+"="+t.Name())
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "cannot be tested here") {
		t.Skipf("%s", out)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v: %s", err, out)
	}
	return false
}

// Under each of hidepid's values a living process of another user is neither seen nor gone.
func TestAProcessThatProcHidesIsNotGone(t *testing.T) {
	if !again(t, `for hide in 1 2 4; do
		unshare -m --propagation private sh -c 'mount -t proc -o hidepid=$0 proc /proc || { echo cannot be tested here; exit 1; }
			exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"' "$hide" "$@" || exit 1
	done`) {
		return
	}
	p, err := Open(1)
	if err == nil || errors.Is(err, ErrGone) {
		t.Errorf("process 1: %v, %v", p, err)
	}
	hidden := errors.Is(err, ErrHidden) && strings.HasSuffix(err.Error(), "(mount option hidepid, or ProtectProc= of systemd)")
	if !hidden && !errors.Is(err, unix.EPERM) { // hidepid=1
		t.Errorf("%v", err)
	}
	if _, err := Open(PIDMax); !errors.Is(err, ErrGone) {
		t.Errorf("a pid of no process: %v", err)
	}
}

func TestTheEnvironmentOfAnotherUsersProcessIsReadWithoutPtrace(t *testing.T) {
	if !again(t, `exec setpriv --inh-caps=-all --bounding-set=-all,+chown,+dac_override,+fowner,+kill,+setgid,+setuid "$@"`) {
		return
	}
	cmd := exec.Command("sleep", "600")
	cmd.Env = []string{"PGEXEC_ID=1:2", "EMPTY=", "LINES=a\nb"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65533}, Pdeathsig: syscall.SIGKILL}
	check(t, cmd.Start())
	defer cmd.Wait()
	defer cmd.Process.Kill()
	p := open(t, cmd.Process.Pid)
	if _, err := p.ReadFile("environ"); !errors.Is(err, unix.EACCES) {
		t.Fatalf("it could be read as it is: %v", err)
	}
	for range 20 {
		environ, err := p.Environ()
		if got := strings.Join(environ, "|"); err != nil || got != "PGEXEC_ID=1:2|EMPTY=|LINES=a\nb" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	// Every thread is root's again, in all four ids.
	own := open(t, os.Getpid())
	tids, err := own.threadIDs()
	check(t, err)
	for _, tid := range tids {
		text, err := own.ReadFile("task/" + strconv.Itoa(tid) + "/status")
		if err != nil {
			continue // it has ended
		}
		for _, key := range []string{"Uid:", "Gid:"} {
			if ids := strings.Fields(string(statusLine(text, key))); strings.Join(ids, " ") != "0 0 0 0" {
				t.Errorf("thread %d: %s %v", tid, key, ids)
			}
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
	if _, err := p.Environ(); !errors.Is(err, ErrGone) {
		t.Errorf("of a process that has exited: %v", err)
	}
}
