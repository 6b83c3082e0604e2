package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/agent/host"
)

// txCommand is the process of one package transaction. People do not call it.
func (a *app) txCommand() *cobra.Command {
	var state string
	var readyFD int
	cmd := &cobra.Command{
		Use:    "tx --state DIR ID",
		Hidden: true,
		Short:  "Run one package transaction that reconcile wrote down",
		Long: `Runs the package transaction ID of the folder DIR/tx and writes its result there.
reconcile and the agent start it, in a unit or session of its own, so that losing
them does not break the package manager. There is no need to call it by hand.`,
		Example: "  dunlin tx --state /var/lib/dunlin 20260102T150405-0123abcd",
		Args:    exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !filepath.IsAbs(state) {
				return usageError{fmt.Errorf("--state %q is not an absolute path", state)}
			}
			return host.RunTransaction(cmd.Context(), state, args[0], host.Ready(readyFD))
		},
	}
	cmd.Flags().StringVar(&state, "state", "/var/lib/dunlin", "folder of the program's state")
	cmd.Flags().IntVar(&readyFD, "ready-fd", 0, "file descriptor that is told when the transaction has begun")
	return cmd
}
