package main

import "testing"

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
