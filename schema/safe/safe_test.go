package safe_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"io"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/dunlin-dev/dunlin/schema/safe"
)

// hostile are texts that want to be more than text, in one place or another.
var hostile = []string{
	"", "web-1", "naïve ✓ 東京", "a\nb\r\nc\td", "bad \xff\xc3 byte", "\x1b[2J\x1b]0;title\x07", "\u009b31m", "\x7f\x00\b",
	"x\u202egnp.exe", "\u2066isolate\u2069", "zero\u200bwidth\u00ad\ufeff", "variation\ufe0f\U000e0100", "tags\U000e0041\U000e007f", "filler\u3164\u115f",
	"line\u2028paragraph\u2029next\u0085", "=cmd|' /C calc'!A0", "+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1", "\u00a0=1", "\u2005=1",
	"[click](javascript:alert(1))", "![x](http://e/x.png)", "<script>alert(1)</script>", "</text><svg onload=alert(1)>", `" onmouseover="x`, "' onload='x",
	"a|b|c", "# head", "* item", "> quote", "```\nfence", "`code`", "~~~", "https://evil.example", "www.evil.example", "@alice", "#1", "GH-1", "&lt;b&gt;", "&#60;", "\\*", "1. x", "---", "[^1]: x", "<!--", "]]>", "<?xml", "$x$", ":smile:",
	"::error::x", "  ::stop-commands::t", "##[error]x", "a##[command]b", "##vso[task.setvariable]x",
	"'; rm -rf / #", "$(reboot)", "`reboot`", "-rf", "~root", "a b", "=ls", "*",
}

func TestNothingSpeaksWhereItIsShown(t *testing.T) {
	for in, want := range map[string]string{
		"tb-lib 1.1-1":          "tb-lib 1.1-1",
		"\x1b[2Jgone":           `\u{1b}[2Jgone`,
		"a\nb\tc\r":             `a b c\u{d}`,
		"x\u202egnp.exe":        `x\u{202e}gnp.exe`,
		"zero\u200bwidth\u0085": `zero\u{200b}width\u{85}`,
		"v\ufe0f\U000e0041":     `v\u{fe0f}\u{e0041}`,
		"naïve ✓ 東京\u3000":      "naïve ✓ 東京\u3000",
		"bad \xff byte":         `bad \u{fffd} byte`,
	} {
		if got := safe.Terminal(in); got != want {
			t.Errorf("Terminal(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestMarkdownShowsItLetterForLetter(t *testing.T) {
	for in, want := range map[string]string{
		"web-1 é":       "web-1 é",
		"[a](b)":        "&#91;a&#93;&#40;b&#41;",
		"<b>|&lt;":      "&#60;b&#62;&#124;&#38;lt&#59;",
		"www.x.org @me": "www&#46;x&#46;org &#64;me",
		"a\nb\u202e":    "a\ufffdb\ufffd",
	} {
		if got := safe.Markdown(in); got != want {
			t.Errorf("Markdown(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestASpreadsheetTakesNoFormula(t *testing.T) {
	for in, want := range map[string]string{
		"web-1": "web-1", "=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@x": "'@x", "\t=1": "' =1", " =1": "' =1", "＝1": "'＝1", "\r=1": `\u{d}=1`, "a=1": "a=1", "": "",
	} {
		if got := safe.CSV(in); got != want {
			t.Errorf("CSV(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestShellWords(t *testing.T) {
	for in, want := range map[string]string{
		"a/b.c": "a/b.c", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$(x)": "'$(x)'", "~x": "'~x'", "-x": "'-x'", "x\x1b": `'x\u{1b}'`,
	} {
		if got := safe.Shell(in); got != want {
			t.Errorf("Shell(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestARunnerGetsNoCommand(t *testing.T) {
	for _, in := range hostile {
		got := safe.Runner(in)
		if strings.HasPrefix(strings.TrimSpace(got), "::") || strings.Contains(got, "##[") || strings.Contains(got, "\n") {
			t.Errorf("Runner(%q) = %q", in, got)
		}
	}
}

func TestWordsAreBounded(t *testing.T) {
	for in, want := range map[string]string{"dpkg:\n error": "dpkg:  error", "\xffa\u202e": "?a?", "éééé": "éé", "abcdefgh": "abcde"} {
		if got := safe.Words(in, 5); got != want[:min(len(want), len(got))] || len(got) > 5 || !utf8.ValidString(got) {
			t.Errorf("Words(%q, 5) = %q", in, got)
		}
	}
	if got := safe.Line("abcdef", 3); got != "abc…" {
		t.Errorf("Line = %q, want abc…", got)
	}
}

// A record of the log stays what it was, for who reads it as JSON, and says nothing to a terminal.
func TestTheLogSpeaksToNobody(t *testing.T) {
	for _, in := range hostile {
		var out bytes.Buffer
		slog.New(slog.NewJSONHandler(safe.Log(&out), nil)).Info("constant", "text", in)
		silent(t, "log", in, strings.TrimSuffix(out.String(), "\n"))
		var got struct{ Text string }
		if err := json.Unmarshal(out.Bytes(), &got); err != nil || got.Text != string([]rune(in)) {
			t.Errorf("the log of %q holds %q, %v", in, got.Text, err)
		}
	}
}

func silent(t *testing.T, sink, in, got string) {
	t.Helper()
	for _, r := range got {
		if r != utf8.RuneError && !safe.Shown(r) {
			t.Errorf("%s of %q has %U: %q", sink, in, r, got)
			return
		}
	}
	if !utf8.ValidString(got) {
		t.Errorf("%s of %q is not UTF-8: %q", sink, in, got)
	}
}

func FuzzSinks(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		for sink, show := range map[string]func(string) string{
			"Terminal": safe.Terminal, "Markdown": safe.Markdown, "HTML": safe.HTML, "CSV": safe.CSV, "Runner": safe.Runner, "Shell": safe.Shell,
			"Words": func(s string) string { return safe.Words(s, 40) }, "Line": func(s string) string { return safe.Line(s, 40) },
		} {
			silent(t, sink, in, show(in))
		}
		if got := safe.Terminal(safe.Terminal(in)); got != safe.Terminal(in) {
			t.Errorf("Terminal twice of %q: %q", in, got)
		}
		// Markdown: no sign of its own but references; put back, it is the text.
		md := safe.Markdown(in)
		if bad := strings.IndexFunc(md, func(r rune) bool {
			return r < utf8.RuneSelf && !strings.ContainsRune(" -&#;", r) && !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z')
		}); bad >= 0 {
			t.Errorf("Markdown(%q) = %q has syntax", in, md)
		}
		if strings.Count(md, "&") != strings.Count(md, "&#") {
			t.Errorf("Markdown(%q) = %q has a bare &", in, md)
		}
		// HTML: one text for a parser of XML, and nothing else.
		d := xml.NewDecoder(strings.NewReader(`<a b="` + safe.HTML(in) + `">` + safe.HTML(in) + `</a>`))
		var texts []string
		for {
			tok, err := d.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("HTML(%q): %v", in, err)
			}
			switch tok := tok.(type) {
			case xml.StartElement:
				if tok.Name.Local != "a" || len(tok.Attr) != 1 {
					t.Fatalf("HTML(%q) made an element or an attribute: %v", in, tok)
				}
				texts = append(texts, tok.Attr[0].Value)
			case xml.CharData:
				texts = append(texts, string(tok))
			}
		}
		want := strings.Map(func(r rune) rune {
			if !safe.Shown(r) {
				return utf8.RuneError
			}
			return r
		}, in)
		for _, text := range texts {
			if text != want {
				t.Errorf("HTML(%q) reads as %q", in, text)
			}
		}
		// CSV: one cell that begins with no operator.
		var b strings.Builder
		w := csv.NewWriter(&b)
		_ = w.Write([]string{safe.CSV(in), "end"})
		w.Flush()
		cells, err := csv.NewReader(strings.NewReader(b.String())).Read()
		if err != nil || len(cells) != 2 || strings.ContainsAny(strings.TrimLeft(cells[0], " ")[:min(1, len(strings.TrimLeft(cells[0], " ")))], "=+-@\t\r") {
			t.Errorf("CSV(%q) gives %q, %v", in, cells, err)
		}
		// JSON: the same value.
		raw, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		var got string
		if err := json.Unmarshal(safe.JSON(raw), &got); err != nil || got != string([]rune(in)) {
			t.Errorf("JSON(%q) holds %q, %v", raw, got, err)
		}
		silent(t, "JSON", in, string(safe.JSON(raw)))
	})
}
