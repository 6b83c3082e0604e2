package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/dunlin-dev/dunlin/schema/load"
)

// TestMain lets a test binary answer as dunlin itself, so that scripts run the real program.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == load.Command { // the evaluator of a test that runs a command in this process
		os.Exit(load.Main(loadOptions(), os.Stdin, os.Stdout))
	}
	testscript.Main(m, map[string]func(){
		"dunlin": func() {
			ctx, _ := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			os.Exit(run(ctx, os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
		},
		"fleetlab":    fleetlab,
		"canarycrash": canaryCrash,
	})
}

// TestScripts runs the command line as users see it.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", RequireExplicitExec: true, Setup: func(e *testscript.Env) error {
		e.Setenv("GORACE", os.Getenv("GORACE"))
		e.Setenv("AGENT_DOWN", agentDown()) // with systemd, and without
		return nil
	}})
}
