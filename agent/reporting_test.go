package agent

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// Whoever may push to the policy must not get the credential of a host by naming a server of his own for the reports.
func TestACommitCannotSendTheCredentialElsewhere(t *testing.T) {
	var stolen atomic.Int32
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, _, ok := r.BasicAuth(); ok {
			stolen.Add(1)
		}
		http.NotFound(w, r)
	}))
	defer server.Close()
	dir := t.TempDir()
	ca, credential := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "credential")
	writes(t, ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	writes(t, credential, []byte("dunlin:sesame\n"))

	for name, tt := range map[string]struct {
		repo, host, commit string
		asked, refused     bool
	}{
		"another server":             {repo: "https://git.example.org/policy.git", commit: server.URL + "/x.git", refused: true},
		"another port":               {repo: "https://127.0.0.1:1/policy.git", commit: server.URL + "/x.git", refused: true},
		"a folder of the host":       {repo: "https://git.example.org/policy.git", commit: "file:///home/mallory/x.git", refused: true},
		"a folder beside the policy": {repo: "file:///srv/git/policy.git", commit: "/srv/git/x.git", refused: true},
		"the same server":            {repo: server.URL + "/policy.git", commit: server.URL + "/reports.git", asked: true},
		"what the host allows":       {repo: "https://git.example.org/policy.git", host: server.URL + "/reports.git", commit: server.URL + "/reports.git", asked: true},
		"beside what it allows":      {repo: "https://git.example.org/policy.git", host: "https://audit.example.org/r.git", commit: server.URL + "/x.git", refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			stolen.Store(0)
			a := &Agent{o: Options{Config: schema.AgentConfig{
				Repo:    schema.AgentRepo{URL: tt.repo, CAFile: ca, CredentialFile: credential},
				Reports: &schema.AgentReports{Remote: tt.host}, State: t.TempDir(),
			}}}
			a.policy = &Policy{Repo: schema.Repo{Fleet: schema.Fleet{Name: "acme", Reports: schema.FleetReports{Remote: tt.commit}}}}
			r := newReporter(a, "")
			err := r.open()
			if err == nil {
				_, _ = r.remote.Fetch(t.Context(), r.opened.Branch)
			}
			if refused := err != nil && strings.Contains(err.Error(), "reports.remote"); refused != tt.refused {
				t.Errorf("open: %v, want refused %v", err, tt.refused)
			}
			if asked := stolen.Load() > 0; asked != tt.asked {
				t.Errorf("the credential was sent: %v, want %v", asked, tt.asked)
			}
		})
	}
}

func writes(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// What other nodes call their facts takes a bounded part of this host's disk; its own are never dropped for it.
func TestFactsOfOthersTakeABoundedPartOfTheDisk(t *testing.T) {
	dir := t.TempDir()
	for i := range 40 {
		path := filepath.Join(dir, fmt.Sprintf("%064d", i))
		writes(t, path, nil)
		if err := os.Truncate(path, maxFactsFile); err != nil {
			t.Fatal(err)
		}
		at := time.Unix(int64(i), 0)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	own := fmt.Sprintf("%064d", 0)
	dropFacts(dir, maxFactsFile, own)
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != maxFacts/maxFactsFile-1 || left[0].Name() != own || left[len(left)-1].Name() != fmt.Sprintf("%064d", 39) {
		t.Errorf("%d files are left, %v", len(left), err)
	}
}
