package main

import "github.com/spf13/cobra"

func (a *app) completionCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "completion SHELL", Short: "Write what lets bash, zsh or fish complete verbs and flags",
		Long: `Write what lets bash, zsh or fish complete verbs and flags. The package for
Debian brings it; without the package:`,
		Example: `  source <(postern completion bash)
  postern completion zsh > "${fpath[1]}/_postern"
  postern completion fish > ~/.config/fish/completions/postern.fish`,
		Args:      named("completion SHELL"),
		ValidArgs: []string{"bash", "zsh", "fish"},
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		switch root := cmd.Root(); args[0] {
		case "bash":
			return root.GenBashCompletionV2(a.out, true)
		case "zsh":
			return root.GenZshCompletion(a.out)
		case "fish":
			return root.GenFishCompletion(a.out, true)
		}
		return usagef("%q is no shell known here: bash, zsh or fish", clean(args[0]))
	}
	return c
}
