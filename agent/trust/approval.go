package trust

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// maxStatement bounds an approval or a heartbeat, in bytes.
const maxStatement = 8 << 10

// Approval says that somebody agrees to a tree in place of that of a commit, whoever makes the commit that has it: so an
// agreement to a pull request survives a forge's merge, squash and rebase.
type Approval struct {
	V     int    `json:"v"`
	Fleet string `json:"fleet"`
	Base  string `json:"base"` // the commit that the change is upon
	Tree  string `json:"tree"` // what the repository then holds
	Sig   string `json:"sig"`  // armoured SSHSIG over the canonical JSON without it, namespace approve@dunlin
}

// Heartbeat says that a head was the newest at a time.
type Heartbeat struct {
	V     int    `json:"v"`
	Fleet string `json:"fleet"`
	Head  string `json:"head"`
	Time  string `json:"time"` // RFC 3339, UTC, whole seconds
	Sig   string `json:"sig"`  // as an approval's, namespace heartbeat@dunlin
}

// Message is what the signature of an approval is over: canonical JSON (RFC 8785) without sig.
func (a Approval) Message() []byte {
	return canonical(map[string]any{"v": a.V, "fleet": a.Fleet, "base": a.Base, "tree": a.Tree})
}

// Message is what the signature of a heartbeat is over.
func (h Heartbeat) Message() []byte {
	return canonical(map[string]any{"v": h.V, "fleet": h.Fleet, "head": h.Head, "time": h.Time})
}

// Encode gives the canonical JSON that a ref points at.
func (a Approval) Encode() []byte {
	return canonical(map[string]any{"v": a.V, "fleet": a.Fleet, "base": a.Base, "tree": a.Tree, "sig": a.Sig})
}

// Encode gives the canonical JSON that a ref points at.
func (h Heartbeat) Encode() []byte {
	return canonical(map[string]any{"v": h.V, "fleet": h.Fleet, "head": h.Head, "time": h.Time, "sig": h.Sig})
}

// canonical writes a flat object as RFC 8785 does: encoding/json sorts the keys of maps, and the values are texts and
// small whole numbers.
func canonical(fields map[string]any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(fields) // texts and numbers cannot fail
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// ParseApproval reads the blob of a ref refs/dunlin/approvals/TREE/PERSON. Its signature is not looked at.
func ParseApproval(text []byte) (Approval, error) {
	var a Approval
	if err := strict(text, &a); err != nil {
		return Approval{}, fmt.Errorf("approval: %w", err)
	}
	if a.V != 1 || !isID(a.Base) || !isID(a.Tree) || !bytes.Equal(a.Encode(), text) {
		return Approval{}, errors.New(`approval: not canonical JSON such as {"base":"<commit>","fleet":"acme","sig":"...","tree":"<tree>","v":1}`)
	}
	return a, nil
}

// ParseHeartbeat reads the blob of refs/dunlin/heartbeat. Its signature is not looked at.
func ParseHeartbeat(text []byte) (Heartbeat, error) {
	var h Heartbeat
	if err := strict(text, &h); err != nil {
		return Heartbeat{}, fmt.Errorf("heartbeat: %w", err)
	}
	t, err := time.Parse(time.RFC3339, h.Time)
	if err != nil || t.UTC().Format(time.RFC3339) != h.Time || h.V != 1 || !isID(h.Head) || !bytes.Equal(h.Encode(), text) {
		return Heartbeat{}, errors.New(`heartbeat: not canonical JSON such as {"fleet":"acme","head":"<commit>","sig":"...","time":"2026-12-31T22:00:00Z","v":1}`)
	}
	return h, nil
}

func strict(text []byte, into any) error {
	if len(text) > maxStatement {
		return fmt.Errorf("%d bytes, more than %d", len(text), maxStatement)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return errors.New("not JSON of this form")
	}
	return nil
}

// By gives the person who has signed the approval, by the fleet as it is before the change.
func (a Approval) By(f schema.Fleet) (string, error) {
	if a.Fleet != f.Name {
		return "", fmt.Errorf("approval: it is for the fleet %q", clip(a.Fleet))
	}
	return peopleOf(f).signer(a.Message(), []byte(a.Sig), NamespaceApproval)
}

// By gives the person who has signed the heartbeat. Only a role without paths gives heartbeats: its key, which is likely
// to lie on a machine, can do nothing else.
func (h Heartbeat) By(f schema.Fleet) (string, error) {
	if h.Fleet != f.Name {
		return "", fmt.Errorf("heartbeat: it is for the fleet %q", clip(h.Fleet))
	}
	p := peopleOf(f)
	name, err := p.signer(h.Message(), []byte(h.Sig), NamespaceHeartbeat)
	if err != nil {
		return "", err
	}
	for role, r := range f.Roles {
		if len(r.Paths) == 0 && p.has(name, role) {
			return name, nil
		}
	}
	return "", fmt.Errorf("heartbeat: %s has no role that gives them: one with paths: []", name)
}
