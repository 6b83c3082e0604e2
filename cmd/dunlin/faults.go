package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
	"github.com/dunlin-dev/dunlin/schema/safe"
)

// faultFormats are the forms that faults are printed in.
func faultFormats() []string { return []string{"text", "json", "github", "gitlab", "sarif", "junit"} }

// findings are what validate found, with all that a form may show of it.
type findings struct {
	tree    fs.FS
	files   []string // that were read, sorted
	faults  []schema.Fault
	objects int
	tests   *testCounts // of the repository's own; nil where none were run
	prefix  string      // from where the command was called to the repository: what CI calls a file
}

// printFindings writes them in a form.
func (a *app) printFindings(format string, f findings) error {
	if f.faults == nil {
		f.faults = []schema.Fault{}
	}
	switch format {
	case "json":
		return a.printJSON(struct {
			Faults  []schema.Fault `json:"faults"`
			Objects int            `json:"objects"`
			Tests   *testCounts    `json:"tests,omitempty"`
		}{f.faults, f.objects, f.tests})
	case "gitlab":
		return a.printJSON(f.gitlab())
	case "sarif":
		return a.printJSON(f.sarif())
	}
	w := bufio.NewWriter(a.out)
	switch format {
	case "github":
		f.github(w)
	case "junit":
		if err := f.junit(w); err != nil {
			return err
		}
	default:
		f.text(w, lookOf(a.out), a.width())
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write faults: %w", err)
	}
	return nil
}

// counts are how many faults refuse the commit, how many do not, and in how many files they are.
func (f findings) counts() (wrong, warnings, files int) {
	in := map[string]bool{}
	for _, x := range f.faults {
		if x.Severity == schema.SeverityWarning {
			warnings++
		} else {
			wrong++
		}
		if x.File != "" {
			in[x.File] = true
		}
	}
	return wrong, warnings, len(in)
}

// summary is the last line: how much is wrong of how much.
func (f findings) summary() (string, mark) {
	wrong, warnings, in := f.counts()
	of := counted(len(f.files), "file")
	if wrong+warnings == 0 {
		return counted(f.objects, "object") + " in " + of + ", no faults", good
	}
	where := " in " + of
	if in > 0 {
		where = " in " + strconv.Itoa(in) + " of " + counted(max(len(f.files), in), "file")
	}
	switch {
	case wrong == 0:
		return counted(f.objects, "object") + ", no faults, " + counted(warnings, "warning") + where, good
	case warnings == 0:
		return counted(wrong, "fault") + where, bad
	}
	return counted(wrong, "fault") + ", " + counted(warnings, "warning") + where, bad
}

func counted(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// text is one line a fault, and on a terminal the author's line below it.
func (f findings) text(w *bufio.Writer, l look, width int) {
	lines := &sourceLines{tree: f.tree}
	for i, x := range f.faults {
		if !l.terminal {
			fmt.Fprintln(w, printable(x.String()))
			continue
		}
		if i > 0 {
			fmt.Fprintln(w)
		}
		faultHead(w, l, x, width)
		if text, ok := lines.at(x.File, x.Line); ok {
			e := excerptOf(text, x.Column-1, max(width, 40)-len(strconv.Itoa(x.Line))-6)
			gutter := strings.Repeat(" ", len(strconv.Itoa(x.Line)))
			fmt.Fprintf(w, "  %s %s\n", l.dim(strconv.Itoa(x.Line)+" "+l.bar()), e.text)
			m := bad
			if x.Severity == schema.SeverityWarning {
				m = attention
			}
			fmt.Fprintf(w, "  %s %s%s\n", l.dim(gutter+" "+l.bar()), strings.Repeat(" ", e.caret), l.paint(m, strings.Repeat("^", e.long)))
		}
	}
	sum, m := f.summary()
	if l.terminal && len(f.faults) > 0 {
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "%s %s\n", l.symbol(m), sum)
	switch t := f.tests; {
	case t == nil:
	case t.Files == 0:
		fmt.Fprintf(w, "%s no tests: tests/ has no *.txtar\n", l.symbol(attention))
	case t.Failed > 0:
		fmt.Fprintf(w, "%s %d of %s failed\n", l.symbol(bad), t.Failed, counted(t.Files, "test"))
	default:
		fmt.Fprintf(w, "%s %s, %s judged as wanted\n", l.symbol(good), counted(t.Files, "test"), counted(t.Nodes, "node"))
	}
}

func (l look) bar() string {
	if l.unicode {
		return "│"
	}
	return "|"
}

// faultHead writes the line of a fault as it is everywhere, broken at blanks where the terminal ends, its parts told apart.
func faultHead(w *bufio.Writer, l look, x schema.Fault, width int) {
	place := x.File
	if x.Line > 0 {
		place += fmt.Sprintf(":%d:%d", x.Line, x.Column)
	}
	line := printable(x.String())
	place = printable(place)
	shown := place + strings.TrimPrefix(line, place)
	rows := wrap(shown, max(width, 40)-2)
	for i, row := range rows {
		if i > 0 {
			w.WriteString("  ")
		}
		head := ""
		if i == 0 && place != "" && strings.HasPrefix(row, place) {
			head, row = place, row[len(place):]
		}
		w.WriteString(l.bold(head))
		if word := ": warning:"; i == 0 && x.Severity == schema.SeverityWarning && strings.HasPrefix(row, word) {
			w.WriteString(": " + l.paint(attention, "warning:"))
			row = row[len(word):]
		}
		w.WriteString(row + "\n")
	}
}

// sourceLines gives lines of the author's files, and keeps the file that was asked for last.
type sourceLines struct {
	tree  fs.FS
	name  string
	lines [][]byte
}

// maxSource is the largest file that is evaluated, in bytes.
const maxSource = 1 << 20

// at is a line from 1 of a file, without its end. A file that cannot be read has none.
func (s *sourceLines) at(name string, line int) (string, bool) {
	if s.name != name || s.lines == nil {
		s.name, s.lines = name, [][]byte{}
		if file, err := s.tree.Open(name); err == nil {
			b, err := io.ReadAll(io.LimitReader(file, maxSource))
			if file.Close() == nil && err == nil {
				s.lines = bytes.Split(b, []byte("\n"))
			}
		}
	}
	if line < 1 || line > len(s.lines) {
		return "", false
	}
	return safe.HidePrivateKeys(strings.TrimSuffix(string(s.lines[line-1]), "\r")), true
}

// excerpt is a line as a terminal shows it, or what is around a place in it.
type excerpt struct {
	text  string
	caret int // columns before what is wrong
	long  int // columns of what is wrong
}

// excerptOf cuts a line to a width so that the byte at can be seen. Tabs are four columns wide, and what would speak to
// the terminal is written out.
func excerptOf(line string, at, width int) excerpt {
	at = min(max(at, 0), len(line))
	end := at + tokenLength(line[at:])
	type cell struct {
		text string
		wide int
	}
	var cells []cell
	column, caret, long, mark := 0, 0, 0, 0 // mark is the cell of the place
	for i := 0; i < len(line); {
		r, n := utf8.DecodeRuneInString(line[i:])
		c := cell{line[i : i+n], runeWidth(r)}
		switch {
		case r == '\t':
			c.wide = 4 - column%4
			c.text = strings.Repeat(" ", c.wide)
		case r == utf8.RuneError && n == 1:
			c.text = fmt.Sprintf(`\x%02x`, line[i])
			c.wide = len(c.text)
		case !safe.Shown(r):
			c.text = safe.Escape(r)
			c.wide = len(c.text)
		}
		if i < at {
			caret, mark = caret+c.wide, len(cells)+1
		} else if i < end {
			long += c.wide
		}
		column += c.wide
		cells = append(cells, c)
		i += n
	}
	if column <= width || width < 20 {
		return excerpt{joined(cells, func(c cell) string { return c.text }), caret, max(long, 1)}
	}
	// Around the place: a third of the width before it, the rest from it on.
	lo, before := mark, 0
	for lo > 0 && before+cells[lo-1].wide <= width/3-1 {
		lo--
		before += cells[lo].wide
	}
	hi, room := mark, width-before-2
	for hi < len(cells) && room >= cells[hi].wide {
		room -= cells[hi].wide
		hi++
	}
	for hi == len(cells) && lo > 0 && room >= cells[lo-1].wide { // what the end of the line leaves
		lo--
		room -= cells[lo].wide
		before += cells[lo].wide
	}
	for lo > 0 && lo < mark && cells[lo].wide == 0 { // a mark of a letter that is cut
		lo++
	}
	e := excerpt{joined(cells[lo:hi], func(c cell) string { return c.text }), before, max(min(long, width-before-2-room), 1)}
	if lo > 0 {
		e.text, e.caret = "…"+e.text, e.caret+1
	}
	if hi < len(cells) {
		e.text += "…"
	}
	return e
}

func joined[T any](list []T, text func(T) string) string {
	var b strings.Builder
	for _, x := range list {
		b.WriteString(text(x))
	}
	return b.String()
}

// tokenLength is how many bytes the text, word or number has that begins a line's rest.
func tokenLength(s string) int {
	if strings.HasPrefix(s, `"`) {
		for i := 1; i < len(s); i++ {
			switch s[i] {
			case '\\':
				i++
			case '"':
				return i + 1
			}
		}
		return 1
	}
	n := strings.IndexFunc(s, func(r rune) bool {
		return r != '_' && r != '#' && r != '.' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
	if n < 0 {
		n = len(s)
	}
	return max(n, min(1, len(s)))
}

// shownPath is a file as CI knows it: from where the command was called.
func (f findings) shownPath(name string) string {
	if name == "" {
		return ""
	}
	return path.Join(f.prefix, name)
}

// prefixOf is how CI, which calls from the root of what it has checked out, calls the files of a folder; empty for what
// is no folder below it.
func prefixOf(dir string) string {
	if _, err := os.Stat(filepath.Join(dir, "HEAD")); err == nil {
		return "" // a bare repository
	}
	if filepath.IsAbs(dir) {
		here, err := filepath.Abs(".")
		if err != nil {
			return ""
		}
		if dir, err = filepath.Rel(here, dir); err != nil {
			return ""
		}
	}
	if dir = filepath.Clean(dir); !filepath.IsLocal(dir) || dir == "." {
		return ""
	}
	return filepath.ToSlash(dir)
}

// utf16Column is a column in UTF-16 code units from 1, which is how most editors and forges count, of one in bytes.
func utf16Column(line string, column int) int {
	return 1 + len(utf16.Encode([]rune(line[:min(max(column-1, 0), len(line))])))
}

// readFiles are the files of a repository that are evaluated, without those that are vendored.
func readFiles(tree fs.FS) ([]string, error) {
	names, err := load.Files(tree)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(names, func(n string) bool { return strings.HasPrefix(n, "cue.mod/") }), nil
}
