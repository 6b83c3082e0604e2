package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/dunlin-dev/dunlin/agent/demo"
	"github.com/dunlin-dev/dunlin/agent/simulated"
)

// demoTeller shows the demo to a person, or to a log.
type demoTeller struct {
	a      *app
	look   look
	width  int
	pauses bool
	enter  <-chan struct{} // somebody does not want to wait
	end    func()          // gives the terminal back
	cancel func()          // ends a demo that nobody reads any more
	failed error

	label  int // width of the column of names
	lines  int // printed since the last pause
	busy   bool
	begun  time.Time
	frame  int
	nodes  int
	folder string
}

const (
	demoWidth    = 80  // where it is not a terminal
	maxDemoWidth = 100 // longer lines are hard to read
)

func (a *app) newDemoTeller(f demoFlags, cancel func()) *demoTeller {
	d := &demoTeller{a: a, look: lookOf(a.out), width: a.width(), cancel: cancel, nodes: f.nodes, end: func() {}}
	if d.width == 0 {
		d.width = demoWidth
	}
	d.width = min(d.width, maxDemoWidth)
	if in, ok := a.in.(*os.File); ok && d.look.terminal && !f.script && !a.json() {
		d.pauses = true
		if term.IsTerminal(int(in.Fd())) {
			d.enter, d.end = enters(in), silence(in)
		}
	}
	return d
}

// enters tells of lines that somebody enters. It reads until the program ends.
func enters(in io.Reader) <-chan struct{} {
	out := make(chan struct{}, 1)
	go func() {
		for lines := bufio.NewScanner(in); lines.Scan(); {
			select {
			case out <- struct{}{}:
			default:
			}
		}
	}()
	return out
}

// print writes a line. With nobody to read it the demo ends.
func (d *demoTeller) print(format string, args ...any) {
	if d.a.json() || d.failed != nil {
		return
	}
	d.clear()
	line := strings.ReplaceAll(fmt.Sprintf(format, args...), "\u00a0", " ")
	if _, err := fmt.Fprintln(d.a.out, line); err != nil {
		d.failed = err
		d.cancel()
	}
	d.lines++
}

func (d *demoTeller) intro(f demoFlags, dir string) {
	d.folder = dir
	fate := "and it is gone at the end"
	if f.keep {
		fate = "and it stays"
	}
	d.print("%s  %d hosts, one Git repository, no server", d.look.bold("dunlin demo"), f.nodes)
	d.print("")
	d.paragraph("  ", "Agents, Git store, evaluator, gossip and reports are those of production; each host below its agent is played by a folder. "+
		"Nothing outside of "+dir+" is touched, "+fate+".")
}

// Begin prints a step's heading.
func (d *demoTeller) Begin(s demo.Step) {
	d.begun, d.label = time.Now(), 11 // two names
	title := s.Title
	if s.Number > 0 {
		title = fmt.Sprintf("%d %s", s.Number, title)
	}
	d.print("")
	column := textWidth(title) + 2
	for i, line := range wrap(s.Says, d.width-column) {
		if i == 0 {
			d.print("%s  %s", d.look.paint(busy, d.look.bold(title)), line)
		} else {
			d.print("%*s%s", column, "", line)
		}
	}
}

// Doing shows what is waited for, on a line that goes away.
func (d *demoTeller) Doing(text string) {
	if !d.look.terminal || d.a.json() || d.failed != nil {
		return
	}
	d.clear()
	d.frame++
	dots := []string{"○", "●"}
	if !d.look.unicode {
		dots = []string{"[ ]", "[*]"}
	}
	line := []rune(fmt.Sprintf("%s  %.1f s", printable(text), time.Since(d.begun).Seconds()))
	if most := d.width - 7; len(line) > most {
		line = line[:most]
	}
	fmt.Fprintf(d.a.out, "  %s %s", d.look.paint(busy, dots[d.frame/4%2]), string(line))
	d.busy = true
}

// clear takes the line of Doing away.
func (d *demoTeller) clear() {
	if d.busy {
		fmt.Fprint(d.a.out, "\r\x1b[K")
		d.busy = false
	}
}

var demoMarks = map[demo.Mark]mark{demo.Good: good, demo.Bad: bad, demo.Waits: waits, demo.Attention: attention}

// Row prints a line, wrapped below its own beginning.
func (d *demoTeller) Row(r demo.Row) {
	name := r.Name
	if name == "" {
		name = d.nodeLabel(r.Nodes)
	}
	head, wide := "  ", 2
	if name != "" {
		d.label = max(d.label, textWidth(name))
		head += fmt.Sprintf("%-*s  ", d.label, printable(name))
		wide += d.label + 2
	}
	if m, ok := demoMarks[r.Mark]; ok {
		head += d.look.symbol(m) + " "
		wide += textWidth(look{unicode: d.look.unicode}.symbol(m)) + 1
	}
	for i, line := range wrap(printable(r.Text), d.width-wide) {
		if i > 0 {
			head = strings.Repeat(" ", wide)
		}
		d.print("%s%s", head, line)
	}
}

// nodeLabel names hosts that are alike.
func (d *demoTeller) nodeLabel(nodes []string) string {
	switch n := len(nodes); {
	case n == 0:
		return ""
	case n == 1:
		return nodes[0]
	case n == d.nodes:
		return fmt.Sprintf("all %d", n)
	case n == 2:
		return nodes[0] + " " + nodes[1]
	default:
		return fmt.Sprintf("%s +%d", nodes[0], n-1)
	}
}

// End prints what came of a step, with how long it took at the border.
func (d *demoTeller) End(s demo.Step) {
	d.clear()
	m := good
	if !s.OK {
		m = bad
	}
	took := took(s.Millis)
	text := wrap(printable(s.Done), d.width-5-textWidth(took)-2)
	for i, line := range text {
		head := "    "
		if i == 0 {
			head = "  " + d.look.symbol(m) + " "
		}
		if i < len(text)-1 {
			d.print("%s%s", head, line)
			continue
		}
		pad := max(d.width-4-textWidth(line)-textWidth(took), 2)
		if !d.look.unicode && i == 0 {
			pad = max(pad-len("[ok]")+1, 2)
		}
		d.print("%s%s%s%s", head, line, strings.Repeat(" ", pad), d.look.dim(took))
	}
}

// took is a duration as people say it.
func took(ms float64) string {
	if ms < 100 {
		return fmt.Sprintf("%.0f\u00a0ms", max(ms, 1))
	}
	return fmt.Sprintf("%.1f\u00a0s", ms/1000)
}

// Pause lets a person read what was printed since the last one.
func (d *demoTeller) Pause(ctx context.Context) {
	lines := d.lines
	d.lines = 0
	if !d.pauses {
		return
	}
	t := time.NewTimer(min(1500*time.Millisecond+time.Duration(lines)*400*time.Millisecond, 6*time.Second))
	defer t.Stop()
	for len(d.enter) > 0 {
		<-d.enter // what was entered before is no answer
	}
	if d.enter != nil {
		fmt.Fprint(d.a.out, d.look.dim("  Enter goes on"))
		d.busy = true
	}
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-d.enter:
	}
	d.clear()
	if ctx.Err() != nil && d.enter != nil {
		// They say goodbye to each other, which takes a few seconds.
		fmt.Fprint(d.a.out, d.look.dim("  The hosts are stopped"))
		d.busy = true
	}
}

func (d *demoTeller) paragraph(indent, text string) {
	for _, line := range wrap(text, d.width-len(indent)) {
		d.print("%s%s", indent, line)
	}
}

// logs shows what agents warned of, where the demo failed.
func (d *demoTeller) logs(dir string) {
	found, _ := filepath.Glob(filepath.Join(dir, "*", "agent.log"))
	for _, path := range found[:min(len(found), 5)] {
		for _, line := range tail(path, 5) {
			fmt.Fprintf(d.a.err, "%s: %s\n", filepath.Base(filepath.Dir(path)), printable(line))
		}
	}
}

// summary is what a person takes home.
func (d *demoTeller) summary(f demoFlags, r demo.Result) {
	ms := map[string]float64{}
	for _, s := range r.Steps {
		ms[s.Name] = s.Millis
	}
	d.print("")
	d.print("%s", d.look.paint(good, d.look.bold("What happened, with no server")))
	d.table([][2]string{
		{took(ms["converge"]), fmt.Sprintf("from a push to its being in force on all %d hosts", r.Nodes)},
		{took(ms["drift"]), "from a port that somebody opens to its being closed again"},
		{took(ms["window"]), "from a window's opening to the last of its updates"},
		{took(ms["intrude"]), "from a commit that nobody signed to its being refused everywhere"},
		{took(ms["refuse"]), "from a broken commit to its being refused everywhere"},
		{took(r.Seconds * 1000), fmt.Sprintf("in all; %d agents and their evaluators used %.1f s of processor, %.0f MiB of memory", r.Nodes, r.Usage.CPUSeconds, r.Usage.PeakMiB)},
	})
	d.print("")
	d.print("%s", d.look.bold("Next"))
	rows := [][2]string{
		{"dunlin demo --nodes 50", "the same with more hosts"},
		{"dunlin demo --keep", "look at the repository, the hosts and the logs"},
		{"docs/demo.md", "what is real here and what is played"},
		{"README.md", "real hosts in ten lines"},
	}
	if f.keep {
		web := filepath.Join(d.folder, "web-2")
		rows[1] = [2]string{"rm -r " + d.folder, "when you have seen enough of it:"}
		repo := filepath.Join(d.folder, simulated.Repository)
		rows = append(rows[:2:2],
			[2]string{"  git -C " + repo + " log --all --oneline --graph", "the policy and the reports"},
			[2]string{"  dunlin trust verify --repo " + repo, "who signed what"},
			[2]string{"  git -C " + repo + " show reports:README.md", "the fleet at a glance"},
			[2]string{"  dunlin report verify --repo " + repo, "every signature"},
			[2]string{"  ls " + filepath.Join(web, "host"), "what a simulated host is"},
			[2]string{"  less " + filepath.Join(web, "agent.log"), "what its agent did"},
		)
	}
	d.table(rows)
}

// table prints commands and what they are for; a command that is too long has that on the line before.
func (d *demoTeller) table(rows [][2]string) {
	wide := 0
	for _, r := range rows {
		if n := textWidth(r[0]); n < d.width/2 {
			wide = max(wide, n)
		}
	}
	for _, r := range rows {
		if textWidth(r[0]) > wide {
			d.print("  %s", d.look.dim("# "+r[1]))
			d.print("  %s", r[0])
			continue
		}
		for i, line := range wrap(r[1], d.width-wide-4) {
			if i > 0 {
				r[0] = ""
			}
			d.print("  %-*s  %s", wide, r[0], line)
		}
	}
}
