package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/dunlin-dev/dunlin/agent/api"
)

func TestWhereNoAgentAnswers(t *testing.T) {
	silent := fmt.Errorf("ask the agent: %w", api.ErrUnreachable)
	for _, tt := range []struct {
		name       string
		flags      socketFlags
		configured bool
		want       string
	}{
		{"it may be stopped", socketFlags{}, true, "does the agent run?"},
		{"none is set up", socketFlags{}, false, "dunlin join writes " + defaultConfig},
		{"another socket", socketFlags{socket: "/run/other.sock"}, false, "does the agent run?"},
		{"another file", socketFlags{config: "other.cue"}, false, "does the agent run?"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, ok := errors.AsType[exitWith](tt.flags.error(silent, tt.configured))
			if !ok || e.code != exitUnreachable || !strings.Contains(e.hint, tt.want) {
				t.Errorf("exit code %d, hint %q; want %d, %q", e.code, e.hint, exitUnreachable, tt.want)
			}
		})
	}
}
