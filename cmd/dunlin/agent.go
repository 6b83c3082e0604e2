package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/agent"
	"github.com/dunlin-dev/dunlin/agent/api"
	"github.com/dunlin-dev/dunlin/agent/gossip"
	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/agent/inventory"
	"github.com/dunlin-dev/dunlin/agent/secret"
	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/safe"
)

func (a *app) agentCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "agent",
		Short:   "Keep this host as its fleet's repository says",
		Example: `  sudo dunlin agent run`,
		Args:    groupArgs,
		RunE:    a.needsCommand,
	}
	cmd.AddCommand(a.agentRunCommand())
	return cmd
}

func (a *app) agentRunCommand() *cobra.Command {
	var config string
	var verbose bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the agent of this host until it is told to end",
		Long: `Run the agent of this host: it follows the policy repository, keeps the host as the
newest good commit says, tells the other nodes how the host fares and, where it may,
writes the reports branch. What is in force is kept on disk and enforced from there
at the next start, before anything is asked of the network.

The agent's own file says where the repository is and who the others are; see
docs/agent.md. The log is JSON on standard error, a line an event. SIGTERM and
SIGINT end it in order; a package transaction under way goes on by itself and is
taken up at the next start. As a service it runs as dunlin.service.`,
		Example: `  sudo dunlin agent run
  sudo dunlin agent run --config /etc/dunlin/agent.cue --verbose
  sudo systemctl enable --now dunlin`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.localError(cmd.Context(), a.runAgent(cmd.Context(), config, verbose))
		},
	}
	cmd.Flags().StringVar(&config, "config", defaultConfig, "the host's own file")
	cmd.Flags().BoolVar(&verbose, "verbose", false, "log each step, not only outcomes")
	return cmd
}

// runAgent runs the agent of the real host.
func (a *app) runAgent(ctx context.Context, path string, verbose bool) error {
	collectGarbage()
	fewProcessors()
	notify, watchdog := host.ServiceManager()
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	// From here on this process opens secrets.
	if err := secret.Guard(); err != nil {
		return err
	}
	secrets := &agent.Secrets{}
	log := agentLog(a.err, level, secrets)
	local, err := a.local(localFlags{config: path}, stepLog(log))
	if err != nil {
		return err
	}
	local.Secrets = secrets
	_, config, err := readConfig(path)
	if err != nil {
		return err
	}
	key, err := agentSecrets(config)
	if err != nil {
		return err
	}
	go staySmall(ctx)
	for {
		// It ends where it has been given the key to meet the others with, and begins anew.
		if err := a.runOnce(ctx, local, config, key, log, notify, watchdog); !errors.Is(err, agent.ErrAgain) || ctx.Err() != nil {
			return err
		}
	}
}

func (a *app) runOnce(ctx context.Context, local agent.Local, config schema.AgentConfig, key []byte, log *slog.Logger, notify func(string), watchdog time.Duration) error {
	system := host.NewSystem() // one for both: it knows what it changed itself
	local.Host = system
	agt, err := agent.New(agent.Options{
		Config: config, Local: local, Watch: system.Watch, GossipKey: key, Network: gossip.System{},
		Inventory: inventoryOf("/"), Version: version, Log: log, Random: rand.Float64,
		Notify: notify, Watchdog: watchdog,
	})
	if err != nil {
		return err
	}
	// After the lock on the state folder: who holds that is the better answer.
	socket, err := api.Listen(config.Socket)
	if err != nil {
		return err
	}
	defer socket.Close()
	agt.Listen(socket)
	return agt.Run(ctx)
}

// agentLog is the log of an agent that opens secrets.
func agentLog(w io.Writer, level slog.Level, secrets *agent.Secrets) *slog.Logger {
	return slog.New(slog.NewJSONHandler(secrets.Redactor.Lines(safe.Log(w)), &slog.HandlerOptions{Level: level}))
}

// stepLog logs what passes tell: warnings, each at most once an hour, since a pass comes every minute, and the rest only
// where somebody wants to see each step. Lanes tell at the same time.
func stepLog(log *slog.Logger) func(reconciler.Step) {
	const again, most = time.Hour, 100
	var mu sync.Mutex
	said := map[string]time.Time{}
	return func(s reconciler.Step) {
		warning, is := strings.CutPrefix(s.Doing, "warning: ")
		if !is {
			if s.Doing != "" {
				log.Debug(s.Doing)
			}
			return
		}
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		if now.Sub(said[warning]) < again {
			return
		}
		if len(said) >= most {
			clear(said)
		}
		said[warning] = now
		log.Warn(warning)
	}
}

// collectGarbage keeps the agent small beside what its host is there for, at the price of some time, of which it has
// plenty. GOGC of its environment is heeded.
func collectGarbage() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
}

// fewProcessors lets the agent take two processors at most: it has little to do, and each time that something wakes it up
// Go looks at all that it may use for work. The policy is evaluated in a process of its own. GOMAXPROCS of its environment
// is heeded.
func fewProcessors() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(min(runtime.GOMAXPROCS(0), 2))
	}
}

// staySmall gives back what the start needed as soon as each part of it is over (the policy in force, the host judged, the
// fleet met), and then now and then what has gathered.
func staySmall(ctx context.Context) {
	const rarely = 10 * time.Minute
	for at := time.Second; ; at = min(2*at, rarely) { // after 1 s, 2 s more, 4 s more...
		select {
		case <-ctx.Done():
			return
		case <-time.After(at):
			host.GiveBack()
		}
	}
}

// agentSecrets reads the gossip key, and refuses files of secrets that others could have read or exchanged, and files that say
// which server is believed that others could have written.
func agentSecrets(c schema.AgentConfig) (gossipKey []byte, err error) {
	files := []struct{ field, path string }{{"repo.credentialFile", c.Repo.CredentialFile}}
	if c.Reports != nil {
		files = append(files, struct{ field, path string }{"reports.credentialFile", c.Reports.CredentialFile})
	}
	for _, f := range files {
		if f.path == "" {
			continue
		}
		if err := host.Private(f.path); err != nil {
			return nil, secretError(f.field, f.path, err)
		}
	}
	for _, f := range []struct{ field, path string }{{"repo.knownHosts", c.Repo.KnownHosts}, {"repo.caFile", c.Repo.CAFile}} {
		if f.path == "" {
			continue
		}
		// One that is not there is told of as the remote's fault, as long as it is missing.
		if err := host.Owned(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, exitWith{code: exitError, err: fmt.Errorf("%s is not used: %w", f.field, err),
				hint: fmt.Sprintf("who could write it could put another server in the repository's place: chown root:root %s && chmod go-w %s", f.path, f.path)}
		}
	}
	if c.Gossip == nil {
		return nil, nil
	}
	path := c.Gossip.KeyFile
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) && len(c.Gossip.Ask) > 0 {
		return nil, nil // it comes once this host is let in
	}
	if err := host.Private(path); err != nil {
		return nil, secretError("gossip.keyFile", path, err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, secretError("gossip.keyFile", path, err)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(key) != gossip.KeySize {
		what := fmt.Sprintf("it has %d bytes", len(key))
		if err != nil {
			what = "it is not base64" // the error would show a part of it
		}
		return nil, exitWith{code: exitError, err: fmt.Errorf("gossip.keyFile %q: a gossip key is %d bytes in base64, and %s", path, gossip.KeySize, what),
			hint: "all nodes of a fleet have the same; dunlin key gossip new writes one"}
	}
	return key, nil
}

func secretError(field, path string, err error) error {
	hint := fmt.Sprintf("chown root:root %s && chmod 0600 %s; if somebody may have read it, exchange it", path, path)
	if errors.Is(err, fs.ErrNotExist) {
		hint = fmt.Sprintf("write the file, or mend %s in the host's own file", field)
	}
	return exitWith{code: exitError, err: fmt.Errorf("%s is not used: %w", field, err), hint: hint}
}

// inventoryOf gives inventory types of the host below root as JSON; none named means all.
func inventoryOf(root string) func(context.Context, []string) (map[string][]byte, error) {
	return func(ctx context.Context, names []string) (map[string][]byte, error) {
		types, err := chosenTypes(names)
		if err != nil {
			return nil, err
		}
		from := inventory.Gather{Root: root, AgentVersion: version}
		if root == "/" {
			from.Units = loadedUnits // systemd's are those of this machine
		}
		got, err := gather(ctx, from, types)
		if err != nil {
			return nil, err
		}
		out := make(map[string][]byte, len(got))
		for t, v := range got {
			if out[string(t)], err = json.Marshal(v); err != nil {
				return nil, fmt.Errorf("inventory %s: %w", t, err)
			}
		}
		return out, nil
	}
}
