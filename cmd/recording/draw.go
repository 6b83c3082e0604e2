package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/schema/safe"
)

// screen is a terminal that is played back.
type screen struct {
	title         string
	columns, rows int
	lines         []line
}

// Sizes in pixels.
const (
	charWidth  = 8.4
	lineHeight = 19
	margin     = 18
	barHeight  = 36
	baseline   = 14 // of a line's text, below its upper edge
)

// Times of the playback.
const (
	perLine  = 60 * time.Millisecond
	longest  = 1200 * time.Millisecond // between two lines, however long it took
	toRead   = 400 * time.Millisecond  // after a blank line, and for each line before it
	eachLine = 120 * time.Millisecond
	atTheEnd = 9 * time.Second
)

// times are when each line shows, and how long all of it is.
func (s screen) times() (at []time.Duration, all time.Duration) {
	now, was, paragraph := time.Duration(0), time.Duration(0), 0
	for i, l := range s.lines {
		now += min(max(l.at-was, perLine), longest)
		was = l.at
		if i > 0 && plain(s.lines[i-1].text) == "" {
			now += toRead + time.Duration(paragraph)*eachLine
			paragraph = 0
		}
		paragraph++
		at = append(at, now)
	}
	return at, now + atTheEnd
}

// draw writes the picture. Lines stand below each other on a long sheet that moves up behind a window, and a curtain of the
// background's colour hides those that are still to come.
func (s screen) draw(b *bytes.Buffer) {
	width := 2*margin + int(float64(s.columns)*charWidth+0.5)
	inner := s.rows * lineHeight
	height := barHeight + inner + margin
	at, all := s.times()
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-labelledby="t">`+"\n", width, height, width, height)
	fmt.Fprintf(b, "<title id=\"t\">%s</title>\n", drawn(s.title))
	fmt.Fprintf(b, `<style>
text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono","Liberation Mono",monospace;fill:#d5dbe3;white-space:pre}
.b{font-weight:700}.d{opacity:.6}.c31{fill:#ff7b72}.c32{fill:#56d364}.c33{fill:#e3b341}.c34{fill:#79c0ff}.c36{fill:#56d4dd}
.sheet{transform:translateY(%dpx);animation:sheet %s step-end infinite}
.curtain{transform:translateY(%dpx);animation:curtain %s step-end infinite}
`, -s.scroll(len(s.lines)), seconds(all), s.shown(len(s.lines)), seconds(all))
	s.keyframes(b, "sheet", at, all, func(n int) int { return -s.scroll(n) })
	s.keyframes(b, "curtain", at, all, s.shown)
	b.WriteString("@media (prefers-reduced-motion:reduce){.sheet,.curtain{animation:none}}\n</style>\n")
	fmt.Fprintf(b, "<rect width=\"%d\" height=\"%d\" rx=\"10\" fill=\"#0d1117\"/>\n", width, height)
	for i, colour := range []string{"#ff5f57", "#febc2e", "#28c840"} {
		fmt.Fprintf(b, "<circle cx=\"%d\" cy=\"18\" r=\"6\" fill=\"%s\"/>", 20+20*i, colour)
	}
	fmt.Fprintf(b, "\n<text x=\"%d\" y=\"23\" text-anchor=\"middle\" class=\"d\">%s</text>\n", width/2, drawn(s.title))
	fmt.Fprintf(b, "<svg x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"><g class=\"sheet\">\n", margin, barHeight, width-2*margin, inner)
	for i, l := range s.lines {
		drawLine(b, l.text, i*lineHeight+baseline)
	}
	fmt.Fprintf(b, "</g><rect class=\"curtain\" width=\"100%%\" height=\"%d\" fill=\"#0d1117\"/></svg>\n</svg>\n", inner)
}

// scroll is how far the sheet has moved once n lines show, and shown how much of the window they fill.
func (s screen) scroll(n int) int { return max(n-s.rows, 0) * lineHeight }
func (s screen) shown(n int) int  { return min(n, s.rows) * lineHeight }

// keyframes moves something with the lines. A step that moves nothing is left out.
func (s screen) keyframes(b *bytes.Buffer, name string, at []time.Duration, all time.Duration, to func(n int) int) {
	fmt.Fprintf(b, "@keyframes %s{0%%{transform:translateY(%dpx)}", name, to(0))
	last := to(0)
	for i, t := range at {
		if y := to(i + 1); y != last {
			fmt.Fprintf(b, "%s%%{transform:translateY(%dpx)}", strconv.FormatFloat(100*t.Seconds()/all.Seconds(), 'f', 3, 64), y)
			last = y
		}
	}
	fmt.Fprintf(b, "100%%{transform:translateY(%dpx)}}\n", last)
}

// drawLine writes a line as pieces of one look each. Every piece has its place and its length, so that columns are
// columns whatever font there is.
func drawLine(b *bytes.Buffer, text string, y int) {
	column, class := 0, style{}
	for text != "" {
		piece, rest, found := strings.Cut(text, "\x1b[")
		for word := range pieces(piece) {
			n := len([]rune(word))
			if strings.TrimSpace(word) != "" {
				fmt.Fprintf(b, "<text x=\"%s\" y=\"%d\" textLength=\"%s\"%s>%s</text>", number(float64(column)*charWidth), y, number(float64(n)*charWidth), class.attribute(), drawn(word))
			}
			column += n
		}
		if !found {
			break
		}
		codes, after, ok := strings.Cut(rest, "m")
		if !ok {
			break
		}
		class.change(codes)
		text = after
	}
	b.WriteByte('\n')
}

// pieces cuts at runs of blanks, which fonts and viewers treat in many ways.
func pieces(s string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for s != "" {
			end := strings.Index(s, "  ")
			switch {
			case end < 0:
				end = len(s)
			case end == 0:
				for end < len(s) && s[end] == ' ' {
					end++
				}
			}
			if !yield(s[:end]) {
				return
			}
			s = s[end:]
		}
	}
}

// style is what escape sequences have asked for so far (ECMA-48, SGR).
type style struct {
	bold, dim bool
	colour    string
}

func (s *style) change(codes string) {
	for code := range strings.SplitSeq(codes, ";") {
		switch code {
		case "", "0":
			*s = style{}
		case "1":
			s.bold = true
		case "2":
			s.dim = true
		case "22":
			s.bold, s.dim = false, false
		case "39":
			s.colour = ""
		case "31", "32", "33", "34", "36":
			s.colour = "c" + code
		}
	}
}

func (s style) attribute() string {
	var classes []string
	if s.bold {
		classes = append(classes, "b")
	}
	if s.dim {
		classes = append(classes, "d")
	}
	if s.colour != "" {
		classes = append(classes, s.colour)
	}
	if len(classes) == 0 {
		return ""
	}
	return ` class="` + strings.Join(classes, " ") + `"`
}

// plain is text without its looks.
func plain(text string) string {
	var b strings.Builder
	for {
		piece, rest, found := strings.Cut(text, "\x1b[")
		b.WriteString(piece)
		if !found {
			return strings.TrimSpace(b.String())
		}
		_, text, _ = strings.Cut(rest, "m")
	}
}

// drawn is text for the picture, without what a terminal would not have shown.
func drawn(s string) string {
	return safe.HTML(strings.Map(func(r rune) rune {
		if safe.Shown(r) {
			return r
		}
		return -1
	}, s))
}

func number(f float64) string {
	return strings.TrimSuffix(strings.TrimRight(strconv.FormatFloat(f, 'f', 1, 64), "0"), ".")
}

func seconds(d time.Duration) string { return number(d.Seconds()) + "s" }
