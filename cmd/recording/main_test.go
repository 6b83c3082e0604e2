package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary be the program that is recorded.
func TestMain(m *testing.M) {
	switch os.Getenv("RECORDED") {
	case "":
		os.Exit(m.Run())
	case "fails":
		os.Exit(3)
	case "colours":
		fmt.Println("\x1b[1m\x1b[34m1 Push\x1b[0m\x1b[0m  says <what> & \"why\"")
		fmt.Println()
		fmt.Println("  \x1b[32m✓\x1b[0m done\x1b[31;1m badly\x1b[0m   " + os.Getenv("CLICOLOR_FORCE") + os.Getenv("NO_COLOR") + "\a")
	}
}

func record(t *testing.T, what string, args ...string) (string, error) {
	t.Helper()
	t.Setenv("RECORDED", what)
	t.Setenv("NO_COLOR", "x")
	out := filepath.Join(t.TempDir(), "new", "out.svg")
	err := run(t.Context(), append(append([]string{"-o", out}, args...), os.Args[0]))
	b, _ := os.ReadFile(out)
	return string(b), err
}

// texts are what an SVG shows, and its elements; it fails for what a forge would not show as a picture.
func texts(t *testing.T, svg string) (shown []string, classes map[string]string) {
	t.Helper()
	classes = map[string]string{}
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return shown, classes
		}
		if err != nil {
			t.Fatalf("not XML: %v", err)
		}
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		switch e.Name.Local {
		case "svg", "title", "style", "rect", "circle", "g":
		case "text":
			var text struct {
				Class string `xml:"class,attr"`
				Text  string `xml:",chardata"`
			}
			if err := d.DecodeElement(&text, &e); err != nil {
				t.Fatal(err)
			}
			shown, classes[text.Text] = append(shown, text.Text), text.Class
		default:
			t.Errorf("element %q: a picture on a forge has neither scripts nor what loads anything", e.Name.Local)
		}
		for _, a := range e.Attr {
			if strings.HasPrefix(a.Name.Local, "on") || strings.HasSuffix(a.Name.Local, "href") {
				t.Errorf("attribute %q of %q", a.Name.Local, e.Name.Local)
			}
		}
	}
}

func TestWhatIsPrintedIsDrawnAsItLooks(t *testing.T) {
	svg, err := record(t, "colours", "-title", "a & b")
	if err != nil {
		t.Fatal(err)
	}
	_, classes := texts(t, svg)
	for text, class := range map[string]string{
		"1 Push": "b c34", `says <what> & "why"`: "", "✓": "c32", " badly": "b c31", "1": "", "a & b": "d", "$": "c32",
	} {
		if got, ok := classes[text]; !ok || got != class {
			t.Errorf("%q has class %q, %v; want %q\n%s", text, got, ok, class, svg)
		}
	}
}

func TestAProgramThatFailsIsNotDrawn(t *testing.T) {
	for _, what := range []string{"fails", "nothing"} {
		if svg, err := record(t, what); err == nil || svg != "" {
			t.Errorf("%s: %v, drawn: %q", what, err, svg)
		}
	}
	if err := run(t.Context(), []string{"-columns", "3", "-o", "x", "true"}); err == nil || !strings.Contains(err.Error(), "usage") {
		t.Errorf("three columns: %v", err)
	}
}

// A line shows from its time on, on a screen that ends with the last.
func TestPlayback(t *testing.T) {
	s := screen{title: "t", columns: 20, rows: 2}
	for i := range 4 {
		s.lines = append(s.lines, line{fmt.Sprint("line ", i), time.Duration(i) * time.Hour})
	}
	at, all := s.times()
	if at[0] != perLine || at[3] != perLine+3*longest || all != at[3]+atTheEnd {
		t.Errorf("times %v, %v", at, all)
	}
	if s.shown(1) != lineHeight || s.scroll(1) != 0 || s.shown(4) != 2*lineHeight || s.scroll(4) != 2*lineHeight {
		t.Errorf("shown %d %d, scrolled %d %d", s.shown(1), s.shown(4), s.scroll(1), s.scroll(4))
	}
}

// The picture in docs is one that this program draws, of a demo that went well.
func TestTheDemosPicture(t *testing.T) {
	b, err := os.ReadFile("../../docs/demo.svg")
	if err != nil {
		t.Fatal(err)
	}
	shown, _ := texts(t, string(b))
	all := strings.Join(shown, "\n")
	for _, want := range []string{"dunlin demo", "1 Push", "3 Converge", "7 Intrude", "10 Mend", "COMPLIANT", "What happened, with no server"} {
		if !strings.Contains(all, want) {
			t.Errorf("docs/demo.svg does not show %q: draw it anew with make recording", want)
		}
	}
	if len(b) > 100_000 {
		t.Errorf("docs/demo.svg has %d bytes", len(b))
	}
}
