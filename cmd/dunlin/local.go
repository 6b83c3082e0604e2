package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/agent"
	"github.com/dunlin-dev/dunlin/agent/api"
	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/agent/secret"
	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/reconciler/kind/port"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
	"github.com/dunlin-dev/dunlin/schema/safe"
)

const (
	defaultConfig = "/etc/dunlin/agent.cue"
	defaultState  = "/var/lib/dunlin"
)

// localFlags are what commands share that work on this host.
type localFlags struct {
	repo, node, config, state string
}

func (f *localFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.repo, "repo", "", "the policy: a folder of files or a bare Git repository")
	cmd.Flags().StringVar(&f.node, "node", "", "which node of the roster this host is; without it the one with this host's key, else one that stands alone")
	cmd.Flags().StringVar(&f.config, "config", "", "the host's own file (default "+defaultConfig+" where it exists)")
	cmd.Flags().StringVar(&f.state, "state", "", "the state folder: keys, journal and caches (default "+defaultState+")")
}

// required fails where there is no repository to work on.
func (f *localFlags) required() error {
	if f.repo == "" {
		return usageError{errors.New("--repo is missing: name a folder of policy files or a bare Git repository")}
	}
	return nil
}

// local wires the real host together.
func (a *app) local(f localFlags, progress func(reconciler.Step)) (agent.Local, error) {
	if err := secret.Guard(); err != nil {
		return agent.Local{}, err
	}
	ceiling, config, err := readConfig(f.config)
	if err != nil {
		return agent.Local{}, err
	}
	state := f.state
	if state == "" {
		state = config.State
	}
	if !filepath.IsAbs(state) {
		return agent.Local{}, usageError{fmt.Errorf("--state %q is not an absolute path", state)}
	}
	ceiling.Own, ceiling.OwnUnit, ceiling.OwnPackage = own(f.config, state, config), ownUnit, "dunlin"
	system := host.System{}
	last := host.LastInstalls{Path: filepath.Join(state, "lastinstall.json")}
	return agent.Local{
		State: state, Root: "/",
		Evaluate:     load.Child(loadOptions()),
		Judge:        load.ChildJudge(loadOptions()),
		Host:         system,
		Packages:     host.Packages{State: state, Database: new(host.Database), Progress: func(line string) { progress(reconciler.Step{Doing: line}) }},
		LastInstalls: last.Read,
		Ceiling:      ceiling,
		Protected:    protected(config, f.config),
		Now:          time.Now,
		Progress:     progress,
	}, nil
}

// ownUnit is the unit that the package brings.
const ownUnit = "dunlin.service"

// own lists what no policy may write, also by real names: the host's own configuration and the files that it names, the
// state folder, this program, and the unit that starts it, which says with which configuration.
func own(file, state string, c schema.AgentConfig) []string {
	out := []string{filepath.Dir(defaultConfig), filepath.Clean(state)}
	if abs, err := filepath.Abs(file); err == nil && file != "" {
		out = append(out, abs)
	}
	named := []string{c.Repo.CredentialFile, c.Repo.KnownHosts, c.Repo.CAFile, c.Socket}
	if c.Reports != nil {
		named = append(named, c.Reports.CredentialFile)
	}
	if c.Gossip != nil {
		named = append(named, c.Gossip.KeyFile)
	}
	for _, path := range named {
		if path != "" {
			out = append(out, filepath.Clean(path))
		}
	}
	if self, err := os.Executable(); err == nil {
		out = append(out, self)
	}
	for _, dir := range []string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"} {
		out = append(out, dir+"/"+ownUnit, dir+"/"+ownUnit+".d")
	}
	for _, path := range slices.Clone(out) {
		if real, err := filepath.EvalSymlinks(path); err == nil && real != path {
			out = append(out, real)
		}
	}
	return out
}

// readConfig reads the host's own file. Without a name the default is read where it exists; a named one must exist.
func readConfig(path string) (reconciler.Ceiling, schema.AgentConfig, error) {
	named := path != ""
	if !named {
		path = defaultConfig
	}
	ceiling := reconciler.NoCeiling()
	config := schema.AgentConfig{State: defaultState}
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !named:
		return ceiling, config, nil
	case errors.Is(err, fs.ErrNotExist):
		return ceiling, config, exitWith{code: exitError, err: fmt.Errorf("read the host's own file: %w", err),
			hint: "dunlin join writes it where a fleet lets hosts in with a code, dunlin schema agent says what stands in one; --config names another"}
	case err != nil:
		return ceiling, config, exitWith{code: exitError, err: fmt.Errorf("read the host's own file: %w", err),
			hint: "what it forbids is not known, so nothing is done: run it as root, or name another file with --config"}
	}
	// As root: what others may write is no ceiling of the host's.
	if os.Geteuid() == 0 {
		if err := host.Owned(path); err != nil {
			return ceiling, config, exitWith{code: exitError, err: fmt.Errorf("the host's configuration is not used: %w", err),
				hint: fmt.Sprintf("give it to root alone: chown root:root %[1]s && chmod go-w %[1]s", safe.Shell(path))}
		}
	}
	config, faults := load.AgentConfig(path, b)
	if schema.Refused(faults) {
		var lines []string
		for _, f := range faults {
			lines = append(lines, f.String())
		}
		return ceiling, config, exitWith{code: exitFaults, err: errors.New(strings.Join(lines, "\n"))}
	}
	ceiling.Ceiling, ceiling.File = config.Ceiling, path
	return ceiling, config, nil
}

// protected lists the ports that the host's own configuration uses.
func protected(c schema.AgentConfig, file string) []port.Protection {
	if file == "" {
		file = defaultConfig
	}
	var out []port.Protection
	add := func(field, address string) {
		at := strings.LastIndexByte(address, ':')
		if at < 0 {
			return
		}
		r, err := schema.ParsePortRange(address[at+1:])
		if err != nil {
			return
		}
		out = append(out, port.Protection{Ports: r, Direction: "in", What: fmt.Sprintf("the fleet itself (%s in %s)", field, file)})
	}
	if c.Gossip != nil {
		add("gossip.bind", c.Gossip.Bind)
	}
	add("peer.bind", c.Peer.Bind)
	return out
}

// localError gives errors of a pass their exit code and remedy; faults are printed.
func (a *app) localError(ctx context.Context, err error) error {
	var faults *agent.FaultsError
	var locked *host.LockedError
	var said exitWith
	switch {
	case err == nil:
		return nil
	case errors.As(err, &said):
		return err
	case errors.As(err, &faults):
		if a.json() {
			if err := a.printJSON(struct {
				Commit string         `json:"commit"`
				Faults []schema.Fault `json:"faults"`
			}{faults.Commit, faults.Faults}); err != nil {
				return err
			}
			return exitWith{code: exitFaults, err: faults}
		}
		for _, f := range faults.Faults {
			fmt.Fprintln(a.err, printable(f.String()))
		}
		return exitWith{code: exitFaults, err: faults, hint: "nothing was changed; mend the lines above and run dunlin validate"}
	case errors.Is(err, reconciler.ErrNoNode):
		return exitWith{code: exitNoMatch, err: err, hint: "--node names a node of the roster by its name or id; nodes/*.jsonl has them"}
	case errors.Is(err, host.ErrNotOwned):
		return exitWith{code: exitError, err: err, hint: "give it to root alone: chown root:root and chmod 0700; or name another state folder"}
	case errors.As(err, &locked):
		return exitWith{code: exitError, err: err, hint: "wait until it has ended, or stop the agent first"}
	case errors.Is(err, api.ErrInUse):
		return exitWith{code: exitError, err: err, hint: "dunlin status asks that agent; give this one a socket of its own, or stop the other first"}
	case errors.Is(err, syscall.EADDRINUSE):
		return exitWith{code: exitError, err: err, hint: "ss -lntup shows who listens there; stop that, or bind to another address"}
	case errors.Is(err, syscall.ENOSPC):
		return exitWith{code: exitError, err: err, hint: "make room on that file system"}
	case errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0:
		return exitWith{code: exitError, err: err, hint: "run it as root; --dry-run needs no root, but cannot read what only root may"}
	case errors.Is(err, gitrepo.ErrEmpty):
		return exitWith{code: exitError, err: err, hint: "push a commit to it first"}
	case ctx.Err() != nil:
		return exitWith{code: exitInterrupted, err: err}
	}
	return err
}
