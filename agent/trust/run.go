package trust

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/dunlin-dev/dunlin/schema"
)

// maxRun bounds a run file, in bytes, as the loader does.
const maxRun = 64 << 10

// Run is a file of the branch of runs: a command that somebody has signed, with every limit in it.
type Run struct {
	schema.Run
	ID      string // made of all of it, the signature included
	message []byte
}

// ParseRun reads a run file. It takes the one form that such a file has, canonical JSON (RFC 8785) with all that must be
// there and nothing that is unknown: two texts are never one run. Neither the signature is looked at (Run.By) nor whether
// the values are such as the definitions want (load.Run), nor whether a grant covers it (reconciler.MayRun).
func ParseRun(text []byte) (Run, error) {
	refuse := func(format string, a ...any) (Run, error) { return Run{}, fmt.Errorf("run: "+format, a...) }
	if len(text) > maxRun {
		return refuse("%d bytes, more than %d", len(text), maxRun)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return refuse("not JSON")
	}
	fields, ok := v.(map[string]any)
	if !ok {
		return refuse("not an object of JSON")
	}
	if b, ok := appendCanonical(nil, v); !ok || !bytes.Equal(b, text) {
		return refuse("not canonical JSON (RFC 8785): keys sorted and once each, no blanks, nothing escaped without need")
	}
	if err := formOfRun(fields); err != nil {
		return refuse("%w", err)
	}
	r := Run{ID: runID(text)}
	if err := json.Unmarshal(text, &r.Run); err != nil {
		return refuse("not of this form: %w", err)
	}
	delete(fields, "sig")
	r.message, _ = appendCanonical(nil, v)
	return r, nil
}

// By gives the person who has signed the run, by the fleet of the commit that it names. That somebody has signed it gives
// no right to it yet: a grant must cover it.
func (r Run) By(f schema.Fleet) (string, error) {
	if r.Fleet != f.Name {
		return "", fmt.Errorf("run: it is for the fleet %q", clip(r.Fleet))
	}
	return peopleOf(f).signer(r.message, []byte(r.Sig), NamespaceRun)
}

// Message is what the signature is over: canonical JSON without sig.
func (r Run) Message() []byte { return bytes.Clone(r.message) }

// EncodeRun gives the file of a run and what its signature must be over; Sig may be empty yet. It fails for what no text
// can say, such as bytes that are no UTF-8.
func EncodeRun(r schema.Run) (file, message []byte, err error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, nil, fmt.Errorf("run: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v map[string]any
	if err := d.Decode(&v); err != nil {
		return nil, nil, fmt.Errorf("run: %w", err)
	}
	file, ok := appendCanonical(nil, v)
	delete(v, "sig")
	message, also := appendCanonical(nil, v)
	if !ok || !also {
		return nil, nil, errors.New("run: it has a value that a run cannot have")
	}
	return file, message, nil
}

func runID(file []byte) string {
	sum := sha256.Sum256(file)
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:]))[:26]
}

// form reports whether a value of JSON is of a form.
type form func(any) bool

func isText(v any) bool { _, ok := v.(string); return ok }

func isList(v any) bool {
	list, ok := v.([]any)
	return ok && !slices.ContainsFunc(list, func(x any) bool { return !isText(x) })
}

func isTextOrList(v any) bool { return isText(v) || isList(v) }

// mapOf is an object of any names whose values are of a form.
func mapOf(of form) form {
	return func(v any) bool {
		m, ok := v.(map[string]any)
		for _, x := range m {
			ok = ok && of(x)
		}
		return ok
	}
}

// object is one that may have fields of these names, spelled so, and no others.
func object(fields map[string]form) form {
	return func(v any) bool {
		m, ok := v.(map[string]any)
		for name, x := range m {
			of, known := fields[name]
			ok = ok && known && of(x)
		}
		return ok
	}
}

// formOfRun says what is missing, unknown or of another type. encoding/json alone would take names in another case, and null.
func formOfRun(fields map[string]any) error {
	selection := map[string]form{"tags": mapOf(isTextOrList), "groups": isList, "os": isList, "nodes": isList, "resourceGroups": isList}
	targets := maps.Clone(selection)
	targets["all"] = func(v any) bool { return v == true }
	targets["exclude"] = object(selection)
	all := map[string]form{
		"v":          func(v any) bool { return v == json.Number("1") },
		"parameters": mapOf(func(v any) bool { return isTextOrList(v) || mapOf(isText)(v) }),
		"targets":    object(targets),
		"output":     object(map[string]form{"url": isText}),
		"notify":     isList,
	}
	for _, name := range []string{"fleet", "policy", "document", "maxConcurrency", "maxErrors", "errorMode", "deliveryTimeout", "executionTimeout", "created", "requestedBy", "comment", "sig"} {
		all[name] = isText
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		of, known := all[name]
		if !known {
			return fmt.Errorf("%q is no field of a run", clip(name))
		}
		if !of(fields[name]) {
			return fmt.Errorf("%s is not of the form that it has in a run", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if _, given := fields[name]; !given && name != "comment" && name != "output" && name != "notify" {
			return fmt.Errorf("%s is missing; nothing of a run has a default", name)
		}
	}
	return nil
}

// appendCanonical writes a value as RFC 8785 does. It knows texts, lists, objects, booleans and whole numbers up to six
// digits, which are all that signed files here have, and reports false for anything else.
func appendCanonical(b []byte, v any) ([]byte, bool) {
	switch v := v.(type) {
	case string:
		return appendText(b, v), true
	case bool:
		return strconv.AppendBool(b, v), true
	case json.Number:
		n, err := strconv.Atoi(string(v))
		return strconv.AppendInt(b, int64(n), 10), err == nil && n >= 0 && n < 1e6
	case []any:
		ok := true
		b = append(b, '[')
		for i, x := range v {
			if i > 0 {
				b = append(b, ',')
			}
			var one bool
			b, one = appendCanonical(b, x)
			ok = ok && one
		}
		return append(b, ']'), ok
	case map[string]any:
		ok := true
		b = append(b, '{')
		for i, name := range slices.SortedFunc(maps.Keys(v), byUTF16) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendText(b, name), ':')
			var one bool
			b, one = appendCanonical(b, v[name])
			ok = ok && one
		}
		return append(b, '}'), ok
	}
	return b, false
}

// byUTF16 orders names by their UTF-16 code units.
func byUTF16(a, b string) int {
	return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
}

// appendText writes a text with nothing escaped but what must be.
func appendText(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= ' ':
			b = append(b, c)
		default:
			if at := strings.IndexByte("\b\t\n\f\r", c); at >= 0 {
				b = append(b, '\\', "btnfr"[at])
			} else {
				b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			}
		}
	}
	return append(b, '"')
}
