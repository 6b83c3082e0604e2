package main

import (
	"bufio"
	"strings"
	"time"
	"unicode"
)

// cell is one place of a table: text that may come from outside, and a mark before it.
type cell struct {
	text   string
	mark   mark
	marked bool
}

func plain(text string) cell          { return cell{text: text} }
func marked(m mark, text string) cell { return cell{text: text, mark: m, marked: true} }

// grid is a table. Lines are as long as they must be where there is no terminal, and never longer than one.
type grid struct {
	head   []string
	rows   [][]cell
	indent int
	wraps  bool // the last column goes on below, instead of being cut
	spare  bool // the last column is left out where there is hardly room
}

// How narrow a column may become, in characters: any, and a last one that wraps or that can be spared.
const (
	least     = 8
	leastLast = 24
	leastTags = 14
)

func (g *grid) add(cells ...cell) { g.rows = append(g.rows, cells) }

// natural are the widths of the columns if all is to be seen.
func (g *grid) natural(rows [][]cell, l look) []int {
	var wide []int
	for _, r := range rows {
		for i := range r {
			r[i].text = printable(r[i].text)
			if i == len(wide) {
				wide = append(wide, 0)
			}
			wide[i] = max(wide[i], r[i].width(l))
		}
	}
	return wide
}

func (g *grid) write(w *bufio.Writer, l look, width int) {
	if len(g.rows) == 0 {
		return
	}
	rows := g.rows
	if g.head != nil {
		var head []cell
		for _, h := range g.head {
			head = append(head, plain(h))
		}
		rows = append([][]cell{head}, rows...)
	}
	wide := g.natural(rows, l)
	if g.spare && width > 0 && total(wide[:len(wide)-1])+2+min(leastTags, wide[len(wide)-1]) > width-g.indent {
		wide = wide[:len(wide)-1]
	}
	fit(wide, width-g.indent)
	for n, r := range rows {
		g.line(w, l, r, wide, g.head != nil && n == 0)
	}
}

// line writes one row.
func (g *grid) line(w *bufio.Writer, l look, r []cell, wide []int, head bool) {
	w.WriteString(strings.Repeat(" ", g.indent))
	r = r[:min(len(r), len(wide))]
	at, gap := g.indent, 0
	for i, c := range r {
		if c.text == "" && !c.marked {
			gap += wide[i] + 2
			continue
		}
		w.WriteString(strings.Repeat(" ", gap))
		at += gap
		if g.wraps && i == len(r)-1 && !c.marked {
			lines := wrap(c.text, wide[i])
			w.WriteString(lines[0])
			for _, line := range lines[1:] {
				w.WriteString("\n" + strings.Repeat(" ", at) + line)
			}
			break
		}
		used := c.write(w, l, wide[i], head)
		at += used
		gap = wide[i] - used + 2
	}
	w.WriteByte('\n')
}

// total is the width of columns with what is between them.
func total(wide []int) int {
	n := 2 * max(len(wide)-1, 0)
	for _, c := range wide {
		n += c
	}
	return n
}

// fit makes columns narrower until they fit a width, 0 or less for any: the last one first, then the widest.
func fit(wide []int, width int) {
	if width <= 0 || len(wide) == 0 {
		return
	}
	over := total(wide) - width
	last := len(wide) - 1
	if over > 0 {
		cut := min(over, max(0, wide[last]-leastLast))
		wide[last] -= cut
		over -= cut
	}
	for ; over > 0; over-- {
		widest := 0
		for i, n := range wide {
			if n > wide[widest] {
				widest = i
			}
		}
		if wide[widest] <= least {
			return
		}
		wide[widest]--
	}
}

func (c cell) width(l look) int {
	if c.marked {
		return l.signWidth() + textWidth(c.text)
	}
	return textWidth(c.text)
}

// write prints the cell within wide columns, and gives how many it took.
func (c cell) write(w *bufio.Writer, l look, wide int, head bool) int {
	used := 0
	if c.marked {
		w.WriteString(l.sign(c.mark))
		used = l.signWidth()
	}
	text := cutTo(c.text, wide-used)
	used += textWidth(text)
	switch {
	case head:
		text = l.dim(text)
	case c.mark != good: // which is what a cell without a mark has
		text = l.paint(c.mark, text)
	}
	w.WriteString(text)
	return used
}

// sign is a mark and the blank after it, of the same width for all marks.
func (l look) sign(m mark) string {
	return l.symbol(m) + strings.Repeat(" ", l.signWidth()-len([]rune(l.bare(m))))
}

func (l look) signWidth() int {
	if l.unicode {
		return 2
	}
	return 5
}

// cutTo shortens text to a width; what was cut shows.
func cutTo(text string, wide int) string {
	if textWidth(text) <= wide {
		return text
	}
	n := 0
	for i, r := range text {
		if n+runeWidth(r) > wide-1 {
			return text[:i] + "…"
		}
		n += runeWidth(r)
	}
	return text
}

// textWidth is how many columns text takes.
func textWidth(text string) int {
	n := 0
	for _, r := range text {
		n += runeWidth(r)
	}
	return n
}

// runeWidth is 2 for what terminals show in two columns, 0 for marks that sit on the letter before, else 1. It follows
// East Asian Width (Unicode annex 11) in blocks, not in each character.
func runeWidth(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case r >= 0x1100 && r <= 0x115f, r >= 0x2e80 && r <= 0xa4cf && r != 0x303f, r >= 0xac00 && r <= 0xd7a3,
		r >= 0xf900 && r <= 0xfaff, r >= 0xfe30 && r <= 0xfe6f, r >= 0xff00 && r <= 0xff60, r >= 0xffe0 && r <= 0xffe6,
		r >= 0x1f300 && r <= 0x1faff, r >= 0x20000 && r <= 0x3fffd:
		return 2
	}
	return 1
}

// wrap breaks text at blanks into lines of a width, 0 for any. A word that is longer has a line of its own, and a no-break
// space ends no word.
func wrap(text string, width int) []string {
	if width <= 0 || textWidth(text) <= width {
		return []string{text}
	}
	var lines []string
	line, n := "", 0
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ' ' }) {
		wide := textWidth(word)
		if n > 0 && n+1+wide > width {
			lines = append(lines, line)
			line, n = "", 0
		}
		if n > 0 {
			line += " "
			n++
		}
		line += word
		n += wide
	}
	return append(lines, line)
}

// hang writes text with its first line after lead, which takes column columns, and the others below.
func hang(w *bufio.Writer, lead string, column int, text string, width int) {
	room := 0
	if width > 0 {
		room = max(width-column, 20)
	}
	for i, line := range wrap(printable(text), room) {
		if i > 0 {
			lead = strings.Repeat(" ", column)
		}
		w.WriteString(strings.TrimRight(lead+line, " ") + "\n")
	}
}

// span is how long something lasts, in the one or two units that matter.
func span(d time.Duration) string {
	two := func(n int64, unit string, m int64, small string) string {
		if m == 0 {
			return digits(n) + " " + unit
		}
		return digits(n) + " " + unit + " " + digits(m) + " " + small
	}
	s := int64(max(d, 0) / time.Second)
	switch {
	case s < 60:
		return digits(s) + " s"
	case s < 3600:
		return digits(s/60) + " min"
	case s < 86400:
		return two(s/3600, "h", s%3600/60, "min")
	case s < 14*86400:
		return two(s/86400, "d", s%86400/3600, "h")
	}
	return digits(s/86400) + " d"
}

func digits(n int64) string {
	text := ""
	for {
		text = string(rune('0'+n%10)) + text
		if n /= 10; n == 0 {
			return text
		}
	}
}

// listed joins names as people do, at most most of them.
func listed(names []string, most int) string {
	rest := ""
	if len(names) > most {
		rest = digits(int64(len(names)-most)) + " more"
		names = names[:most]
	}
	switch {
	case len(names) == 0:
		return rest
	case rest != "":
		return strings.Join(names, ", ") + " and " + rest
	case len(names) == 1:
		return names[0]
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}
