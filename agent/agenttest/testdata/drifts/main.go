// Command drifts changes what an agent manages on the host that it is started on, and measures how long it takes until
// that is right again. It reads one request from standard input and writes the answer to standard output.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/agent/api"
	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/schema"
)

type request struct {
	Do     string // file, port, service, link, package, settled, problem, reason
	From   int    // the first that is changed, and how many
	Count  int
	Pause  time.Duration // between two drifts, at random up to it
	Words  []string      // of problem, and of the reason of a change: what it must contain
	Socket string
}

type answer struct {
	Micros []int64 // a drift each
	Text   string  // of problem and reason
	Error  string
}

// patience is for one drift. It is no measure of how long one may take; a test that fails ends with it.
const patience = 30 * time.Second

func main() {
	var q request
	if err := json.NewDecoder(os.Stdin).Decode(&q); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	a, err := do(context.Background(), q)
	if err != nil {
		a.Error = err.Error()
	}
	_ = json.NewEncoder(os.Stdout).Encode(a)
}

// The names that the test's policy has.
func file(i int) string    { return fmt.Sprintf("/srv/managed/%04d", i) }
func content(i int) string { return fmt.Sprintf("file %d\n", i) }
func port(i int) uint16    { return uint16(20000 + i) }
func unit(i int) string    { return fmt.Sprintf("drift@%d.service", i) }

func do(ctx context.Context, q request) (a answer, err error) {
	client := api.Dial(q.Socket)
	switch q.Do {
	case "settled":
		_, err = until(func() (bool, error) {
			acc, err := client.Account(ctx)
			// Patches wait for a window that never opens.
			return err == nil && acc.Commit != "" && !slices.ContainsFunc(acc.Changes, func(c schema.Change) bool { return !strings.HasPrefix(c.Resource, "patch:") }), nil
		})
		return a, err
	case "reason":
		_, err = until(func() (bool, error) {
			acc, err := client.Account(ctx)
			if err != nil {
				return false, nil
			}
			for _, c := range acc.Changes {
				a.Text = c.Resource + " " + string(c.Result) + " " + c.Reason
				if !slices.ContainsFunc(q.Words, func(w string) bool { return !strings.Contains(a.Text, w) }) {
					return true, nil
				}
			}
			return false, nil
		})
		return a, err
	case "problem":
		_, err = until(func() (bool, error) {
			s, err := client.Status(ctx)
			a.Text = strings.Join(s.Problems, "\n")
			return err == nil && !slices.ContainsFunc(q.Words, func(w string) bool { return !strings.Contains(a.Text, w) }), nil
		})
		return a, err
	}
	kinds := map[string]func(context.Context, int) (func() (bool, error), error){"file": driftFile, "port": driftPort, "service": driftService, "link": driftLink, "package": driftPackage}
	for i := q.From; i < q.From+q.Count; i++ {
		right, err := kinds[q.Do](ctx, i)
		if err != nil {
			return a, fmt.Errorf("%s %d: %w", q.Do, i, err)
		}
		took, err := until(right)
		if err != nil {
			return a, fmt.Errorf("%s %d: %w", q.Do, i, err)
		}
		a.Micros = append(a.Micros, took.Microseconds())
		if q.Pause > 0 {
			time.Sleep(rand.N(q.Pause))
		}
	}
	return a, nil
}

// until waits until ok.
func until(ok func() (bool, error)) (time.Duration, error) {
	start := time.Now()
	for {
		yes, err := ok()
		took := time.Since(start)
		if yes || err != nil {
			return took, err
		}
		if took > patience {
			return took, fmt.Errorf("not within %s", patience)
		}
		time.Sleep(500 * time.Microsecond)
	}
}

// driftFile changes a file, in one of the ways in which files change.
func driftFile(_ context.Context, i int) (func() (bool, error), error) {
	name := file(i)
	var err error
	switch i % 4 {
	case 0:
		err = os.WriteFile(name, []byte("drift\n"), 0o644)
	case 1:
		if err = os.WriteFile(name+".tmp", []byte("other"), 0o644); err == nil {
			err = os.Rename(name+".tmp", name)
		}
	case 2:
		err = os.Remove(name)
	case 3:
		err = os.Chmod(name, 0o600)
	}
	return func() (bool, error) {
		b, err := os.ReadFile(name)
		if err != nil || string(b) != content(i) {
			return false, nil
		}
		st, err := os.Stat(name)
		return err == nil && st.Mode().Perm() == 0o644, nil
	}, err
}

// driftPort opens a port in our table, as somebody with nft would.
func driftPort(ctx context.Context, i int) (func() (bool, error), error) {
	out, err := exec.Command("nft", "delete", "element", "inet", "dunlin", "in", fmt.Sprintf("{ tcp . %d }", port(i))).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("nft: %w: %s", err, out)
	}
	want := schema.BlockedPort{Port: schema.PortRange{First: port(i), Last: port(i)}, Protocol: "tcp", From: "any", Direction: "in"}
	return func() (bool, error) {
		have, _, err := host.System{}.BlockedPorts(ctx)
		_, there := have[want]
		return there, err
	}, nil
}

// driftService stops a unit, or kills what it runs.
func driftService(_ context.Context, i int) (func() (bool, error), error) {
	invocation := func() (string, error) {
		out, err := exec.Command("systemctl", "show", "-P", "ActiveState", "-P", "InvocationID", unit(i)).Output()
		state, id, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		if state != "active" {
			id = ""
		}
		return id, err
	}
	before, err := invocation()
	if err != nil || before == "" {
		return nil, fmt.Errorf("it does not run before: %w", err)
	}
	change := []string{"stop", unit(i)}
	if i%2 == 1 {
		change = []string{"kill", "--signal=KILL", unit(i)}
	}
	if out, err := exec.Command("systemctl", change...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("systemctl: %w: %s", err, out)
	}
	return func() (bool, error) {
		now, err := invocation()
		return now != "" && now != before, err
	}, nil
}

// driftLink disables a unit, or removes its link by hand.
func driftLink(_ context.Context, i int) (func() (bool, error), error) {
	link := "/etc/systemd/system/multi-user.target.wants/" + unit(i)
	err := os.Remove(link)
	if i%2 == 1 && err == nil {
		if err = os.Symlink("../drift@.service", link); err == nil {
			err = exec.Command("systemctl", "disable", "--quiet", unit(i)).Run()
		}
	}
	return func() (bool, error) {
		_, err := os.Lstat(link)
		return err == nil, nil
	}, err
}

// driftPackage removes the package that the policy wants.
func driftPackage(context.Context, int) (func() (bool, error), error) {
	const name, file = "tb-tool", "/usr/bin/tb-tool"
	// The agent's own apt-get may not have ended yet.
	out, err := exec.Command("apt-get", "-y", "-o", "DPkg::Lock::Timeout=30", "remove", name).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("apt-get: %w: %s", err, out)
	}
	return func() (bool, error) {
		if _, err := os.Stat(file); err != nil {
			return false, nil
		}
		// Exit code 1: dpkg has not written down yet what it unpacks.
		state, err := exec.Command("dpkg-query", "--show", "--showformat=${db:Status-Status}", name).Output()
		if _, ended := errors.AsType[*exec.ExitError](err); ended {
			return false, nil
		}
		return string(state) == "installed", err
	}, nil
}
