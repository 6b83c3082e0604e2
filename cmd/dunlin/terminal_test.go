package main

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/schema/safe"
)

func TestNothingFromOutsideSpeaksToTheTerminal(t *testing.T) {
	for in, want := range map[string]string{
		"tb-lib 1.1-1":          "tb-lib 1.1-1",
		"\x1b[2Jgone":           `\u{1b}[2Jgone`,
		"a\nb\tc":               "a b c",
		"x\u202egnp.exe":        `x\u{202e}gnp.exe`,
		"zero\u200bwidth\u0085": `zero\u{200b}width\u{85}`,
		"naïve ✓":               "naïve ✓",
		"bad \xff byte":         `bad \u{fffd} byte`,
	} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestADumbTerminalGetsWordsInASCII(t *testing.T) {
	if got := (look{}).symbol(bad); got != "[x]" {
		t.Errorf("symbol without Unicode = %q, want [x]", got)
	}
	if got := (look{unicode: true}).symbol(good); got != "✓" {
		t.Errorf("symbol without colour = %q, want ✓", got)
	}
}

func TestJSONStaysTheSameValueAndSilent(t *testing.T) {
	for in, want := range map[string]string{
		`"plain ✓"`:                `"plain ✓"`,
		"\"\u009b31m\u202eé\x7f\"": `"\u009b31m\u202eé\u007f"`,
	} {
		if got := string(safe.JSON([]byte(in))); got != want {
			t.Errorf("safe.JSON(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestColumnsAreCountedAsTerminalsShowThem(t *testing.T) {
	for text, want := range map[string]int{"web-1": 5, "naïve": 5, "nai\u0308ve": 5, "東京": 4, "": 0} {
		if got := textWidth(text); got != want {
			t.Errorf("textWidth(%q) = %d, want %d", text, got, want)
		}
	}
	if got := cutTo("東京都庁", 5); got != "東京…" {
		t.Errorf("cut to 5 columns: %q", got)
	}
}

func TestTablesFitTheirTerminal(t *testing.T) {
	for _, l := range []look{{}, {unicode: true}} {
		for width := 30; width < 120; width += 7 {
			g := grid{head: []string{"NAME", "STATUS", "WHY"}, indent: 2, wraps: true}
			g.add(plain("a-node-with-a-long-name"), marked(attention, "ConnectionLost"), plain(strings.Repeat("words that wrap ", 9)))
			g.add(plain("b"), marked(good, "Online"), plain(""))
			var out bytes.Buffer
			w := bufio.NewWriter(&out)
			g.write(w, l, width)
			w.Flush()
			for line := range strings.Lines(out.String()) {
				// Three columns of least characters and the words of the last are what there must be room for.
				if n := textWidth(strings.TrimSuffix(line, "\n")); n > max(width, 46) {
					t.Errorf("%d columns on a terminal of %d: %q", n, width, line)
				}
			}
		}
	}
}

func TestSpansHaveTheUnitsThatMatter(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0 s", 59 * time.Second: "59 s", time.Minute: "1 min", time.Hour - time.Second: "59 min", time.Hour: "1 h",
		25*time.Hour + time.Minute: "1 d 1 h", 14 * 24 * time.Hour: "14 d", 400 * 24 * time.Hour: "400 d",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%s) = %q, want %q", d, got, want)
		}
	}
}

func TestASmallShareIsSeen(t *testing.T) {
	for _, tt := range []struct{ counts, want []int }{
		{[]int{9999, 1, 0}, []int{39, 1, 0}},
		{[]int{0, 3, 0}, []int{0, 40, 0}},
		{[]int{1, 1, 1}, []int{14, 13, 13}},
		{[]int{0, 1, 9999}, []int{0, 1, 39}},
	} {
		if got := shares(tt.counts, 40); !slices.Equal(got, tt.want) {
			t.Errorf("shares(%v) = %v, want %v", tt.counts, got, tt.want)
		}
	}
}

// NO_COLOR (no-color.org), a dumb terminal and a pipe get no escape, whatever the command; CLICOLOR_FORCE colours a pipe.
func TestColourIsAsked(t *testing.T) {
	for _, tt := range []struct {
		name, term, no, force string
		want                  bool
	}{
		{name: "a pipe"},
		{name: "a pipe, forced", force: "1", want: true},
		{name: "forced, and NO_COLOR", force: "1", no: "1"},
		{name: "forced on a dumb terminal", force: "1", term: "dumb", want: true},
		{name: "force of 0", force: "0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("TERM", tt.term)
			t.Setenv("NO_COLOR", tt.no)
			t.Setenv("CLICOLOR_FORCE", tt.force)
			if got := lookOf(io.Discard).colour; got != tt.want {
				t.Errorf("colour = %v, want %v", got, tt.want)
			}
		})
	}
}

// Every command heeds it: each shows its marks through look.
func TestEveryCommandHeedsNoColor(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "policy")
	wrong := filepath.Join(t.TempDir(), "wrong")
	if err := os.MkdirAll(wrong, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(wrong, "fleet.cue"), []byte("package fleet\n\nfleet: nam: \"x\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	socket := serveFleet(t, newFakeFleet(3, noon).badly())
	lines := [][]string{
		{"init", dir}, {"validate", dir}, {"validate", wrong}, {"new", "policy", "p", "--repo", dir}, {"fmt", "--check", wrong}, {"schema"}, {"schema", "policy"},
		{"status", "--socket", socket}, {"nodes", "--socket", socket}, {"compliance", "--all", "--socket", socket}, {"doctor", "--offline"},
		{"reconcile", "--repo", dir, "--dry-run"}, {"schedule", "next", "rate(1 hour)"}, {"trust", "list", "--repo", dir}, {"nonsense"}, {"--help"},
	}
	coloured := 0
	for _, no := range []string{"1", ""} {
		t.Setenv("CLICOLOR_FORCE", "1")
		t.Setenv("NO_COLOR", no)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		for _, line := range lines {
			var out bytes.Buffer
			run(t.Context(), line, streams{in: strings.NewReader(""), out: &out, err: &out})
			has := strings.Contains(out.String(), "\x1b")
			if has && no != "" {
				t.Errorf("dunlin %q colours though NO_COLOR is set:\n%q", line, out.String())
			}
			if out.Len() == 0 && line[0] != "fmt" {
				t.Errorf("dunlin %q says nothing", line)
			}
			if has {
				coloured++
			}
		}
	}
	if coloured < 6 {
		t.Errorf("only %d commands colour where they are asked to: this test sees nothing", coloured)
	}
}
