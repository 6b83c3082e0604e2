package secret

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// encodings are what programs make of a value; the prefix shifts base64.
func encodings() map[string]func(prefix, v string) string {
	quoted := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	return map[string]func(prefix, v string) string{
		"as it is":   func(p, v string) string { return p + v },
		"base64":     func(p, v string) string { return base64.StdEncoding.EncodeToString([]byte(p + v + "tail")) },
		"base64 end": func(p, v string) string { return base64.StdEncoding.EncodeToString([]byte(p + v)) },
		"base64 URL": func(p, v string) string { return base64.RawURLEncoding.EncodeToString([]byte(p + v + "tail")) },
		"hex":        func(p, v string) string { return hex.EncodeToString([]byte(p + v)) },
		"HEX":        func(p, v string) string { return fmt.Sprintf("%X", p+v) },
		"query":      func(p, v string) string { return url.QueryEscape(p + v) },
		"path":       func(p, v string) string { return url.PathEscape(p + v) },
		"JSON":       func(p, v string) string { return quoted(p + v) },
		"JSON twice": func(p, v string) string { return quoted(quoted(p + v)) },
		"%q":         func(p, v string) string { return strconv.Quote(p + v) },
		"HTML":       func(p, v string) string { return html.EscapeString(p + v) },
		"wrapped": func(p, v string) string {
			b := base64.StdEncoding.EncodeToString([]byte(p + v + "tail"))
			return b[:len(b)/3] + "\n  " + b[len(b)/3:len(b)/2] + `\r\n` + b[len(b)/2:]
		},
		"'shell'": func(p, v string) string { return "'" + strings.ReplaceAll(p+v, "'", `'\''`) + "'" },
	}
}

// redacted sends a text through a stream in pieces of the sizes given, over and over.
func redacted(r *Redactor, text string, sizes ...int) string {
	var out bytes.Buffer
	s := r.Stream(&out)
	for i := 0; len(text) > 0; i++ {
		n := min(len(text), max(1, sizes[i%len(sizes)]))
		if k, err := s.Write([]byte(text[:n])); k != n || err != nil {
			return fmt.Sprintf("Write = %d, %v", k, err)
		}
		text = text[n:]
	}
	if err := s.Close(); err != nil {
		return err.Error()
	}
	return out.String()
}

// holds reports whether a text has a value, or enough of it to be told: any six bytes in a row, in any encoding.
func holds(text, v string) string {
	for name, enc := range encodings() {
		if strings.HasPrefix(name, "base64") {
			continue // whose pieces are looked for below
		}
		for i := 0; i+6 <= len(v); i++ {
			if piece := strings.Trim(enc("", v[i:i+6]), `"'`); strings.Contains(text, piece) {
				return name
			}
		}
	}
	for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for offset := range 3 {
			for i := 0; i+6 <= len(v); i++ {
				if strings.Contains(text, string(aligned(e, []byte(v[i:i+6]), offset).text)) {
					return "base64"
				}
			}
		}
	}
	return ""
}

func TestEveryEncodingIsRedactedAcrossChunks(t *testing.T) {
	for _, v := range []string{"hunter2-Öl&<\"'\\ $x`\n9?", "correct horse battery staple", "aaaaaaaaaaaa", "p4ss!"} {
		var r Redactor
		r.Add(New("/db/password@3", []byte(v)))
		for name, enc := range encodings() {
			for _, prefix := range []string{"", "a", "ab", "abc"} {
				text := "before " + enc(prefix, v) + " after " + enc(prefix, v) + "."
				whole := redacted(&r, text, len(text))
				if where := holds(whole, v); where != "" || !strings.Contains(whole, "[secret /db/password@3]") {
					t.Errorf("%s of %q after %q: %q still has it (%s)", name, v, prefix, whole, where)
				}
				if !strings.HasPrefix(whole, "before ") || !strings.Contains(whole, " after ") || !strings.HasSuffix(whole, ".") {
					t.Errorf("%s of %q: %q lost what is around it", name, v, whole)
				}
				for _, sizes := range [][]int{{1}, {2, 3}, {7}, {len(v) - 1}} {
					if got := redacted(&r, text, sizes...); got != whole {
						t.Errorf("%s in pieces of %v: %q, at once %q", name, sizes, got, whole)
					}
				}
			}
		}
	}
}

// What shells themselves write for a value is found.
func TestFormsOfRealShells(t *testing.T) {
	const v = `it's "$HOME" & \ten!`
	var r Redactor
	r.Add(New("x", []byte(v)))
	for _, script := range []string{`printf '%s' "$V"`, `printf '%q' "$V"`, `printf '%s' "${V@Q}"`, `declare -p V`, `set -x; : "$V"`} {
		cmd := exec.Command("bash", "-c", script)
		cmd.Env = []string{"V=" + v}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v", script, err)
		}
		if got := r.Text(string(out)); !strings.Contains(got, "[secret x]") || strings.Contains(got, "HOME") {
			t.Errorf("%s wrote %q, redacted %q", script, out, got)
		}
	}
}

func TestLinesOfASecretAreRedactedOneByOne(t *testing.T) {
	const key = "-----BEGIN KEY-----\nMC4CAQAwBQYDK2VwBCIEIHx\nq83vEjRWeJq83vEjRWeJq83v\n-----END KEY-----\n"
	var r Redactor
	r.Add(New("k", []byte(key)))
	for _, line := range strings.Split(strings.TrimSpace(key), "\n") {
		if got := r.Text("read line " + line); got != "read line [secret k]" {
			t.Errorf("%q is shown as %q", line, got)
		}
	}
}

func TestShortAndForgottenSecretsAreLeftAlone(t *testing.T) {
	var r Redactor
	r.Add(New("pin", []byte("123")), New("empty", nil))
	if got := r.Text("12345"); got != "12345" {
		t.Errorf("a value of three bytes was looked for: %q", got)
	}
	forget := r.Add(New("word", []byte("swordfish")), New("other", []byte("password")))
	if got := r.Text("swordfish password"); got != "[secret word] [secret other]" {
		t.Errorf("got %q", got)
	}
	forget()
	if got := r.Text("swordfish"); got != "swordfish" {
		t.Errorf("a forgotten value is still hidden: %q", got)
	}
}

func TestOverlappingSecretsAreHiddenWhole(t *testing.T) {
	var r Redactor
	r.Add(New("a", []byte("abcdef")), New("b", []byte("defghi")), New("c", []byte("efgh")))
	for _, n := range []int{1, 2, 100} {
		if got := redacted(&r, "xx abcdefghi yy cdefghij", n); got != "xx [secret a] yy c[secret c]j" {
			t.Errorf("pieces of %d: %q", n, got)
		}
	}
}

// A stream holds back no more than a form's length, however its input is made.
func TestStreamIsBounded(t *testing.T) {
	var r Redactor
	v := strings.Repeat("ab", 500)
	r.Add(New("long", []byte(v)))
	var longest int
	for _, f := range formsOf([]byte(v)) {
		longest = max(longest, len(f.text))
	}
	var out bytes.Buffer
	s := r.Stream(&out).(*stream)
	for range 2000 {
		_, _ = s.Write([]byte(strings.Repeat("ab", 100)))
		if len(s.held) > longest+2 || len(s.hidden) > 2 {
			t.Fatalf("%d bytes and %d parts are held; the longest form has %d", len(s.held), len(s.hidden), longest)
		}
	}
	_ = s.Close()
	if out.String() != "[secret long]" {
		t.Errorf("%d bytes came out, %.80q", out.Len(), out.String())
	}
}

// The steps that it takes grow with the text and not with the text times the secret, for the text that is the worst.
func TestRedactionIsLinear(t *testing.T) {
	for _, secret := range []int{10, 4000} {
		var r Redactor
		r.Add(New("x", []byte(strings.Repeat("a", secret)+"b")))
		m, at, steps := r.finder().all, int32(0), 0
		text := strings.Repeat(strings.Repeat("a", secret-1)+"c", 20_000/secret)
		for i := range len(text) {
			for next := m.child(at, text[i]); next == 0 && at != 0; next = m.child(at, text[i]) {
				at = m.node[at].fail
				steps++
			}
			at = m.child(at, text[i])
			steps++
		}
		if steps > 2*len(text) {
			t.Errorf("%d steps for %d bytes against a secret of %d", steps, len(text), secret)
		}
	}
}

func TestRedactionDoesNotDependOnPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		letters := rapid.StringOfN(rapid.RuneFrom([]rune("ab\"\\/ é")), 4, 12, -1)
		var r Redactor
		a, b := letters.Draw(t, "a"), letters.Draw(t, "b")
		r.Add(New("a", []byte(a)), New("b", []byte(b)))
		var text strings.Builder
		names := []string{"as it is", "base64", "base64 URL", "hex", "JSON", "query", "%q", "'shell'", "wrapped"}
		for range rapid.IntRange(0, 6).Draw(t, "parts") {
			text.WriteString(rapid.StringOfN(rapid.RuneFrom([]rune("ab\"\\ ")), 0, 9, -1).Draw(t, "noise"))
			text.WriteString(encodings()[rapid.SampledFrom(names).Draw(t, "encoding")](rapid.StringN(0, 3, 3).Draw(t, "prefix"), rapid.SampledFrom([]string{a, b}).Draw(t, "which")))
		}
		sizes := rapid.SliceOfN(rapid.IntRange(1, 20), 1, 5).Draw(t, "sizes")
		whole := redacted(&r, text.String(), text.Len()+1)
		if got := redacted(&r, text.String(), sizes...); got != whole {
			t.Fatalf("pieces of %v: %q, at once %q", sizes, got, whole)
		}
		for _, f := range append(formsOf([]byte(a)), formsOf([]byte(b))...) {
			rest := strings.NewReplacer("[secret a]", "\x00", "[secret b]", "\x00").Replace(whole)
			if strings.Contains(rest, string(f.text)) {
				t.Fatalf("%q still has %q", whole, f.text)
			}
		}
	})
}

// Of a value that is mostly blank only the whole is looked for: what is left without its blanks is nothing, or stands everywhere.
func TestBlankValuesAreRedactedAsAWhole(t *testing.T) {
	for value, others := range map[string]string{"    ": "a b", "\n\n\n\n\n": "a\n\nb", "  ab  ": "ab 6162 %61%62", " \t \r\n": "x\ty"} {
		var r Redactor
		r.Add(New("x", []byte(value)))
		if got, want := redacted(&r, "<"+value+">"+others, 1<<10), "<[secret x]>"+others; got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
}

func FuzzRedactor(f *testing.F) {
	f.Add("hunter2", "the word is hunter2", 3)
	f.Add("    ", "4", 53)
	f.Fuzz(func(t *testing.T, value, text string, size int) {
		if len(value) < MinRedacted || len(value) > 200 || len(text) > 4<<10 {
			return
		}
		var r Redactor
		r.Add(New("\x00", []byte(value)))
		whole := redacted(&r, text, len(text)+1)
		if got := redacted(&r, text, size&63); got != whole {
			t.Errorf("pieces of %d: %q, at once %q", size&63, got, whole)
		}
		if rest := strings.ReplaceAll(whole, "[secret \x00]", "\x00\x00"); strings.Contains(rest, value) && !strings.ContainsAny(value, "\x00") {
			t.Errorf("%q still has %q", whole, value)
		}
		if !strings.Contains(whole, "[secret \x00]") && whole != text {
			t.Errorf("%q became %q without a secret in it", text, whole)
		}
	})
}

func BenchmarkRedact(b *testing.B) {
	var r Redactor
	r.Add(New("x", []byte("correct horse battery staple")))
	text := bytes.Repeat([]byte("a line of a log that says nothing of interest, with a=b\n"), 1000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		s := r.Stream(new(bytes.Buffer))
		_, _ = s.Write(text)
		_ = s.Close()
	}
}

// What tools break over lines is found as if they had not.
func TestWrappedEncodingsAreRedacted(t *testing.T) {
	v := strings.Repeat("correct horse battery staple ", 5)
	var r Redactor
	r.Add(New("x", []byte(v)))
	wrap := func(s string, width int, by string) string {
		var parts []string
		for len(s) > width {
			parts, s = append(parts, s[:width]), s[width:]
		}
		return strings.Join(append(parts, s), by)
	}
	for _, prefix := range []string{"", "a", "ab"} {
		b64 := base64.StdEncoding.EncodeToString([]byte(prefix + v + "tail"))
		for name, text := range map[string]string{
			"base64": wrap(b64, 76, "\n"), "openssl base64": wrap(b64, 64, "\n"), "MIME": wrap(b64, 76, "\r\n"), "YAML": wrap(b64, 70, "\n        "),
			"JSON": wrap(b64, 76, `\n`), "JSON, MIME": wrap(b64, 76, `\r\n`), "hexdump": wrap(hex.EncodeToString([]byte(prefix+v)), 2, " "),
			"xxd -p": wrap(hex.EncodeToString([]byte(prefix+v)), 60, "\n"), "HEX": wrap(fmt.Sprintf("%X", prefix+v), 4, " "),
		} {
			in := "before " + text + " after"
			whole := redacted(&r, in, len(in))
			if !strings.Contains(whole, "[secret x]") || !strings.HasPrefix(whole, "before ") || !strings.HasSuffix(whole, " after") || len(whole) > 45 {
				t.Errorf("%s after %q: %q", name, prefix, whole)
			}
			for _, sizes := range [][]int{{1}, {3, 5}, {77}} {
				if got := redacted(&r, in, sizes...); got != whole {
					t.Errorf("%s in pieces of %v: %q, at once %q", name, sizes, got, whole)
				}
			}
		}
	}
	for _, in := range []string{"Y29y cmVj dCBo", strings.ReplaceAll("a b c d e f \n \\n \\\\n \\ 0", " ", strings.Repeat(" ", 40))} {
		if got := redacted(&r, in, 3); got != in {
			t.Errorf("%q became %q", in, got)
		}
	}
	// Blanks without end do not make it hold without end.
	var out bytes.Buffer
	s := r.Stream(&out).(*stream)
	start := base64.StdEncoding.EncodeToString([]byte(v))[:100]
	for range 200 {
		_, _ = s.Write([]byte(start[:50] + strings.Repeat(" ", 10)))
		_, _ = s.Write([]byte(strings.Repeat("\n", 5000)))
		if len(s.held) > 200*(maxBlanks+1) || len(s.places) > 200 {
			t.Fatalf("%d bytes and %d places are held", len(s.held), len(s.places))
		}
	}
}

// A program's last words are cut where they are long, and half a value would be no value.
func TestHalfAValueIsNotLeftWhereATextIsCut(t *testing.T) {
	var r Redactor
	defer r.Add(New("/db/password@3", []byte(canary)), New("/db/other@1", []byte("xy-"+canary[:6]+"-zz")))()
	for n := 1; n <= len(canary); n++ {
		got := r.Text("exit code 1: --password=" + canary[:n] + "…: try again")
		if n >= MinRedacted && got != "exit code 1: --password=[secret /db/password@3]…: try again" || n < MinRedacted && !strings.Contains(got, canary[:n]) {
			t.Errorf("%d bytes: %s", n, got)
		}
	}
	for _, text := range []string{"…", "nothing… of it…", "… " + canary[:3], "-…" + canary[4:8] + "…"} {
		if got := r.Text(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
	if got := r.Text("xy-" + canary[:5] + "… and " + canary[:7] + "…" + canary); strings.Contains(got, canary[:4]) || strings.Count(got, "[secret ") != 3 {
		t.Errorf("several: %s", got)
	}
}
