package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// hooks is the part of .pre-commit-config.yaml that a repository's own hooks use (pre-commit.com, "Creating new hooks").
type hooks struct {
	Repos []struct {
		Repo  string `yaml:"repo"`
		Hooks []struct {
			ID       string `yaml:"id"`
			Name     string `yaml:"name"`
			Entry    string `yaml:"entry"`
			Language string `yaml:"language"`
			Files    string `yaml:"files"`
			Exclude  string `yaml:"exclude"`
			Pass     *bool  `yaml:"pass_filenames"`
		} `yaml:"hooks"`
	} `yaml:"repos"`
}

// The hooks that init writes for pre-commit are called as it calls them: in the root of the repository, with the names of
// the staged files that match; a hook that fails or changes a file stops the commit.
func TestHooksAreCalledAsPreCommitCallsThem(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "policy")
	dunlin := func(args ...string) (string, int) {
		var out bytes.Buffer
		code := run(t.Context(), args, streams{in: strings.NewReader(""), out: &out, err: &out})
		return out.String(), code
	}
	if out, code := dunlin("init", dir); code != 0 {
		t.Fatalf("init: %d\n%s", code, out)
	}
	t.Chdir(dir)
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", args...)
		cmd.Env = append(os.Environ(), "HOME="+dir, "GIT_CONFIG_NOSYSTEM=1")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("git %q: %v", args, err)
		}
		return string(out)
	}
	git("init", "-q", "-b", "main")
	f, err := os.Open(".pre-commit-config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var config hooks
	read := yaml.NewDecoder(f)
	read.KnownFields(true)
	if err := read.Decode(&config); err != nil {
		t.Fatal(err)
	}
	// commit gives what stops one, or nothing.
	commit := func() (stopped []string) {
		t.Helper()
		git("add", "-A")
		staged := strings.FieldsFunc(git("diff", "--cached", "--name-only", "-z", "--diff-filter=ACMRTUXB", "--no-ext-diff"), func(r rune) bool { return r == 0 })
		for _, repo := range config.Repos {
			if repo.Repo != "local" {
				t.Errorf("hooks of %q, which would have to be fetched", repo.Repo)
			}
			for _, h := range repo.Hooks {
				words := strings.Fields(h.Entry)
				if h.ID == "" || h.Name == "" || h.Language != "system" || len(words) == 0 || words[0] != "dunlin" {
					t.Fatalf("hook %+v", h)
				}
				matching := regexp.MustCompile(h.Files)
				except := regexp.MustCompile(h.Exclude)
				files := slices.DeleteFunc(slices.Clone(staged), func(name string) bool {
					return !matching.MatchString(name) || h.Exclude != "" && except.MatchString(name)
				})
				if len(files) == 0 { // pre-commit says "no files to check"
					continue
				}
				if h.Pass == nil || *h.Pass {
					words = append(words, files...)
				}
				before := git("diff", "--no-ext-diff", "--ignore-submodules")
				_, code := dunlin(words[1:]...)
				if after := git("diff", "--no-ext-diff", "--ignore-submodules"); code != 0 || after != before {
					stopped = append(stopped, h.ID)
				}
			}
		}
		return stopped
	}
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.FromSlash(name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := commit(); got != nil {
		t.Errorf("the first commit is stopped by %q", got)
	}
	put("policies/a name.cue", "package fleet\npolicy: \"x\": {targets: all:    true, sysctls: \"net.ipv4.ip_forward\": \"0\"}\n")
	if got := commit(); !slices.Equal(got, []string{"dunlin-fmt"}) {
		t.Errorf("a file that is laid out wrongly is stopped by %q", got)
	}
	if got := commit(); got != nil {
		t.Errorf("once it is laid out, the commit is stopped by %q", got)
	}
	put("policies/wrong.cue", "package fleet\n\npolicy: y: targets: al: true\n")
	if got := commit(); !slices.Contains(got, "dunlin-validate") {
		t.Errorf("a fault is stopped by %q", got)
	}
	put("policies/wrong.cue", "package fleet\n\npolicy: {\n")
	if got := commit(); !slices.Equal(got, []string{"dunlin-fmt", "dunlin-validate"}) {
		t.Errorf("what is no CUE is stopped by %q", got)
	}
}
