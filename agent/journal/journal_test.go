package journal

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dunlin-dev/dunlin/schema"
)

func at() time.Time { return time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC) }

func open(t *testing.T, dir string) *Journal {
	t.Helper()
	j, err := Open(dir, at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

var motd = schema.Intent{Resource: "file:/etc/motd", Action: "update", Want: "b", Got: "a", Policy: "x"}

func TestAnIntentStaysPendingUntilItsResult(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	done, err := j.Intend("c0ffee", []schema.Intent{motd, {Resource: "sysctl:a.b", Action: "update"}})
	if err != nil {
		t.Fatal(err)
	}
	again := open(t, dir)
	want := []schema.Intent{motd, {Resource: "sysctl:a.b", Action: "update"}}
	if diff := cmp.Diff(want, again.Owed()); diff != "" {
		t.Errorf("Owed after a crash (-want +got):\n%s", diff)
	}
	if err := done([]schema.Result{{Outcome: "Changed"}, {Outcome: "Failed", Reason: "read-only"}}); err != nil {
		t.Fatal(err)
	}
	if got := open(t, dir).Owed(); len(got) != 0 {
		t.Errorf("Owed after the results = %v, want none", got)
	}
}

func TestSettleEndsWhatMatches(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	if _, err := j.Intend("", []schema.Intent{motd, {Resource: "user:deploy", Action: "create"}}); err != nil {
		t.Fatal(err)
	}
	j = open(t, dir)
	if err := j.Settle(motd.Resource, motd.Action, schema.Result{Outcome: "Changed"}); err != nil {
		t.Fatal(err)
	}
	if got := open(t, dir).Owed(); len(got) != 1 || got[0].Resource != "user:deploy" {
		t.Errorf("Owed = %v, want user:deploy alone", got)
	}
}

func TestEveryTornEndIsCut(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	if _, err := j.Intend("", []schema.Intent{motd}); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(dir, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(whole) {
		torn := append(append([]byte{}, whole...), whole[:n]...)
		at := filepath.Join(t.TempDir(), "journal")
		if err := os.WriteFile(at, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		j := open(t, filepath.Dir(at))
		if got := j.Owed(); len(got) != 1 {
			t.Fatalf("%d bytes of a second record: %d pending, want 1", n, len(got))
		}
		if _, err := j.Intend("", []schema.Intent{{Resource: "user:deploy"}}); err != nil {
			t.Fatal(err)
		}
		if got := open(t, filepath.Dir(at)).Owed(); len(got) != 2 {
			t.Fatalf("after %d torn bytes and a new intent: %d pending, want 2", n, len(got))
		}
	}
}

func TestADamagedJournalIsSetAside(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	if _, err := j.Intend("", []schema.Intent{motd, motd, motd}); err != nil {
		t.Fatal(err)
	}
	p := filepath.Join(dir, "journal")
	b, _ := os.ReadFile(p)
	b[len(b)/2] ^= 1
	if err := os.WriteFile(p, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := open(t, dir).Owed(); len(got) != 0 {
		t.Errorf("Owed of a damaged journal = %v, want none", got)
	}
	if got := open(t, dir).SetAside; got != "" {
		t.Errorf("a sound journal says it was set aside as %q", got)
	}
	names, _ := filepath.Glob(filepath.Join(dir, "journal.damaged-*"))
	if len(names) != 1 || !strings.HasSuffix(names[0], "20261123T020000Z") {
		t.Errorf("set aside: %v, want one file", names)
	}
}

func TestAFullDiskStopsThePass(t *testing.T) {
	j := open(t, t.TempDir())
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	j.file = full
	if _, err := j.Intend("", []schema.Intent{motd}); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("Intend on a full disk = %v, want no space left", err)
	}
	if _, err := j.Intend("", []schema.Intent{motd}); err == nil || !strings.Contains(err.Error(), "an earlier write failed") {
		t.Errorf("Intend after a failed write = %v, want a refusal", err)
	}
}

func TestALongJournalIsBegunAnewOnceNothingIsOwed(t *testing.T) {
	dir := t.TempDir()
	big := schema.Intent{Resource: "file:/etc/motd", Action: schema.Update, Want: strings.Repeat("x", maxSize)}
	for range kept + 2 {
		j := open(t, dir)
		big.Want = big.Want[:maxLine/2]
		done, err := j.Intend("", []schema.Intent{big, big, motd})
		if err != nil {
			t.Fatal(err)
		}
		if again := open(t, dir); len(again.Owed()) != 3 {
			t.Fatalf("a long journal with 3 owed intents has %d after it was opened again", len(again.Owed()))
		}
		if err := done([]schema.Result{{Outcome: schema.Changed}, {Outcome: schema.Changed}, {Outcome: schema.Changed}}); err != nil {
			t.Fatal(err)
		}
	}
	j := open(t, dir)
	if info, err := j.file.Stat(); err != nil || info.Size() != 0 {
		t.Errorf("the journal has %d bytes, %v; want a new one", info.Size(), err)
	}
	if old, _ := filepath.Glob(filepath.Join(dir, "journal.*")); len(old) != kept {
		t.Errorf("%d old journals are kept, want %d", len(old), kept)
	}
}

// What was reverted is known under its commit for as long as it is not tried again: after any number of starts, after a
// power cut, and in a journal that was begun anew.
func TestWhatWasRevertedIsRemembered(t *testing.T) {
	dir := t.TempDir()
	telnet := schema.Intent{Resource: "port:in/tcp/23/any", Action: schema.Block, Want: "blocked", Got: "open", Policy: "web"}
	smtp := schema.Intent{Resource: "port:in/tcp/25/any", Action: schema.Block, Want: "blocked", Got: "open", Policy: "web"}
	do := func(commit string, of []schema.Intent, results ...schema.Result) {
		t.Helper()
		done, err := open(t, dir).Intend(commit, of)
		if err == nil && results != nil {
			err = done(results)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	reverted := schema.Result{Outcome: schema.Reverted, Reason: "nobody was reached"}
	want := func(when, commit string, resources ...string) {
		t.Helper()
		var got []string
		for _, c := range open(t, dir).Reverted(commit) {
			if c.Result != schema.Reverted || c.Reason != "nobody was reached" || c.Action != schema.Block || c.Want != "blocked" || c.Got != "open" {
				t.Errorf("%s: told as %+v", when, c)
			}
			got = append(got, c.Resource)
		}
		if !slices.Equal(got, resources) {
			t.Errorf("%s: reverted under %s are %v, want %v", when, commit, got, resources)
		}
	}
	do("c0ffee", []schema.Intent{telnet, smtp, motd}, reverted, reverted, schema.Result{Outcome: schema.Changed})
	want("at the next start", "c0ffee", telnet.Resource, smtp.Resource)
	want("under another commit", "deed")

	path := filepath.Join(dir, "journal")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(whole, []byte("\n")) // three intents, three results, and what follows the last line
	for n, known := range map[int][]string{3: nil, 4: {telnet.Resource}, 5: {telnet.Resource, smtp.Resource}} {
		if err := os.WriteFile(path, append(bytes.Join(lines[:n], nil), lines[n][:10]...), 0o600); err != nil {
			t.Fatal(err)
		}
		want(fmt.Sprintf("cut in line %d", n+1), "c0ffee", known...)
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}

	big := schema.Intent{Resource: "file:/etc/motd", Action: schema.Update, Want: strings.Repeat("x", maxLine/2)}
	for range 2 {
		do("c0ffee", []schema.Intent{big, big, big}, schema.Result{Outcome: schema.Changed}, schema.Result{Outcome: schema.Changed}, schema.Result{Outcome: schema.Changed})
		want("in a journal begun anew", "c0ffee", telnet.Resource, smtp.Resource)
		if info, err := os.Stat(path); err != nil || info.Size() > 4<<10 {
			t.Fatalf("the journal was not begun anew: %v, %v", info, err)
		}
	}
	// The power goes while it is begun anew: the old one has been moved, the new one not yet.
	if err := os.Rename(path, path+newName); err != nil {
		t.Fatal(err)
	}
	want("after a cut between two journals", "c0ffee", telnet.Resource, smtp.Resource)
	// Or before the old one was moved: what was left of the new one is nothing.
	if err := os.WriteFile(path+newName, []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	want("with half a new one", "c0ffee", telnet.Resource, smtp.Resource)

	do("deed", []schema.Intent{smtp}, schema.Result{Outcome: schema.Changed})
	want("after one held under the next commit", "c0ffee", telnet.Resource)
	do("deed", []schema.Intent{telnet}) // and the power goes before anything came of it
	want("once it is tried again", "c0ffee")
	want("once it is tried again", "deed")
}

func FuzzDecode(f *testing.F) {
	line, _ := encode(record{Seq: 1, Intent: &motd})
	f.Add(line)
	f.Add([]byte("00000000 {}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, ok := decode(b)
		if ok && (r.Intent == nil) == (r.Result == nil) {
			t.Errorf("decode(%q) took a record that is neither intent nor result", b)
		}
	})
}
