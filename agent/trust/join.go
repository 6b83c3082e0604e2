package trust

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/ssh"

	"github.com/dunlin-dev/dunlin/schema"
)

// MaxProof bounds a join proof in canonical JSON, and MaxJoin one with what a member has seen of it, in bytes.
const (
	MaxProof = 4 << 10
	MaxJoin  = 5 << 10
)

// maxActivation is how far ahead an activation may expire (SSM API 2014-11-06, CreateActivation).
const maxActivation = 30 * 24 * time.Hour

// Beginnings of what is signed for enrolment: a signature for one purpose is none for another.
const (
	proofByNode = "dunlin-join/v1 node\n"
	proofByCode = "dunlin-join/v1 code\n"
	seenByNode  = "dunlin-join/v1 seen\n"
)

// Channels that a proof is bound to begin with one of these.
const (
	channelTLS = "tls:" // hex of what the connection to a member exports
	channelGit = "git:" // the commit that the host trusts, where no member could be reached
)

// Proof is what a host says that wants to be a node, signed with its own key and with the code of an activation. Who has seen
// one can do nothing with it but pass it on: the keys in it are those that will be the node's.
type Proof struct {
	V          int               `json:"v"`
	Fleet      string            `json:"fleet"`
	Activation string            `json:"activation"`
	Channel    string            `json:"channel"` // TLSChannel or GitChannel
	At         string            `json:"at"`      // RFC 3339, UTC, whole seconds, by the host's clock
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	OS         string            `json:"os"`
	Tags       map[string]string `json:"tags"` // that it asks for; a person may give them
	Keys       schema.RosterKeys `json:"keys"`
	Code       string            `json:"code"` // base64 of ed25519 by the activation's key
	Sig        string            `json:"sig"`  // the same by keys.sign
}

// Seen is what a member says of a proof that was given to it.
type Seen struct {
	By   string `json:"by"`   // its id
	From string `json:"from"` // address that the host came from
	At   string `json:"at"`   // as a proof's
	Sig  string `json:"sig"`  // base64 of ed25519 by its signing key, over SeenMessage
}

// Join is a proof, and what a member has seen of it. A line of nodes/joins is one, in canonical JSON.
type Join struct {
	Proof Proof `json:"proof"`
	Seen  *Seen `json:"seen,omitempty"`
}

// TLSChannel is the channel of a connection that exports something; GitChannel that of a commit.
func TLSChannel(exporter []byte) string { return channelTLS + hex.EncodeToString(exporter) }

// GitChannel is the channel of a proof that is left in the Git repository.
func GitChannel(commit string) string { return channelGit + commit }

// InGit reports whether the proof was made to be left in the Git repository, and for which commit.
func (p Proof) InGit() (commit string, is bool) { return strings.CutPrefix(p.Channel, channelGit) }

// fields are those that are signed.
func (p Proof) fields() map[string]any {
	return map[string]any{
		"v": p.V, "fleet": p.Fleet, "activation": p.Activation, "channel": p.Channel, "at": p.At, "id": p.ID, "name": p.Name, "os": p.OS, "tags": orEmpty(p.Tags),
		"keys": map[string]any{"sign": p.Keys.Sign, "age": p.Keys.Age, "tls": p.Keys.TLS},
	}
}

func orEmpty(tags map[string]string) map[string]string {
	if tags == nil {
		return map[string]string{}
	}
	return tags
}

func (p Proof) all() map[string]any {
	f := p.fields()
	f["code"], f["sig"] = p.Code, p.Sig
	return f
}

// Encode is the proof in canonical JSON.
func (p Proof) Encode() []byte { return canonical(p.all()) }

// Sign makes the proof one of the host whose signing key is given, and of who holds the code.
func (p Proof) Sign(host, code ed25519.PrivateKey) Proof {
	p.V, p.Tags = 1, orEmpty(p.Tags)
	text := canonical(p.fields())
	p.Sig = base64.StdEncoding.EncodeToString(ed25519.Sign(host, append([]byte(proofByNode), text...)))
	p.Code = base64.StdEncoding.EncodeToString(ed25519.Sign(code, append([]byte(proofByCode), text...)))
	return p
}

// see makes what a member says of a proof.
func (s Seen) message(p Proof) []byte {
	sum := sha256.Sum256(p.Encode())
	return append([]byte(seenByNode), canonical(map[string]any{"by": s.By, "from": s.From, "at": s.At, "proof": hex.EncodeToString(sum[:])})...)
}

// See adds to a proof that the member with this key was given it from an address.
func See(p Proof, from netip.Addr, at time.Time, member ed25519.PrivateKey) Join {
	s := Seen{By: schema.NodeID(member.Public().(ed25519.PublicKey)), From: from.Unmap().WithZone("").String(), At: instant(at)}
	s.Sig = base64.StdEncoding.EncodeToString(ed25519.Sign(member, s.message(p)))
	return Join{Proof: p, Seen: &s}
}

// By fails unless the member with that key has said so.
func (s Seen) by(p Proof, member ed25519.PublicKey) error {
	if schema.NodeID(member) != s.By || !signed(member, s.message(p), s.Sig) {
		return errors.New("what a member says of it is not signed by that member")
	}
	return nil
}

// Encode is the join in canonical JSON, without a newline.
func (j Join) Encode() []byte {
	f := map[string]any{"proof": j.Proof.all()}
	if s := j.Seen; s != nil {
		f["seen"] = map[string]any{"by": s.By, "from": s.From, "at": s.At, "sig": s.Sig}
	}
	return canonical(f)
}

func instant(t time.Time) string { return t.UTC().Truncate(time.Second).Format(time.RFC3339) }

func readInstant(text string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339, text)
	return t, err == nil && instant(t) == text
}

// signature reads one in base64, in its only form.
func signature(text string) ([]byte, bool) {
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	return b, err == nil && len(b) == ed25519.SignatureSize && base64.StdEncoding.EncodeToString(b) == text
}

func isSig(text string) bool { _, ok := signature(text); return ok }

func signed(key ed25519.PublicKey, message []byte, sig string) bool {
	b, ok := signature(sig)
	return ok && ed25519.Verify(key, message, b)
}

// ParseProof reads a proof in canonical JSON. It looks at the host's own signature, and at no other.
func ParseProof(text []byte) (Proof, error) {
	var p Proof
	if err := exact(text, MaxProof, &p); err != nil {
		return Proof{}, fmt.Errorf("join proof: %w", err)
	}
	if !bytes.Equal(p.Encode(), text) {
		return Proof{}, errors.New("join proof: not canonical JSON with all its fields")
	}
	if err := p.check(); err != nil {
		return Proof{}, fmt.Errorf("join proof: %w", err)
	}
	return p, nil
}

// ParseJoin reads a join in canonical JSON. It looks at the host's own signature, and at no other.
func ParseJoin(text []byte) (Join, error) {
	var j Join
	if err := exact(text, MaxJoin, &j); err != nil {
		return Join{}, fmt.Errorf("join: %w", err)
	}
	if !bytes.Equal(j.Encode(), text) {
		return Join{}, errors.New("join: not canonical JSON with all its fields")
	}
	if len(j.Proof.Encode()) > MaxProof {
		return Join{}, fmt.Errorf("join: a proof of more than %d bytes", MaxProof)
	}
	if err := j.Proof.check(); err != nil {
		return Join{}, fmt.Errorf("join: %w", err)
	}
	if s := j.Seen; s != nil {
		from, err := netip.ParseAddr(s.From)
		if _, ok := readInstant(s.At); !ok || !isSig(s.Sig) || err != nil || from.Unmap().WithZone("").String() != s.From || !isNodeID(s.By) {
			return Join{}, errors.New("join: seen has a node's id, an address, an instant in UTC and a signature")
		}
	}
	return j, nil
}

// exact reads JSON with no field that there is not.
func exact(text []byte, most int, into any) error {
	if len(text) > most {
		return fmt.Errorf("%d bytes, more than %d", len(text), most)
	}
	if !utf8.Valid(text) {
		return errors.New("not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return errors.New("not JSON of this form")
	}
	return nil
}

// check holds a proof to what the roster takes, and to its host's signature.
func (p Proof) check() error {
	key, ok := nodeKey(p.Keys.Sign)
	channel, ofTLS := strings.CutPrefix(p.Channel, channelTLS)
	commit, ofGit := strings.CutPrefix(p.Channel, channelGit)
	_, inTime := readInstant(p.At)
	switch {
	case p.V != 1:
		return fmt.Errorf("version %d is not 1", p.V)
	case !isName(p.Fleet, 63) || !isName(p.Activation, 63):
		return errors.New("fleet and activation are names")
	case !ofTLS && !ofGit, ofTLS && !isDigest(channel), ofGit && !isID(commit):
		return errors.New("channel is tls: with 64 hex digits, or git: with a commit")
	case !inTime:
		return errors.New("at is an instant in UTC, to the second")
	case !ok || schema.NodeID(key) != p.ID:
		return errors.New("id is not that of keys.sign, an ssh-ed25519 key without a comment")
	case !strings.HasPrefix(p.Keys.Age, "age1") || !of(p.Keys.Age[4:], "02-9ac-hj-np-z", 58, 58) || !isDigest(p.Keys.TLS):
		return errors.New("keys.age is an age recipient, keys.tls a SHA-256 in hex")
	case !isName(p.Name, 253):
		return errors.New("name is letters, digits, . _ and -, at most 253 of them")
	case isNodeID(p.Name):
		return errors.New("name has the form of a node's id, so that one could be taken for the other")
	case !of(p.OS, "a-z0-9_-", 1, 32) || !of(p.OS[:1], "a-z", 1, 1):
		return errors.New("os is an ID of os-release")
	case !areTags(p.Tags):
		return errors.New("tags are at most 50, of letters, digits, blanks and _ . : / = + - @")
	case !isSig(p.Code):
		return errors.New("code is a signature in base64")
	case !signed(key, append([]byte(proofByNode), canonical(p.fields())...), p.Sig):
		return errors.New("it is not signed by the host that it names")
	case schema.CheckAgeKey(p.Keys.Age) != nil: // a line with it would be a fault of the whole commit
		return errors.New("keys.age has the form of an age recipient, and nothing can be encrypted to it")
	}
	return nil
}

// of reports whether a text has least to most of the characters in set, where a-z stands for all between.
func of(s, set string, least, most int) bool {
	if len(s) < least || len(s) > most {
		return false
	}
next:
	for i := range len(s) {
		for j := 0; j < len(set); j++ {
			if j+2 < len(set) && set[j+1] == '-' {
				if set[j] <= s[i] && s[i] <= set[j+2] {
					continue next
				}
				j += 2
			} else if set[j] == s[i] {
				continue next
			}
		}
		return false
	}
	return true
}

// isName reports whether a text is a name of at most so many characters.
func isName(s string, most int) bool {
	return of(s, "A-Za-z0-9._-", 1, most) && of(s[:1], "A-Za-z0-9", 1, 1)
}

func isDigest(s string) bool { return of(s, "0-9a-f", 64, 64) }

func isNodeID(s string) bool { return of(s, "a-z2-7", 26, 26) }

// areTags reports whether tags are of the form that the roster takes. Characters beyond the first 65,536 are not: JSON in
// canonical form sorts them as others do not.
func areTags(tags map[string]string) bool {
	form := func(s string, most int) bool {
		return utf8.RuneCountInString(s) <= most && !strings.ContainsFunc(s, func(r rune) bool {
			return r > 0xFFFF || r == utf8.RuneError || !unicode.In(r, unicode.L, unicode.N, unicode.Zs) && !strings.ContainsRune("_.:/=+-@", r)
		})
	}
	for k, v := range tags {
		if k == "" || !form(k, 128) || !form(v, 256) {
			return false
		}
	}
	return len(tags) <= 50
}

// nodeKey reads keys.sign of a node.
func nodeKey(line string) (ed25519.PublicKey, bool) {
	if len(line) != len("ssh-ed25519 ")+68 {
		return nil, false
	}
	parsed, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		return nil, false
	}
	c, ok := parsed.(ssh.CryptoPublicKey)
	if !ok || "ssh-ed25519 "+base64.StdEncoding.EncodeToString(parsed.Marshal()) != line {
		return nil, false
	}
	key, ok := c.CryptoPublicKey().(ed25519.PublicKey)
	return key, ok
}

// Line is the line of the roster that a proof asks for, in canonical JSON without a newline: with tags, active, added at
// an instant.
func (p Proof) Line(name string, tags map[string]string, added time.Time) []byte {
	return EncodeLine(schema.RosterLine{ID: p.ID, Name: name, OS: p.OS, Tags: tags, State: schema.NodeActive, Added: added, Keys: p.Keys})
}

// EncodeLine is a line of the roster in canonical JSON, without its newline.
func EncodeLine(l schema.RosterLine) []byte {
	return canonical(map[string]any{
		"id": l.ID, "name": l.Name, "os": l.OS, "tags": orEmpty(l.Tags), "state": string(l.State), "added": instant(l.Added),
		"keys": map[string]any{"sign": l.Keys.Sign, "age": l.Keys.Age, "tls": l.Keys.TLS},
	})
}

// JoinKind is a class of reasons why somebody is not let in.
type JoinKind string

const (
	JoinRevoked JoinKind = "revoked" // there is no such activation, or no longer
	JoinCode    JoinKind = "code"    // not signed with the activation's code
	JoinExpired JoinKind = "expired" // the activation's time is over
	JoinLimit   JoinKind = "limit"   // as many nodes as may have enrolled with it
	JoinNetwork JoinKind = "network" // the host comes from elsewhere
	JoinRelay   JoinKind = "relay"   // the proof is for another connection, or another key was shown on this one
	JoinReplay  JoinKind = "replay"  // the node is, or was, in the roster
	JoinFleet   JoinKind = "fleet"   // the proof is for another fleet
	JoinTags    JoinKind = "tags"    // it asks for tags that the activation does not give
	JoinTaken   JoinKind = "taken"   // another node has its name or one of its keys
	JoinTime    JoinKind = "time"    // its instant is of the future
)

// JoinRefusal says why somebody is not let in.
type JoinRefusal struct {
	Kind   JoinKind
	Reason string
}

func (r *JoinRefusal) Error() string { return r.Reason }

func no(kind JoinKind, format string, a ...any) error {
	return &JoinRefusal{kind, fmt.Sprintf(format, a...)}
}

// Gate is what a proof is judged by: the policy that is trusted, and an instant.
type Gate struct {
	Fleet       string
	Activations map[string]schema.Activation
	Now         time.Time // of the host that is asked, or the committer's time of the commit that lets the node in
	// Enrolled is how many nodes have enrolled with an activation.
	Enrolled func(activation string) int
	// Known reports whether the roster has or had a node.
	Known func(id string) bool
	// Member is the signing key of an active node.
	Member func(id string) (ed25519.PublicKey, bool)
}

// Judge says whether a join is good: made with the code of an activation that is there, in time, from where it may be
// made, and with room for one more. The error is a *JoinRefusal. It reads nothing but its arguments.
//
// The order is one that tells a stranger nothing: without the code all that it hears is that the code is wrong, or
// that there is no such activation.
func (g Gate) Judge(j Join) error {
	p := j.Proof
	if p.Fleet != g.Fleet {
		return no(JoinFleet, "the proof is for the fleet %q, and this one is %q", p.Fleet, g.Fleet)
	}
	act, ok := g.Activations[p.Activation]
	if !ok {
		return no(JoinRevoked, "there is no activation %q: it was revoked, or never was", p.Activation)
	}
	key, ok := nodeKey(act.PublicKey)
	if !ok || !signed(key, append([]byte(proofByCode), canonical(p.fields())...), p.Code) {
		return no(JoinCode, "the code is not that of the activation %q", p.Activation)
	}
	at, _ := readInstant(p.At)
	switch {
	case !g.Now.Before(act.Expires):
		return no(JoinExpired, "the activation %q expired %s", p.Activation, act.Expires.UTC().Format(time.RFC3339))
	case act.Expires.Sub(g.Now) > maxActivation:
		return no(JoinExpired, "the activation %q lasts more than 30 days, which none may", p.Activation)
	case at.After(g.Now.Add(MaxAhead)):
		return no(JoinTime, "the host's clock is ahead: the proof says %s, and here it is %s", p.At, instant(g.Now))
	case g.Known(p.ID):
		return no(JoinReplay, "node %s has enrolled already; a host that is to be another node has its keys made anew", p.ID)
	}
	if j.Seen != nil {
		key, ok := g.Member(j.Seen.By)
		if !ok {
			return no(JoinNetwork, "node %s, which says that it was asked, is not an active node", j.Seen.By)
		}
		if err := j.Seen.by(p, key); err != nil {
			return no(JoinNetwork, "%s", err)
		}
	}
	if len(act.Networks) > 0 && (j.Seen == nil || !within(act.Networks, j.Seen.From)) {
		if j.Seen == nil {
			return no(JoinNetwork, "the activation %q is for hosts of %s, and no member has said where this one came from: let it ask a member (--peer)", p.Activation, strings.Join(act.Networks, ", "))
		}
		return no(JoinNetwork, "the activation %q is for hosts of %s, and this one came from %s", p.Activation, strings.Join(act.Networks, ", "), j.Seen.From)
	}
	if limit := max(act.Limit, 1); g.Enrolled(p.Activation) >= limit {
		return no(JoinLimit, "the activation %q is for %d, and as many have enrolled", p.Activation, limit)
	}
	return nil
}

// Arrives says whether a proof belongs to the connection that it came by, on which a key was shown. The error is a
// *JoinRefusal.
func (p Proof) Arrives(exporter []byte, pin string) error {
	switch {
	case p.Channel != TLSChannel(exporter):
		return no(JoinRelay, "the proof is not for this connection: it was made for another, or passed on")
	case !strings.EqualFold(p.Keys.TLS, pin):
		return no(JoinRelay, "the connection shows another key than the proof")
	}
	return nil
}

// Gives reports whether an activation gives all tags that a proof asks for.
func Gives(a schema.Activation, p Proof) bool {
	for k, v := range p.Tags {
		if have, ok := a.Tags[k]; !ok || have != v {
			return false
		}
	}
	return true
}

func within(networks []string, from string) bool {
	addr, err := netip.ParseAddr(from)
	if err != nil {
		return false
	}
	for _, n := range networks {
		if p, err := netip.ParsePrefix(n); err == nil && p.Masked().Contains(addr) {
			return true
		}
	}
	return false
}
