package simulated

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
)

// Person has a key, as people who sign commits have one.
type Person struct {
	Name string
	key  ssh.Signer
}

// NewPerson makes a person whose key follows from the name alone, so that a test is the same each time.
func NewPerson(name string) Person {
	seed := sha256.Sum256([]byte(name))
	p, err := personOf(name, ed25519.NewKeyFromSeed(seed[:]))
	if err != nil {
		panic(err) // a key of this kind always is one
	}
	return p
}

// MakePerson makes a person with a key that nobody else has, and leaves it in a folder as ssh-keygen does: NAME and NAME.pub.
func MakePerson(dir, name string) (Person, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return Person{}, err
	}
	p, err := personOf(name, key)
	if err != nil {
		return Person{}, err
	}
	block, err := ssh.MarshalPrivateKey(key, name)
	if err != nil {
		return Person{}, fmt.Errorf("make a key for %s: %w", name, err)
	}
	path := filepath.Join(dir, name)
	err = errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(path, pem.EncodeToMemory(block), 0o600),
		os.WriteFile(path+".pub", []byte(p.Public()+" "+name+"\n"), 0o644))
	return p, err
}

func personOf(name string, key ed25519.PrivateKey) (Person, error) {
	signer, err := ssh.NewSignerFromKey(key)
	return Person{name, signer}, err
}

// Public is the line of the person's public key.
func (p Person) Public() string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(p.key.PublicKey())))
}

// Sign gives the person's armoured SSH signature of a message in a namespace.
func (p Person) Sign(message []byte, namespace string) (string, error) {
	sig, err := sshsig.Sign(bytes.NewReader(message), p.key, sshsig.HashSHA512, namespace)
	if err != nil {
		return "", fmt.Errorf("sign as %s: %w", p.Name, err)
	}
	return string(sshsig.Armor(sig)), nil
}
