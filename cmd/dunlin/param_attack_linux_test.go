package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"filippo.io/age"

	"github.com/dunlin-dev/dunlin/schema"
)

// Root changes a parameter in the clone of a user, who gives another file of root's the name of the one that is being written.
func TestAFileOfRootsIsGivenToNobodyByItsName(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test changes owners and needs root")
	}
	dir := t.TempDir()
	users, written, roots := filepath.Join(dir, "fleet.cue"), filepath.Join(dir, "temp"), filepath.Join(dir, "secret")
	for _, path := range []string{users, roots} {
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(users, 1, 50); err != nil {
		t.Fatal(err)
	}
	old, err := os.Lstat(users)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(written, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Rename(roots, written); err != nil {
		t.Fatal(err)
	}
	keepOwner(f, old)
	var st, given syscall.Stat_t
	if err := syscall.Stat(written, &st); err != nil || st.Uid != 0 || st.Gid != 0 {
		t.Errorf("root's file is %d:%d's now, %v", st.Uid, st.Gid, err)
	}
	if err := syscall.Fstat(int(f.Fd()), &given); err != nil || given.Uid != 1 || given.Gid != 50 {
		t.Errorf("what was written is %d:%d's, %v, want 1:50", given.Uid, given.Gid, err)
	}
}

// Who may change what a clone fetches adds a key of recovery, or a node: who puts the next value is told.
func TestAKeyThatCameIsToldOfByPut(t *testing.T) {
	l := newParamLab(t)
	l.node("db-1", "db", schema.NodeActive)
	put := func(value string) string {
		t.Helper()
		code, out, errs := l.run(value, "param", "put", "/db/pass", "--type", "SecureString", "--target", "tag:role=db")
		if code != 0 {
			t.Fatalf("put: exit %d, %s%s", code, out, errs)
		}
		return errs
	}
	if errs := put("canary-1"); errs != "" {
		t.Errorf("the first put says %s", errs)
	}
	if errs := put("canary-2"); errs != "" {
		t.Errorf("a put to the same readers says %s", errs)
	}
	mallory, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	fleet := l.file("fleet.cue")
	l.write(filepath.Join(l.dir, "fleet.cue"), strings.Replace(fleet, "recovery: [", fmt.Sprintf("recovery: [%q, ", mallory.Recipient()), 1))
	l.node("db-9", "db", schema.NodeActive)
	if errs := put("canary-3"); !strings.Contains(errs, "encrypted also to db-9 and fleet.recovery[0], to which version 2 was not") {
		t.Errorf("put to a new node and a new key of recovery says %q", errs)
	}
	if errs := put("canary-4"); errs != "" {
		t.Errorf("the next put says %s", errs)
	}
}

// Anybody can encrypt a value to a node, and a person may look at it there.
func TestASecretDoesNotSpeakToTheTerminal(t *testing.T) {
	if got := onTerminal("a\x1b]0;x\a\n\tb\u202ec\rd\u00e9\n"); strings.ContainsAny(got, "\x1b\a\r\u202e") || !strings.HasPrefix(got, "a") || !strings.HasSuffix(got, "d\u00e9\n") || !strings.Contains(got, "\n\tb") {
		t.Errorf("shown as %q", got)
	}
	const key = "-----BEGIN PRIVATE KEY-----\n\tMC4CAQ\\n==\n-----END PRIVATE KEY-----\n"
	if got := onTerminal(key); got != key {
		t.Errorf("a key is shown as %q", got)
	}
}
