// Command postern is the whole appliance in one static binary: the node itself
// (serve), the demo, and the operator's verbs, which ask a node's API.
//
// It hides nothing and decides nothing: one file per verb family, each turning
// flags into one call and its answer into a screen or JSON.
package main

import (
	"io"
	"os"
)

// version is stamped by the build: -ldflags "-X main.version=...".
var version = "dev"

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run carries out one command line and returns the exit status: 0 done, 1
// refused (the reason is on stderr), 2 usage.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return newApp(stdin, stdout, stderr).run(args)
}
