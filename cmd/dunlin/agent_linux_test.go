package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dunlin-dev/dunlin/schema"
)

// Who may write the file that says which server is believed may put another in its place.
func TestWhoSaysWhichServerIsBelievedIsRoot(t *testing.T) {
	for _, tt := range []struct {
		mode os.FileMode
		ok   bool
	}{{0o644, true}, {0o666, false}} {
		path := filepath.Join(t.TempDir(), "known")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, tt.mode); err != nil {
			t.Fatal(err)
		}
		for field, repo := range map[string]schema.AgentRepo{"repo.knownHosts": {KnownHosts: path}, "repo.caFile": {CAFile: path}} {
			_, err := agentSecrets(schema.AgentConfig{Repo: repo})
			if (err == nil) != tt.ok || err != nil && !strings.Contains(err.Error(), field) {
				t.Errorf("%s with mode %04o: %v", field, tt.mode, err)
			}
		}
	}
	if _, err := agentSecrets(schema.AgentConfig{Repo: schema.AgentRepo{CAFile: "/nonexistent/ca.pem"}}); err != nil {
		t.Errorf("a file that is not there: %v", err)
	}
}
