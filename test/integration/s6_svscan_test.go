package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"gracekit/test/harness"
)

// A container stands in for one of s6-overlay's: its environment, and with-contenv in the first line of the run scripts.
// All else in them is as it is shipped.
type container struct{ *sandbox }

func inContainer(t *testing.T) (*sandbox, container) {
	s := newSandbox(t)
	s.Need("s6-svscan")
	s.Mkdir("environment")
	// As the real one is seen to work: PATH stays, all else is what is in the files at that moment.
	s.Script("with-contenv", fmt.Sprintf(`exec env -i PATH="$PATH" %s %s="$%[2]s" s6-envdir -Lf '%[3]s' "$@"
`, s.Mark, harness.RunVariable, s.Path("environment")))
	return s, container{s}
}

// sets puts variables into the container's environment, as docker run -e does.
func (k container) sets(settings map[string]string) {
	k.Helper()
	for name, value := range settings {
		file := k.Write("environment.new", value, 0o644)
		if err := os.Rename(file, k.Path("environment", name)); err != nil { // it is read at any time
			k.Fatal(err)
		}
	}
}

// standIn has a program stand in for the Sidekiq of the image.
func (k container) standIn(program string) {
	k.Helper()
	k.sets(map[string]string{"SIDEKIQ_APP": k.Dir, "SIDEKIQ_USER": "root", "SIDEKIQ_COMMAND": k.Script("program", program),
		"MEMORY_KILLER_TARGET": k.Path("service/svc-sidekiq")})
}

// service copies a service directory, and changes the first lines of its scripts alone.
func (k container) service(from, to string) string {
	k.Helper()
	k.Mkdir(filepath.Dir(to))
	dir := k.ServiceDir(from, to)
	k.interprets(dir)
	return dir
}

// interprets changes the first lines of the scripts in a folder.
func (k container) interprets(folder string) {
	k.Helper()
	k.Must("find", folder, "-type", "f", "-exec", "sed", "-i", "1s|^#!/command/with-contenv |#!"+k.Path("with-contenv")+" |", "{}", "+")
}

// overlay copies a service of s6-overlay's; s6-rc has them in servicedirs.
func (k container) overlay(name string) string {
	k.Helper()
	return k.service("s6/s6-overlay/etc/s6-overlay/s6-rc.d/"+name, "servicedirs/"+name)
}

// starts starts its services.
func (k container) starts(dirs ...string) *harness.Svscan {
	k.Helper()
	return k.Svscan([]string{"s6-svscan"}, dirs...)
}
