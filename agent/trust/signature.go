package trust

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/dunlin-dev/dunlin/schema"
)

// Namespaces of signatures (PROTOCOL.sshsig): a signature for one purpose is none for another.
const (
	NamespaceCommit    = "git"
	NamespaceApproval  = "approve@dunlin"
	NamespaceHeartbeat = "heartbeat@dunlin"
	NamespaceRun       = "run@dunlin"
)

// maxArmour bounds a signature; one of ed25519 has some 300 bytes.
const maxArmour = 4 << 10

// Errors that callers tell apart.
var (
	// ErrNotSSH is wrapped where a signature is of another kind, such as OpenPGP, which proves nothing here.
	ErrNotSSH = errors.New("not an SSH signature")
	// ErrUnknownKey is wrapped where the key of a good signature is nobody's.
	ErrUnknownKey = errors.New("signed with a key that belongs to no signer")
)

// people are the keys of a fleet's signers.
type people struct {
	byKey map[string]string // wire form of a public key: name
	roles map[string][]string
}

// peopleOf reads the signers of a fleet. A key that cannot be read belongs to nobody: the loader has refused it.
func peopleOf(f schema.Fleet) people {
	p := people{byKey: map[string]string{}, roles: map[string][]string{}}
	for name, s := range f.Signers {
		p.roles[name] = s.Roles
		for _, line := range s.Keys {
			key, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(line))
			if err != nil || len(bytes.TrimSpace(rest)) > 0 || !allowed(key) {
				continue
			}
			wire := string(key.Marshal())
			if other, taken := p.byKey[wire]; taken && other != name {
				p.byKey[wire] = "" // two people's is nobody's
				continue
			}
			p.byKey[wire] = name
		}
	}
	return p
}

func allowed(key ssh.PublicKey) bool {
	return key.Type() == ssh.KeyAlgoED25519 || key.Type() == ssh.KeyAlgoSKED25519
}

// Signer gives the person who has signed message in a namespace. It fails with ErrNotSSH, with ErrUnknownKey, or for a
// signature that is not good.
func (p people) signer(message, armour []byte, namespace string) (string, error) {
	sig, err := unarmour(armour)
	if err != nil {
		return "", err
	}
	name := p.byKey[string(sig.PublicKey.Marshal())]
	if err := sshsig.Verify(bytes.NewReader(message), sig, sig.PublicKey, sig.HashAlgorithm, namespace); err != nil {
		return "", fmt.Errorf("the signature is not good: %w", err)
	}
	if name == "" {
		return "", fmt.Errorf("%w (%s)", ErrUnknownKey, ssh.FingerprintSHA256(sig.PublicKey))
	}
	return name, nil
}

const armourBegin, armourEnd = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"

// unarmour reads an armoured SSH signature of one of the kinds of key that signers may have. Two texts are never one
// signature: lines of one length, base64 without spare bits, a blob with no spare bytes.
func unarmour(armour []byte) (*sshsig.Signature, error) {
	text, ok := strings.CutPrefix(string(armour), armourBegin+"\n")
	switch {
	case !ok:
		return nil, ErrNotSSH
	case len(armour) > maxArmour:
		return nil, fmt.Errorf("a signature of more than %d bytes", maxArmour)
	}
	text = strings.TrimSuffix(text, "\n")
	if text, ok = strings.CutSuffix(text, "\n"+armourEnd); !ok {
		return nil, errors.New("the armour of the signature does not end")
	}
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if last := i == len(lines)-1; len(l) == 0 || !last && len(l) != len(lines[0]) || last && len(l) > len(lines[0]) {
			return nil, errors.New("the lines of the armour differ in length")
		}
	}
	blob, err := base64.StdEncoding.Strict().DecodeString(strings.Join(lines, ""))
	if err != nil {
		return nil, errors.New("the armour of the signature is not base64")
	}
	sig, err := sshsig.ParseSignature(blob)
	if err != nil {
		return nil, fmt.Errorf("the signature cannot be read: %w", err)
	}
	if !bytes.Equal(sig.Marshal(), blob) {
		return nil, errors.New("the signature has spare bytes")
	}
	switch sig.PublicKey.Type() {
	case ssh.KeyAlgoED25519:
		if len(sig.Signature.Rest) > 0 {
			return nil, errors.New("the signature has spare bytes")
		}
	case ssh.KeyAlgoSKED25519:
		// One byte of flags and a counter (PROTOCOL.u2f). Without somebody's touch any program on that computer could sign.
		const userPresent = 1
		if len(sig.Signature.Rest) != 5 || sig.Signature.Rest[0]&userPresent == 0 {
			return nil, errors.New("nobody has touched the security key that signed")
		}
	default:
		return nil, fmt.Errorf("a key of type %q signed; signers have ssh-ed25519 or sk-ssh-ed25519@openssh.com", clip(sig.PublicKey.Type()))
	}
	if sig.Signature.Format != sig.PublicKey.Type() {
		return nil, errors.New("the signature is of another kind than its key")
	}
	return sig, nil
}

// has reports whether a person has a role.
func (p people) has(name, role string) bool { return slices.Contains(p.roles[name], role) }
