package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/agent/demo"
	"github.com/dunlin-dev/dunlin/agent/simulated"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// demoFlags are what the demo may be told.
type demoFlags struct {
	nodes        int
	script, keep bool
}

func (a *app) demoCommand() *cobra.Command {
	var f demoFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the main job on simulated hosts",
		Long: fmt.Sprintf(`Show the main job on simulated hosts: a push to a policy repository takes hold on all of
them, a port that somebody opens closes again, security updates are installed in a
maintenance window, a commit that nobody signed and a broken one are refused, a host is
rebooted, and the reports branch tells it all.

The agents, the Git store, the evaluator, gossip and the reports are those of production,
on 127.0.0.1; only what lies below an agent is simulated: packages, services, packet
filter and reboot are a folder a host. It needs no root and no network, touches nothing
outside of its own temporary folder, and removes that at the end.

On a terminal it pauses after each step; Enter goes on. With --script it does not, and at
the end reads the reports branch again, verifies every signature and holds every line
against its host's folder.

Exit status: 0 all went as it should; 1 it did not, or the reports differ from the hosts;
130 interrupted. Nothing is left behind by any of them, but with --keep. From %d to %d nodes.`, demo.MinNodes, demo.MaxNodes),
		Example: `  dunlin demo
  dunlin demo --nodes 50
  dunlin demo --script
  dunlin demo --script -o json | jq '.steps[] | {step, ms, done}'
  dunlin demo --script --keep      # and look at the repository, the hosts and the logs`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.nodes < demo.MinNodes || f.nodes > demo.MaxNodes {
				return usageError{fmt.Errorf("--nodes %d is not from %d to %d", f.nodes, demo.MinNodes, demo.MaxNodes)}
			}
			return a.demo(cmd.Context(), f, nil)
		},
	}
	cmd.Flags().IntVar(&f.nodes, "nodes", demo.MinNodes, "how many hosts")
	cmd.Flags().BoolVar(&f.script, "script", false, "no pauses; check at the end that the reports say what the hosts hold")
	cmd.Flags().BoolVar(&f.keep, "keep", false, "leave the folder, and say what is in it")
	return cmd
}

// demo runs the demo in a folder of its own. Tests meddle.
func (a *app) demo(ctx context.Context, f demoFlags, meddle func(string, *simulated.Fleet) error) (err error) {
	manyAgents()
	// Whatever ends it, the folder is removed: a closed terminal and a closed pipe do not end the program by themselves.
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	signal.Ignore(syscall.SIGPIPE)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	dir, err := demoFolder()
	if err != nil {
		return err
	}
	if !f.keep {
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	show := a.newDemoTeller(f, cancel)
	defer show.end()
	show.intro(f, dir)
	two := make(chan struct{}, 2)
	child := load.Child(loadOptions())
	result, err := demo.Run(ctx, demo.Options{
		Nodes: f.nodes, Dir: dir, Teller: show, Check: f.script, Version: version, Meddle: meddle,
		Inventory: inventoryOf,
		// As many evaluators at a time as a small machine bears; each host has its own.
		Evaluate: func(ctx context.Context, tree fs.FS) (schema.Repo, []schema.Fault, error) {
			select {
			case two <- struct{}{}:
			case <-ctx.Done():
				return schema.Repo{}, nil, ctx.Err()
			}
			defer func() { <-two }()
			return child(ctx, tree)
		},
	})
	show.clear()
	if f.keep {
		result.Folder = dir
	}
	switch {
	case show.failed != nil:
		return fmt.Errorf("show the demo: %w", show.failed)
	case ctx.Err() != nil:
		return exitWith{code: exitInterrupted, err: errors.New("interrupted" + left(f, dir))}
	case a.json():
		if err := a.printJSON(result); err != nil {
			return err
		}
		if !result.OK {
			return exitWith{code: exitError}
		}
		return nil
	case err != nil:
		hint := "run it again with --keep and look at agent.log of each host"
		if len(result.Untrue) == 0 {
			show.logs(dir)
		}
		if f.keep {
			hint = "look at agent.log of each host in " + dir
		}
		return exitWith{code: exitError, err: fmt.Errorf("demo: %w", err), hint: hint}
	}
	show.summary(f, result)
	return show.failed
}

// manyAgents takes back what main sets for commands that live for milliseconds: the limit of one small program would have
// fifty agents do nothing but collect garbage.
func manyAgents() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(100)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(math.MaxInt64)
	}
}

func left(f demoFlags, dir string) string {
	if f.keep {
		return "; what there is of it is in " + dir
	}
	return "; nothing is left"
}

// demoFolder makes the one folder that the demo writes to.
func demoFolder() (string, error) {
	dir, err := os.MkdirTemp("", "dunlin-demo-")
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return "", exitWith{code: exitError, err: fmt.Errorf("make the demo's folder: %w", err), hint: "name a folder that you may write to in TMPDIR"}
	}
	return dir, nil
}

// tail gives the last n lines of a log that people should see, in words.
func tail(path string, n int) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	var out []string
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var l struct {
			Time             time.Time
			Level, Msg       string
			Error, Reason    string
			What, Commit, At string
		}
		if json.Unmarshal(lines.Bytes(), &l) != nil || l.Level != "WARN" && l.Level != "ERROR" {
			continue
		}
		out = append(out, strings.Join(nonEmpty([]string{l.Time.Format("15:04:05.000"), l.What, l.Msg, l.Error, l.Reason}), " "))
	}
	return out[max(0, len(out)-n):]
}
