package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/agent/gossip"
	"github.com/dunlin-dev/dunlin/agent/secret"
)

func (a *app) keyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "key",
		Short:   "Keys that the nodes of a fleet share",
		Example: `  sudo dunlin key gossip new --out /etc/dunlin/gossip.key`,
		Args:    groupArgs,
		RunE:    a.needsCommand,
	}
	gossip := &cobra.Command{
		Use:     "gossip",
		Short:   "The key that keeps strangers out of the gossip of a fleet",
		Example: `  sudo dunlin key gossip new --out /etc/dunlin/gossip.key`,
		Args:    groupArgs,
		RunE:    a.needsCommand,
	}
	gossip.AddCommand(a.keyGossipNewCommand(), a.keyGossipRotateCommand())
	cmd.AddCommand(gossip)
	return cmd
}

func (a *app) keyGossipNewCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "new",
		Short: "Make a gossip key",
		Long: `Make a new gossip key: 32 random bytes in base64, in one line. All nodes of a fleet have the
same, in the file that gossip.keyFile of agent.cue names, owned by root with mode 0600.
With --out the key goes into a new file of that mode and is not shown; a file that is
there already is never replaced.`,
		Example: `  sudo dunlin key gossip new --out /etc/dunlin/gossip.key
  dunlin key gossip new --out gossip.key && scp gossip.key root@web-2:/etc/dunlin/`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := secret.Guard(); err != nil {
				return err
			}
			key := make([]byte, gossip.KeySize)
			if _, err := rand.Read(key); err != nil {
				return fmt.Errorf("make gossip key: %w", err)
			}
			text := base64.StdEncoding.EncodeToString(key)
			if out != "" {
				return a.writeKey(out, text)
			}
			if a.json() {
				return a.printJSON(map[string]string{"key": text})
			}
			if _, err := fmt.Fprintln(a.out, text); err != nil {
				return fmt.Errorf("write result: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "write the key to this new file, mode 0600")
	return cmd
}

// writeKey makes a file that only its owner reads, whole or not at all.
func (a *app) writeKey(path, text string) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case errors.Is(err, fs.ErrExist):
		return exitWith{code: exitError, err: fmt.Errorf("write gossip key: %q is there already, and is not replaced", path),
			hint: "nodes with another key do not find each other; to exchange it, move the old file away first"}
	case errors.Is(err, fs.ErrPermission):
		return exitWith{code: exitError, err: fmt.Errorf("write gossip key: %w", err), hint: "run it as root, or choose another folder"}
	case err != nil:
		return fmt.Errorf("write gossip key: %w", err)
	}
	_, err = fmt.Fprintln(f, text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write gossip key: %w", errors.Join(err, os.Remove(path)))
	}
	if a.json() {
		return a.printJSON(map[string]string{"file": path})
	}
	fmt.Fprintf(a.out, "%s gossip key written: %s; all nodes of the fleet need the same file\n", lookOf(a.out).symbol(good), printable(path))
	return nil
}
