package secret

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"
)

// testKey is nobody's.
const testKey = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX"

// twoKeys are a reader's and somebody else's.
func twoKeys(t testing.TB) (reader, other Keys) {
	t.Helper()
	var out [2]Keys
	for i := range out {
		id, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		if out[i], err = ParseKeys([]byte("# a key\n" + id.String() + "\n")); err != nil {
			t.Fatal(err)
		}
	}
	return out[0], out[1]
}

func id() ID { return ID{"acme", "/prod/db/password", 3} }

// sealRaw encrypts anything to a reader, as the age tool would.
func sealRaw(t testing.TB, plain string, recipients ...age.Recipient) string {
	t.Helper()
	var out bytes.Buffer
	a := armor.NewWriter(&out)
	w, err := age.Encrypt(a, recipients...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = w.Write([]byte(plain)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), a.Close()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestSealedIsOpenedByItsReadersOnly(t *testing.T) {
	reader, other := twoKeys(t)
	recovery, _ := twoKeys(t)
	sealed, err := Seal(id(), New("x", []byte(canary)), append(reader.Recipients(), recovery.Recipients()...))
	if err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]Keys{"reader": reader, "recovery": recovery} {
		got, err := Open(id(), sealed, k)
		if err != nil || string(got.Reveal()) != canary || got.Name() != "/prod/db/password@3" {
			t.Errorf("%s: Open = %v with %q, %v", name, got, got.Reveal(), err)
		}
	}
	if got, err := Open(id(), sealed, other); !errors.Is(err, ErrNotReader) || got.Len() != 0 {
		t.Errorf("somebody else: Open = %v, %v", got, err)
	}
	if got, err := Open(id(), sealed, Keys{}); !errors.Is(err, ErrNotReader) || got.Len() != 0 {
		t.Errorf("nobody: Open = %v, %v", got, err)
	}
	for _, wrong := range []ID{{"other", "/prod/db/password", 3}, {"acme", "/prod/db/passwords", 3}, {"acme", "/prod/db/password", 4}} {
		if got, err := Open(wrong, sealed, reader); err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("as %v: Open = %v, %v", wrong, got, err)
		}
	}
	for _, cut := range []string{sealed[:len(sealed)/2], sealed + "x", strings.Replace(sealed, "\n", "\n\n", 2), sealed + "\n" + sealed, ""} {
		if got, err := Open(id(), cut, reader); err == nil {
			t.Errorf("Open of a damaged file (%d bytes) = %v", len(cut), got)
		}
	}
}

// A byte that is changed anywhere is noticed.
func TestEveryByteOfASealedValueCounts(t *testing.T) {
	reader, _ := twoKeys(t)
	sealed, err := Seal(id(), New("x", []byte(canary)), reader.Recipients())
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		b := []byte(sealed)
		b[i] ^= 1
		if got, err := Open(id(), string(b), reader); err == nil && string(b) != sealed {
			t.Errorf("byte %d changed: Open = %q", i, got.Reveal())
		}
	}
}

func TestEnvelopesThatAreRefused(t *testing.T) {
	key, err := age.ParseX25519Identity(testKey)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := ParseKeys([]byte(testKey))
	if err != nil {
		t.Fatal(err)
	}
	const head = "dunlin-parameter/v1\nacme\n/prod/db/password\n3\n"
	if got, err := Open(id(), sealRaw(t, head+"5\nvalue", key.Recipient()), keys); err != nil || string(got.Reveal()) != "value" {
		t.Fatalf("a good one: %v, %v", got, err)
	}
	for name, plain := range map[string]string{
		"no envelope":        "value",
		"nothing":            "",
		"a newer form":       "dunlin-parameter/v2\nacme\n/prod/db/password\n3\n5\nvalue",
		"trailing bytes":     head + "5\nvalue\n",
		"cut off":            head + "6\nvalue",
		"length with a plus": head + "+5\nvalue",
		"length with a zero": head + "05\nvalue",
		"negative length":    head + "-5\nvalue",
		"huge length":        head + "99999999999999999999\nvalue",
		"version with a 0":   "dunlin-parameter/v1\nacme\n/prod/db/password\n03\n5\nvalue",
		"version 0":          "dunlin-parameter/v1\nacme\n/prod/db/password\n0\n5\nvalue",
		"CR before LF":       strings.ReplaceAll(head, "\n", "\r\n") + "5\r\nvalue",
		"blank in the fleet": "dunlin-parameter/v1\nacme \n/prod/db/password\n3\n5\nvalue",
		"empty value":        head + "0\n",
		"NUL":                head + "3\na\x00b",
		"not UTF-8":          head + "3\na\xffb",
		"placeholder":        head + "7\n{{ab}}x",
		"too long":           head + fmt.Sprintf("%d\n%s", MaxValue+1, strings.Repeat("v", MaxValue+1)),
		"far too long":       head + "5\nvalue" + strings.Repeat("v", 1<<20),
		"endless first line": strings.Repeat("v", maxHeader+MaxValue),
	} {
		if got, err := Open(id(), sealRaw(t, plain, key.Recipient()), keys); err == nil {
			t.Errorf("%s: Open = %q, want an error", name, got.Reveal())
		} else if strings.Contains(err.Error(), "value\n") || errors.Is(err, ErrNotReader) {
			t.Errorf("%s: Open fails with %v", name, err)
		}
	}
	pass, err := age.NewScryptRecipient("x")
	if err != nil {
		t.Fatal(err)
	}
	pass.SetWorkFactor(10)
	if got, err := Open(id(), sealRaw(t, head+"5\nvalue", pass), keys); err == nil {
		t.Errorf("with a passphrase: Open = %v", got)
	}
}

// lowOrder is the point 0: age parses it, and does not encrypt to it.
const lowOrder = "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq5cu47z"

func TestCheckRecipientTriesTheKey(t *testing.T) {
	reader, _ := twoKeys(t)
	if err := CheckRecipient(reader.Recipients()[0]); err != nil {
		t.Error(err)
	}
	for _, key := range []string{lowOrder, "age1" + strings.Repeat("q", 58)} {
		if err := CheckRecipient(key); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("CheckRecipient(%q) = %v", key, err)
		}
	}
}

func TestSealRefuses(t *testing.T) {
	reader, _ := twoKeys(t)
	hybrid, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	good := reader.Recipients()
	for name, tt := range map[string]struct {
		id    ID
		value string
		to    []string
	}{
		"no readers":     {id(), canary, nil},
		"a plugin":       {id(), canary, append(good, "age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t")},
		"a hybrid key":   {id(), canary, append(good, hybrid.Recipient().String())},
		"an SSH key":     {id(), canary, append(good, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAA")},
		"a private key":  {id(), canary, append(good, testKey)},
		"no checksum":    {id(), canary, append(good, "age1"+strings.Repeat("q", 58))},
		"of low order":   {id(), canary, append(good, lowOrder)},
		"empty":          {id(), "", good},
		"too long":       {id(), strings.Repeat("v", MaxValue+1), good},
		"a placeholder":  {id(), "{{ssm:/x}}", good},
		"no fleet":       {ID{"", "/x", 1}, canary, good},
		"a line break":   {ID{"acme", "/x\ny", 1}, canary, good},
		"version 0":      {ID{"acme", "/x", 0}, canary, good},
		"a long name":    {ID{"acme", "/" + strings.Repeat("n", maxHeader), 1}, canary, good},
		"a huge version": {ID{"acme", "/x", maxVersion + 1}, canary, good},
	} {
		sealed, err := Seal(tt.id, New("x", []byte(tt.value)), tt.to)
		if err == nil || sealed != "" {
			t.Errorf("%s: Seal = %q, want an error", name, sealed)
		} else if strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), testKey) {
			t.Errorf("%s: the error has a secret in it: %v", name, err)
		}
	}
}

func TestKeysThatAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"nothing": "", "a comment": "# none\n", "a recipient": "age1lcd5axs8aea79aln5rnfmm04l4wezttp6zu543y4mqpccn9lf4vq9spx6g",
		"half a key": testKey[:40], "two on a line": testKey + " " + testKey, "a long line": strings.Repeat("x", 1<<20),
		"a plugin": "AGE-PLUGIN-YUBIKEY-1XYZ", "many": strings.Repeat(testKey+"\n", maxKeys+1),
	} {
		if k, err := ParseKeys([]byte(text)); err == nil {
			t.Errorf("%s: ParseKeys = %v", name, k)
		} else if strings.Contains(err.Error(), testKey[20:30]) {
			t.Errorf("%s: the error has the key in it: %v", name, err)
		}
	}
}

// The age tool of the distribution opens what is sealed here, and what it seals is opened here.
func TestTheAgeToolAgrees(t *testing.T) {
	dir := t.TempDir()
	run := func(stdin string, args ...string) string {
		t.Helper()
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
		var out, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &stderr
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s: %v: %s (make setup installs age)", args, err, stderr.String())
		}
		return out.String()
	}
	run("", "age-keygen", "-o", "key.txt")
	text, err := os.ReadFile(filepath.Join(dir, "key.txt"))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := ParseKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.TrimSpace(run("", "age-keygen", "-y", "key.txt")); keys.Recipients()[0] != want {
		t.Errorf("recipient %s, age-keygen says %s", keys.Recipients()[0], want)
	}
	other, _ := twoKeys(t)
	value := strings.Repeat("value\n", 1000)
	sealed, err := Seal(id(), New("x", []byte(value)), append(other.Recipients(), keys.Recipients()...))
	if err != nil {
		t.Fatal(err)
	}
	want := "dunlin-parameter/v1\nacme\n/prod/db/password\n3\n6000\n" + value
	if got := run(sealed+"\n", "age", "--decrypt", "-i", "key.txt"); got != want {
		t.Errorf("age --decrypt gives %q, want %q", got, want)
	}
	theirs := run(want, "age", "--encrypt", "--armor", "-r", keys.Recipients()[0], "-r", other.Recipients()[0])
	got, err := Open(id(), theirs, keys)
	if err != nil || string(got.Reveal()) != value {
		t.Errorf("Open of what age sealed = %v, %v", got, err)
	}
}

// A digest is the same for the same content and key, and tells nothing without the key.
func TestDigestIsKeyed(t *testing.T) {
	a, b := twoKeys(t)
	sum := sha256.Sum256([]byte(canary))
	plain := hex.EncodeToString(sum[:])
	first, err := a.Digest(plain)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := a.Digest(plain)
	others, _ := b.Digest(plain)
	changed, _ := a.Digest(strings.Replace(plain, plain[:1], "0", 1) + "0")
	if first != again || first == others || first == changed || strings.Contains(plain, first[:6]) || len(first) != 32 {
		t.Errorf("digests %s, again %s, of another key %s, of another content %s, plain %s", first, again, others, changed, plain)
	}
	if _, err := (Keys{}).Digest(plain); err == nil {
		t.Error("a digest was made without a key")
	}
}

func FuzzEnvelope(f *testing.F) {
	good, err := encode(id(), []byte(canary))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("dunlin-parameter/v1\n\n\n0\n0\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, value, err := decode(b)
		if err != nil {
			return
		}
		// What is taken has one form.
		if again, err := encode(id, value); err != nil || !bytes.Equal(again, b) {
			t.Errorf("decode(%q) = %+v, %q; encoded again %q, %v", b, id, value, again, err)
		}
	})
}

// FuzzOpen gives Open files whose ciphertext nobody wrote.
func FuzzOpen(f *testing.F) {
	key, err := age.ParseX25519Identity(testKey)
	if err != nil {
		f.Fatal(err)
	}
	keys, err := ParseKeys([]byte(testKey))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealRaw(f, "dunlin-parameter/v1\nacme\n/prod/db/password\n3\n5\nvalue", key.Recipient()), "dunlin-parameter/v1\n")
	f.Add("-----BEGIN AGE ENCRYPTED FILE-----\n-----END AGE ENCRYPTED FILE-----", "")
	f.Fuzz(func(t *testing.T, sealed, plain string) {
		if got, err := Open(id(), sealed, keys); err == nil && CheckValue(got.Reveal()) != nil {
			t.Errorf("Open(%q) = %q", sealed, got.Reveal())
		}
		got, err := Open(id(), sealRaw(t, plain, key.Recipient()), keys)
		if again, _ := encode(id(), got.Reveal()); err == nil && string(again) != plain {
			t.Errorf("what was sealed as %q is opened as %q", plain, got.Reveal())
		}
	})
}
