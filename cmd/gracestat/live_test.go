package main

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/gdamore/tcell/v2"
	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
	"gracekit/lib/watch"
)

// screenOf draws on a screen of 80 columns and 24 lines, and is what is on it then.
func screenOf(t *testing.T, l *live) string {
	t.Helper()
	screen := tcell.NewSimulationScreen("UTF-8")
	must(t, screen.Init())
	defer screen.Fini()
	screen.SetSize(80, 24)
	l.screen = screen
	l.draw()
	cells, width, _ := screen.GetContents()
	var text strings.Builder
	for i, cell := range cells {
		if i > 0 && i%width == 0 {
			text.WriteByte('\n')
		}
		text.WriteString(string(cell.Runes))
	}
	return text.String()
}

func TestTheScreenHasABarAndAForecastForEachWorker(t *testing.T) {
	puma := watched("puma", 3*1024)
	puma.Workers[0].ID.PID++
	l := &live{services: []Service{watched("sidekiq", 1024), puma}}
	var growing trend
	for second := range int64(30) {
		growing = growing.add(time.Duration(second)*time.Second, second<<10)
	}
	l.trends = map[proc.ID]trend{{PID: 1000, Start: 5}: growing}
	screen := screenOf(t, l)
	for _, want := range []string{
		"2 services ", "\n> sidekiq  last restart 3h ago (soft)",
		"\n       1.0G #############...........|...........|...  ok ",
		"\n    pid 1000  age 1d  jobs 3/10  soft limit in about 17m  soft 2.0G  hard 3.0G ",
		"\n  puma ",
		"\n       3.0G ########################|###########|...  ok ",
		"\n    pid 1001  age 1d  jobs 3/10  soft 2.0G  hard 3.0G  peak 6.0G ",
	} {
		if !strings.Contains(screen, want) {
			t.Errorf("no %q in\n%s", want, screen)
		}
	}
}

// What changes each second is read each second; everything else when it has changed.
func TestAServiceIsReadAsAWholeWhenItHasChanged(t *testing.T) {
	self, err := proc.Open(os.Getpid())
	must(t, err)
	defer self.Close()
	file := t.TempDir() + "/state"
	must(t, os.WriteFile(file, nil, 0o600))
	info, err := os.Stat(file)
	must(t, err)
	unchanged := func() *Service {
		s := watched("a", 1)
		s.Workers[0].ID, s.Workers[0].seen = self.ID, &watch.InstanceSnapshot{SoftKB: 7}
		s.read, s.state, s.written = proc.Now(), file, info.ModTime()
		return &s
	}
	if s := unchanged(); !s.update() || s.Workers[0].KB < 1<<10 || s.Workers[0].SoftKB != 7 {
		t.Errorf("%+v", s.Workers[0])
	}
	for name, change := range map[string]func(s *Service){
		"old":     func(s *Service) { s.read -= readEvery },
		"written": func(s *Service) { s.written = s.written.Add(-time.Second) },
		"down":    func(s *Service) { s.Workers = nil },
		"exited":  func(s *Service) { s.Workers[0].ID.Start++ },
	} {
		s := unchanged()
		if change(s); s.update() {
			t.Errorf("%s: only the sizes are read", name)
		}
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestKeysWriteToTheFIFOOfTheWatcher(t *testing.T) {
	link := t.TempDir() + "/gracewatch" // a process has the name of the link
	watcher := exec.CommandContext(t.Context(), link, "1000")
	must(t, os.Symlink("/bin/sleep", link), watcher.Start())
	t.Cleanup(func() { watcher.Wait() })
	p, err := proc.Open(watcher.Process.Pid)
	must(t, err)
	defer p.Close()
	control := t.TempDir() + "/control"
	must(t, unix.Mkfifo(control, 0o600))
	fifo, err := os.OpenFile(control, os.O_RDWR, 0)
	must(t, err)
	defer fifo.Close()
	s := watched("a", 1)
	s.Watcher, s.Snapshot.Control = p.ID, control
	l := &live{services: []Service{s}}
	press := func(keys string) {
		for _, key := range keys {
			if l.key(tcell.NewEventKey(tcell.KeyRune, key, 0)) {
				t.Errorf("key %c of %s quits", key, keys)
			}
		}
	}
	for keys, want := range map[string]string{"p": "p", "u": "u", "ry": "t", "rnu": "u", "yu": "u"} {
		press(keys)
		got := make([]byte, 8)
		n, err := fifo.Read(got)
		if err != nil || string(got[:n]) != want {
			t.Errorf("keys %s: %q, %v; want %q (%s)", keys, got[:n], err, want, l.message)
		}
	}
	if press("r"); !l.asking {
		t.Error("r does not ask")
	}
	l.services[0].Watcher.Start++ // of another process now
	if press("y"); !strings.Contains(l.message, "cannot reach the watcher of a") {
		t.Error(l.message)
	}
}
