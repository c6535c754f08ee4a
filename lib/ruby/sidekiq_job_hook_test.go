// Package ruby has the job hook, which is loaded by an application.
package ruby

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
)

// ruby runs a script that has loaded the job hook, and returns what it prints.
func ruby(t *testing.T, script string, env ...string) string {
	t.Helper()
	if _, err := exec.LookPath("sidekiq"); err != nil {
		t.Skip(err)
	}
	c := exec.Command("ruby", "-r", "./sidekiq_job_hook", "-e", script)
	c.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("%v\n%s%s", err, out, &stderr)
	}
	return string(out)
}

func TestTheHookReadsSizesAsOurProgramsDo(t *testing.T) {
	text, err := os.ReadFile("../units/testdata/sizes.json")
	if err != nil {
		t.Fatal(err)
	}
	out := ruby(t, `puts JSON.generate(JSON.parse(File.read("../units/testdata/sizes.json")).to_h { |text, _| [text, GracekitJobHook::Limit.parse(text)] })`)
	var got, want map[string]any
	for text, to := range map[string]*map[string]any{out: &got, string(text): &want} {
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		if err := d.Decode(to); err != nil {
			t.Fatal(err)
		}
	}
	for text := range want {
		if !reflect.DeepEqual(got[text], want[text]) {
			t.Errorf("%q is %v, want %v", text, got[text], want[text])
		}
	}
}

func TestTheLimitHasTwoNames(t *testing.T) {
	out := ruby(t, `
		[["", ""], ["2G", ""], ["", "80%"], ["2G", "2G"], ["2G", "3G"], ["", "2Q"]].each do |values|
			puts GracekitJobHook::Limit.read(GracekitJobHook::Limit::NAMES.zip(values).to_h)
		rescue ArgumentError => e
			puts e.message
		end
		puts GracekitJobHook::Limit.read({})`)
	const want = `0
2097152
share
2097152
SIDEKIQ_MEMORY_KILLER_MAX_RSS and MEMORY_KILLER_MAX_RSS have different values (want one of them)
MEMORY_KILLER_MAX_RSS: invalid size "2Q" (want 2000000, 1500M or 80%)
0
`
	if out != want {
		t.Errorf("%s, want %s", out, want)
	}
}

// control is a script that runs three jobs and prints what they cost: full
// collections of garbage, and what was written to the control FIFO.
const control = `
	File.mkfifo(ENV["MEMORY_KILLER_CONTROL"])
	fifo = File.open(ENV["MEMORY_KILLER_CONTROL"], File::RDONLY | File::NONBLOCK)
	before = GC.stat(:major_gc_count)
	3.times { GracekitJobHook.new.call { 1 } }
	puts "#{GC.stat(:major_gc_count) - before} #{fifo.read_nonblock(9, exception: false).inspect}"`

func TestWhatJobsCostAndAskFor(t *testing.T) {
	const invalid = `ERROR: gracekit job hook: SIDEKIQ_MEMORY_KILLER_MAX_RSS: invalid size "2e+06" (want 2000000, 1500M or 80%): no checks are asked for`
	for limit, want := range map[string]string{
		"":      "0 nil\n",
		"0":     "0 nil\n",
		"2e+06": invalid + "\n0 nil\n", // logged once
		"80%":   "0 \"ccc\"\n",         // a share is left to the watcher
		"1":     "1 \"ccc\"\n",         // over the limit one collection a minute comes first
	} {
		got := ruby(t, control, "MEMORY_KILLER_CONTROL="+t.TempDir()+"/fifo", "SIDEKIQ_MEMORY_KILLER_MAX_RSS="+limit)
		if !strings.HasSuffix(got, want) || strings.Count(got, "\n") != strings.Count(want, "\n") {
			t.Errorf("%q: %q, want %q", limit, got, want)
		}
	}
}

func TestAJobNeitherFailsNorWaitsWhateverTheFIFOIs(t *testing.T) {
	out := ruby(t, `
		Dir.chdir(ENV["FOLDER"])
		File.chmod(0o777, ".")
		def fifo
			File.mkfifo("fifo")
			File.chmod(0o666, "fifo")
			File.open("fifo", File::RDWR | File::NONBLOCK)
		end
		{
			"none" => -> { nil },
			"a FIFO" => -> { fifo },
			"full" => -> { f = fifo; nil while f.write_nonblock("x", exception: false) == 1; f },
			"no reader" => -> { fifo.close },
			"no permission" => -> { f = fifo; File.chmod(0, "fifo"); f },
			"a link" => -> { f = fifo; File.rename("fifo", "other"); File.symlink("other", "fifo"); f },
			"a file" => -> { File.write("fifo", ""); File.chmod(0o666, "fifo"); File.open("fifo") },
			"a directory" => -> { Dir.mkdir("fifo", 0o777); nil },
		}.each do |name, make|
			reader, root = make.call, Process.euid == 0
			Process::Sys.seteuid(65534) if root # whom permissions count for
			done = GracekitJobHook.new.call { "done" }
			Process::Sys.seteuid(0) if root
			puts "#{name}: #{done}, read: #{reader&.read_nonblock(1 << 20, exception: false).to_s.squeeze}"
			FileUtils.rm_rf(%w[fifo other])
		end`, "FOLDER="+t.TempDir(), "MEMORY_KILLER_CONTROL=fifo", "SIDEKIQ_MEMORY_KILLER_MAX_RSS=1")
	const want = `none: done, read: 
a FIFO: done, read: c
full: done, read: x
no reader: done, read: 
no permission: done, read: wait_readable
a link: done, read: wait_readable
a file: done, read: 
a directory: done, read: 
`
	if out != want {
		t.Errorf("%s, want %s", out, want)
	}
}

// What sidekiq-fleet reads (lib/fleet/note.go).
func TestTheNoteHasTheRunningJobs(t *testing.T) {
	notes := t.TempDir()
	out := ruby(t, `
		require "sidekiq/util" unless Sidekiq.const_defined?(:Component)
		GracekitJobHook.send(:remove_const, :NOTES)
		GracekitJobHook::NOTES = ENV["NOTES"]
		folder = "#{ENV["NOTES"]}/#{Process.euid}"
		Dir.mkdir(folder)
		File.write("#{folder}/99999999.hook", "") # of a process that was killed
		GracekitJobHook.startup
		read = -> { JSON.parse(File.read("#{folder}/#{$$}.hook")) }
		idle = read.call["jobs"]
		job = { "jid" => "j1", "class" => "ActiveJob::QueueAdapters::SidekiqAdapter::JobWrapper", "wrapped" => "Import", "queue" => "low" }
		busy = nil
		GracekitJobHook.new.call(nil, job, "low") { busy = read.call }
		raised = begin
			GracekitJobHook.new.call(nil, job, "low") { raise "failed" }
		rescue RuntimeError
			read.call["jobs"]
		end
		since = busy["jobs"][0].delete("since")
		mode = File.stat("#{folder}/#{$$}.hook").mode.to_s(8)
		fork { GracekitJobHook.new.call(nil, job, "low") { exit } } # a job that forks
		Process.wait
		puts JSON.generate([idle, busy["jobs"], raised, read.call["jobs"], Time.now.to_i - since < 60, mode, Dir.children(folder).size])
		puts busy["identity"].split(":")[1] == $$.to_s`, "NOTES="+notes)
	const want = `[[],[{"jid":"j1","class":"Import","queue":"low","tid":null}],[],[],true,"100600",1]` + "\ntrue\n"
	if out != want {
		t.Errorf("%s, want %s", out, want)
	}
	left, err := os.ReadDir(notes + "/" + strings.TrimSpace(ruby(t, "print Process.euid")))
	if err != nil || len(left) > 0 {
		t.Errorf("after its exit: %v, %v", left, err)
	}
}

func TestTheTitleKeepsTheWordsOfOthers(t *testing.T) {
	out := ruby(t, `
		require "sidekiq/cli"
		["sidekiq 6.4.1  [3 of 5 busy]", "sidekiq 7.3.2 app [3 of 5 busy] leader", "sidekiq 7.3.2 app [3 of 5 busy] stopping leader",
		 "web 1 sidekiq 7.3.2 [9 of 9 busy] [3 of 5 busy] v42", "rake"].each do |title|
			$0 = title
			GracekitJobHook.send(:write_title)
			puts $0
		end`)
	const want = `sidekiq 6.4.1  [0 of 5 busy] stopping
sidekiq 7.3.2 app [0 of 5 busy] stopping leader
sidekiq 7.3.2 app [0 of 5 busy] stopping leader
web 1 sidekiq 7.3.2 [9 of 9 busy] [0 of 5 busy] stopping v42
rake
`
	if out != want {
		t.Errorf("%s, want %s", out, want)
	}
}
