//go:build unix

package gitrepo

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Who owns a repository that is followed by its path may put anything into its folders. A named pipe must not make the
// reader wait, however it is reached.
func TestAPipeInARepositoryHoldsNobodyUp(t *testing.T) {
	for _, at := range []string{"refs/heads/other", "refs/heads/main", "objects/pack/pack-0000000000000000000000000000000000000000.idx", "objects/info/alternates"} {
		t.Run(at, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "remote.git")
			theirs, err := OpenStore(dir, Remote{})
			if err != nil {
				t.Fatal(err)
			}
			commit, err := theirs.Commit(Change{Files: map[string][]byte{"a": []byte("b")}, Message: "m", Author: "a", Email: "a@b.c", When: time.Unix(1, 0)})
			if err != nil {
				t.Fatal(err)
			}
			if err := theirs.SetRef("refs/heads/main", commit); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, at)
			_ = os.MkdirAll(filepath.Dir(path), 0o755)
			_ = os.Remove(path)
			if err := syscall.Mkfifo(path, 0o644); err != nil {
				t.Fatal(err)
			}
			if filepath.Ext(path) == ".idx" {
				if err := syscall.Mkfifo(path[:len(path)-4]+".pack", 0o644); err != nil {
					t.Fatal(err)
				}
			}
			ours, err := OpenStore(filepath.Join(t.TempDir(), "ours.git"), Remote{URL: "file://" + dir, Branch: "main"})
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() {
				_, err := ours.Fetch(context.Background(), "main")
				done <- err
			}()
			select {
			case err := <-done:
				t.Logf("fetch: %v", err)
			case <-time.After(time.Minute):
				t.Fatal("the fetch waits for a pipe")
			}
		})
	}
}

func TestAHugeReferenceIsNotRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "remote.git")
	if _, err := OpenStore(dir, Remote{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"refs/heads/main", "packed-refs"} {
		path := filepath.Join(dir, name)
		_ = os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, 1<<40); err != nil {
			t.Fatal(err)
		}
		ours, err := OpenStore(filepath.Join(t.TempDir(), "ours.git"), Remote{URL: "file://" + dir, Branch: "main"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ours.Head(t.Context()); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s of a tebibyte: %v", name, err)
		}
		_ = os.Remove(path)
	}
}
