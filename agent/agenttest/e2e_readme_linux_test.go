package agenttest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/agent/api"
	"github.com/dunlin-dev/dunlin/examples"
	"github.com/dunlin-dev/dunlin/schema"
)

// block is a block of code of the README, by what stands behind its three backquotes.
func block(t *testing.T, readme, name string) string {
	t.Helper()
	m := regexp.MustCompile("(?s)\n```" + regexp.QuoteMeta(name) + "\n(.*?\n)```\n").FindStringSubmatch(readme)
	if m == nil {
		t.Fatalf("README.md has no block %q", name)
	}
	return m[1]
}

// quoted is a command as a shell reads it.
func quoted(args []string) string {
	var out []string
	for _, a := range args {
		out = append(out, "'"+strings.ReplaceAll(a, "'", `'\''`)+"'")
	}
	return strings.Join(out, " ")
}

// Whoever opens the README finds, in this order, what it is, how it looks, how to have it, how it works, what it costs and
// what it does not do; and what it points to is there.
func TestTheReadmeLeadsOn(t *testing.T) {
	t.Parallel()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	for _, next := range []string{"# Dunlin\n\n**", "\n## See it\n", "dunlin demo\n", "](docs/demo.svg)", "\n## Real hosts in ten lines\n", "\n## How it works\n",
		"\n## Figures\n", "\n## Limits\n", "\n## Licence\n"} {
		i := strings.Index(string(text[at:]), next)
		if i < 0 {
			t.Fatalf("%q does not come where it should", next)
		}
		at += i
	}
	for _, m := range regexp.MustCompile(`\]\(([^)#]+)`).FindAllStringSubmatch(string(text), -1) {
		if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(m[1]))); err != nil && !strings.Contains(m[1], "://") {
			t.Errorf("a link leads nowhere: %v", err)
		}
	}
}

// What the README says makes a fleet of three hosts. Its lines are run as they are; ssh, scp and git are stand-ins that reach
// the hosts and the server of this test.
func TestTheLinesOfTheReadme(t *testing.T) {
	t.Parallel()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	readme := string(text)
	hosts := Hosts(t, 3, Options{Family: "debian", Systemd: true})
	server := NewGitServer(t, hosts[0])
	nginx(t, hosts[0])
	names := []string{"web-1", "db-1", "ops-1"}
	dir := t.TempDir()
	file := func(path, content string, mode os.FileMode) {
		t.Helper()
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	table := ""
	for i, h := range hosts {
		table += h.Addr4 + " " + names[i] + "\n"
	}
	for i, h := range hosts {
		h.MustExec("hostname", names[i])
		h.MustExec("sh", "-c", `printf '%s' "$1" >>/etc/hosts`, "sh", table)
		h.MustExec("apt-get", "update")
		h.Write("/etc/dunlin/ca.pem", server.CA, 0o644)
		file("hosts/"+names[i], "exec "+quoted(h.Command(context.Background(), "sh", "-c").Args)+` "cd; $1"`+"\n", 0o644)
	}
	// What a reader of it has: a checkout that was built, and the two files.
	if err := os.CopyFS(filepath.Join(dir, "examples"), examples.Files); err != nil {
		t.Fatal(err)
	}
	// The minute would only be waited for.
	fleet := filepath.Join(dir, "examples", "quickstart", "fleet.cue")
	b, err := os.ReadFile(fleet)
	if err != nil || !strings.Contains(string(b), `interval: "1m"`) {
		t.Fatalf("%s: %v", b, err)
	}
	file("examples/quickstart/fleet.cue", strings.Replace(string(b), `interval: "1m"`, `interval: "1s"`, 1), 0o644)
	debs := Debs(t, "0.1.0")
	link := func(from, to string) {
		t.Helper()
		if err := os.Symlink(from, filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	link(filepath.Join(debs, "dunlin_0.1.0_amd64.deb"), "bin/dunlin_0.1.0_amd64.deb")
	link(filepath.Join(filepath.Dir(debs), "bin", "dunlin"), "bin/dunlin")
	agentFile := strings.Replace(block(t, readme, "cue agent.cue"), "https://git.example.org/ops/policy.git", server.HTTPS, 1)
	file("agent.cue", strings.Replace(agentFile, `"/etc/dunlin/token"`, `"/etc/dunlin/token", caFile: "/etc/dunlin/ca.pem"`, 1), 0o644)
	file("token", server.User+"\n", 0o600)
	file("tools/make", "#!/bin/sh\n", 0o755)
	file("tools/ssh", "#!/bin/sh\nhost=${1#root@}\nshift\nset -- \"$*\"\n. '"+dir+"'/hosts/$host\n", 0o755)
	file("tools/scp", `#!/bin/sh
for to; do :; done
for f; do
	[ "$f" = "$to" ] || cat "$f" | ssh "${to%:}" "install -m 600 /dev/stdin '$(basename "$f")'" || exit 1
done
`, 0o755)
	git := server.command(context.Background(), "git", "-c", "user.name=Ann", "-c", "user.email=ann@example.org")
	file("tools/git", "#!/bin/sh\nexec env -i "+quoted(git.Env)+" "+quoted(git.Args)+` "$@"`+"\n", 0o755)

	script := strings.ReplaceAll(block(t, readme, "sh hosts"), "https://git.example.org/ops/policy.git", strings.Replace(server.HTTPS, "//sw/", "//10.77.0.254/", 1))
	if n := strings.Count(script, "\n"); n != 10 {
		t.Errorf("the README has %d lines for real hosts, and says that they are ten", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-e", "-c", script)
	cmd.Dir, cmd.WaitDelay = dir, time.Second
	cmd.Env = []string{"PATH=" + filepath.Join(dir, "tools") + ":" + os.Getenv("PATH"), "HOME=" + dir}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "of fleet quickstart") {
		t.Fatalf("%v\n%s", err, tail(out, 6000))
	}
	f := &realFleet{t: t, hosts: hosts, git: server}
	f.until("all three are online and as the policy says", 90*time.Second, every(hosts, func(h *Host) bool {
		if status(h).Nodes[string(schema.Online)] != 3 {
			return false
		}
		all, _ := ask(h, func(c *api.Client, ctx context.Context) ([]schema.NodeCompliance, error) { return c.Compliance(ctx) })
		well := 0
		for _, n := range all {
			if n.Type == "Policy" && n.State == schema.Compliant && !n.Stale {
				well++
			}
		}
		return well == 3
	}))
	for _, h := range hosts[1:] {
		if h.Reaches(hosts[0].Addr4, 23) {
			t.Errorf("%s reaches telnet on %s", h.Name, hosts[0].Name)
		}
	}
	f.until("the reports branch says it", time.Minute, func() bool {
		if _, err := server.TryGit("fetch", "-q", "origin", "+reports:reports", "main"); err != nil {
			return false
		}
		page, err := server.TryGit("show", "reports:README.md")
		return err == nil && strings.Contains(page, "Online | 3 |") && strings.Contains(page, "[ops-1]") && strings.Contains(page, "| Policy | 3 | 0 | 0 | 100")
	})
	verify := exec.Command(filepath.Join(dir, "bin", "dunlin"), "report", "verify", "--repo", server.Dir)
	if out, err := verify.CombinedOutput(); err != nil || !strings.Contains(string(out), "verified: 3 lines") {
		t.Errorf("report verify: %v\n%s", err, out)
	}
	validate := exec.Command(filepath.Join(dir, "bin", "dunlin"), "validate", filepath.Join(dir, "policy"))
	if out, err := validate.CombinedOutput(); err != nil {
		t.Errorf("validate: %v\n%s", err, out)
	}
}

// nginx gives the hosts' archive a package of that name which serves nothing.
func nginx(t *testing.T, h *Host) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "nginx")
	for path, text := range map[string]string{
		"DEBIAN/control":                   "Package: nginx\nVersion: 1.22.1-9\nArchitecture: all\nMaintainer: testbed <root@localhost>\nDescription: stands for a web server\n",
		"etc/nginx/conf.d/placeholder":     "",
		"lib/systemd/system/nginx.service": "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n",
	} {
		at := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	deb := filepath.Join(filepath.Dir(dir), "nginx_1.22.1-9_all.deb")
	if out, err := exec.Command("dpkg-deb", "--root-owner-group", "--build", dir, deb).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb: %v\n%s", err, out)
	}
	h.PublishFile("main", deb)
}
