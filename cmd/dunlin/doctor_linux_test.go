package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dunlin-dev/dunlin/agent/agenttest"
)

// examine runs the doctor over a configuration and gives its findings by check; several of one check stand after each other.
func examine(t *testing.T, config string, flags ...string) (map[string][]finding, int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.cue")
	if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	code := run(t.Context(), append([]string{"doctor", "-o", "json", "--config", path, "--socket", filepath.Join(t.TempDir(), "none")}, flags...),
		streams{in: strings.NewReader(""), out: &out, err: &errs})
	var got struct{ Checks []finding }
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("doctor: exit code %d, %v\n%s%s", code, err, out.String(), errs.String())
	}
	by := map[string][]finding{}
	for _, f := range got.Checks {
		by[f.Check] = append(by[f.Check], f)
		if f.State != findingOK && f.State != findingWarning && f.State != findingProblem && f.State != findingUnknown {
			t.Errorf("state %q of %+v", f.State, f)
		}
		if f.State == findingProblem && f.Do == "" {
			t.Errorf("nothing to do about %+v", f)
		}
	}
	return by, code
}

// found fails the test unless a check has a finding of a state with certain words.
func has(t *testing.T, by map[string][]finding, check, state, words string) {
	t.Helper()
	for _, f := range by[check] {
		if f.State == state && strings.Contains(f.Found, words) {
			return
		}
	}
	t.Errorf("check %s has %+v, want %s: %q", check, by[check], state, words)
}

// A real server is asked, over both ways, what a credential could do to the branch of the policy; nothing of it changes.
func TestTheDoctorKnowsWhatACredentialCouldDo(t *testing.T) {
	g := agenttest.NewGitServer(t, nil)
	g.Push(map[string]string{"fleet.cue": "package fleet\n\nfleet: name: \"acme\"\n"})
	before, _ := g.TryGit("ls-remote", "origin")
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ca, known := file("ca.pem", g.CA, 0o644), file("known_hosts", g.KnownHosts, 0o644)
	state := filepath.Join(dir, "state")
	const anchor = `trust: {anchor: "1111111111111111111111111111111111111111"}`
	for name, tt := range map[string]struct {
		repo, more, state, words string
	}{
		"https, may write":             {fmt.Sprintf(`{url: %q, caFile: %q, credentialFile: %q}`, g.HTTPS, ca, file("w", g.User, 0o600)), anchor, findingWarning, "hide the newest policy"},
		"https, may write, unsigned":   {fmt.Sprintf(`{url: %q, caFile: %q, credentialFile: %q}`, g.HTTPS, ca, file("w", g.User, 0o600)), `trust: "unsigned"`, findingWarning, "is root on every host"},
		"https, reads":                 {fmt.Sprintf(`{url: %q, caFile: %q, credentialFile: %q}`, g.HTTPS, ca, file("r", g.Reader, 0o600)), anchor, findingOK, "reads with cannot move main"},
		"https, the one for reports":   {fmt.Sprintf(`{url: %q, caFile: %q, credentialFile: %q}`, g.HTTPS, ca, file("r", g.Reader, 0o600)), fmt.Sprintf("%s\nreports: {credentialFile: %q}", anchor, file("w", g.User, 0o600)), findingWarning, "credential for reports could move main"},
		"https, for another's reports": {fmt.Sprintf(`{url: %q, caFile: %q, credentialFile: %q}`, g.HTTPS, ca, file("r", g.Reader, 0o600)), fmt.Sprintf("%s\nreports: {credentialFile: %q, remote: \"https://elsewhere.example/r.git\"}", anchor, file("w", g.User, 0o600)), findingOK, "another server's"},
		"ssh, may write":               {fmt.Sprintf(`{url: %q, knownHosts: %q, credentialFile: %q}`, g.SSH, known, file("k", g.Key, 0o600)), anchor, findingWarning, "could move main"},
		"ssh, reads":                   {fmt.Sprintf(`{url: %q, knownHosts: %q, credentialFile: %q}`, g.SSH, known, file("rk", g.ReaderKey, 0o600)), anchor, findingOK, "cannot move main"},
	} {
		t.Run(name, func(t *testing.T) {
			by, _ := examine(t, fmt.Sprintf("repo: %s\nstate: %q\n%s\n", tt.repo, state, tt.more))
			has(t, by, "remote", findingOK, "main is at")
			has(t, by, "push", tt.state, tt.words)
		})
	}
	if after, _ := g.TryGit("ls-remote", "origin"); after != before {
		t.Errorf("the doctor changed the server:\n%s\nwas\n%s", after, before)
	}
	if _, err := os.Lstat(state); err == nil {
		t.Error("the doctor made a state folder")
	}
	t.Run("offline", func(t *testing.T) {
		by, _ := examine(t, fmt.Sprintf("repo: url: %q\nstate: %q\n%s\n", g.HTTPS, state, anchor), "--offline")
		has(t, by, "remote", findingUnknown, "was not asked")
	})
	g.Down()
	t.Run("nobody answers", func(t *testing.T) {
		by, code := examine(t, fmt.Sprintf("repo: {url: %q, caFile: %q}\nstate: %q\n%s\n", g.HTTPS, ca, state, anchor))
		has(t, by, "remote", findingProblem, "cannot be reached")
		if code != exitError {
			t.Errorf("exit code %d with a problem", code)
		}
	})
}

func TestTheDoctorNamesWhatOthersCouldTouch(t *testing.T) {
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	if err := os.Mkdir(state, 0o755); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(dir, "gossip.key")
	if err := os.WriteFile(open, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	by, code := examine(t, fmt.Sprintf("repo: {url: \"file:///nonexistent\", credentialFile: %q}\nstate: %q\ntrust: \"unsigned\"\ngossip: {keyFile: %q, join: []}\n", open, state, open))
	has(t, by, "config", findingOK, "root's alone to write")
	has(t, by, "trust", findingWarning, "unsigned")
	has(t, by, "state", findingProblem, "mode 0755")
	has(t, by, "gossip key", findingProblem, "mode 0644")
	has(t, by, "credential", findingProblem, "mode 0644")
	has(t, by, "agent", findingProblem, "no agent answers")
	has(t, by, "remote", findingProblem, "nonexistent")
	if code != exitError {
		t.Errorf("exit code %d, want %d", code, exitError)
	}
	if err := os.Chmod(state, 0o700); err != nil {
		t.Fatal(err)
	}
	by, _ = examine(t, fmt.Sprintf("repo: url: \"file:///nonexistent\"\nstate: %q\ntrust: \"unsigned\"\npeers: 3\n", state), "--offline")
	has(t, by, "config", findingProblem, "peers: no such field")
}

// What a doctor prints fits a terminal that can do nothing, and says nothing to it.
func TestTheDoctorOnADumbTerminal(t *testing.T) {
	t.Setenv("TERM", "dumb")
	t.Setenv("CLICOLOR_FORCE", "1")
	t.Setenv("NO_COLOR", "1")
	path := filepath.Join(t.TempDir(), "agent\x1b[31m.cue")
	var out bytes.Buffer
	a := &app{streams: streams{in: strings.NewReader(""), out: &out, err: io.Discard}, now: noon, columns: 60}
	if code := a.execute(t.Context(), []string{"doctor", "--config", path, "--offline"}); code != exitError {
		t.Errorf("exit code %d without a file", code)
	}
	for line := range strings.Lines(out.String()) {
		if strings.ContainsFunc(line, func(r rune) bool { return r != '\n' && (r < ' ' || r > '~') }) {
			t.Errorf("a dumb terminal is sent %q", line)
		}
	}
	if !strings.HasPrefix(out.String(), "[x]") || !strings.Contains(out.String(), `agent\u{1b}[31m.cue`) {
		t.Errorf("it prints\n%s", out.String())
	}
}

func TestTheDoctorStartsNothingThatStartsByItself(t *testing.T) {
	for state, want := range map[string]string{"activating": "wait a moment", "deactivating": "wait a moment", "failed": "systemctl start dunlin", "inactive": "systemctl start dunlin"} {
		if got := inactiveHelp(state); !strings.HasPrefix(got, want) || !strings.Contains(got, "journalctl -u dunlin") {
			t.Errorf("%s: %q", state, got)
		}
	}
}
