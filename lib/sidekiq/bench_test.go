package sidekiq

import "testing"

// What a watcher does at each check before it reads sizes. It grows with the number of processes below the target.
func BenchmarkList(b *testing.B) {
	for name, text := range map[string]string{
		"itself":    `heart; 20.times { heart "processor" }`,
		"below 50":  `child { heart }; 50.times { spawn "sleep", "1000" }`,
		"below 500": `child { heart }; 500.times { spawn "sleep", "1000" }`,
	} {
		target, lister := startRuby(b, text, nil), NewLister()
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if found, err := lister.List(target); err != nil || len(found) != 1 {
					b.Fatal(found, err)
				}
			}
		})
	}
}
