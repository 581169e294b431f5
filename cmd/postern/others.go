package main

import "github.com/spf13/cobra"

// others are the commands that do not ask a node.
func others() []*cobra.Command {
	demo := demoCommand()
	demo.Short = "Try it: three nodes and a pretend Internet on this machine" // fits the list
	return []*cobra.Command{demo}
}
