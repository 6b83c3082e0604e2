package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/agent/api"
	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/reconciler/target"
)

// defaultSocket is where an agent answers that is not told otherwise.
const defaultSocket = "/run/dunlin/dunlin.sock"

// How long the agent may take: to say what it knows, and to look, ask a remote or ask another node.
const (
	quickAnswer = 10 * time.Second
	slowAnswer  = 2*time.Minute + 5*time.Second
)

// socketFlags are what commands share that ask the agent of this host.
type socketFlags struct{ config, socket string }

func (f *socketFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.config, "config", "", "the host's own file, which names the socket (default "+defaultConfig+" where it exists)")
	f.addSocket(cmd)
}

// addSocket is for commands that have --config already.
func (f *socketFlags) addSocket(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.socket, "socket", "", "the agent's socket (default that of the host's own file, else "+defaultSocket+")")
}

// path is where the agent is asked.
func (f *socketFlags) path() (string, error) {
	if f.socket != "" {
		return f.socket, nil
	}
	_, c, err := readConfig(f.config)
	if f.config == "" && errors.Is(err, fs.ErrPermission) {
		return defaultSocket, nil // whose user is then told that only root may ask
	}
	if err != nil {
		return "", err
	}
	if c.Socket == "" {
		return defaultSocket, nil
	}
	return c.Socket, nil
}

// ask puts one question to the agent of this host, and gives errors their exit code and remedy.
func ask[T any](ctx context.Context, a *app, f socketFlags, limit time.Duration, question func(context.Context, *api.Client) (T, error)) (T, error) {
	var none T
	path, err := f.path()
	if err != nil {
		return none, err
	}
	show := a.newProgress()
	defer show.end()
	said := make(chan struct{})
	waiting := time.AfterFunc(300*time.Millisecond, func() {
		defer close(said)
		show.step(reconciler.Step{Doing: "asking the agent"})
	})
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	got, err := question(limited, api.Dial(path))
	if !waiting.Stop() {
		<-said
	}
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("the agent on %q said nothing for %s: %w", path, limit, api.ErrUnreachable)
	}
	return got, f.error(err, fileExists(defaultConfig))
}

// fileExists is true also where it cannot be known.
func fileExists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// error is socketError that knows whether the host has a file for its agent: without one the unit of the package starts
// nothing, and says so to nobody who does not ask it.
func (f *socketFlags) error(err error, configured bool) error {
	if configured || *f != (socketFlags{}) || !errors.Is(err, api.ErrUnreachable) {
		return socketError(err)
	}
	return exitWith{code: exitUnreachable, err: err, hint: "no agent is set up on this host: dunlin join writes " + defaultConfig + ", or write it by hand (dunlin schema agent); then " + startAgent() + otherSocket}
}

// otherSocket ends a hint of commands that ask an agent.
const otherSocket = "; --socket names another socket"

// startAgent is how to start the agent of this host.
func startAgent() string {
	if host.SystemdRuns() {
		return "sudo systemctl start dunlin"
	}
	return "sudo dunlin agent run"
}

// agentDown is what to do where no agent answers.
func agentDown() string {
	if host.SystemdRuns() {
		return "does the agent run? systemctl status dunlin tells, " + startAgent() + " starts it"
	}
	return "does the agent run? " + startAgent() + " starts it, and this host has no systemd that would keep it up"
}

// socketError gives what came of a question its exit code and remedy.
func socketError(err error) error {
	code, hint := exitError, ""
	switch {
	case err == nil:
		return nil
	case errors.Is(err, api.ErrUnreachable):
		code, hint = exitUnreachable, agentDown()+otherSocket
	case errors.Is(err, errors.ErrUnsupported):
		code = exitUnreachable
	case errors.Is(err, api.ErrDenied):
		code, hint = exitNotTrusted, "the agent answers root and its own user: sudo dunlin ..."
		if os.Geteuid() == 0 {
			hint = "this is not the agent of this host: find out who made the socket, and name the agent's with --socket"
		}
	case errors.Is(err, api.ErrNodeUnreachable):
		code, hint = exitUnreachable, "dunlin nodes tells when it was last heard; what it said last is in dunlin compliance"
	case errors.Is(err, api.ErrNoNode):
		code, hint = exitNoMatch, "dunlin nodes lists all nodes"
	case errors.Is(err, api.ErrNoMatch):
		code, hint = exitNoMatch, "dunlin nodes lists all nodes with their tags"
	case errors.Is(err, api.ErrNoItem):
		code, hint = exitNoMatch, "dunlin explain --all lists what is managed"
	case errors.Is(err, api.ErrNoPolicy):
		hint = "dunlin status tells why"
	default:
		return err
	}
	return exitWith{code: code, err: err, hint: hint}
}

// targetFlags choose nodes, as targets of a policy do.
type targetFlags []string

func (f *targetFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar((*[]string)(f), "target", nil, `only these nodes: tag:role=web,api, os=debian, node=web-1, group=edge, resourceGroup=eu or all; "!" in front excludes; repeat for "and"`)
}

// check refuses targets that are written wrongly before anybody is asked.
func (f targetFlags) check() error {
	if len(f) == 0 {
		return nil
	}
	if _, err := target.Parse(f); err != nil {
		return usageError{err}
	}
	return nil
}
