package report

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

const (
	// MaxLine bounds a line of a shard in bytes, without its newline.
	MaxLine = 16 << 10
	// maxTypes bounds the types of compliance that a line names.
	maxTypes = 64
	// maxNumber is the greatest integer that every reader of JSON holds exactly (RFC 8785, RFC 7493).
	maxNumber = 1<<53 - 1
	// maxCount bounds a counter: no host has more patches, and no sum of them overflows.
	maxCount = 1_000_000_000
)

// countNames are the counters that a line may have, as schema #ReportLine lists them.
var countNames = [...]string{
	"InstalledCount", "InstalledOtherCount", "InstalledRejectedCount", "InstalledPendingRebootCount", "MissingCount", "FailedCount",
	"NotApplicableCount", "AvailableSecurityUpdateCount", "CriticalNonCompliantCount", "SecurityNonCompliantCount", "OtherNonCompliantCount",
}

// Shard is the two hex digits of the shard in which the node's line stands: the first byte of SHA-256 of its signing
// key, which its id begins with. Empty for what is no id.
func Shard(node string) string {
	if !isID(node) {
		return ""
	}
	b, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.ToUpper(node[:8]))
	if err != nil {
		return ""
	}
	return hex.EncodeToString(b[:1])
}

func shardFile(node string) string { return "nodes/" + Shard(node) + ".jsonl" }

// factsFile is the file of a digest.
func factsFile(digest string) string { return "facts/" + digest[:2] + "/" + digest + ".json" }

// Encode is the line in canonical JSON (RFC 8785), without a newline. It fails for a line that ParseLine would not take.
func Encode(l schema.ReportLine) ([]byte, error) {
	if err := check(l); err != nil {
		return nil, fmt.Errorf("encode report line of %q: %w", clip(l.Node), err)
	}
	if !isSignature(l.Sig) {
		return nil, fmt.Errorf("encode report line of %q: sig is not the base64 of an ed25519 signature", clip(l.Node))
	}
	b := encode(l)
	if len(b) > MaxLine {
		return nil, fmt.Errorf("encode report line of %q: %d bytes are more than %d", clip(l.Node), len(b), MaxLine)
	}
	return b, nil
}

// encode writes a checked line: none of its texts has a character that JSON escapes. Without a signature there is no
// field for it: that is what the node signs.
func encode(l schema.ReportLine) []byte {
	b := make([]byte, 0, 640)
	text := func(key, value string) {
		b = append(b, `"`+key+`":"`...)
		b = append(b, value...)
		b = append(b, `",`...)
	}
	b = append(b, '{')
	text("commit", l.Commit)
	b = append(b, `"compliance":{`...)
	for i, k := range slices.Sorted(maps.Keys(l.Compliance)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `"`+k+`":"`+string(l.Compliance[k])+`"`...)
	}
	b = append(b, `},"counts":{`...)
	for i, k := range slices.Sorted(maps.Keys(l.Counts)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `"`+k+`":`...)
		b = strconv.AppendInt(b, int64(l.Counts[k]), 10)
	}
	b = append(b, `},`...)
	text("facts", l.Facts)
	text("fleet", l.Fleet)
	text("node", l.Node)
	b = append(b, `"rev":`...)
	b = strconv.AppendUint(b, l.Rev, 10)
	b = append(b, ',')
	if l.Sig != "" {
		text("sig", l.Sig)
	}
	text("since", l.Since.UTC().Format(time.RFC3339Nano))
	return append(b, `"v":1}`...)
}

// check holds a line to schema #ReportLine, but for its signature.
func check(l schema.ReportLine) error {
	switch {
	case l.V != 1:
		return fmt.Errorf("v is %d, this program knows 1", l.V)
	case !isName(l.Fleet):
		return fmt.Errorf("fleet %q is not a name", clip(l.Fleet))
	case !isID(l.Node):
		return fmt.Errorf("node %q is not an id", clip(l.Node))
	case l.Rev == 0 || l.Rev > maxNumber:
		return fmt.Errorf("rev %d is not one of 1 to %d", l.Rev, uint64(maxNumber))
	case l.Since.IsZero() || l.Since.UTC().Year() < 1970 || l.Since.UTC().Year() > 9999:
		return errors.New("since is not an instant of the years 1970 to 9999")
	case !isHex(l.Commit, 40) && !isHex(l.Commit, 64):
		return fmt.Errorf("commit %q is not 40 or 64 hex digits", clip(l.Commit))
	case !isHex(l.Facts, 64):
		return fmt.Errorf("facts %q is not a SHA-256 in hex", clip(l.Facts))
	case l.Compliance == nil || l.Counts == nil:
		return errors.New("compliance or counts is missing")
	case len(l.Compliance) > maxTypes:
		return fmt.Errorf("compliance has %d types, more than %d", len(l.Compliance), maxTypes)
	}
	for _, k := range slices.Sorted(maps.Keys(l.Compliance)) {
		if !isType(k) {
			return fmt.Errorf("compliance %q is not Patch, Association, Policy or Custom: and a word", clip(k))
		}
		switch l.Compliance[k] {
		case schema.Compliant, schema.NonCompliant, schema.UnspecifiedData:
		default:
			return fmt.Errorf("compliance.%s %q is not COMPLIANT, NON_COMPLIANT or UNSPECIFIED_DATA", k, clip(string(l.Compliance[k])))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(l.Counts)) {
		if !slices.Contains(countNames[:], k) {
			return fmt.Errorf("counts %q is no counter", clip(k))
		}
		if n := l.Counts[k]; n < 0 || n > maxCount {
			return fmt.Errorf("counts.%s %d is not one of 0 to %d", k, n, maxCount)
		}
	}
	return nil
}

// SignLine gives the line the signature of its node, whose key this must be. What it returns shares the maps of l.
func SignLine(l schema.ReportLine, key ed25519.PrivateKey) (schema.ReportLine, error) {
	if len(key) != ed25519.PrivateKeySize {
		return l, errors.New("sign report line: no ed25519 key")
	}
	l.V, l.Sig = 1, ""
	if err := check(l); err != nil {
		return l, fmt.Errorf("sign report line: %w", err)
	}
	if id := schema.NodeID(key.Public().(ed25519.PublicKey)); id != l.Node {
		return l, fmt.Errorf("sign report line of %q: the key is that of %q", l.Node, id)
	}
	l.Sig = base64.StdEncoding.EncodeToString(ed25519.Sign(key, message(l)))
	if _, err := Encode(l); err != nil {
		return l, err
	}
	return l, nil
}

// message is what a node signs of its line.
func message(l schema.ReportLine) []byte {
	l.Sig = ""
	return append([]byte(schema.ReportPrefix), encode(l)...)
}

// ParseLine reads one line without its newline. It takes canonical JSON alone, so that a line has one form and its
// signature one meaning: unknown and missing fields, blanks, repeated keys and other orders are errors. The signature
// is not checked.
func ParseLine(raw []byte) (schema.ReportLine, error) {
	l, err := parseLine(raw)
	if err != nil {
		return schema.ReportLine{}, fmt.Errorf("report line: %w", err)
	}
	return l, nil
}

func parseLine(raw []byte) (schema.ReportLine, error) {
	var l schema.ReportLine
	if len(raw) > MaxLine {
		return l, fmt.Errorf("%d bytes are more than %d", len(raw), MaxLine)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return l, errors.New("malformed JSON: " + clip(err.Error()))
	}
	if _, err := d.Token(); err != io.EOF {
		return l, errors.New("malformed JSON: more than one value")
	}
	if err := check(l); err != nil {
		return l, err
	}
	if !isSignature(l.Sig) {
		return l, errors.New("sig is not the base64 of an ed25519 signature")
	}
	if want := encode(l); !bytes.Equal(want, raw) {
		at := 0
		for at < len(raw) && at < len(want) && raw[at] == want[at] {
			at++
		}
		return l, fmt.Errorf("not canonical JSON (RFC 8785) from byte %d on", at+1)
	}
	return l, nil
}

// VerifyLine reads one line as ParseLine does, and fails where it was not signed by key; it then wraps
// schema.ErrBadSignature.
func VerifyLine(raw []byte, key ed25519.PublicKey) (schema.ReportLine, error) {
	l, err := ParseLine(raw)
	if err != nil {
		return l, err
	}
	if err := verify(l, key); err != nil {
		return schema.ReportLine{}, fmt.Errorf("report line of %q: %w", l.Node, err)
	}
	return l, nil
}

// verify checks the signature of a parsed line.
func verify(l schema.ReportLine, key ed25519.PublicKey) error {
	if len(key) != ed25519.PublicKeySize || schema.NodeID(key) != l.Node {
		return fmt.Errorf("%w: not that node's key", schema.ErrBadSignature)
	}
	sig, err := base64.StdEncoding.Strict().DecodeString(l.Sig)
	if err != nil || !ed25519.Verify(key, message(l), sig) {
		return schema.ErrBadSignature
	}
	return nil
}

// Keys are the signing keys of a roster, by id. A key that does not belong to its line's id is an error.
func Keys(roster []schema.RosterLine) (map[string]ed25519.PublicKey, error) {
	const prefix = "\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"
	keys := make(map[string]ed25519.PublicKey, len(roster))
	for _, r := range roster {
		kind, text, _ := strings.Cut(r.Keys.Sign, " ")
		b, err := base64.StdEncoding.Strict().DecodeString(text)
		if err != nil || kind != "ssh-ed25519" || len(b) != len(prefix)+ed25519.PublicKeySize || string(b[:len(prefix)]) != prefix {
			return nil, fmt.Errorf("roster line of %q: keys.sign is not an ssh-ed25519 key", clip(r.Name))
		}
		key := ed25519.PublicKey(b[len(prefix):])
		if schema.NodeID(key) != r.ID {
			return nil, fmt.Errorf("roster line of %q: %q is not the id of keys.sign", clip(r.Name), clip(r.ID))
		}
		keys[r.ID] = key
	}
	return keys, nil
}

func isID(s string) bool {
	return len(s) == 26 && only(s, func(c byte) bool { return c >= 'a' && c <= 'z' || c >= '2' && c <= '7' })
}

func isHex(s string, n int) bool {
	return len(s) == n && only(s, func(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' })
}

// isName holds a text to schema #Name.
func isName(s string) bool {
	return s != "" && len(s) <= 63 && isAlnum(s[0]) && only(s, func(c byte) bool { return isAlnum(c) || c == '.' || c == '_' || c == '-' })
}

func isType(s string) bool {
	if s == "Patch" || s == "Association" || s == "Policy" {
		return true
	}
	word, ok := strings.CutPrefix(s, "Custom:")
	return ok && word != "" && len(word) <= 128 && only(word, func(c byte) bool { return isAlnum(c) || c == '_' || c == '-' })
}

func isSignature(s string) bool {
	return len(s) == 88 && strings.HasSuffix(s, "==") &&
		only(s[:86], func(c byte) bool { return isAlnum(c) || c == '+' || c == '/' })
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func only(s string, ok func(byte) bool) bool {
	for i := range len(s) {
		if !ok(s[i]) {
			return false
		}
	}
	return true
}

// clip keeps quotations of what came from outside short.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
