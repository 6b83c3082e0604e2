package trust

import (
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

const (
	treeID   = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
	parentID = "0123456789abcdef0123456789abcdef01234567"
	who      = "A U Thor <author@example.org> 1767268800 +0100"
)

func commitText(headers ...string) string { return strings.Join(headers, "\n") + "\n\nmessage\n" }

func TestParseCommit(t *testing.T) {
	good := commitText("tree "+treeID, "parent "+parentID, "author "+who, "committer "+who)
	c, err := ParseCommit("x", []byte(good))
	if err != nil || c.Tree != treeID || len(c.Parents) != 1 || c.Parents[0] != parentID || !c.When.Equal(time.Unix(1767268800, 0)) || string(c.Payload) != good || c.Signature != nil {
		t.Fatalf("ParseCommit = %+v, %v", c, err)
	}
	signed := commitText("tree "+treeID, "author "+who, "committer "+who, "gpgsig a", " b", " ", " c")
	if c, err = ParseCommit("x", []byte(signed)); err != nil || string(c.Signature) != "a\nb\n\nc" || string(c.Payload) != commitText("tree "+treeID, "author "+who, "committer "+who) {
		t.Fatalf("ParseCommit = %+v, %v", c, err)
	}
	if _, err := ParseCommit("x", []byte("tree "+treeID+"\nauthor "+who+"\ncommitter "+who+"\n\n")); err != nil {
		t.Errorf("an empty message: %v", err)
	}
	for name, text := range map[string]string{
		"nothing":                  "",
		"no tree":                  commitText("parent "+parentID, "author "+who, "committer "+who),
		"two trees":                commitText("tree "+treeID, "tree "+treeID, "author "+who, "committer "+who),
		"a tree after the parent":  commitText("parent "+parentID, "tree "+treeID, "author "+who, "committer "+who),
		"two authors":              commitText("tree "+treeID, "author "+who, "author "+who, "committer "+who),
		"committer before author":  commitText("tree "+treeID, "committer "+who, "author "+who),
		"no committer":             commitText("tree "+treeID, "author "+who),
		"two committers":           commitText("tree "+treeID, "author "+who, "committer "+who, "committer "+who),
		"a parent late":            commitText("tree "+treeID, "author "+who, "parent "+parentID, "committer "+who),
		"a parent twice":           commitText("tree "+treeID, "parent "+parentID, "parent "+parentID, "author "+who, "committer "+who),
		"three parents":            commitText("tree "+treeID, "parent "+strings.Repeat("1", 40), "parent "+strings.Repeat("2", 40), "parent "+strings.Repeat("3", 40), "author "+who, "committer "+who),
		"an upper-case id":         commitText("tree "+strings.ToUpper(treeID), "author "+who, "committer "+who),
		"a short id":               commitText("tree "+treeID[1:], "author "+who, "committer "+who),
		"a long id":                commitText("tree "+treeID+"0", "author "+who, "committer "+who),
		"an encoding":              commitText("tree "+treeID, "author "+who, "committer "+who, "encoding ISO-8859-1"),
		"a mergetag":               commitText("tree "+treeID, "author "+who, "committer "+who, "mergetag object "+treeID),
		"an unknown header":        commitText("tree "+treeID, "author "+who, "committer "+who, "HG:extra x"),
		"a second signature":       commitText("tree "+treeID, "author "+who, "committer "+who, "gpgsig a", "gpgsig b"),
		"a signature for SHA-256":  commitText("tree "+treeID, "author "+who, "committer "+who, "gpgsig-sha256 a"),
		"a header after it":        commitText("tree "+treeID, "author "+who, "committer "+who, "gpgsig a", "x y"),
		"a continued author":       commitText("tree "+treeID, "author "+who, " more", "committer "+who),
		"NUL in the message":       good + "\x00",
		"not UTF-8":                good + "\xff",
		"a carriage return":        commitText("tree "+treeID+"\r", "author "+who, "committer "+who),
		"no blank line":            "tree " + treeID + "\nauthor " + who + "\ncommitter " + who + "\n",
		"no end":                   "tree " + treeID + "\nauthor " + who + "\ncommitter " + who,
		"a signature with no end":  "tree " + treeID + "\nauthor " + who + "\ncommitter " + who + "\ngpgsig a\n b",
		"a time with a sign":       commitText("tree "+treeID, "author "+who, "committer A <a@b> -1 +0100"),
		"a time with a zero first": commitText("tree "+treeID, "author "+who, "committer A <a@b> 01 +0100"),
		"a time without end":       commitText("tree "+treeID, "author "+who, "committer A <a@b> "+strings.Repeat("9", 30)+" +0100"),
		"no zone":                  commitText("tree "+treeID, "author "+who, "committer A <a@b> 1"),
		"a zone of letters":        commitText("tree "+treeID, "author "+who, "committer A <a@b> 1 UTC"),
		"an address in an address": commitText("tree "+treeID, "author "+who, "committer A <a<b@c> 1 +0000"),
		"too large":                good + strings.Repeat("x", MaxCommit),
	} {
		if c, err := ParseCommit("x", []byte(text)); err == nil {
			t.Errorf("%s is taken: %+v", name, c)
		} else if f := (*FormError)(nil); !errors.As(err, &f) || f.Reason == "" || len(f.Error()) > 300 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever is taken here, git and ssh-keygen take, too; and what differs by one bit from a good commit is not taken.
func TestSignaturesAgainstGit(t *testing.T) {
	t.Parallel()
	r := newGitRepo(t, "alice", "bob", "mallory")
	fleet := schema.Fleet{Name: "acme", Signers: r.signers("alice=root", "bob=policy")}
	allowed := filepath.Join(r.keys, "allowed")
	if err := os.WriteFile(allowed, []byte("alice "+r.public("alice")+"\nbob "+r.public("bob")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := peopleOf(fleet)
	random := mathrand.New(mathrand.NewPCG(7, 7))
	hash := func(raw []byte) string {
		sum := sha1.Sum(append(fmt.Appendf(nil, "commit %d\x00", len(raw)), raw...))
		return hex.EncodeToString(sum[:])
	}
	ours := func(raw []byte) string {
		c, err := ParseCommit(hash(raw), raw)
		if err != nil {
			return ""
		}
		name, err := p.signer(c.Payload, c.Signature, NamespaceCommit)
		if err != nil {
			return ""
		}
		return name
	}
	theirs := func(id string) bool {
		_, err := r.try("-c", "gpg.ssh.allowedSignersFile="+allowed, "verify-commit", id)
		return err == nil
	}
	// alone asks ssh-keygen itself, of what git takes as signed: all but the signature's header.
	alone := func(raw, principal string) bool {
		head, message, _ := strings.Cut(raw, "\n\n")
		var payload, sig []string
		signature := false
		for _, line := range strings.Split(head, "\n") {
			if rest, first := strings.CutPrefix(line, "gpgsig "); first || signature && strings.HasPrefix(line, " ") {
				signature = true
				sig = append(sig, strings.TrimPrefix(rest, " "))
				continue
			}
			signature = false
			payload = append(payload, line)
		}
		file := filepath.Join(r.keys, "one.sig")
		if err := os.WriteFile(file, []byte(strings.Join(sig, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("ssh-keygen", "-Y", "verify", "-f", allowed, "-I", principal, "-n", NamespaceCommit, "-s", file)
		cmd.Stdin = strings.NewReader(strings.Join(payload, "\n") + "\n\n" + message)
		return cmd.Run() == nil
	}
	// sign signs a payload as git does: the header comes last.
	sign := func(key, namespace, payload string) string {
		sig := strings.TrimSuffix(r.sign(key, namespace, []byte(payload)), "\n")
		head, message, _ := strings.Cut(payload, "\n\n")
		return head + "\ngpgsig " + strings.ReplaceAll(sig, "\n", "\n ") + "\n\n" + message
	}
	var good [][]byte
	messages := []string{"one line\n", "", "no newline", "two\n\nlines\n", "\n\n\nblank first\n", "umlaut \u00e4\n", "gpgsig in the message\ngpgsig x\n", " indented\n", strings.Repeat("long ", 2000) + "\n", "trailing   \n\n\n"}
	names := []string{"A U Thor", "", "\u00c4\u00d6", "a b c d", "a.b,c"}
	taken, stricter := 0, 0
	for i := range 220 {
		author := fmt.Sprintf("%s <%d@example.org> %d %+03d00", names[i%len(names)], i, 1767268800+i, i%25-11)
		author = strings.TrimPrefix(author, " ")
		payload := "tree " + treeID + "\n" + strings.Repeat("parent "+fmt.Sprintf("%040x", i+1)+"\n", i%2) + "author " + author + "\ncommitter " + author + "\n\n" + messages[i%len(messages)]
		key, namespace := []string{"alice", "bob", "mallory"}[i%3], NamespaceCommit
		if i%7 == 6 {
			namespace = "file"
		}
		raw := sign(key, namespace, payload)
		switch i % 11 {
		case 3: // something was changed after the signature
			raw = strings.Replace(raw, "committer ", "committer X", 1)
		case 5: // a header that Git knows and that is odd
			raw = sign(key, namespace, strings.Replace(payload, "\n\n", "\nencoding ISO-8859-1\n\n", 1))
		case 7:
			raw = sign(key, namespace, strings.Replace(payload, "\n\n", "\nx-note a\n b\n\n", 1))
		case 9: // base64 in one line
			raw = strings.Replace(raw, "=\n -----END", "\n -----END", 1)
		}
		id := r.object("commit", []byte(raw))
		mine, git := ours([]byte(raw)), theirs(id)
		keygen := alone(raw, key)
		switch {
		case mine != "" && !keygen:
			t.Errorf("commit %d is taken as %s's, and ssh-keygen refuses it:\n%s", i, mine, raw)
		case mine != "" && !git:
			t.Errorf("commit %d is taken as %s's, and git refuses it:\n%s", i, mine, raw)
		case mine != "" && mine != key:
			t.Errorf("commit %d of %s is taken as %s's", i, key, mine)
		case mine == "" && (git || keygen):
			stricter++
		case mine != "":
			taken++
			if len(raw) < 2000 {
				good = append(good, []byte(raw))
			}
		}
	}
	t.Logf("%d taken, %d refused that git takes", taken, stricter)
	if taken < 60 {
		t.Errorf("only %d were taken", taken)
	}
	flipped, accepted := 0, 0
	for n := range min(50, len(good)) {
		raw := good[n]
		for i := range raw {
			for _, bit := range []byte{1, byte(1) << (1 + random.IntN(7))} {
				bad := append([]byte(nil), raw...)
				bad[i] ^= bit
				flipped++
				if name := ours(bad); name != "" {
					accepted++
					t.Errorf("commit %d with byte %d changed is taken as %s's:\n%s", n, i, name, bad)
				}
			}
		}
	}
	t.Logf("%d of %d changed commits were taken", accepted, flipped)
	if len(good) < 50 {
		t.Errorf("only %d good commits", len(good))
	}
}

// A security key counts when somebody touched it; other kinds of key and signature never do.
func TestOtherSignatures(t *testing.T) {
	r := newGitRepo(t, "alice")
	p := peopleOf(schema.Fleet{Signers: r.signers("alice=root")})
	message := []byte("hello")
	sig := r.sign("alice", NamespaceCommit, message)
	if name, err := p.signer(message, []byte(sig), NamespaceCommit); name != "alice" || err != nil {
		t.Fatalf("signer = %q, %v", name, err)
	}
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", filepath.Join(r.keys, "rsa")).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v: %s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(sig), "\n")
	joined := strings.Join(lines[1:len(lines)-1], "")
	for name, text := range map[string]string{
		"OpenPGP":                "-----BEGIN PGP SIGNATURE-----\n\nabc\n-----END PGP SIGNATURE-----",
		"X.509":                  "-----BEGIN SIGNED MESSAGE-----\nabc\n-----END SIGNED MESSAGE-----",
		"RSA":                    r.sign("rsa", NamespaceCommit, message),
		"nothing":                "",
		"no end":                 strings.TrimSuffix(strings.TrimSpace(sig), armourEnd),
		"something before":       "x\n" + sig,
		"something after":        sig + "x",
		"another message":        r.sign("alice", NamespaceCommit, []byte("bye")),
		"another namespace":      r.sign("alice", NamespaceApproval, message),
		"one long line":          armourBegin + "\n" + joined + "x\n" + armourEnd,
		"lines of other lengths": armourBegin + "\n" + joined[:10] + "\n" + joined[10:] + "\n" + armourEnd,
		"a blank line":           strings.Replace(sig, "\n", "\n\n", 1),
		"carriage returns":       strings.ReplaceAll(sig, "\n", "\r\n"),
		"a megabyte":             armourBegin + "\n" + strings.Repeat("A", 1<<20) + "\n" + armourEnd,
	} {
		if who, err := p.signer(message, []byte(text), NamespaceCommit); err == nil {
			t.Errorf("%s is taken as %s's", name, who)
		}
	}
}

func FuzzParseCommit(f *testing.F) {
	f.Add([]byte(commitText("tree "+treeID, "parent "+parentID, "author "+who, "committer "+who, "gpgsig a", " b")))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := ParseCommit("x", raw)
		if err != nil {
			return
		}
		// What is taken has one reading: written again it is the same object.
		var b strings.Builder
		b.WriteString("tree " + c.Tree + "\n")
		for _, p := range c.Parents {
			b.WriteString("parent " + p + "\n")
		}
		if !strings.HasPrefix(string(raw), b.String()) {
			t.Fatalf("%q does not begin with %q", raw, b.String())
		}
		head, message, _ := strings.Cut(string(c.Payload), "\n\n")
		again := head
		if c.Signature != nil {
			again += "\ngpgsig " + strings.ReplaceAll(string(c.Signature), "\n", "\n ")
		}
		if again += "\n\n" + message; again != string(raw) {
			t.Fatalf("%q is read, and written as %q", raw, again)
		}
	})
}

func FuzzSignature(f *testing.F) {
	f.Add("-----BEGIN SSH SIGNATURE-----\nU1NIU0lHAAAAAQ==\n-----END SSH SIGNATURE-----")
	p := people{byKey: map[string]string{}}
	f.Fuzz(func(t *testing.T, armour string) {
		if name, err := p.signer([]byte("x"), []byte(armour), NamespaceCommit); err == nil {
			t.Fatalf("taken as %q's", name)
		}
	})
}
