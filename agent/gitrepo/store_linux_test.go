package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatalf("mount a small tmpfs: %v (run as root)", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	bare, work := origin(t)
	ctx := context.Background()
	c1 := push(t, bare, work, map[string]string{"a": "1"})
	s := must[*Store](t)(OpenStore(filepath.Join(dir, "s"), Remote{URL: bare, Branch: "main"}))
	must[string](t)(s.Fetch(ctx, "main"))
	fill := filepath.Join(dir, "fill")
	if err := os.WriteFile(fill, make([]byte, 2<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	c2 := push(t, bare, work, map[string]string{"a": strings.Repeat("x", 5000)})
	if _, err := s.Fetch(ctx, "main"); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("fetch: %v", err)
	}
	if _, err := s.Commit(Change{Parent: c1, Files: map[string][]byte{"x": {}}}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("commit: %v", err)
	}
	if at, err := s.Ref("refs/dunlin/incoming/main"); at != c1 || err != nil || !s.Has(c1) {
		t.Errorf("the last good commit is gone: %q, %v", at, err)
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Fetch(ctx, "main"); got != c2 || err != nil {
		t.Errorf("with space again: %q, %v", got, err)
	}
}

// BenchmarkFollow is a first fetch of 1,000 files of 1 KB, and says how much memory the process ever held.
func BenchmarkFollow(b *testing.B) {
	bare, work := origin(b)
	files := map[string]string{}
	for i := range 1000 {
		files[fmt.Sprintf("d%d/f%d", i%20, i)] = strings.Repeat(fmt.Sprintf("line %d\n", i), 100)
	}
	push(b, bare, work, files)
	for b.Loop() {
		s := open(b, Remote{URL: bare, Branch: "main"})
		must[string](b)(s.Fetch(context.Background(), "main"))
	}
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		var kb float64
		if n, _ := fmt.Sscanf(line, "VmHWM: %f kB", &kb); n == 1 {
			b.ReportMetric(kb/1024, "peak-MiB")
		}
	}
}
