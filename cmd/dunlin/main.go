// Command dunlin keeps hosts patched, configured and accounted for as a policy
// repository says.
//
// main wires the packages together by hand; flags, exit codes and what the
// terminal shows live here and nowhere else.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/schema/load"
)

// version is set by the linker.
var version = "0.0.0-dev"

func main() {
	// A command lives for milliseconds and touches a few MiB: collecting garbage would cost more than it frees. Past
	// the limit it is collected as ever.
	// The evaluator has limits of its own, and the agent lives for months.
	if len(os.Args) < 2 || os.Args[1] != load.Command && os.Args[1] != "agent" {
		debug.SetGCPercent(-1)
		debug.SetMemoryLimit(64 << 20)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr})
	stop()
	os.Exit(code)
}

// run is the whole program: it never calls os.Exit, so that tests can call it.
func run(ctx context.Context, args []string, io streams) int {
	a := &app{streams: io, now: time.Now}
	return a.execute(ctx, args)
}

// execute carries out one command line, and gives the exit code.
func (a *app) execute(ctx context.Context, args []string) int {
	io := a.streams
	root := &cobra.Command{
		Use:   "dunlin",
		Short: "Hosts as Git says: patches, ports, files, services",
		Long: `Dunlin takes a host from what it is to what a policy repository says: ports
closed, files, packages, services and sysctls right, approved patches installed
inside a maintenance window, and an account of it.`,
		Example: `  dunlin demo                                        # see it, on simulated hosts
  dunlin init infra-policy                           # begin a policy repository
  dunlin validate infra-policy
  dunlin reconcile --repo infra-policy --dry-run     # what it would change on this host`,
		Args:          groupArgs,
		RunE:          a.needsCommand,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.PersistentFlags().StringVarP(&a.output, "output", "o", "text", "what to print: text or json")
	root.SetOut(io.out)
	root.SetErr(io.err)
	root.SetIn(io.in)
	root.SetArgs(args)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.CompletionOptions.HiddenDefaultCmd = true
	topics := a.topics()
	for _, t := range topics {
		root.AddCommand(t.commands...)
	}
	root.SetUsageFunc(func(cmd *cobra.Command) error { a.help(cmd, topics); return nil })
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { a.help(cmd, topics) })
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return a.checkOutput() }
	called, err := root.ExecuteContextC(ctx)
	if isUsage(err) && asksJSON(args) {
		a.output = "json" // although something before it was wrong
	}
	return a.exit(ctx, called.CommandPath(), err)
}

// asksJSON reports whether JSON is asked for anywhere on a command line that could not be read.
func asksJSON(args []string) bool {
	for i, arg := range args {
		switch arg {
		case "-ojson", "-o=json", "--output=json":
			return true
		case "-o", "--output":
			if i+1 < len(args) && args[i+1] == "json" {
				return true
			}
		}
	}
	return false
}

// topics has all commands, in the order that the help shows.
func (a *app) topics() []topic {
	return []topic{
		{"A fleet", []*cobra.Command{a.statusCommand(), a.nodesCommand(), a.complianceCommand(), a.explainCommand(), a.inventoryCommand(), a.syncCommand(), a.reportCommand()}},
		{"A policy repository", []*cobra.Command{a.initCommand(), a.newCommand(), a.validateCommand(), a.fmtCommand(), a.schemaCommand(), a.paramCommand(), a.scheduleCommand(), a.baselineCommand(), a.importCommand()}},
		{"Who may change it", []*cobra.Command{a.approveCommand(), a.trustCommand()}},
		{"Letting hosts in", []*cobra.Command{a.activationCommand(), a.joinCommand(), a.nodeCommand(), a.keyCommand()}},
		{"A host", []*cobra.Command{a.agentCommand(), a.doctorCommand(), a.scanCommand(), a.reconcileCommand()}},
		{"A trial", []*cobra.Command{a.demoCommand()}},
		{"", []*cobra.Command{a.evaluateCommand(), a.txCommand()}}, // which no person calls
	}
}
