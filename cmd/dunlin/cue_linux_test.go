package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// publishedCue builds the cue command that everybody can install, of the version that .cue/go.mod names, and keeps it
// between runs in this user's cache folder.
var publishedCue = sync.OnceValues(func() (string, error) {
	const module = "../../.cue"
	text, err := os.ReadFile(filepath.Join(module, "go.mod"))
	if err != nil {
		return "", err
	}
	pinned := regexp.MustCompile(`cuelang\.org/go (v\S+)`).FindSubmatch(text)
	if pinned == nil {
		return "", fmt.Errorf(".cue/go.mod names no version of cuelang.org/go")
	}
	ours, err := os.ReadFile("../../go.mod")
	if err != nil || !bytes.Contains(ours, append([]byte("cuelang.org/go "), pinned[1]...)) {
		return "", fmt.Errorf(".cue/go.mod has cuelang.org/go %s, and go.mod another version: %v", pinned[1], err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "dunlin-tests")
	file := filepath.Join(dir, fmt.Sprintf("cue-%s-%s-%s", pinned[1], runtime.Version(), runtime.GOARCH))
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	temp := fmt.Sprintf("%s.%d", file, os.Getpid())
	cmd := exec.Command("go", "build", "-C", module, "-trimpath", "-ldflags=-s -w", "-o", temp, "cuelang.org/go/cmd/cue")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the published cue: %v\n%s", err, out)
	}
	return file, os.Rename(temp, file)
})

// plainCue runs the published cue in a folder, in a network namespace that has no network.
func plainCue(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := plainCueCommand(t.Context(), t, dir, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err) // it could not be started
	}
	return out.String(), err
}

func plainCueCommand(ctx context.Context, t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	cue, err := publishedCue()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, cue, args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=/nowhere", "HOME=" + t.TempDir(), "CUE_REGISTRY=none", "CUE_CACHE_DIR=" + t.TempDir()}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
	}
	return cmd
}

// begun is a repository as dunlin init makes it.
func begun(t *testing.T, args ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "policy")
	mustRun(t, append([]string{"init", dir, "--name", "acme"}, args...)...)
	return dir
}

func mustRun(t *testing.T, args ...string) {
	t.Helper()
	var out, errs bytes.Buffer
	if code := run(t.Context(), args, streams{in: strings.NewReader(""), out: &out, err: &errs}); code != 0 {
		t.Fatalf("dunlin %s: exit %d\n%s%s", strings.Join(args, " "), code, &out, &errs)
	}
}

func writeFile(t *testing.T, dir, name, text string) {
	t.Helper()
	file := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Plain cue, offline, takes what dunlin init writes, has nothing to lay out in it, and refuses what is wrong in any folder.
func TestPlainCueChecksAScaffold(t *testing.T) {
	for _, forge := range forges() {
		dir := begun(t, "--forge", forge, "--dunlin-version", "v0.1.0")
		if out, err := plainCue(t, dir, "vet", "-c", "./..."); err != nil {
			t.Errorf("%s: cue vet: %v\n%s", forge, err, out)
		}
		if out, err := plainCue(t, dir, "fmt", "--check", "./..."); err != nil {
			t.Errorf("%s: cue fmt --check: %v\n%s", forge, err, out)
		}
	}
	dir := begun(t)
	for name, text := range map[string]string{
		"policies/wrong.cue":    "policy: wrong: {targets: all: true, mde: \"audit\"}\n",
		"a/b/wrong.cue":         "window: wrong: {schedule: \"cron(0 2 ? * SUN *)\", duration: \"three hours\", targets: all: true}\n",
		"wrong.cue":             "polcy: wrong: targets: all: true\n",
		"groups/sub/wrong.cue":  "group: wrong: baselines: []\n",
		"baselines/missing.cue": "baseline: wrong: default: true\n",
	} {
		writeFile(t, dir, name, "package fleet\n\n"+text)
		out, err := plainCue(t, dir, "vet", "-c", "./...")
		if err == nil || !strings.Contains(out, name) && !strings.Contains(out, "baseline.wrong.operatingSystem") { // what is missing is nowhere
			t.Errorf("%s is taken, or not named: %v\n%s", name, err, out)
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// A package of the shipped library that a repository imports is found once it is vendored.
func TestPlainCueFindsTheShippedLibrary(t *testing.T) {
	dir := begun(t)
	writeFile(t, dir, "baselines/own.cue", "package fleet\n\nimport \"dunlin.dev/policies/patching\"\n\n"+
		"baseline: own: patching.baseline[\"AWS-DebianDefaultPatchBaseline\"] & {operatingSystem: \"DEBIAN\"}\n")
	if out, err := plainCue(t, dir, "vet", "-c", "./..."); err == nil {
		t.Errorf("it is found before it is vendored:\n%s", out)
	}
	mustRun(t, "schema", "vendor", dir)
	if out, err := plainCue(t, dir, "vet", "-c", "./..."); err != nil {
		t.Errorf("cue vet: %v\n%s", err, out)
	}
}

// language is the example of the language with the definitions of today beside it.
func language(t *testing.T) map[string][]byte {
	t.Helper()
	const root = "../../schema/load/testdata/example"
	files := map[string][]byte{}
	err := walkFiles(os.DirFS(root), ".", func(name string) error {
		b, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		files[name] = b
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(files, func(name string, _ []byte) bool { return strings.HasPrefix(name, load.VendorRoot+"/") })
	vendored, err := load.Vendored(nil)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(files, vendored)
	return files
}

func writeAll(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		writeFile(t, dir, name, string(text))
	}
	return dir
}

// definition is the one that a file of the example, or a wrong one, is held against by itself; empty for policy files.
func definition(name string) string {
	switch {
	case strings.HasSuffix(name, ".run.json"):
		return "#Run"
	case strings.HasSuffix(name, ".facts.json"):
		return "#Facts"
	case strings.HasSuffix(name, ".agent.cue"):
		return "#AgentConfig"
	case path.Ext(name) == ".jsonl":
		return "#RosterLine"
	case path.Ext(name) == ".cue":
		return ""
	}
	return "#Document"
}

// Plain cue takes the example of the language, its documents and roster too, and refuses each wrong file that
// EXPECTED.tsv says cue finds; what it says only dunlin finds, cue does not.
func TestPlainCueChecksTheLanguage(t *testing.T) {
	example := language(t)
	dir := writeAll(t, example)
	if out, err := plainCue(t, dir, "vet", "-c", "./..."); err != nil {
		t.Fatalf("cue vet: %v\n%s", err, out)
	}
	single := 0
	for name := range example {
		if ext := path.Ext(name); ext == ".json" || ext == ".yaml" || ext == ".jsonl" {
			single++
			if out, err := plainCue(t, dir, "vet", "-c", "-d", definition(name), "dunlin.dev/schema", name); err != nil {
				t.Errorf("cue vet %s: %v\n%s", name, err, out)
			}
		}
	}
	if single < 5 {
		t.Errorf("the example has %d documents and rosters", single)
	}
	const bad = "../../schema/load/testdata/bad"
	table, err := os.ReadFile(bad + "/EXPECTED.tsv")
	if err != nil {
		t.Fatal(err)
	}
	byCue := map[string]bool{}
	for i, line := range strings.Split(strings.TrimSpace(string(table)), "\n") {
		if f := strings.Split(line, "\t"); i > 0 && len(f) >= 6 {
			byCue[f[0]] = byCue[f[0]] || slices.Contains([]string{"cue", "parse", "load"}, f[5])
		}
	}
	if len(byCue) < 60 {
		t.Fatalf("EXPECTED.tsv has %d files", len(byCue))
	}
	for _, name := range slices.Sorted(maps.Keys(byCue)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(bad + "/" + name)
			if err != nil {
				t.Fatal(err)
			}
			files, at := maps.Clone(example), "bad/"+name
			if first, _, _ := strings.Cut(string(text), "\n"); strings.HasPrefix(first, "// as ") {
				at = strings.TrimPrefix(first, "// as ")
			}
			files[at] = text
			dir := writeAll(t, files)
			args := []string{"vet", "-c", "./..."}
			if d := definition(name); d != "" {
				args = []string{"vet", "-c", "-d", d, "dunlin.dev/schema", at}
			}
			out, err := plainCue(t, dir, args...)
			if refused := err != nil; refused != byCue[name] {
				t.Errorf("cue refuses it: %v, and EXPECTED.tsv says %v\n%s", refused, byCue[name], out)
			}
		})
	}
}

// Each kind of object that dunlin new writes is one that the language takes, and plain cue too.
func TestNewObjectsAreValid(t *testing.T) {
	dir := begun(t)
	signers := "\tsigners: alice: {keys: [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMTYVQnG1/bgtfbVmZnu8ALSIYohPkBNXjuj9rse4YpS alice\"], roles: [\"root\", \"policy\"]}\n}\n"
	fleet, err := os.ReadFile(filepath.Join(dir, "fleet.cue"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir, "fleet.cue", strings.Replace(string(fleet), "}\n", signers, 1))
	kinds, err := load.Kinds()
	if err != nil {
		t.Fatal(err)
	}
	key := "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMTYVQnG1/bgtfbVmZnu8ALSIYohPkBNXjuj9rse4YpS alice"
	written := 0
	for _, kind := range kinds {
		args := []string{"new", kind, "x-" + strings.ToLower(kind), "--repo", dir}
		switch kind {
		case "fleet":
			continue // init's own
		case "parameter":
			args[2] = "/prod/" + kind
		case "grant":
			args = append(args, "--who", "alice")
		case "activation":
			args = append(args, "--public-key", key)
		}
		mustRun(t, args...)
		written++
	}
	for _, system := range []string{"debian", "ubuntu", "raspbian", "rhel", "rocky", "almalinux", "centos", "ol", "fedora", "sles", "amzn", "windows", "macos", "AMAZON_LINUX_2"} {
		mustRun(t, "new", "baseline", "b-"+strings.ToLower(system), "--os", system, "--repo", dir)
		mustRun(t, "new", "policy", "p-"+strings.ToLower(system), "--os", system, "--repo", dir)
		written += 2
	}
	options := loadOptions()
	options.Limits = schema.EnforcedAll()
	repo, faults, err := load.InProcess(options)(t.Context(), os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range faults {
		t.Error(f)
	}
	if want := written + 9; repo.Objects != want {
		t.Errorf("%d objects, want %d", repo.Objects, want)
	}
	if out, err := plainCue(t, dir, "vet", "-c", "./..."); err != nil {
		t.Errorf("cue vet: %v\n%s", err, out)
	}
	if out, err := plainCue(t, dir, "fmt", "--check", "./..."); err != nil {
		t.Errorf("cue fmt --check: %v\n%s", err, out)
	}
	mustRun(t, "fmt", "--check", dir)
}
