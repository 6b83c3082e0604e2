package agenttest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// command is a program with what a person needs whose git is to reach this server, over HTTPS or SSH.
func (g *GitServer) command(ctx context.Context, args ...string) *exec.Cmd {
	user, pass, _ := strings.Cut(g.User, ":")
	if g.netns != "" {
		args = append([]string{"nsenter", "--net=" + g.netns}, args...)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	// Nothing of what this machine's owner has set.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + g.dir, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_TERMINAL_PROMPT=0",
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=credential.helper",
		"GIT_CONFIG_VALUE_0=!f() { echo username=" + user + "; echo password=" + pass + "; }; f",
		"GIT_SSL_CAINFO=" + filepath.Join(g.dir, "ca.pem"),
		"GIT_SSH_COMMAND=ssh -F none -i " + filepath.Join(g.dir, "key") + " -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile=" + filepath.Join(g.dir, "known_hosts")}
	cmd.Dir, cmd.WaitDelay = g.Work, time.Second
	return cmd
}

// Git runs git in the work tree and gives what it printed; TryGit leaves the judgement to the caller.
func (g *GitServer) Git(args ...string) string {
	g.t.Helper()
	out, err := g.TryGit(args...)
	if err != nil {
		g.t.Fatalf("git %v: %v: %s", args, err, out)
	}
	return out
}

// TryGit runs git in the work tree and gives all that it printed.
func (g *GitServer) TryGit(args ...string) (string, error) {
	return g.Try(append([]string{"git"}, args...)...)
}

// Try runs a program in the work tree whose git reaches this server, and gives all that it printed.
func (g *GitServer) Try(args ...string) (string, error) {
	if err := os.WriteFile(filepath.Join(g.dir, "known_hosts"), []byte(strings.Replace(g.KnownHosts, "sw ", "sw,10.77.0.254 ", 1)+"\n"), 0o644); err != nil {
		return "", err
	}
	for i, a := range args {
		// This machine has no name for the switch.
		args[i] = strings.Replace(strings.Replace(a, "https://sw/", "https://10.77.0.254/", 1), "ssh://git@sw/", "ssh://git@10.77.0.254/", 1)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := g.command(ctx, args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// Commit writes files in the work tree, an empty text deleting one, and commits them; nothing is pushed.
func (g *GitServer) Commit(files map[string]string) string {
	g.t.Helper()
	for name, text := range files {
		path := filepath.Join(g.Work, filepath.FromSlash(name))
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil && text == "" {
			err = os.Remove(path)
		} else if err == nil {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			g.t.Fatal(err)
		}
	}
	g.Git("add", "-A")
	g.Git("commit", "-q", "--allow-empty", "-m", "change")
	return g.Git("rev-parse", "HEAD")
}

// Push commits files and pushes main over HTTPS, and gives the commit.
func (g *GitServer) Push(files map[string]string) string {
	g.t.Helper()
	commit := g.Commit(files)
	g.Git("push", "-q", "origin", "main")
	return commit
}
