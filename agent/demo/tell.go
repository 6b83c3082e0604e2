package demo

import (
	"context"
	"strings"
	"time"
)

// Mark is a row at a glance.
type Mark string

const (
	Good      Mark = "ok"
	Bad       Mark = "bad"
	Waits     Mark = "waits"
	Attention Mark = "attention"
	Plain     Mark = ""
)

// Step is a part of the demo and what came of it.
type Step struct {
	Name   string  `json:"step"`             // "push", for programs
	Number int     `json:"number,omitempty"` // 0 where it only prepares or sums up
	Title  string  `json:"title"`
	Says   string  `json:"says"` // what is shown, a sentence
	Rows   []Row   `json:"rows"`
	Done   string  `json:"done"` // what came of it, a sentence
	Commit string  `json:"commit,omitempty"`
	OK     bool    `json:"ok"`
	Millis float64 `json:"ms"`
}

// Row is one thing that happened, most often on a host.
type Row struct {
	Nodes []string `json:"nodes,omitempty"` // all of them alike
	Name  string   `json:"name,omitempty"`  // of what it is, where that is no node
	Mark  Mark     `json:"mark,omitempty"`
	Text  string   `json:"text"`
}

// Teller shows the demo while it runs. Its methods are called one after the other.
type Teller interface {
	// Begin says what comes.
	Begin(Step)
	// Doing says what is waited for, in a few words; it may be called often.
	Doing(text string)
	// Row is a line that stays.
	Row(Row)
	// End says what came of the step; a failure ends the demo, and is told by Run.
	End(Step)
	// Pause lets a person read, until ctx ends.
	Pause(ctx context.Context)
}

// Result is the demo for programs.
type Result struct {
	OK      bool     `json:"ok"`
	Nodes   int      `json:"nodes"`
	Steps   []Step   `json:"steps"`
	Problem string   `json:"problem,omitempty"` // why it is not ok
	Folder  string   `json:"folder,omitempty"`  // where it is kept
	Seconds float64  `json:"seconds"`
	Usage   Usage    `json:"usage"`
	Policy  string   `json:"policy,omitempty"`  // the commit in force at the end
	Reports string   `json:"reports,omitempty"` // the commit of the reports branch
	Signed  int      `json:"signed"`            // commits since the anchor that were verified again
	Checks  int      `json:"checks"`            // comparisons of reports with hosts that were made
	Untrue  []string `json:"untrue"`            // what the reports say and the hosts do not
}

// Usage is what all agents together used of this machine; 0 where the system does not tell.
type Usage struct {
	PeakMiB          float64 `json:"peakMiB"`          // resident memory of this process at its peak
	CPUSeconds       float64 `json:"cpuSeconds"`       // of this process and the evaluators
	EvaluatorSeconds float64 `json:"evaluatorSeconds"` // of the evaluators, each a process of its own
}

// begin opens a step.
func (s *story) begin(number int, name, title, says string) {
	s.step = Step{Name: name, Number: number, Title: title, Says: says, Rows: []Row{}}
	s.since = time.Now()
	s.o.Teller.Begin(s.step)
}

func (s *story) row(r Row) {
	s.step.Rows = append(s.step.Rows, r)
	s.o.Teller.Row(r)
}

// end closes it; took is what was measured, where that is not the whole step.
func (s *story) end(ctx context.Context, done string, took time.Duration) {
	if took == 0 {
		took = time.Since(s.since)
	}
	s.step.Done, s.step.OK, s.step.Millis = done, true, millis(took)
	s.closeStep()
	s.o.Teller.Pause(ctx)
}

func (s *story) closeStep() {
	if s.step.Name == "" {
		return
	}
	s.o.Teller.End(s.step)
	for i := range s.step.Rows {
		s.step.Rows[i].Text = breakable(s.step.Rows[i].Text)
	}
	s.step.Done = breakable(s.step.Done)
	s.result.Steps = append(s.result.Steps, s.step)
	s.step = Step{}
}

// breakable is text for programs, which break no lines.
func breakable(s string) string { return strings.ReplaceAll(s, "\u00a0", " ") }

func millis(d time.Duration) float64 { return float64(d.Microseconds()/100) / 10 }
