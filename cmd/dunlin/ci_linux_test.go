package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// ciSteps are the commands of a forge's file, as its runner gives them to a shell.
func ciSteps(t *testing.T, dir, forge string) []string {
	t.Helper()
	file := map[string]string{"github": ".github/workflows/dunlin.yml", "gitlab": ".gitlab-ci.yml", "forgejo": ".forgejo/workflows/dunlin.yml"}[forge]
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	var ci struct {
		Jobs map[string]struct {
			Steps []struct {
				Uses, Run string
				Env       map[string]string
			}
		}
		Dunlin struct {
			Script    []string
			Variables map[string]string
		}
	}
	if err := yaml.Unmarshal(text, &ci); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if forge == "gitlab" {
		for name, value := range ci.Dunlin.Variables {
			ci.Dunlin.Script = append([]string{fmt.Sprintf("export %s=\"%s\"", name, value)}, ci.Dunlin.Script...)
		}
		return []string{strings.Join(ci.Dunlin.Script, "\n")} // one shell
	}
	var steps []string
	for _, s := range ci.Jobs["validate"].Steps {
		if s.Run == "" {
			continue
		}
		set := ""
		for name, value := range s.Env {
			set += fmt.Sprintf("export %s='%s'\n", name, value)
		}
		steps = append(steps, set+s.Run)
	}
	return steps
}

// runCI runs the steps of a forge in a folder until one fails. `go install` gives this program.
func runCI(t *testing.T, dir, forge string) (out string, passed bool) {
	t.Helper()
	home := t.TempDir()
	// What is asked of go is recorded, and carried out without a network.
	writeFile(t, home, "tools/go", "#!/bin/sh\necho \"go $*\" >>\"$HOME/asked\"\nto=${GOBIN:-$HOME/go/bin}\nmkdir -p \"$to\"\ncp \"$THIS\" \"$to/dunlin\"\n")
	if err := os.Chmod(filepath.Join(home, "tools", "go"), 0o755); err != nil {
		t.Fatal(err)
	}
	this, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range ciSteps(t, dir, forge) {
		cmd := exec.CommandContext(t.Context(), "sh", "-e", "-c", step)
		cmd.Dir = dir
		cmd.Env = []string{"HOME=" + home, "THIS=" + this, "CI_PROJECT_DIR=" + dir, "PATH=" + filepath.Join(home, "tools") + ":/usr/bin:/bin"}
		b, err := cmd.CombinedOutput()
		out += string(b)
		if err != nil {
			return out, false
		}
	}
	asked, err := os.ReadFile(filepath.Join(home, "asked"))
	if want := "go install github.com/dunlin-dev/dunlin/cmd/dunlin@v0.1.0\n"; err != nil || string(asked) != want {
		t.Errorf("%s asks %q of go, %v, want %q", forge, asked, err, want)
	}
	return out, true
}

// What init writes for a forge installs the version that .dunlin-version names, passes on the scaffold, and fails with the
// place of a fault in the forge's own form, or where a file is not laid out.
func TestCIFiles(t *testing.T) {
	const wrong = "package fleet\n\npolicy: x: {targets: all: true, mde: \"audit\"}\n"
	for forge, says := range map[string]string{
		"github":  "::error file=policies/wrong.cue,line=3,col=33,title=policy.x.mde::",
		"gitlab":  "policies/wrong.cue:3:33: policy.x.mde: no such field",
		"forgejo": "policies/wrong.cue:3:33: policy.x.mde: no such field",
	} {
		t.Run(forge, func(t *testing.T) {
			dir := begun(t, "--forge", forge, "--dunlin-version", "v0.1.0")
			if out, ok := runCI(t, dir, forge); !ok || strings.Contains(out, "policies") {
				t.Errorf("the scaffold does not pass:\n%s", out)
			}
			writeFile(t, dir, "policies/wrong.cue", wrong)
			out, ok := runCI(t, dir, forge)
			if ok || !strings.Contains(out, says) {
				t.Errorf("passed: %v, want %q in\n%s", ok, says, out)
			}
			if forge == "gitlab" {
				report, err := os.ReadFile(filepath.Join(dir, "gl-code-quality-report.json"))
				if err != nil || !strings.Contains(string(report), `"path": "policies/wrong.cue"`) {
					t.Errorf("the report is %s, %v", report, err)
				}
			}
			writeFile(t, dir, "policies/wrong.cue", strings.Replace(wrong, "{targets: all: true, mde", "{targets:   all: true, mode", 1))
			if out, ok := runCI(t, dir, forge); ok || !strings.Contains(out, "policies/wrong.cue") {
				t.Errorf("passed: %v, with a file that is not laid out:\n%s", ok, out)
			}
		})
	}
}
