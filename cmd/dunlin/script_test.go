package main

import (
	"context"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets a test binary answer as dunlin itself, so that scripts run the real program.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"dunlin": func() {
			os.Exit(run(context.Background(), os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
		},
		"fleetlab": fleetlab,
	})
}

// TestScripts runs the command line as users see it.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", RequireExplicitExec: true})
}
