package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestALockNamesItsHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	if err := os.WriteFile(path, []byte(strings.Repeat("someone long gone ", 5)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, who := range []string{"dunlin reconcile", "x", strings.Repeat("ü", 200)} {
		unlock, err := Lock(path, who)
		if err != nil {
			t.Fatal(err)
		}
		var locked *LockedError
		want := fmt.Sprintf("%s (pid %d)", who, os.Getpid())
		_, err = Lock(path, "another")
		if !errors.As(err, &locked) || locked.Holder == "" || !strings.HasPrefix(want, strings.ToValidUTF8(locked.Holder, "")) || len(want) < 100 && locked.Holder != want {
			t.Errorf("a second lock: %v, want it held by %s", err, want)
		}
		if info, err := os.Stat(path); err != nil || info.Size() != holderSize && len(who) < 100 {
			t.Errorf("the file has %d bytes, %v, want %d", info.Size(), err, holderSize)
		}
		unlock()
	}
	if err := os.Mkdir(path+"2", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(path+"2", "x"); err == nil {
		t.Error("a folder is locked")
	}
}
