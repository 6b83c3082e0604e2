// Package identity holds the keys by which the others know a node.
//
// A node has three, made on first use and never again: an ed25519 key that
// signs what it tells (its id is made from it), a key for TLS, pinned by the
// roster, and an age key to which secrets are encrypted. The folder "keys" of
// the state folder comes into being whole or not at all, so what is missing or
// damaged later was lost: that is an error, and nothing here replaces a key,
// because the fleet would take the host for a stranger, or for two.
package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/dunlin-dev/dunlin/agent/durable"
	"github.com/dunlin-dev/dunlin/schema"
)

// Folder is the name of the keys' folder in the state folder.
const Folder = "keys"

// Files in Folder.
const (
	signFile = "sign.key" // PKCS #8 in PEM, ed25519
	tlsFile  = "tls.key"  // PKCS #8 in PEM, ed25519
	ageFile  = "age.key"  // AGE-SECRET-KEY-1..., as age-keygen writes it
)

// maxKey bounds a key file in bytes.
const maxKey = 4 << 10

// Keys are a node's keys. The zero value is nobody.
type Keys struct {
	Sign ed25519.PrivateKey
	TLS  tls.Certificate // self-signed; the roster pins its key, so that its dates mean nothing
	Age  string          // the recipient, age1...
}

// RefusedError is a key that is there and not used.
type RefusedError struct {
	Path   string
	Why    string // "it holds no ed25519 key"
	Remedy string // what a person can do
}

func (e *RefusedError) Error() string { return fmt.Sprintf("key %q is not used: %s", e.Path, e.Why) }

// Open reads the keys in the state folder dir, which it makes with mode 0700 where it is missing, and makes them where
// the folder of keys is missing. The error is a *RefusedError where keys are damaged, incomplete, another user's or may be read by
// others; it wraps errors.ErrUnsupported on systems where owners are not known.
func Open(dir string) (Keys, error) {
	folder := filepath.Join(dir, Folder)
	_, err := os.Lstat(folder)
	if errors.Is(err, fs.ErrNotExist) {
		err = create(dir, folder)
	}
	if err != nil {
		return Keys{}, fmt.Errorf("open keys: %w", err)
	}
	k, err := read(folder)
	if err != nil {
		return Keys{}, fmt.Errorf("open keys: %w", err)
	}
	return k, nil
}

func read(folder string) (Keys, error) {
	if err := checkFolder(folder); err != nil {
		return Keys{}, err
	}
	sign, err := readEd25519(filepath.Join(folder, signFile))
	if err != nil {
		return Keys{}, err
	}
	tlsKey, err := readEd25519(filepath.Join(folder, tlsFile))
	if err != nil {
		return Keys{}, err
	}
	path := filepath.Join(folder, ageFile)
	raw, err := readPrivate(path)
	if err != nil {
		return Keys{}, err
	}
	secret, err := age.ParseX25519Identity(strings.TrimSpace(string(raw)))
	if err != nil {
		return Keys{}, damaged(path, "it holds no age key") // the cause could quote the secret
	}
	cert, err := certificate(tlsKey, schema.NodeID(sign.Public().(ed25519.PublicKey)))
	if err != nil {
		return Keys{}, err
	}
	return Keys{Sign: sign, TLS: cert, Age: secret.Recipient().String()}, nil
}

// AgeKey is the text of the private age key in the state folder dir, which the caller wipes. It makes no keys: the error wraps
// fs.ErrNotExist where there are none yet, and is a *RefusedError where they may not be used.
func AgeKey(dir string) ([]byte, error) {
	folder := filepath.Join(dir, Folder)
	if err := supported(); err != nil {
		return nil, fmt.Errorf("read age key: %w", err)
	}
	if err := checkFolder(folder); err != nil {
		return nil, fmt.Errorf("read age key: %w", err)
	}
	raw, err := readPrivate(filepath.Join(folder, ageFile))
	if err != nil {
		return nil, fmt.Errorf("read age key: %w", err)
	}
	return raw, nil
}

func readEd25519(path string) (ed25519.PrivateKey, error) {
	raw, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(raw)
	if block == nil || block.Type != "PRIVATE KEY" || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, damaged(path, "it is not one PEM block PRIVATE KEY")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, damaged(path, "its PEM block is not a key")
	}
	own, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, damaged(path, "it holds no ed25519 key")
	}
	return own, nil
}

func damaged(path, why string) error {
	return &RefusedError{Path: path, Why: why,
		Remedy: fmt.Sprintf("put it back from a backup; if there is none, move the folder %q away, so that new keys are made, and exchange this host's line in the roster (dunlin node line)", filepath.Dir(path))}
}

// certificate is for key's holder to show it. Who checks it looks at the key alone: the clock of neither side counts.
func certificate(key ed25519.PrivateKey, id string) (tls.Certificate, error) {
	form := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: id},
		NotBefore:   time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:    time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // "no well-defined expiration date", RFC 5280 4.1.2.5
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// create makes the folder of keys beside its place, then puts it there in one step. Where another process was faster, its
// keys stand.
func create(dir, folder string) error {
	if err := supported(); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(dir, ".keys-*") // mode 0700
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(temp) }()
	for _, name := range []string{signFile, tlsFile} {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return err
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return err
		}
		if err := write(filepath.Join(temp, name), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})); err != nil {
			return err
		}
	}
	secret, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	if err := write(filepath.Join(temp, ageFile), []byte(secret.String()+"\n")); err != nil {
		return err
	}
	if err := durable.Folder(temp); err != nil {
		return err
	}
	if err := os.Rename(temp, folder); err != nil {
		if _, other := os.Lstat(folder); other != nil {
			return err
		}
	}
	return durable.Folder(dir)
}

func write(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

// Public is the key that others check this node's signatures with.
func (k Keys) Public() ed25519.PublicKey { return k.Sign.Public().(ed25519.PublicKey) }

// ID is the node's id, as schema.NodeID makes it.
func (k Keys) ID() string { return schema.NodeID(k.Public()) }

// TLSPin is the SHA-256 of the TLS key's SubjectPublicKeyInfo in hex: keys.tls of the roster.
func (k Keys) TLSPin() string {
	sum := sha256.Sum256(k.TLS.Leaf.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

// Line is the roster's line of the node: active, added at now to the second. It does not check name, os and tags.
func (k Keys) Line(name, os string, tags map[string]string, now time.Time) schema.RosterLine {
	if tags == nil {
		tags = map[string]string{}
	}
	wire := append([]byte("\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"), k.Public()...) // RFC 8709 4
	return schema.RosterLine{
		ID: k.ID(), Name: name, Tags: tags, OS: os, State: schema.NodeActive, Added: now.UTC().Truncate(time.Second),
		Keys: schema.RosterKeys{Sign: "ssh-ed25519 " + base64.StdEncoding.EncodeToString(wire), Age: k.Age, TLS: k.TLSPin()},
	}
}
