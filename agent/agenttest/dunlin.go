package agenttest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Dunlin builds the program once per test process, static as `make` does, and
// returns where it lies on this machine until the test ends. On the hosts named
// it is put at /usr/local/bin/dunlin.
func Dunlin(t testing.TB, hosts ...*Host) string {
	t.Helper()
	program, err := buildDunlin()
	if err != nil {
		t.Fatalf("build dunlin: %v", err)
	}
	bin := filepath.Join(t.TempDir(), "dunlin")
	if err := os.WriteFile(bin, program, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, h := range hosts {
		h.Copy(bin, "/usr/local/bin/dunlin")
	}
	return bin
}

// A test process has no end of its own at which a folder could go, so the
// program is kept in memory.
var buildDunlin = sync.OnceValues(func() ([]byte, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp("", "dunlin-build-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	bin := filepath.Join(tmp, "dunlin")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, "./cmd/dunlin")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w\n%s", err, tail(out, 4000))
	}
	return os.ReadFile(bin)
})
