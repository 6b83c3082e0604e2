//go:build unix

package identity_test

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"

	"github.com/dunlin-dev/dunlin/agent/identity"
	"github.com/dunlin-dev/dunlin/schema"
)

func open(t *testing.T, dir string) identity.Keys {
	t.Helper()
	k, err := identity.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeysAreMadeOnceAndStay(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	a, b := open(t, dir), open(t, dir)
	if a.ID() != b.ID() || a.TLSPin() != b.TLSPin() || a.Age != b.Age {
		t.Errorf("second Open gives %s %s %s, first %s %s %s", b.ID(), b.TLSPin(), b.Age, a.ID(), a.TLSPin(), a.Age)
	}
	for path, want := range map[string]os.FileMode{"": 0o700, "keys": 0o700, "keys/sign.key": 0o600, "keys/tls.key": 0o600, "keys/age.key": 0o600} {
		info, err := os.Lstat(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%q has mode %04o, want %04o", path, info.Mode().Perm(), want)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("state folder holds %v (%v), want keys alone", entries, err)
	}
	if other := open(t, t.TempDir()); other.ID() == a.ID() || other.TLSPin() == a.TLSPin() || other.Age == a.Age {
		t.Error("two hosts share a key")
	}
}

func TestAgeKeyIsReadAndNeverMade(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if b, err := identity.AgeKey(dir); !errors.Is(err, os.ErrNotExist) || b != nil {
		t.Errorf("without keys: AgeKey = %q, %v", b, err)
	}
	if _, err := os.Lstat(dir); err == nil {
		t.Error("the state folder was made")
	}
	k := open(t, dir)
	b, err := identity.AgeKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := age.ParseX25519Identity(strings.TrimSpace(string(b))); err != nil || id.Recipient().String() != k.Age {
		t.Errorf("AgeKey is not the key of %s: %v", k.Age, err)
	}
	if err := os.Chmod(filepath.Join(dir, "keys", "age.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	var refused *identity.RefusedError
	if b, err := identity.AgeKey(dir); !errors.As(err, &refused) || b != nil {
		t.Errorf("a key that others may read: AgeKey = %q, %v", b, err)
	}
}

func TestKeysMadeByManyAtOnceAreTheSame(t *testing.T) {
	dir := t.TempDir()
	ids := make([]string, 8)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			k, err := identity.Open(dir)
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = k.ID() + k.TLSPin()
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("ids differ: %q", ids)
		}
	}
}

func TestLineIsWhatTheRosterWants(t *testing.T) {
	k := open(t, t.TempDir())
	now := time.Date(2026, 11, 20, 10, 0, 0, 123, time.FixedZone("", 3600))
	l := k.Line("web-1", "debian", nil, now)
	public, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(l.Keys.Sign))
	if err != nil || len(rest) > 0 || !strings.HasSuffix(strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public))), l.Keys.Sign) {
		t.Errorf("sign %q is no ssh-ed25519 line: %v", l.Keys.Sign, err)
	}
	if _, err := age.ParseX25519Recipient(l.Keys.Age); err != nil {
		t.Error(err)
	}
	leaf, err := x509.ParseCertificate(k.TLS.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	if l.Keys.TLS != hex.EncodeToString(sum[:]) || leaf.Subject.CommonName != l.ID {
		t.Errorf("pin %s and name %q are not those of the certificate", l.Keys.TLS, leaf.Subject.CommonName)
	}
	if l.ID != schema.NodeID(k.Public()) || l.Name != "web-1" || l.OS != "debian" || l.Tags == nil || l.State != schema.NodeActive {
		t.Errorf("line is %+v", l)
	}
	if got := l.Added.Format(time.RFC3339Nano); got != "2026-11-20T09:00:00Z" {
		t.Errorf("added %s", got)
	}
}

func TestWhatIsThereIsRefusedAndNeverReplaced(t *testing.T) {
	change := func(name string, f func(path string) error) func(dir string) error {
		return func(dir string) error { return f(filepath.Join(dir, "keys", name)) }
	}
	overwrite := func(text string) func(string) error {
		return func(path string) error { return os.WriteFile(path, []byte(text), 0o600) }
	}
	mode := func(m os.FileMode) func(string) error { return func(path string) error { return os.Chmod(path, m) } }
	tests := []struct {
		name   string
		spoil  func(dir string) error
		path   string
		why    string
		remedy string
	}{
		{"an empty key", change("sign.key", overwrite("")), "sign.key", "not one PEM block", "backup"},
		{"a torn key", change("tls.key", func(p string) error { return os.Truncate(p, 60) }), "tls.key", "not one PEM block", "dunlin node line"},
		{"PEM of something else", change("sign.key", overwrite("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")), "sign.key", "is not a key", "backup"},
		{"a key and more", change("sign.key", func(p string) error {
			b, err := os.ReadFile(p)
			return errors.Join(err, os.WriteFile(p, append(b, b...), 0o600))
		}), "sign.key", "not one PEM block", "backup"},
		{"a damaged age key", change("age.key", overwrite("AGE-SECRET-KEY-1QQQ\n")), "age.key", "no age key", "backup"},
		{"a huge file", change("age.key", overwrite(strings.Repeat("x", 5000))), "age.key", "longer than 4096 bytes", "backup"},
		{"a missing key", change("sign.key", os.Remove), "sign.key", "missing", "backup"},
		{"an empty folder", func(dir string) error {
			return errors.Join(os.RemoveAll(filepath.Join(dir, "keys")), os.Mkdir(filepath.Join(dir, "keys"), 0o700))
		}, "sign.key", "missing", "backup"},
		{"a symbolic link", change("sign.key", func(p string) error {
			return errors.Join(os.Rename(p, p+".real"), os.Symlink(p+".real", p))
		}), "sign.key", "symbolic link", "backup"},
		{"a folder in a key's place", change("tls.key", func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) }), "tls.key", "not a regular file", "backup"},
		{"a key that the group may read", change("sign.key", mode(0o640)), "sign.key", "mode 0640", "chmod 0600"},
		{"a key that all may read", change("age.key", mode(0o604)), "age.key", "mode 0604", "chmod 0600"},
		{"a folder that the group may write", change("", mode(0o770)), "keys", "mode 0770", "chmod 0700"},
		{"a file in the folder's place", func(dir string) error {
			return errors.Join(os.RemoveAll(filepath.Join(dir, "keys")), os.WriteFile(filepath.Join(dir, "keys"), nil, 0o600))
		}, "keys", "not a folder", "backup"},
	}
	if os.Geteuid() == 0 {
		tests = append(tests, []struct {
			name   string
			spoil  func(dir string) error
			path   string
			why    string
			remedy string
		}{
			{"another user's key", change("sign.key", func(p string) error { return os.Chown(p, 65534, 0) }), "sign.key", "does not belong to uid 0", "chown"},
			{"another user's folder", change("", func(p string) error { return os.Chown(p, 65534, 0) }), "keys", "does not belong to uid 0", "chown"},
		}...)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			open(t, dir)
			if err := tt.spoil(dir); err != nil {
				t.Fatal(err)
			}
			before := contents(t, dir)
			_, err := identity.Open(dir)
			var refused *identity.RefusedError
			if !errors.As(err, &refused) {
				t.Fatalf("error %v, want a *RefusedError", err)
			}
			if filepath.Base(refused.Path) != tt.path || !strings.Contains(refused.Error(), tt.why) || !strings.Contains(refused.Remedy, tt.remedy) {
				t.Errorf("error %q, remedy %q; want %q about %q, remedy with %q", refused, refused.Remedy, tt.why, tt.path, tt.remedy)
			}
			if after := contents(t, dir); after != before {
				t.Errorf("what was there has changed:\n%s\nwas\n%s", after, before)
			}
		})
	}
}

func contents(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		b.WriteString(path + " " + info.Mode().String() + "\n")
		if info.Mode().IsRegular() {
			text, err := os.ReadFile(path)
			b.Write(text)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestErrorsDoNotQuoteSecrets(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	path := filepath.Join(dir, "keys", "age.key")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	spoiled := strings.TrimSpace(string(raw))
	spoiled = spoiled[:len(spoiled)-1] + "?"
	if err := os.WriteFile(path, []byte(spoiled), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err = identity.Open(dir); err == nil || strings.Contains(err.Error(), spoiled[20:30]) {
		t.Errorf("error %v", err)
	}
}
