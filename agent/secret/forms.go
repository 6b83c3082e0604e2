package secret

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/dunlin-dev/dunlin/schema/safe"
)

// MinRedacted is the shortest value, and the shortest form of one, that a Redactor looks for, in bytes: what is
// shorter stands in every text by chance.
const MinRedacted = 4

// minLine is the shortest line of a value of several lines that is looked for by itself, in bytes.
const minLine = 8

// form is one way in which a program writes a value.
type form struct {
	text []byte
	// left and right say that the digit of base64 before it, or after it, has bits of the value as well.
	left, right bool
	// wraps is that programs break it over lines, and put blanks between its digits.
	wraps bool
}

// formsOf are the ways in which programs write a value, each once.
func formsOf(value []byte) []form {
	if len(value) < MinRedacted {
		return nil
	}
	var out []form
	seen := map[string]bool{}
	add := func(f form) {
		if len(f.text) >= MinRedacted && !seen[string(f.text)] {
			seen[string(f.text)] = true
			out = append(out, f)
		}
	}
	each(value, add)
	// A key in PEM is logged a line at a time, and what is read from a file may have lost its end.
	if trimmed := bytes.TrimSpace(value); len(trimmed) < len(value) && len(trimmed) >= MinRedacted {
		each(trimmed, add)
	}
	if lines := bytes.Split(value, []byte("\n")); len(lines) > 1 {
		for _, line := range lines {
			if line = bytes.TrimSpace(line); len(line) >= minLine {
				each(line, add)
			}
		}
	}
	return out
}

// each gives add every form of one text.
func each(value []byte, add func(form)) {
	s := string(value)
	text := func(s string) { add(form{text: []byte(s)}) }
	text(s)
	for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for offset := range 3 {
			add(aligned(e, value, offset))
		}
	}
	lower := hex.EncodeToString(value)
	add(form{text: []byte(lower), wraps: true})
	add(form{text: []byte(strings.ToUpper(lower)), wraps: true})

	// URL: by Go's rules of a query and of a path, by RFC 3986 (JavaScript, Python, curl), every byte, and all with small digits.
	var all strings.Builder
	for _, c := range value {
		fmt.Fprintf(&all, "%%%02X", c)
	}
	for _, u := range []string{url.QueryEscape(s), url.PathEscape(s), strings.ReplaceAll(url.QueryEscape(s), "+", "%20"), percent(s, "-_.~!*'()"), percent(s, "-_.~/"), all.String()} {
		text(u)
		text(smallPercent(u))
	}

	// JSON: as Go writes it, without care for HTML, in ASCII, with \/, and each as a text within a text.
	for _, j := range []string{jsonText(s, true), jsonText(s, false), jsonASCII(s), strings.ReplaceAll(jsonText(s, false), "/", `\/`)} {
		text(j)
		text(jsonText(j, false))
	}
	// Go's %q.
	for _, q := range []string{strconv.Quote(s), strconv.QuoteToASCII(s)} {
		text(q[1 : len(q)-1])
		text(jsonText(q[1:len(q)-1], false))
	}
	// HTML, XML and Markdown: as Go writes it, as XML has names for it, and as our own pages do.
	text(strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;").Replace(s))
	text(strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&apos;").Replace(s))
	text(safe.HTML(s))
	text(safe.Markdown(s))
	text(safe.Terminal(s))
	text(safe.Words(s, len(s)))

	// Shells: within '...', within "...", by backslashes (printf %q), and within $'...'.
	text(strings.ReplaceAll(s, "'", `'\''`))
	text(strings.ReplaceAll(s, "'", `'"'"'`)) // Python's shlex
	text(strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`").Replace(s))
	text(strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`", "!", `\!`).Replace(s))
	text(backslashed(s))
	text(strings.NewReplacer(`\`, `\\`, "'", `\'`, "\n", `\n`, "\t", `\t`, "\r", `\r`, "\a", `\a`, "\b", `\b`, "\f", `\f`, "\v", `\v`, "\x1b", `\E`).Replace(s))
}

// aligned is what every base64 text has that has value in it, offset bytes after a multiple of three: the digits that
// are made of nothing but value.
func aligned(e *base64.Encoding, value []byte, offset int) form {
	text := e.EncodeToString(append(make([]byte, offset, offset+len(value)), value...))
	first := (offset*8 + 5) / 6
	last := (offset + len(value)) * 8 / 6
	return form{text: []byte(text[first:last]), left: offset > 0, right: (offset+len(value))%3 > 0, wraps: true}
}

// percent escapes all but letters, digits and the bytes of plain.
func percent(s, plain string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(plain, c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// smallPercent writes escapes of a URL with small digits.
func smallPercent(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:i+3], bytes.ToLower(b[i+1:i+3]))
			i += 2
		}
	}
	return string(b)
}

// jsonText is the inside of a JSON text.
func jsonText(s string, forHTML bool) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(forHTML)
	if e.Encode(s) != nil { // a text always encodes
		return s
	}
	return strings.TrimSuffix(b.String()[1:], "\"\n")
}

func jsonASCII(s string) string {
	var b strings.Builder
	for _, r := range jsonText(s, false) {
		switch {
		case r < utf8.RuneSelf:
			b.WriteRune(r)
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, hi, lo)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// backslashed has a backslash before each byte that a shell would read, as printf %q of bash and zsh writes it.
func backslashed(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if strings.IndexByte(" \t!\"#$&'()*,;<>?[\\]^`{|}~", s[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
