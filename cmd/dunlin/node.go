package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/agent/identity"
	"github.com/dunlin-dev/dunlin/agent/inventory"
	"github.com/dunlin-dev/dunlin/agent/secret"
	"github.com/dunlin-dev/dunlin/schema"
)

func (a *app) nodeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Nodes of the roster, and this host as one",
		Example: `  dunlin node list --pending
  dunlin node approve web-7
  sudo dunlin node line --tags role=web`,
		Args: groupArgs,
		RunE: a.needsCommand,
	}
	cmd.AddCommand(a.nodeLineCommand(), a.nodeListCommand(), a.nodeApproveCommand(), a.nodeRetireCommand(), a.nodeRenameCommand(), a.nodeTagCommand())
	return cmd
}

func (a *app) nodeLineCommand() *cobra.Command {
	var config, state string
	var tags []string
	cmd := &cobra.Command{
		Use:   "line",
		Short: "Print this host's line of the roster",
		Long: `Print this host's line of the roster, in canonical JSON: it belongs into the policy
repository, in nodes/XX.jsonl, where XX are the first two characters of its id;
lines there are sorted by id. The line holds public keys only. This host's keys are made
in the state folder where it has none yet; they are never replaced.

The name is the host name; tags come from the roster alone, never from the host.`,
		Example: `  sudo dunlin node line
  sudo dunlin node line --tags role=web --tags site=north`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			given, err := parseTags(tags)
			if err != nil {
				return err
			}
			_, c, err := readConfig(config)
			if err != nil {
				return err
			}
			if state == "" {
				state = c.State
			}
			if !filepath.IsAbs(state) {
				return usageError{fmt.Errorf("--state %q is not an absolute path", state)}
			}
			line, err := rosterLine(state, given)
			if err != nil {
				return err
			}
			return a.printRosterLine(line)
		},
	}
	cmd.Flags().StringArrayVar(&tags, "tags", nil, "a tag of the node")
	cmd.Flags().StringVar(&config, "config", "", "the host's own file (default "+defaultConfig+" where it exists)")
	cmd.Flags().StringVar(&state, "state", "", "the state folder: keys, journal and caches (default "+defaultState+")")
	return cmd
}

// What the roster takes, as schema/roster.cue and schema/targets.cue have it. Not as package variables: a pattern would
// be compiled at every start of the program, and those of tags would take longer than the start itself.

func isNodeName(s string) bool { return matches(`^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$`, s) }

func isNodeOS(s string) bool { return matches(`^[a-z][a-z0-9_-]{0,31}$`, s) }

func matches(pattern, s string) bool { return regexp.MustCompile(pattern).MatchString(s) }

// isTag says whether s has letters, digits, blanks and _ . : / = + - @ only, and no more than limit characters.
func isTag(s string, limit int) bool {
	return utf8.RuneCountInString(s) <= limit && !strings.ContainsFunc(s, func(r rune) bool {
		return !unicode.In(r, unicode.L, unicode.N, unicode.Zs) && !strings.ContainsRune("_.:/=+-@", r)
	})
}

const maxTags = 50

// parseTags reads KEY=VALUE; the first = divides.
func parseTags(given []string) (map[string]string, error) {
	tags := map[string]string{}
	for _, g := range given {
		k, v, ok := strings.Cut(g, "=")
		if !ok || k == "" || !isTag(k, 128) || !isTag(v, 256) {
			return nil, usageError{fmt.Errorf("--tags %q is not KEY=VALUE of letters, digits, blanks and _ . : / = + - @ (at most 128 and 256 characters)", g)}
		}
		if _, twice := tags[k]; twice {
			return nil, usageError{fmt.Errorf("--tags names %q twice", k)}
		}
		tags[k] = v
	}
	if len(tags) > maxTags {
		return nil, usageError{fmt.Errorf("%d tags are more than %d", len(tags), maxTags)}
	}
	return tags, nil
}

func rosterLine(state string, tags map[string]string) (schema.RosterLine, error) {
	name, err := os.Hostname()
	if err != nil {
		return schema.RosterLine{}, fmt.Errorf("ask for the host name: %w", err)
	}
	if !isNodeName(name) {
		return schema.RosterLine{}, exitWith{code: exitError, err: fmt.Errorf("the host name %q cannot be a node's name", name),
			hint: "letters, digits, . _ and - will do: hostnamectl set-hostname NAME"}
	}
	os, err := inventory.ReadOS("/")
	if err != nil {
		return schema.RosterLine{}, inputError(err)
	}
	if !isNodeOS(os.ID) {
		return schema.RosterLine{}, fmt.Errorf("os-release has the ID %q: not one that a roster can have", os.ID)
	}
	keys, err := openKeys(state)
	if err != nil {
		return schema.RosterLine{}, err
	}
	return keys.Line(name, os.ID, tags, time.Now()), nil
}

// openKeys opens the keys in the state folder, and gives errors their remedy.
func openKeys(state string) (identity.Keys, error) {
	if err := host.Owned(state); errors.Is(err, host.ErrNotOwned) {
		return identity.Keys{}, exitWith{code: exitError, err: fmt.Errorf("state folder is not used: %w", err),
			hint: "give it to root alone: chown root:root and chmod go-w; or name another with --state"}
	}
	if err := secret.Guard(); err != nil {
		return identity.Keys{}, err
	}
	keys, err := identity.Open(state)
	var refused *identity.RefusedError
	switch {
	case errors.As(err, &refused):
		return keys, exitWith{code: exitError, err: err, hint: refused.Remedy}
	case errors.Is(err, fs.ErrPermission):
		return keys, exitWith{code: exitError, err: err, hint: "only root may read this host's keys: run it as root, or name another folder with --state"}
	}
	return keys, err
}

// printRosterLine prints canonical JSON (RFC 8785) with both kinds of output: a line of it is what the roster holds.
func (a *app) printRosterLine(line schema.RosterLine) error {
	raw, err := json.Marshal(line)
	if err != nil {
		return fmt.Errorf("roster line: %w", err)
	}
	var fields map[string]any // whose keys are written sorted
	if err := json.Unmarshal(raw, &fields); err != nil {
		return fmt.Errorf("roster line: %w", err)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(fields); err != nil {
		return fmt.Errorf("roster line: %w", err)
	}
	if _, err := a.out.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}
