package transaction

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/dunlin-dev/dunlin/schema"
)

// fake is a package manager of which each rule is a function.
type fake struct {
	have     map[string]schema.PackageStatus
	steps    func(tx schema.Transaction) ([]schema.SimulatedStep, error)
	words    map[string]string // packages that fail
	failure  string
	final    bool
	prepared schema.Prepared
	after    func() // called when a transaction has ended
	ran      []string
	sims     int
	recorded []string
}

func (f *fake) Prepare(context.Context, bool) (schema.Prepared, error) { return f.prepared, nil }

func (f *fake) Packages(context.Context) ([]schema.PackageStatus, error) {
	var all []schema.PackageStatus
	for _, st := range f.have {
		all = append(all, st)
	}
	return all, nil
}

func (f *fake) Simulate(_ context.Context, tx schema.Transaction) (schema.Simulation, error) {
	f.sims++
	if tx.Mend {
		return schema.Simulation{}, nil
	}
	steps, err := f.steps(tx)
	return schema.Simulation{Steps: steps}, err
}

func (f *fake) Transact(_ context.Context, tx schema.Transaction) (schema.TransactionResult, error) {
	var names []string
	stop := false
	for _, r := range tx.Install {
		names = append(names, r.Name)
		switch {
		case f.words[r.Name] != "":
			stop = true // as dpkg does when it cannot unpack: what comes later is not tried
		case !stop && f.failure == "":
			f.have[r.Name] = schema.PackageStatus{Name: r.Name, Arch: "all", Version: r.Version, State: schema.PackageInstalled}
		}
	}
	for _, r := range tx.Remove {
		names = append(names, r.Name+"-")
		delete(f.have, r.Name)
	}
	f.ran = append(f.ran, strings.Join(names, " "))
	if f.after != nil {
		f.after()
	}
	words := map[string]string{}
	for _, r := range tx.Install {
		if w := f.words[r.Name]; w != "" {
			words[r.Name] = w
			break
		}
	}
	return schema.TransactionResult{Words: words, Failure: f.failure, Final: f.final}, nil
}

func (f *fake) Record(_ context.Context, ref schema.PackageRef, reason string) error {
	f.recorded = append(f.recorded, ref.Name+": "+reason)
	return nil
}

// plain installs what is asked for and nothing else.
func plain(tx schema.Transaction) ([]schema.SimulatedStep, error) {
	var steps []schema.SimulatedStep
	for _, r := range tx.Install {
		steps = append(steps, schema.SimulatedStep{Action: schema.Upgrade, Name: r.Name, Arch: "all", Old: "1", New: r.Version})
	}
	for _, r := range tx.Remove {
		steps = append(steps, schema.SimulatedStep{Action: schema.Remove, Name: r.Name, Arch: "all", Old: "1"})
	}
	return steps, nil
}

func host(names ...string) *fake {
	f := &fake{have: map[string]schema.PackageStatus{}, steps: plain, words: map[string]string{}}
	for _, n := range names {
		f.have[n] = schema.PackageStatus{Name: n, Arch: "all", Version: "1", State: schema.PackageInstalled}
	}
	return f
}

func install(names ...string) schema.Transaction {
	var tx schema.Transaction
	for _, n := range names {
		tx.Install = append(tx.Install, schema.PackageRef{Name: n, Arch: "all", Version: "2"})
	}
	return tx
}

func asks(tx schema.Transaction, name string) bool {
	return slices.ContainsFunc(tx.Install, func(r schema.PackageRef) bool { return r.Name == name })
}

func wantErrors(t *testing.T, tx schema.Transaction, errs []error, want map[string]string) {
	t.Helper()
	for i, r := range slices.Concat(tx.Install, tx.Remove) {
		switch w := want[r.Name]; {
		case w == "" && errs[i] != nil:
			t.Errorf("%s: %v, want no error", r.Name, errs[i])
		case w != "" && (errs[i] == nil || !strings.Contains(errs[i].Error(), w)):
			t.Errorf("%s: %v, want %q", r.Name, errs[i], w)
		}
	}
}

func TestAPackageThatCannotBeInstalledKeepsNobodyElse(t *testing.T) {
	for _, blamed := range []bool{true, false} {
		t.Run(fmt.Sprintf("blamed by name %v", blamed), func(t *testing.T) {
			names := strings.Fields("a b c d e f g h")
			f := host(names...)
			f.steps = func(tx schema.Transaction) ([]schema.SimulatedStep, error) {
				no := &schema.SimulationError{Words: "no"}
				for _, bad := range []string{"b", "g"} {
					if asks(tx, bad) {
						if no.Words += " " + bad; blamed {
							no.Packages = append(no.Packages, bad)
						}
					}
				}
				if no.Words != "no" {
					return nil, no
				}
				return plain(tx)
			}
			tx := install(names...)
			wantErrors(t, tx, Engine{Host: f}.Apply(t.Context(), tx), map[string]string{"b": "no b", "g": "no g"})
			if len(f.ran) != 1 || f.ran[0] != "a c d e f h" && len(strings.Fields(f.ran[0])) != 6 {
				t.Errorf("ran %q, want the six others at once", f.ran)
			}
			if len(f.recorded) != 2 {
				t.Errorf("recorded %q, want b and g", f.recorded)
			}
			if blamed && f.sims > 8 {
				t.Errorf("%d simulations, want at most 8", f.sims)
			}
		})
	}
}

func TestAPairThatNeedsEachOtherIsFoundAfterABadOne(t *testing.T) {
	f := host("a", "b", "bad")
	f.steps = func(tx schema.Transaction) ([]schema.SimulatedStep, error) {
		if asks(tx, "bad") || asks(tx, "a") != asks(tx, "b") {
			return nil, &schema.SimulationError{Words: "unmet"}
		}
		return plain(tx)
	}
	tx := install("a", "bad", "b")
	tx.Install[0].Source, tx.Install[2].Source = "pair", "pair"
	wantErrors(t, tx, Engine{Host: f}.Apply(t.Context(), tx), map[string]string{"bad": "unmet"})
}

func TestWhatWasNotTriedBecauseAnotherFailedIsTriedAgain(t *testing.T) {
	f := host("a", "b", "c", "d")
	f.words["b"] = "script failed"
	tx := install("a", "b", "c", "d")
	wantErrors(t, tx, Engine{Host: f}.Apply(t.Context(), tx), map[string]string{"b": "script failed"})
	if !slices.Equal(f.ran, []string{"a b c d", "c d"}) {
		t.Errorf("ran %q, want all and then those that were not tried", f.ran)
	}
}

func TestAFailureThatWouldRepeatIsNotRepeated(t *testing.T) {
	f := host("a", "b")
	f.failure, f.final = "no space", true
	tx := install("a", "b")
	wantErrors(t, tx, Engine{Host: f}.Apply(t.Context(), tx), map[string]string{"a": "no space", "b": "no space"})
	if len(f.ran) != 1 {
		t.Errorf("ran %q, want once", f.ran)
	}
	f.final, f.ran = false, nil
	wantErrors(t, tx, Engine{Host: f}.Apply(t.Context(), tx), map[string]string{"a": "no space", "b": "no space"})
	if len(f.ran) != 3 {
		t.Errorf("ran %q, want both, then each alone", f.ran)
	}
}

func TestNothingIsBegunOnceTheContextHasEnded(t *testing.T) {
	f := host("a", "b")
	ctx, cancel := context.WithCancel(t.Context())
	f.words["a"] = "failed"
	f.after = cancel // during the first transaction
	tx := install("a", "b")
	errs := Engine{Host: f}.Apply(ctx, tx)
	if len(f.ran) != 1 || !errors.Is(errs[1], context.Canceled) || !strings.Contains(fmt.Sprint(errs[0]), "failed") {
		t.Errorf("ran %q with errors %v, want one transaction, and b canceled", f.ran, errs)
	}
}

func TestHeldAndDonePackagesAreLeft(t *testing.T) {
	f := host("a", "held")
	f.have["held"] = schema.PackageStatus{Name: "held", Arch: "all", Version: "1", State: schema.PackageInstalled, Held: true}
	f.have["done"] = schema.PackageStatus{Name: "done", Arch: "amd64", Version: "2", State: schema.PackageInstalled}
	tx := install("a", "held", "done")
	tx.Remove = []schema.PackageRef{{Name: "absent"}}
	wantErrors(t, tx, Engine{Host: f}.Apply(t.Context(), tx), map[string]string{"held": "held at its version"})
	if !slices.Equal(f.ran, []string{"a"}) {
		t.Errorf("ran %q, want a alone", f.ran)
	}
}

func TestRefuse(t *testing.T) {
	have := []schema.PackageStatus{
		{Name: "libc", Arch: "amd64", Version: "2.36-9", State: "installed", Essential: true},
		{Name: "held", Arch: "all", Version: "1", State: "installed", Held: true},
		{Name: "a", Arch: "all", Version: "1", State: "installed"},
		{Name: "gone", Arch: "all", Version: "1", State: "config-files", Held: true, Essential: true},
	}
	step := func(a schema.Action, name, from, to string) schema.SimulatedStep {
		return schema.SimulatedStep{Action: a, Name: name, Arch: "all", Old: from, New: to}
	}
	remove := func(name string) schema.SimulatedStep { return step(schema.Remove, name, "1", "") }
	replaced := remove("old")
	replaced.ReplacedBy = "new"
	for _, tt := range []struct {
		name  string
		tx    schema.Transaction
		steps []schema.SimulatedStep
		want  string // empty: allowed
	}{
		{"new dependencies are allowed", install("a"), []schema.SimulatedStep{step(schema.Install, "dep", "", "1"), step(schema.Upgrade, "a", "1", "2")}, ""},
		{"what is asked to go may go", schema.Transaction{Remove: []schema.PackageRef{{Name: "a"}}}, []schema.SimulatedStep{remove("a")}, ""},
		{"one removal over the limit is refused", install("a"), []schema.SimulatedStep{remove("b")}, `would remove "b", and maxRemovals is 0`},
		{"removals up to the limit are allowed", schema.Transaction{MaxRemovals: 1}, []schema.SimulatedStep{remove("b")}, ""},
		{"what is replaced does not count", install("a"), []schema.SimulatedStep{replaced}, ""},
		{"essential packages stay, asked for or not", schema.Transaction{Remove: []schema.PackageRef{{Name: "libc"}}, MaxRemovals: 9}, []schema.SimulatedStep{remove("libc")}, `would remove the essential "libc"`},
		{"held packages stay", schema.Transaction{MaxRemovals: 9}, []schema.SimulatedStep{remove("held")}, `would change the held "held"`},
		{"held packages are not upgraded", install("a"), []schema.SimulatedStep{step(schema.Upgrade, "held", "1", "2")}, `would change the held "held"`},
		{"a package of which only configuration is left is nobody's", install("a"), []schema.SimulatedStep{step(schema.Install, "gone", "", "2")}, ""},
		{"nothing goes back", install("a"), []schema.SimulatedStep{step(schema.Upgrade, "b", "1.10-1", "1.9-1")}, `would go back to an older version of "b"`},
		{"a tilde is older", install("a"), []schema.SimulatedStep{step(schema.Upgrade, "b", "1.0~rc1", "1.0")}, ""},
		{"the epoch outranks", install("a"), []schema.SimulatedStep{step(schema.Upgrade, "b", "1:1", "2")}, `older version of "b"`},
		{"versions that cannot be compared are refused", install("a"), []schema.SimulatedStep{step(schema.Upgrade, "b", "", "2"), step(schema.Upgrade, "c", "x:y", "2")}, `older version of "c"`},
		{"another version than the approved is refused", install("a"), []schema.SimulatedStep{step(schema.Upgrade, "a", "1", "3")}, `would install "a" at "3" instead of "2"`},
		{"a rejected dependency is refused", install("a"), []schema.SimulatedStep{step(schema.Install, "rejected", "", "1")}, `would install "rejected" "1": BLOCK`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := Refuse(tt.tx, schema.Simulation{Steps: tt.steps}, have, func(p schema.PackageRef) string {
				if p.Name == "rejected" {
					return "BLOCK"
				}
				return ""
			})
			if got := fmt.Sprint(err); tt.want == "" && err != nil || tt.want != "" && !strings.Contains(got, tt.want) {
				t.Errorf("Refuse = %v, want %q", err, tt.want)
			}
		})
	}
}

// FuzzApply holds the engine to its laws on any pattern of packages that cannot be simulated or fail.
func FuzzApply(f *testing.F) {
	f.Add(uint16(0), uint16(0), uint8(4))
	f.Add(uint16(0b1010), uint16(0b0101), uint8(9))
	f.Add(uint16(0xffff), uint16(0xffff), uint8(16))
	f.Fuzz(func(t *testing.T, unsat, failing uint16, n uint8) {
		names := make([]string, n%16+1)
		for i := range names {
			names[i] = fmt.Sprintf("p%d", i)
		}
		h := host(names...)
		bit := func(mask uint16, i int) bool { return mask>>i&1 == 1 }
		for i, name := range names {
			if bit(failing, i) {
				h.words[name] = "fails"
			}
		}
		h.steps = func(tx schema.Transaction) ([]schema.SimulatedStep, error) {
			for i, name := range names {
				if bit(unsat, i) && asks(tx, name) {
					return nil, &schema.SimulationError{Words: "unsatisfiable"}
				}
			}
			return plain(tx)
		}
		errs := Engine{Host: h}.Apply(t.Context(), install(names...))
		for i, name := range names {
			bad := bit(unsat, i) || bit(failing, i)
			if done := h.have[name].Version == "2"; done == bad || (errs[i] != nil) != bad {
				t.Errorf("%s: bad %v, done %v, error %v", name, bad, done, errs[i])
			}
		}
	})
}
