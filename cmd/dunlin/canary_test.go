package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/agent"
	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/agent/identity"
	"github.com/dunlin-dev/dunlin/agent/secret"
	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// Canaries are secrets that are looked for wherever the program leaves something, in the forms in which programs write.
const (
	canaryOne = `c4n4ry-ONE <hunter2>&"q"/é'$x\y`
	canaryTwo = `c4n4ry-TWO <hunter3>&"q"/é'$x\y`
)

// canaryForms are twelve encodings of a canary.
func canaryForms(v string) map[string]string {
	quoted := func(s string) string { b, _ := json.Marshal(s); return strings.Trim(string(b), `"`) }
	core := func(e *base64.Encoding, pad int) string { // what every base64 text has of it, pad bytes after a multiple of three
		text := e.EncodeToString([]byte(strings.Repeat("\x00", pad) + v))
		return text[4*((pad+2)/3) : len(text)-2]
	}
	return map[string]string{
		"as it is": v, "base64": core(base64.RawStdEncoding, 0), "base64 + 1": core(base64.RawStdEncoding, 1), "base64 + 2": core(base64.RawStdEncoding, 2),
		"base64 URL": core(base64.RawURLEncoding, 0), "hex": hex.EncodeToString([]byte(v)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(v))),
		"query": url.QueryEscape(v), "path": url.PathEscape(v), "JSON": quoted(v), "%q": strings.Trim(strconv.QuoteToASCII(v), `"`),
		"HTML": html.EscapeString(v), "shell": strings.ReplaceAll(v, "'", `'\''`), "bytes": strings.Trim(fmt.Sprint([]byte(v)), "[]"),
		"its middle": "hunter" + v[strings.Index(v, ">")-1:strings.Index(v, ">")],
	}
}

// told is everything that a program could say of a value that it was given.
func told(content []byte) string {
	var b strings.Builder
	for name, form := range canaryForms(string(content)) {
		if name != "bytes" && name != "its middle" && !strings.HasPrefix(name, "base64") {
			fmt.Fprintf(&b, "%s: %s\n", name, form)
		}
	}
	for pad := range 3 { // base64 is written of something whole, of which the value is a part
		whole := append([]byte("ab"[:min(pad, 2)]), content...)
		fmt.Fprintf(&b, "base64 %s %s %s\n", base64.StdEncoding.EncodeToString(whole), base64.RawURLEncoding.EncodeToString(whole),
			base64.StdEncoding.EncodeToString(append(whole, "..."...)))
	}
	return b.String()
}

// talkative is a host that tells what it was given where something goes wrong.
type talkative struct {
	host.Simulated
}

func (h talkative) WriteFile(ctx context.Context, path string, want schema.File, content []byte) error {
	switch path {
	case "/etc/fails":
		return fmt.Errorf("no room for %s", told(content))
	case "/etc/hangs":
		ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		<-ctx.Done()
		return fmt.Errorf("%w while writing %s", ctx.Err(), told(content))
	case "/etc/panics":
		panic("cannot write " + told(content))
	}
	return h.Simulated.WriteFile(ctx, path, want, content)
}

// canaryCrash reconciles a simulated host and crashes with a secret open: arguments are repository, state and host.
func canaryCrash() {
	if err := secret.Guard(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	h := host.Simulated{Dir: os.Args[3]}
	l := agent.Local{State: os.Args[2], Root: h.Root(), Evaluate: load.InProcess(load.Options{}), Host: talkative{h}, Packages: h,
		LastInstalls: h.LastInstalls().Read, Ceiling: reconciler.NoCeiling(), Now: time.Now}
	account, err := l.Reconcile(context.Background(), os.Args[1], "", false)
	fmt.Printf("%+v %v\n", account, err)
}

// sinks are places where something was left, by name.
type sinks struct {
	mu  sync.Mutex
	all map[string][]byte
}

func (s *sinks) add(name string, b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[name] = append(s.all[name], b...)
}

func (s *sinks) folder(t *testing.T, name, dir string, skip ...string) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		for _, sk := range skip {
			if path == filepath.Join(dir, sk) {
				return fs.SkipDir
			}
		}
		if d.Type().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			n++
			s.add(name, append([]byte(path+"\n"), b...))
		}
		return nil
	})
	if err != nil || n == 0 {
		t.Fatalf("sink %s: %d files, %v", name, n, err)
	}
}

// keyForms are ways in which a key would be written: the fleet's gossip key, and the private halves of a node's and of recovery.
func keyForms(t *testing.T, f *liveFleet, recovery []string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{"the gossip key": f.shared, "the gossip key, base64": []byte(base64.StdEncoding.EncodeToString(f.shared))[:40],
		"the gossip key, URL": []byte(base64.URLEncoding.EncodeToString(f.shared))[:40], "the gossip key, hex": []byte(hex.EncodeToString(f.shared)),
		"the gossip key, as bytes": []byte(strings.Trim(fmt.Sprint(f.shared), "[]"))}
	read := func(name, path string) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range bytes.Split(b, []byte("\n")) { // PEM, or age's: long lines are of the key alone
			if len(line) >= 40 && !bytes.HasPrefix(line, []byte("-----")) && !bytes.HasPrefix(line, []byte("#")) {
				out[fmt.Sprintf("%s, line %d", name, i+1)] = line
			}
		}
	}
	for _, n := range f.nodes {
		for _, name := range []string{"sign.key", "tls.key", "age.key"} {
			read(n.name+"'s "+name, filepath.Join(n.state, identity.Folder, name))
		}
		out[n.name+"'s seed, hex"] = []byte(hex.EncodeToString(n.keys.Sign.Seed()))
		out[n.name+"'s seed"] = n.keys.Sign.Seed()
	}
	for i, path := range recovery {
		read(fmt.Sprintf("recovery %d", i), path)
	}
	if len(out) < 5+5*len(f.nodes)+len(recovery) {
		t.Fatalf("%d keys were read", len(out))
	}
	return out
}

// hits are the canaries that are in a text.
func hits(b []byte) []string {
	var out []string
	for _, v := range []string{canaryOne, canaryTwo} {
		for name, form := range canaryForms(v) {
			if bytes.Contains(b, []byte(form)) {
				out = append(out, name)
			}
		}
	}
	return out
}

// writer collects what an agent logs.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) Bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.b.Bytes())
}

// Canaries go through success, failure, timeout and panic, with everything logged, and are found nowhere but in the file that
// a policy makes of them.
func TestCanariesAreNowhere(t *testing.T) {
	const least = 40
	s := &sinks{all: map[string][]byte{}}
	f := newLiveFleet(t, "web-1", "web-2")
	one, two := f.nodes[0], f.nodes[1]
	lab := &paramLab{t: t, dir: filepath.Join(f.dir, "tree"), now: time.Now()}
	lab.recover()
	program := filepath.Join(f.dir, "dunlin")
	crash := filepath.Join(f.dir, "canarycrash")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{program, crash} {
		if err := os.Symlink(self, name); err != nil {
			t.Fatal(err)
		}
	}
	temp := filepath.Join(f.dir, "tmp")
	if err := os.Mkdir(temp, 0o700); err != nil {
		t.Fatal(err)
	}
	lab.write(filepath.Join(temp, "nothing"), "yet")
	t.Setenv("TMPDIR", temp)

	// The work tree has the roster of the fleet and parameters that the program writes.
	for _, n := range f.nodes {
		var line bytes.Buffer
		a := app{streams: streams{out: &line}}
		if err := a.printRosterLine(n.keys.Line(n.name, "debian", map[string]string{"role": "web"}, noon())); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(lab.dir, "nodes", n.keys.ID()[:2]+".jsonl")
		old, _ := os.ReadFile(path)
		lab.write(path, string(old)+line.String())
		lab.ok("", "fmt", path)
	}
	// command runs the program in a process of its own, and looks at it from outside before it is given anything.
	command := func(name, stdin string, want int, args ...string) {
		t.Helper()
		if stdin == "" { // nothing to be seen from outside
			if args[0] != "param" {
				args = append(args, lab.dir)
			}
			code, out, errs := lab.run("", args...)
			if code != want {
				t.Fatalf("dunlin %q: exit %d: %s%s", args, code, out, errs)
			}
			s.add(name+": stdout", []byte(out))
			s.add(name+": stderr", []byte(errs))
			return
		}
		cmd := exec.Command(program, args...)
		cmd.Dir = lab.dir
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if stdin != "" {
			_, _ = io.WriteString(in, stdin[:1]) // it waits for the rest
			for _, what := range []string{"cmdline", "environ"} {
				b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", cmd.Process.Pid, what))
				if err != nil {
					t.Fatal(err)
				}
				s.add("/proc/PID/"+what, b)
			}
			_, _ = io.WriteString(in, stdin[1:])
		}
		_ = in.Close()
		err = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != want {
			t.Fatalf("dunlin %q: exit %d, %v: %s%s", args, code, err, out.Bytes(), errs.Bytes())
		}
		s.add(name+": stdout", out.Bytes())
		s.add(name+": stderr", errs.Bytes())
	}
	command("param put", canaryOne, 0, "param", "put", "/app/one", "--type", "SecureString", "--target", "node=web-1", "--label", "prod")
	command("param put -o json", canaryTwo, 0, "param", "put", "/app/one", "-o", "json")
	command("param put that fails", canaryTwo, 1, "param", "put", "/app/two", "--type", "SecureString", "--target", "all", "--allowed-pattern", "[0-9]+")
	command("param put that fails, JSON", canaryTwo, 1, "param", "put", "/app/two", "--type", "SecureString", "--target", "all", "--allowed-pattern", "[0-9]+", "-o", "json")
	command("a secret as an argument", "", 2, "param", "put", "/app/two", canaryOne, "--type", "SecureString", "--target", "all")
	command("secrets as arguments, JSON", "", 2, "param", "put", "/app/two", canaryOne, canaryTwo, "-o", "json")
	command("a file that is too long", strings.Repeat(canaryOne, 1000), 1, "param", "put", "/app/two", "--type", "SecureString", "--target", "all")
	for name, args := range map[string][]string{
		"param list": {"list"}, "param list -o json": {"list", "-o", "json"}, "param history": {"history", "/app/one"}, "param history -o json": {"history", "/app/one", "-o", "json"},
		"param get": {"get", "/app/one"}, "param get -o json": {"get", "/app/one:prod", "-o", "json"}, "param label": {"label", "/app/one", "1", "old"},
		"param rotate": {"rotate"}, "param rotate -o json": {"rotate", "/app/one", "-o", "json", "--identity", lab.recovery[0]},
	} {
		command(name, "", 0, append([]string{"param"}, args...)...)
	}
	command("param get --reveal of a stranger", "", 4, "param", "get", "/app/one", "--reveal", "--state", two.state)
	lab.write(filepath.Join(lab.dir, "policies", "app.cue"), `package fleet

policy: app: {
	targets: all: true
	files: {
		"/etc/good":    contentFrom: parameter: "/app/one"
		"/etc/fails":   contentFrom: parameter: "/app/one"
		"/etc/hangs":   contentFrom: parameter: "/app/one"
		"/etc/no/such": contentFrom: parameter: "/app/one"
	}
}
`)
	lab.write(filepath.Join(lab.dir, "fleet.cue"), strings.Replace(lab.file("fleet.cue"), "acme", "live", 1))
	for _, format := range []string{"text", "json", "github", "gitlab", "sarif", "junit"} {
		command("validate --format "+format, "", 0, "validate", "--format", format)
	}

	// Sealed for fleet acme, which the fleet is not: that is the failure which a wrong fleet is.
	push := func() {
		t.Helper()
		files := map[string]string{}
		for _, name := range []string{"fleet.cue", "policies/app.cue", "parameters/app/one.cue"} {
			files[name] = lab.file(name)
		}
		files["fleet.cue"] = strings.Replace(files["fleet.cue"], "name: \"live\"", "name: \"live\", sync: interval: \"1s\", reports: interval: \"1s\"", 1)
		f.push(files)
	}
	push()
	var logs [2]lockedBuffer
	for i, n := range f.nodes {
		n.log = &logs[i]
		n.on = func(h host.Simulated) reconciler.Host { return talkative{h} }
		f.start(n)
	}
	failed := func(n *liveNode, item, why string) {
		t.Helper()
		n.until(t, "explain "+item+" -o json", func(out string) bool {
			s.add("explain ITEM -o json", []byte(out))
			return strings.Contains(out, why)
		})
	}
	failed(one, "file:/etc/good", `sealed for fleet`)
	failed(two, "file:/etc/good", "not among the readers")

	// Sealed anew for this fleet, with the first canary as a version before.
	if err := os.Remove(filepath.Join(lab.dir, "parameters/app/one.cue")); err != nil {
		t.Fatal(err)
	}
	lab.write(filepath.Join(lab.dir, "policies/app.cue"), strings.ReplaceAll(lab.file("policies/app.cue"), "contentFrom", "content: \"x\" //"))
	command("param put", canaryOne, 0, "param", "put", "/app/one", "--type", "SecureString", "--target", "node=web-1", "--expires", "10d", "--notify-before", "20d")
	command("param put", canaryTwo, 0, "param", "put", "/app/one", "--no-change-notify-after", "1s")
	lab.write(filepath.Join(lab.dir, "policies/app.cue"), strings.ReplaceAll(lab.file("policies/app.cue"), "content: \"x\" //", "contentFrom"))
	push()
	made := filepath.Join(one.host.Root(), "etc", "good")
	one.until(t, "status -o json", func(out string) bool {
		b, err := os.ReadFile(made)
		return err == nil && string(b) == canaryTwo && strings.Contains(out, `"what": "expires"`) && strings.Contains(out, `"what": "unchanged"`)
	})
	one.until(t, "compliance -o json", func(out string) bool {
		return strings.Contains(out, "no room for") && strings.Contains(out, "[secret /app/one@2]") && strings.Contains(out, "deadline exceeded")
	})
	if len(hits([]byte(canaryTwo))) < 2 || len(hits([]byte(told([]byte(canaryTwo))))) < 12 {
		t.Fatal("the search finds nothing where it should")
	}

	// What the agents say to people, over their sockets and in their logs.
	for _, n := range f.nodes {
		for _, line := range []string{"status", "status -o json", "nodes", "nodes -o json", "compliance", "compliance -o json", "explain", "explain -o json", "explain --all",
			"explain web-1", "explain web-1 -o json", "explain web-2 -o json", "explain file:/etc/good", "explain file:/etc/fails -o json", "sync", "scan -o json", "inventory -o json"} {
			out, errs, _ := n.run(line)
			s.add("dunlin "+line, []byte(out+errs))
		}
	}
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", one.socket)
	}}}
	for _, path := range []string{"/v1/status", "/v1/compliance", "/v1/nodes", "/v1/explain", "/debug/pprof/heap", "/"} {
		resp, err := client.Get("http://dunlin" + path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		s.add("socket "+path, append([]byte(resp.Status), b...))
	}

	// A local pass, by the program as people run it, and one that crashes.
	repo := filepath.Join(f.dir, "policy.git")
	out, err := exec.Command("git", "--git-dir", repo, "for-each-ref").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s.add("refs", out)
	one.until(t, "status", func(string) bool {
		out, err := exec.Command("git", "--git-dir", repo, "ls-tree", "-r", "--name-only", "refs/heads/reports").CombinedOutput()
		return err == nil && strings.Contains(string(out), "nodes/") && strings.Contains(string(out), "README.md")
	})
	for _, n := range f.nodes {
		n.stop()
	}
	for i := range logs {
		s.add("log of "+f.nodes[i].name, logs[i].Bytes())
	}
	for _, dry := range []bool{true, false} {
		l := agent.Local{State: one.state, Root: one.host.Root(), Evaluate: load.InProcess(load.Options{}), Host: talkative{one.host}, Packages: one.host, Secrets: &agent.Secrets{},
			LastInstalls: one.host.LastInstalls().Read, Ceiling: reconciler.NoCeiling(), Now: time.Now,
			Progress: func(st reconciler.Step) { s.add("steps of a pass", fmt.Appendf(nil, "%+v %+v\n", st, st.Done)) }}
		account, err := l.Reconcile(context.Background(), lab.dir, "", dry)
		if err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		a := &app{streams: streams{out: &text, err: &text}, now: time.Now}
		if err := a.printAccount(account); err != nil {
			t.Fatal(err)
		}
		s.add(fmt.Sprintf("account, dry %v", dry), text.Bytes())
		b, err := json.Marshal(account)
		if err != nil {
			t.Fatal(err)
		}
		s.add(fmt.Sprintf("account, dry %v, JSON", dry), b)
		s.add("Go's printer", fmt.Appendf(nil, "%+v %#v %v", account, account, l.Secrets))
	}
	lab.write(filepath.Join(lab.dir, "policies/app.cue"), strings.ReplaceAll(lab.file("policies/app.cue"), "/etc/fails", "/etc/panics"))
	cmd := exec.Command("/bin/sh", "-c", `ulimit -c unlimited; exec "$0" "$@"`, crash, lab.dir, one.state, one.host.Dir)
	cmd.Env, cmd.Dir = append(os.Environ(), "GOTRACEBACK=crash"), filepath.Join(f.dir, "web-2")
	out, err = cmd.CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("cannot write ")) || !bytes.Contains(out, []byte("[secret /app/one@2]")) {
		t.Errorf("it did not crash as it should: %v\n%s", err, out)
	}
	s.add("crash", out)

	// What is left on disks.
	for _, n := range f.nodes {
		for _, part := range []string{"journal", "cache", "policy.git", "facts"} {
			s.folder(t, "state/"+part, filepath.Join(n.state, part))
		}
		s.folder(t, "state, all else", n.state, "journal", "cache", "policy.git", "facts", identity.Folder)
	}
	s.folder(t, "work tree", lab.dir)
	s.folder(t, "temporary files", temp)
	if cores, err := filepath.Glob(filepath.Join(f.dir, "web-2", "core*")); err != nil || len(cores) > 0 {
		t.Errorf("the crash left %v, %v", cores, err)
	}
	if state, ok := cmd.ProcessState.Sys().(interface{ CoreDump() bool }); !ok || state.CoreDump() {
		t.Error("the crash dumped a core")
	}
	s.add("core files", fmt.Append(nil, cmd.ProcessState))
	for name, dir := range map[string]string{"objects of the remote": repo, "objects of a node": filepath.Join(one.state, "policy.git")} {
		out, err := exec.Command("git", "--git-dir", dir, "cat-file", "--batch-all-objects", "--batch").Output()
		if err != nil || len(out) < 1000 {
			t.Fatalf("%s: %d bytes, %v", name, len(out), err)
		}
		s.add(name, out)
	}
	for _, path := range []string{"README.md", "summary.json", "nodes", "facts", "badges", "catalog"} {
		out, err := exec.Command("sh", "-c", `git --git-dir "$0" ls-tree -r --name-only refs/heads/reports "$1" | while read -r p; do git --git-dir "$0" show "refs/heads/reports:$p"; done`, repo, path).Output()
		if err != nil {
			t.Fatal(err)
		}
		if len(out) > 0 {
			s.add("reports branch: "+path, out)
		}
	}
	out, err = exec.Command("git", "--git-dir", repo, "log", "--format=%B", "refs/heads/reports").Output()
	if err != nil {
		t.Fatal(err)
	}
	s.add("reports branch: messages", out)

	keys := keyForms(t, f, lab.recovery[:])
	for name, b := range s.all {
		if found := hits(b); len(found) > 0 {
			t.Errorf("%s has a canary: %v", name, found)
		}
		for what, form := range keys {
			if bytes.Contains(b, form) {
				t.Errorf("%s has %s", name, what)
			}
		}
	}
	// That the sinks are full: the reports of the node tell of the secret by its name.
	if !bytes.Contains(s.all["objects of the remote"], []byte("[secret /app/one@2]")) && !bytes.Contains(s.all["dunlin compliance -o json"], []byte("[secret /app/one@2]")) {
		t.Error("nothing tells of the secret by its name")
	}
	if n := len(s.all); n < least {
		t.Errorf("%d sinks were looked at, want at least %d", n, least)
	} else {
		t.Logf("%d sinks, %d encodings", n, len(canaryForms(canaryOne)))
	}
}
