package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What examples show runs as it is printed, where nothing but a policy repository is needed: in one that has what they name.
func TestExamplesOfHelpRun(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Chdir(home)
	sh := func(text string) {
		t.Helper()
		c := exec.Command("sh", "-e", "-c", text)
		c.Env = append(os.Environ(), "GIT_AUTHOR_NAME=Alice", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=Alice", "GIT_COMMITTER_EMAIL=a@example.org")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	sh(`git config --global user.name Alice
git config --global user.email a@example.org
for who in alice bob carol; do ssh-keygen -q -t ed25519 -N '' -C $who -f $who; done
mkdir .ssh && cp alice .ssh/id_ed25519 && cp alice.pub .ssh/id_ed25519.pub`)
	call := func(in string, words ...string) (string, int) {
		var out, errs bytes.Buffer
		code := run(t.Context(), words, streams{in: strings.NewReader(in), out: &out, err: &errs})
		return out.String() + errs.String(), code
	}
	must := func(in string, words ...string) string {
		t.Helper()
		out, code := call(in, words...)
		if code != 0 {
			t.Fatalf("dunlin %q: exit %d\n%s", words, code, out)
		}
		return out
	}
	must("", "init", "policy", "--name", "acme", "--signer", "carol", "--key", "carol.pub")
	t.Chdir("policy")
	sh(`cp ../*.pub .
[ -d .git ] || git init -qb main
git add -A
git -c commit.gpgsign=false commit -qm first || true
git -c commit.gpgsign=false commit -q --allow-empty -m second`)
	names := map[string]string{"web-1": "web", "web-2": "web", "web-7": "web", "web-8": "web", "db-1": "db"}
	for name, role := range names {
		line := must("", "node", "line", "--state", filepath.Join(home, name), "--tags", "role="+role, "--tags", "canary=true")
		id := strings.Split(line[strings.Index(line, `"id":`):], `"`)[3]
		host, _ := os.Hostname()
		text := strings.Replace(line, `"name":"`+host+`"`, `"name":"`+name+`"`, 1)
		if err := os.MkdirAll("nodes", 0o755); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile("nodes/"+id[:2]+".jsonl", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = f.WriteString(text)
		f.Close()
	}
	must("", "fmt")
	must("", "activation", "create", "act-7q2m9c", "--tags", "role=web")
	sh("git add -A && git -c commit.gpgsign=false commit -qm third")
	_, _, all := everyCommand(t)
	ran := 0
	for _, c := range all {
		path := strings.TrimPrefix(c.CommandPath(), "dunlin ")
		if !slices.Contains([]string{"schedule", "schedule next", "schema", "schema export", "schema vendor", "new", "fmt", "baseline", "activation", "activation create",
			"activation list", "activation revoke", "node list", "node tag", "node rename", "node retire", "trust list", "trust add", "trust revoke", "trust grants", "param list", "inventory"}, path) {
			continue
		}
		sh("git checkout -qf . && git clean -qfd")
		switch path {
		case "new", "trust grants":
			must("", "trust", "add", "alice", "--key", "alice.pub", "--role", "policy")
		case "trust revoke":
			must("", "trust", "add", "bob", "--key", "bob.pub", "--role", "policy")
		}
		in := ""
		for _, words := range commandsOf(c.Example) {
			line := strings.Join(words, " ")
			switch { // what is of another repository, of an agent, or pushed
			case strings.Contains(line, "infra-policy"), strings.Contains(line, "/srv/"), strings.Contains(line, "--node "), strings.Contains(line, "--push"),
				strings.Contains(line, "policies/web.cue"), strings.Contains(line, "origin/"):
				continue
			case strings.HasPrefix(line, "activation revoke"):
				if _, err := os.Stat("activations/act-7q2m9c.cue"); err != nil {
					must("", "activation", "create", "act-7q2m9c")
				}
			case line == "trust add alice --key ~/.ssh/id_ed25519.pub --role root --role policy":
				words[4] = filepath.Join(home, words[4][2:])
			}
			out, code := call(in, words...)
			if code != 0 {
				t.Errorf("dunlin %s --help: dunlin %s: exit %d\n%s", path, line, code, out)
			}
			in = out
			ran++
		}
	}
	if ran < 40 {
		t.Errorf("only %d examples are run", ran)
	}
}
