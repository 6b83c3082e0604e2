package durable

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestAFileIsReplacedWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	if err := Write(path, []byte("old")); err != nil {
		t.Fatal(err)
	}
	halfway := errors.New("halfway")
	err := WriteFrom(path, func(w io.Writer) error {
		_, _ = w.Write(make([]byte, 1<<20))
		return halfway
	})
	if got, _ := os.ReadFile(path); !errors.Is(err, halfway) || string(got) != "old" {
		t.Errorf("after an error there are %d bytes and error %v, want those from before", len(got), err)
	}
	if err := Write(path, []byte("new")); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); string(got) != "new" {
		t.Errorf("it holds %q", got)
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("its mode is %v (%v), want 0600", info.Mode(), err)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*")); len(names) != 1 {
		t.Errorf("what is left: %v", names)
	}
}

func TestAFolderThatIsNotThereIsAnError(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	if err := Write(filepath.Join(dir, "state"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Write = %v", err)
	}
	if err := Folder(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Folder = %v", err)
	}
}
