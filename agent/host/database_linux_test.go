package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

func TestADatabaseIsReadAgainWhenItMayHaveChanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "status")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path+"-new", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+"-new", path); err != nil { // as dpkg does
			t.Fatal(err)
		}
	}
	reads, ahead := 0, time.Duration(0)
	var fails error
	now := func() time.Time { return time.Now().Add(ahead) }
	load := func() ([]schema.PackageStatus, fs.FileInfo, error) {
		reads++
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		return []schema.PackageStatus{{Name: string(b)}}, info, errors.Join(err, fails)
	}
	var d Database
	for _, step := range []struct {
		name  string
		do    func()
		want  string
		reads int
	}{
		{"first", func() { write("a") }, "a", 1},
		{"a file of just now is not trusted", func() {}, "a", 2},
		{"later it is read once more", func() { ahead = time.Minute }, "a", 3},
		{"and kept", func() {}, "a", 3},
		{"another of the same size", func() { write("b") }, "b", 4},
		{"kept", func() {}, "b", 4},
		{"written in place", func() {
			if err := os.WriteFile(path, []byte("c"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "c", 5},
		{"only touched, with its times set back", func() {
			long := time.Now().Add(-time.Hour)
			if err := os.Chtimes(path, long, long); err != nil {
				t.Fatal(err)
			}
		}, "c", 6},
	} {
		step.do()
		got, err := d.read(path, now, load)
		if err != nil || len(got) != 1 || got[0].Name != step.want || reads != step.reads {
			t.Errorf("%s: %+v, %v after %d reads, want %q after %d", step.name, got, err, reads, step.want, step.reads)
		}
	}
	write("d")
	fails = errors.New("broken")
	if _, err := d.read(path, now, load); err == nil {
		t.Error("an error is not told")
	}
	fails = nil
	if got, err := d.read(path, now, load); err != nil || got[0].Name != "d" {
		t.Errorf("after an error: %+v, %v", got, err)
	}
}
