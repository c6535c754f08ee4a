package sidekiq

import (
	"reflect"
	"strings"
	"testing"

	"gracekit/lib/proc"
)

func TestThreadsAreRecognisedByTheirNames(t *testing.T) {
	for names, want := range map[string]threads{
		// facts: Sidekiq 6.4.1 and 7.3.2, running and quiet; the first is the main thread
		"sidekiq heartbeat scheduler processor processor": {heartbeat: 2, scheduler: true, processors: []int{4, 5}},
		"sidekiq heartbeat processor":                     {heartbeat: 2, processors: []int{3}},
		"sidekiq heartbeat":                               {heartbeat: 2},
		"sidekiq sidekiq sidekiq.heartbe sidekiq.schedul sidekiq.default sidekiq.slow": {heartbeat: 3, scheduler: true, processors: []int{5, 6}},
		"sidekiq sidekiq sidekiq.heartbe":                                              {heartbeat: 3},
		// a processor whose capsule has the name of another thread
		"sidekiq sidekiq.heartbe sidekiq.heartbe": {heartbeat: 2, processors: []int{3}},
		"sidekiq sidekiq.heartbe sidekiq.schedul": {heartbeat: 2, scheduler: true},
		// embedded in another program
		"puma sidekiq.heartbe sidekiq.schedul sidekiq.default": {heartbeat: 2, scheduler: true, processors: []int{4}},
		// a fork that was made in a thread of Sidekiq
		"heartbeat ffmpeg":           {others: 1},
		"heartbeat heartbeat ffmpeg": {others: 1}, // and a thread without a name of its own
		"processor":                  {},
		// not known to be Sidekiq's
		"sidekiq":           {},
		"sidekiq scheduler": {scheduler: true},
		// a job has given its thread the name of another
		"sidekiq heartbeat heartbeat processor": {heartbeat: 2, processors: []int{4}, others: 1},
		"":                                      {},
	} {
		var list []proc.Thread
		for i, name := range strings.Fields(names) {
			list = append(list, proc.Thread{TID: i + 1, Name: name})
		}
		if got := recognise(1, list); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", names, got, want)
		}
	}
}
