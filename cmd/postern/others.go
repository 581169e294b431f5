package main

import "github.com/spf13/cobra"

// others are the commands that do not ask a node.
func others() []*cobra.Command { return []*cobra.Command{demoCommand()} }
