package main

import (
	"strings"
	"testing"
)

func TestTheTimeoutIsFoundInACommandLine(t *testing.T) {
	for line, want := range map[string]string{
		"/usr/bin/ruby|/usr/bin/sidekiq|-r|./app.rb|-t|60": "60",
		"sidekiq|-t60":                                 "60",
		"sidekiq|--timeout|60":                         "60",
		"sidekiq|--timeout=60":                         "60",
		"sidekiq|--time=60":                            "60", // OptionParser completes what is short
		"sidekiq|-t|5|-t|60":                           "60",
		"bundle|exec|sidekiq|-t|60":                    "60",
		"bin/sidekiqswarm|-t|60":                       "60",
		"ruby|/opt/bin/sidekiq-cluster|*|--timeout|60": "60",
		"sidekiq|-r|./app.rb":                          "",
		"sidekiq|--tag|60":                             "",
		"sidekiq|-e|-t":                                "", // its value is missing
		"sidekiq 6.4.1 app [0 of 5 busy]":              "",
		"puma|-t|5:5":                                  "",
		"timeout|-k|9|1d|sidekiq|-t|60":                "60",
		"flock|--timeout|9|lock|sidekiq|-t|60":         "60",
		"flock|--timeout|9|lock|sidekiq":               "",
		"sh|-c|sidekiq -r ./app.rb -t 60 >>log 2>&1":   "60",
		"sh|-c|sidekiq -t 60; timeout -t 9":            "60",
		"su|app|-c|exec 'sidekiq' -t 60":               "60",
		"sh|-c|sidekiq && other -t 9":                  "",
		"":                                             "",
	} {
		if got := timeoutOf(strings.Split(line, "|")); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}
