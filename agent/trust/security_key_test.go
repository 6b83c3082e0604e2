package trust

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/dunlin-dev/dunlin/schema"
)

// touch signs as a FIDO key does (PROTOCOL.u2f): over the application, the flags, a counter and the message.
func touch(key ed25519.PrivateKey, flags byte, message, namespace string) []byte {
	const app = "ssh:"
	public := ssh.Marshal(struct {
		Type, Key, App string
	}{ssh.KeyAlgoSKED25519, string(key.Public().(ed25519.PublicKey)), app})
	pub, err := ssh.ParsePublicKey(public)
	if err != nil {
		panic(err) // made right above
	}
	hashed := sha256.Sum256([]byte(message))
	signed := append([]byte("SSHSIG"), ssh.Marshal(struct{ Namespace, Reserved, Hash, Message string }{namespace, "", "sha256", string(hashed[:])})...)
	rest := append([]byte{flags}, binary.BigEndian.AppendUint32(nil, 7)...)
	a, m := sha256.Sum256([]byte(app)), sha256.Sum256(signed)
	blob := bytes.Join([][]byte{a[:], rest, m[:]}, nil)
	return sshsig.Armor(&sshsig.Signature{Version: 1, PublicKey: pub, Namespace: namespace, HashAlgorithm: sshsig.HashSHA256,
		Signature: &ssh.Signature{Format: ssh.KeyAlgoSKED25519, Blob: ed25519.Sign(key, blob), Rest: rest}})
}

func TestASecurityKeyCountsWhenTouched(t *testing.T) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	good := touch(key, 1, "hello", NamespaceCommit)
	sig, err := unarmour(good)
	if err != nil {
		t.Fatal(err)
	}
	p := peopleOf(schema.Fleet{Signers: map[string]schema.Signer{"alice": {Keys: []string{string(ssh.MarshalAuthorizedKey(sig.PublicKey))}, Roles: []string{"root"}}}})
	if name, err := p.signer([]byte("hello"), good, NamespaceCommit); name != "alice" || err != nil {
		t.Errorf("touched: %q, %v", name, err)
	}
	if name, err := p.signer([]byte("hello"), touch(key, 5, "hello", NamespaceCommit), NamespaceCommit); name != "alice" || err != nil {
		t.Errorf("touched and verified: %q, %v", name, err)
	}
	for what, armour := range map[string][]byte{
		"not touched":     touch(key, 0, "hello", NamespaceCommit),
		"verified only":   touch(key, 4, "hello", NamespaceCommit),
		"another message": touch(key, 1, "bye", NamespaceCommit),
	} {
		if name, err := p.signer([]byte("hello"), armour, NamespaceCommit); err == nil {
			t.Errorf("%s is taken as %s's", what, name)
		}
	}
	// What the test signs is what a security key does, by OpenSSH's own word. It does not ask for the touch; we do.
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	allowed := write("allowed", append([]byte("alice "), ssh.MarshalAuthorizedKey(sig.PublicKey)...))
	verify := func(armour []byte, message string) error {
		t.Helper()
		cmd := exec.Command("ssh-keygen", "-Y", "verify", "-f", allowed, "-I", "alice", "-n", NamespaceCommit, "-s", write("sig", armour))
		cmd.Stdin = strings.NewReader(message)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("ssh-keygen: %w: %s", err, out)
		}
		return nil
	}
	for what, armour := range map[string][]byte{"touched": good, "touched and verified": touch(key, 5, "hello", NamespaceCommit), "not touched": touch(key, 0, "hello", NamespaceCommit)} {
		if err := verify(armour, "hello"); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if verify(armour, "bye") == nil {
			t.Errorf("%s: ssh-keygen takes it for another message", what)
		}
	}
	// The flag is signed: to set it afterwards breaks the signature.
	lied, err := unarmour(good)
	if err != nil {
		t.Fatal(err)
	}
	lied.Signature.Rest = []byte{3, 0, 0, 0, 7}
	if _, err := p.signer([]byte("hello"), sshsig.Armor(lied), NamespaceCommit); err == nil {
		t.Error("changed flags are taken")
	}
	if verify(sshsig.Armor(lied), "hello") == nil {
		t.Error("ssh-keygen takes changed flags")
	}
}
